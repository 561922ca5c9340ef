//! The attributes of instances: in slots, in a dictionary, or in values whose names their class
//! keeps.

use invivo_model::{Address, Result, Text};
use invivo_process::{Fault, Memory};

use super::classes::{Class, Classes};
use super::head::{BEFORE, HEAD, Head, LEAST_HEAD};
use crate::fields::{corrupt, fault};
use crate::layout::common::{INLINE_VALUES_FLAG, MANAGED_DICT_FLAG};
use crate::layout::{AttributesLayout, ValuesOrder};
use crate::objects::{Pairs, Step, Want, finish, word};
use crate::pieces::within_page;
use crate::runtime::Runtime;

const READING: &str = "cannot read an instance";

/// What an attribute is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Known(Text),
    /// The string is at this address.
    At(Address),
}

/// The first attributes of an instance, and how many it has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) items: Vec<(Name, Address)>,
    pub(crate) length: u64,
}

/// Where attributes are that are in no slot.
#[derive(Clone, Copy, Debug)]
enum Rest {
    Nowhere,
    Dictionary(Address),
    /// Values; their keys are in the class.
    Values(Address),
    /// A word of the instance that was not read yet points to a dictionary, if to anything.
    Through(Want),
}

impl<M: Memory> Runtime<M> {
    /// The attribute `name`, of ASCII characters, of each of `objects`: what its slots, its
    /// dictionary or its values hold, never what its class does. `None` where it has none, or
    /// where there is no such object.
    ///
    /// # Errors
    ///
    /// `Gone` or `Refused` where memory can't be read at all.
    pub(crate) fn instance_attributes(
        &self,
        objects: &[Address],
        name: &str,
    ) -> Result<Vec<Option<Address>>> {
        self.find_attributes(objects, name)
            .map_err(|met| fault(READING, met))
    }

    fn find_attributes(
        &self,
        objects: &[Address],
        name: &str,
    ) -> Result<Vec<Option<Address>>, Fault> {
        let heads = self.object_heads(objects)?;
        let mut classes = Classes::default();
        classes.load(self, heads.iter().filter_map(|head| self.class_of(head)))?;
        let found = heads.iter().map(|head| {
            let class = self.class_of(head).and_then(|class| classes.get(class));
            match class {
                Some(class) => self.find_attribute(head, class, name),
                None => Step::Done(None),
            }
        });
        finish(&self.memory, found)
    }

    fn find_attribute<'a>(
        &'a self,
        head: &'a Head,
        class: &'a Class,
        name: &'a str,
    ) -> Step<'a, Option<Address>> {
        let slots = class.slots.iter().filter(|slot| slot.name.text == name);
        let slots = slots.map(|slot| slot.offset).collect();
        self.object_fields(head, slots).then(move |found| {
            match found.into_iter().flatten().find(|value| *value != 0) {
                Some(value) => Step::Done(Some(Address(value))),
                None => self
                    .rest(head, class, self.limits.dict_entries)
                    .then(move |pairs| self.find_key(pairs.unwrap_or_default().items, name)),
            }
        })
    }
}

impl<M: Memory> Runtime<M> {
    /// The first bytes of the objects at `addresses`: none where nothing can be read.
    pub(crate) fn object_heads(&self, addresses: &[Address]) -> Result<Vec<Head>, Fault> {
        let with_before = addresses.iter().map(|address| {
            let address = *address;
            let size = within_page(address, LEAST_HEAD, HEAD);
            let alone = move || {
                Step::read(Want::new(address, size), move |bytes| {
                    Step::Done(Head::new(address, bytes, &[]))
                })
            };
            let Some(start) = address.0.checked_sub(BEFORE as u64) else {
                // Nothing is so near to null.
                return Step::Done(Head::new(address, &[], &[]));
            };
            Step::read(Want::new(Address(start), BEFORE + size), move |bytes| {
                match bytes.split_at_checked(BEFORE) {
                    Some((before, bytes)) if !bytes.is_empty() => {
                        Step::Done(Head::new(address, bytes, before))
                    }
                    // It may be the first in its mapping.
                    _ => alone(),
                }
            })
        });
        finish(&self.memory, with_before)
    }

    /// The class of the object that begins with `head`.
    pub(crate) fn class_of(&self, head: &Head) -> Option<Address> {
        head.word(self.layout.object.type_of).map(Address)
    }

    /// The words at `offsets` in the object that begins with `head`.
    pub(crate) fn object_fields<'a>(
        &'a self,
        head: &Head,
        offsets: Vec<u64>,
    ) -> Step<'a, Vec<Option<u64>>> {
        let mut words: Vec<_> = offsets.iter().map(|offset| head.word(*offset)).collect();
        let (missing, pieces): (Vec<_>, Vec<_>) = words
            .iter()
            .zip(&offsets)
            .enumerate()
            .filter(|(_, (word, _))| word.is_none())
            .map(|(index, (_, offset))| (index, Want::at(head.address, *offset, 8)))
            .unzip();
        if missing.is_empty() {
            return Step::Done(words);
        }
        Step::Read(
            pieces,
            Box::new(move |came| {
                for (index, bytes) in missing.into_iter().zip(came) {
                    if let Some(place) = words.get_mut(index) {
                        *place = word(bytes, 0);
                    }
                }
                Step::Done(words)
            }),
        )
    }

    /// The first `limit` attributes of the object that begins with `head`: those in slots first.
    pub(crate) fn attributes<'a>(
        &'a self,
        head: &'a Head,
        class: &'a Class,
        limit: usize,
    ) -> Step<'a, Result<Attributes>> {
        let slots = class.slots.iter().map(|slot| slot.offset).collect();
        self.object_fields(head, slots).then(move |values| {
            let set = class.slots.iter().zip(values).filter_map(|(slot, value)| {
                let value = value.filter(|value| *value != 0)?;
                Some((Name::Known(slot.name.clone()), Address(value)))
            });
            let mut items: Vec<_> = set.collect();
            let in_slots = items.len();
            items.truncate(limit);
            let left = limit - items.len();
            self.rest(head, class, left).then(move |pairs| {
                Step::Done(pairs.map(|pairs| {
                    let named = pairs.items.into_iter();
                    items.extend(named.map(|(name, value)| (Name::At(name), value)));
                    Attributes {
                        items,
                        length: pairs.length.saturating_add(in_slots as u64),
                    }
                }))
            })
        })
    }

    /// The first `limit` attributes that are in no slot.
    fn rest<'a>(
        &'a self,
        head: &'a Head,
        class: &'a Class,
        limit: usize,
    ) -> Step<'a, Result<Pairs>> {
        match self.rest_of(head, class) {
            None => Step::Done(Err(corrupt(
                READING,
                format!("the object at {} can't be right", head.address),
            ))),
            Some(Rest::Nowhere) => Step::Done(Ok(Pairs::default())),
            Some(Rest::Dictionary(dict)) => self.dict(dict, limit),
            Some(Rest::Values(values)) => self.keyed(class.keys, Some(values), limit),
            Some(Rest::Through(piece)) => Step::read(piece, move |bytes| match word(bytes, 0) {
                None => Step::Done(Err(fault(READING, Fault::Unmapped(piece.address)))),
                Some(0) => Step::Done(Ok(Pairs::default())),
                Some(dict) => self.dict(Address(dict), limit),
            }),
        }
    }

    /// Where attributes are that are in no slot; `None` where what tells it is not there.
    fn rest_of(&self, head: &Head, class: &Class) -> Option<Rest> {
        let dictionary = |word: u64| match word {
            0 => Rest::Nowhere,
            _ => Rest::Dictionary(Address(word)),
        };
        let has = |flag| class.flags & flag != 0;
        match self.layout.object.attributes {
            AttributesLayout::ValuesAndDictionary {
                values,
                dictionary: dict,
            } if has(MANAGED_DICT_FLAG) => match head.word_before(values)? {
                0 => Some(dictionary(head.word_before(dict)?)),
                values => Some(Rest::Values(Address(values))),
            },
            AttributesLayout::ValuesOrDictionary(at) if has(MANAGED_DICT_FLAG) => {
                match head.word_before(at)? {
                    tagged if tagged & 1 == 1 => Some(Rest::Values(Address(tagged).offset(1)?)),
                    word => Some(dictionary(word)),
                }
            }
            AttributesLayout::Inline { dictionary: dict } if has(MANAGED_DICT_FLAG) => {
                match head.word_before(dict)? {
                    0 if has(INLINE_VALUES_FLAG) => self.inline_values(head, class),
                    word => Some(dictionary(word)),
                }
            }
            _ => match class.dictoffset {
                0 => Some(Rest::Nowhere),
                _ => {
                    let offset = self.dictionary_offset(head, class)?;
                    Some(match head.word(offset) {
                        Some(word) => dictionary(word),
                        None => Rest::Through(Want::at(head.address, offset, 8)),
                    })
                }
            },
        }
    }

    /// The values in the object itself, as long as they are in use.
    fn inline_values(&self, head: &Head, class: &Class) -> Option<Rest> {
        let ValuesOrder::Behind { valid, .. } = self.layout.dict.order else {
            return None;
        };
        Some(match head.byte(class.basicsize + valid)? {
            0 => Rest::Nowhere,
            _ => Rest::Values(head.address.offset(class.basicsize)?),
        })
    }

    /// Where in an object the pointer to its dictionary is, as `_PyObject_ComputedDictPointer`
    /// finds it.
    fn dictionary_offset(&self, head: &Head, class: &Class) -> Option<u64> {
        if let Ok(offset) = u64::try_from(class.dictoffset) {
            return Some(offset);
        }
        // Counted from the end. A negative size is that of a negative integer.
        let items = head.word(self.layout.object.var_size)?;
        let items = items.cast_signed().unsigned_abs();
        let size = items.checked_mul(class.itemsize)?;
        let size = size.checked_add(class.basicsize)?;
        size.checked_next_multiple_of(8)?
            .checked_add_signed(class.dictoffset)
    }
}

#[cfg(test)]
mod tests {
    use invivo_process::Target;
    use synth::Launch;

    use super::*;
    use crate::limits::Limits;
    use crate::locate::locate;

    /// Prints the ids of instances of many kinds and of their attribute `name`, 0 for none.
    const ZOO: &str = r#"
import sys, threading
class Plain:
    def __init__(self, name):
        self.before, self.name = 1, name
class Slots:
    __slots__ = "other", "name"
class Below(Slots):
    __slots__ = "more",
class Both(Slots):
    pass
class Tuple(tuple):
    pass
class Bytes(bytes):
    pass
class Number(int):
    pass
class Failure(ValueError):
    pass
def named(object):
    object.name = "of " + type(object).__name__
    return object
def materialized(object):
    object.__dict__
    return named(object)
def replaced(object):
    object.__dict__ = {"name": "other"}
    return object
def crowded(object):
    for number in range(100):
        setattr(object, "attribute%d" % number, number)
    return named(object)
def without(object):
    object.name = 1
    del object.name
    return object
objects = [
    Plain("a"), Plain("b"), materialized(Plain("c")), replaced(Plain("d")), crowded(Plain("e")),
    without(Plain("f")), named(Slots()), named(Below()), named(Both()), Slots(), Below(), Both(),
    named(Tuple()), named(Tuple((1, 2, 3))), named(Bytes(b"odd")), named(Number(0)),
    named(Number(-2**100)), named(Failure("why")), named(threading.Thread()), named(Plain),
    len, 1, None, "text", {"name": 1}, (), object(),
]
ids = []
for each in objects:
    try:
        value = vars(each).get("name")
    except TypeError:
        value = None
    if value is None and type(each) in (Slots, Below, Both):
        value = getattr(each, "name", None)
    # A class has a dictionary, but it is none that its class describes alike everywhere.
    if not isinstance(each, type):
        ids += [id(each), 0 if value is None else id(value)]
print("ready", *ids, flush=True)
sys.stdin.read()
"#;

    #[test]
    fn an_attribute_is_found_wherever_it_is_kept() {
        for interpreter in synth::interpreters() {
            let process = Launch::new(interpreter, ZOO).start();
            let target = Target::open(process.pid()).unwrap();
            let (memory, modules) = (target.memory(), target.modules().unwrap());
            let location = locate(&memory, &modules, &target, &Limits::default()).unwrap();
            let runtime = Runtime::open(memory, &location, Limits::default()).unwrap();
            let ids = process.ready_ids();
            let (pairs, _) = ids.as_chunks();
            let objects: Vec<_> = pairs.iter().map(|[object, _]| Address(*object)).collect();
            let found = runtime.instance_attributes(&objects, "name").unwrap();
            for (index, (found, [_, value])) in found.iter().zip(pairs).enumerate() {
                let expected = (*value != 0).then_some(Address(*value));
                assert_eq!(*found, expected, "{}: object {index}", interpreter.name);
            }
        }
    }
}
