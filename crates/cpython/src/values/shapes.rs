//! What an object holds, by what it is.

use invivo_model::{Address, Result, SequenceForm, Text, ValueKind};
use invivo_process::{Fault, Memory};

use super::ValueLimits;
use super::attributes::{Attributes, Name};
use super::classes::Class;
use super::containers::Items;
use super::head::Head;
use super::kinds::Kind;
use crate::fields::fault;
use crate::layout::common::DICT_FLAG;
use crate::layout::extensions::{BACKING_ARRAY, MANAGER_AXES};
use crate::objects::{Pairs, Step, Want};
use crate::runtime::Runtime;

const READING: &str = "cannot read an object";

/// What an object holds: other objects by where they are.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Leaf(ValueKind),
    Row(SequenceForm, Items),
    Dict(Pairs),
    /// What an exception was made with, and attributes.
    Instance(Option<Items>, Attributes),
}

impl Shape {
    /// Bytes of text in it.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Leaf(ValueKind::Str(text) | ValueKind::Named(text)) => text.text.len(),
            Self::Leaf(ValueKind::Int(text) | ValueKind::Unreadable(text)) => text.len(),
            Self::Leaf(ValueKind::Bytes { bytes, .. }) => bytes.len(),
            Self::Instance(_, attributes) => {
                let names = attributes.items.iter().map(|(name, _)| match name {
                    Name::Known(name) => name.text.len() + size_of::<Text>(),
                    Name::At(_) => 0,
                });
                names.sum()
            }
            _ => 0,
        }
    }

    /// The attributes, where it is an instance.
    pub(super) fn attributes_mut(&mut self) -> &mut [(Name, Address)] {
        match self {
            Self::Instance(_, attributes) => &mut attributes.items,
            _ => &mut [],
        }
    }
}

/// Steps to a shape, or to why there is none.
pub(super) type Shaping<'a> = Step<'a, Result<Shape>>;

/// A shape that is there at once.
pub(super) fn leaf<'a>(kind: ValueKind) -> Shaping<'a> {
    Step::Done(Ok(Shape::Leaf(kind)))
}

/// The one attribute of an object that has no more; none where nothing is there.
fn held<'a>(name: &str, object: Address) -> Shaping<'a> {
    let items: Vec<_> = [named(name, object)]
        .into_iter()
        .filter(|(_, object)| !object.is_null())
        .collect();
    let length = items.len() as u64;
    Step::Done(Ok(Shape::Instance(None, Attributes { items, length })))
}

fn named(name: &str, object: Address) -> (Name, Address) {
    let name = Text {
        text: name.to_owned(),
        truncated: false,
    };
    (Name::Known(name), object)
}

impl<M: Memory> Runtime<M> {
    /// What the object that begins with `head` holds.
    pub(super) fn shape<'a>(
        &'a self,
        head: &'a Head,
        class: &'a Class,
        limits: &ValueLimits,
    ) -> Shaping<'a> {
        let (items, characters) = (limits.items, limits.characters);
        match class.kind {
            Kind::None => leaf(ValueKind::None),
            Kind::Bool => self.bool(head),
            Kind::Int => self.int(head, characters),
            Kind::Float => self.float(head),
            Kind::Complex => self.complex(head),
            Kind::Str => {
                // The header, which has the hash, and the first characters.
                let telling = self.layout.object.type_of..self.layout.unicode.ascii_data + 8;
                let text = self.string_text(head.address, head.bytes(telling), characters);
                text.and_then(|text| leaf(ValueKind::Str(text)))
            }
            Kind::Bytes => self.bytes(head, characters),
            Kind::ByteArray => self.byte_array(head, characters),
            Kind::Tuple => self
                .tuple(head.address, items)
                .and_then(|items| Step::Done(Ok(Shape::Row(SequenceForm::Tuple, items)))),
            Kind::NamedTuple => self.named_tuple(head, class, items),
            Kind::List => self.list(head, items),
            Kind::Set(form) => self.set(head, form, items),
            Kind::Deque => self.deque(head, items),
            Kind::Dict => self
                .dict(head.address, items)
                .and_then(|pairs| Step::Done(Ok(Shape::Dict(pairs)))),
            Kind::Exception => self.exception(head, class, items),
            Kind::Date | Kind::DateTime | Kind::Time | Kind::TimeDelta => {
                self.time(head, class.kind)
            }
            Kind::Decimal => self.decimal(head, characters),
            Kind::Array => self.array(head),
            Kind::Scalar(scalar) => self.scalar(head, scalar),
            Kind::Cell => {
                let value = self.words(head, [self.layout.builtin.cell_value]);
                value.and_then(|[value]| held("cell_contents", Address(value)))
            }
            Kind::WeakReference => self.weak_reference(head, class, items),
            Kind::MappingProxy => self.mapping_proxy(head, items),
            Kind::DictKeys | Kind::DictValues | Kind::DictItems => {
                self.dict_view(head, class.kind, items)
            }
            Kind::BlockManager => {
                let axes = self.words(head, [self.layout.object.size + MANAGER_AXES]);
                axes.and_then(|[axes]| held("axes", Address(axes)))
            }
            Kind::ArrayBacked => {
                let array = self.words(head, [self.layout.object.size + BACKING_ARRAY]);
                array.and_then(|[array]| held("_ndarray", Address(array)))
            }
            Kind::Table | Kind::Object => self.instance(head, class, items),
            Kind::Class
            | Kind::Module
            | Kind::Function
            | Kind::Method
            | Kind::NativeFunction
            | Kind::Generator
            | Kind::Code => self
                .called(head, class.kind, characters)
                .and_then(|name| leaf(ValueKind::Named(name))),
        }
    }

    /// A tuple whose class names its items; further ones are left out.
    fn named_tuple<'a>(&'a self, head: &Head, class: &'a Class, limit: usize) -> Shaping<'a> {
        self.tuple(head.address, limit).and_then(|tuple| {
            let names = class.fields.iter().cloned().map(Name::Known);
            let items = names.zip(tuple.items).collect();
            let attributes = Attributes {
                items,
                length: tuple.length.min(class.fields.len() as u64),
            };
            Step::Done(Ok(Shape::Instance(None, attributes)))
        })
    }

    fn exception<'a>(&'a self, head: &'a Head, class: &'a Class, limit: usize) -> Shaping<'a> {
        let arguments = self.words(head, [self.layout.builtin.exception_args]);
        let arguments = arguments.and_then(move |[arguments]| match arguments {
            // It is being made.
            0 => Step::Done(Ok(Items::default())),
            _ => self.tuple(Address(arguments), limit),
        });
        arguments.and_then(move |arguments| {
            self.attributes(head, class, limit)
                .and_then(|attributes| Step::Done(Ok(Shape::Instance(Some(arguments), attributes))))
        })
    }

    /// What a weak reference refers to, before its attributes: `None` where that is gone.
    fn weak_reference<'a>(&'a self, head: &'a Head, class: &'a Class, limit: usize) -> Shaping<'a> {
        let referent = self.words(head, [self.layout.builtin.weakref_object]);
        referent.and_then(move |[referent]| {
            self.attributes(head, class, limit)
                .and_then(move |mut attributes| {
                    attributes.items.insert(0, named("to", Address(referent)));
                    attributes.items.truncate(limit);
                    attributes.length = attributes.length.saturating_add(1);
                    Step::Done(Ok(Shape::Instance(None, attributes)))
                })
        })
    }

    /// What is behind a proxy: the items of a dictionary, or any other mapping as it is.
    fn mapping_proxy(&self, head: &Head, limit: usize) -> Shaping<'_> {
        let mapping = self.words(head, [self.layout.builtin.proxied_mapping]);
        mapping.and_then(move |[mapping]| {
            let mapping = Address(mapping);
            let object = &self.layout.object;
            self.pointer(mapping, object.type_of)
                .and_then(|class| self.pointer(class, object.type_flags))
                .and_then(move |flags| match flags.0 & DICT_FLAG {
                    0 => held("mapping", mapping),
                    _ => self
                        .dict(mapping, limit)
                        .and_then(|pairs| Step::Done(Ok(Shape::Dict(pairs)))),
                })
        })
    }

    /// What a view of a dictionary shows of it.
    fn dict_view(&self, head: &Head, kind: Kind, limit: usize) -> Shaping<'_> {
        let dict = self.words(head, [self.layout.builtin.viewed_dict]);
        dict.and_then(move |[dict]| {
            self.dict(Address(dict), limit).and_then(move |pairs| {
                if kind == Kind::DictItems {
                    return Step::Done(Ok(Shape::Dict(pairs)));
                }
                let one = |(key, value)| match kind {
                    Kind::DictKeys => key,
                    _ => value,
                };
                let items = Items {
                    items: pairs.items.into_iter().map(one).collect(),
                    length: pairs.length,
                };
                Step::Done(Ok(Shape::Row(SequenceForm::List, items)))
            })
        })
    }

    fn instance<'a>(&'a self, head: &'a Head, class: &'a Class, limit: usize) -> Shaping<'a> {
        self.attributes(head, class, limit).and_then(|attributes| {
            // Instances of native classes keep things that have no names.
            if attributes.length == 0 && !class.by_python {
                return leaf(ValueKind::Opaque);
            }
            Step::Done(Ok(Shape::Instance(None, attributes)))
        })
    }

    /// The words at `offsets` in the object that begins with `head`.
    pub(super) fn words<'a, const N: usize>(
        &'a self,
        head: &Head,
        offsets: [u64; N],
    ) -> Step<'a, Result<[u64; N]>> {
        let address = head.address;
        self.object_fields(head, offsets.to_vec())
            .then(move |found| {
                let words: Option<Vec<_>> = found.into_iter().collect();
                let words = words.and_then(|words| words.try_into().ok());
                Step::Done(words.ok_or_else(|| fault(READING, Fault::Unmapped(address))))
            })
    }

    /// The `size` bytes at `start`, which may be known with `head`.
    pub(super) fn bytes_at<'a>(
        &'a self,
        head: &Head,
        start: Address,
        size: usize,
    ) -> Step<'a, Result<Vec<u8>>> {
        let inside = start.since(head.address);
        match inside.and_then(|from| head.slice(from, size)) {
            Some(bytes) => Step::Done(Ok(bytes.to_vec())),
            None => Step::read(Want::new(start, size), move |bytes| {
                Step::Done(if bytes.len() == size {
                    Ok(bytes.to_vec())
                } else {
                    Err(fault(READING, Fault::Unmapped(start)))
                })
            }),
        }
    }
}
