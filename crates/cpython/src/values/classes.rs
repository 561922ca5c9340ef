//! Classes: what has to be known of one to understand its instances.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use invivo_model::{Address, Text, surrogate};
use invivo_process::{Fault, Memory};

use super::kinds::Kind;
use crate::layout::common::{
    HEAP_CLASS_FLAG, IMMUTABLE_CLASS_FLAG, MEMBER_NAME, MEMBER_OFFSET, MEMBER_SIZE, MEMBER_TYPE,
    OBJECT_MEMBERS, READY_FLAG, TUPLE_FLAG,
};
use crate::objects::{Want, finish, half, read_all, word};
use crate::runtime::Runtime;

/// Classes that are looked at for one picture.
const MAX_CLASSES: usize = 4096;
/// Bases above a class, and their metaclasses.
const MAX_BASES: usize = 64;
/// Members of one class.
const MAX_MEMBERS: usize = 64;
/// Members of a class and its bases.
const MAX_SLOTS: usize = 256;
/// Fields of a named tuple.
const MAX_FIELDS: usize = 255;
/// Bytes of a name that C code gave.
const C_NAME: usize = 128;
/// More bytes than the fixed part of any instance has.
const MAX_BASICSIZE: u64 = 1 << 30;

/// A class.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    /// `tp_name`, or `__qualname__` of a class made by Python code.
    pub(crate) name: Text,
    pub(crate) flags: u64,
    pub(crate) basicsize: u64,
    pub(crate) itemsize: u64,
    pub(crate) dictoffset: i64,
    /// The keys that its instances share, or null.
    pub(crate) keys: Address,
    /// What its instances are.
    pub(crate) kind: Kind,
    /// The pointers in its instances that have a name, those of its bases first.
    pub(crate) slots: Vec<Slot>,
    /// `_fields` of a named tuple.
    pub(crate) fields: Vec<Text>,
    /// Whether a `class` statement (or `type()`) made it.
    pub(crate) by_python: bool,
    class: Address,
    base: Address,
    dict: Address,
    own_slots: Vec<Slot>,
    /// The pointers to its names, and to what describes its members.
    c_name: Address,
    qualname: Address,
    members: Address,
}

/// A pointer in instances of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) name: Text,
    /// In the instance.
    pub(crate) offset: u64,
}

impl Class {
    /// Whether Python code can't have made it, whatever it is called.
    pub(crate) fn is_native(&self) -> bool {
        self.flags & HEAP_CLASS_FLAG == 0 || self.flags & IMMUTABLE_CLASS_FLAG != 0
    }
}

/// The classes that were met so far.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    /// `None` for what turned out to be none.
    known: HashMap<Address, Option<Class>>,
}

impl Classes {
    /// A class that was loaded; `None` where there is none at that address.
    pub(crate) fn get(&self, address: Address) -> Option<&Class> {
        self.known.get(&address)?.as_ref()
    }

    /// Gets to know the classes at `wanted`, their bases and their metaclasses.
    pub(crate) fn load<M: Memory>(
        &mut self,
        runtime: &Runtime<M>,
        wanted: impl IntoIterator<Item = Address>,
    ) -> Result<(), Fault> {
        let mut fresh = BTreeMap::new();
        let mut next: BTreeSet<Address> = wanted.into_iter().collect();
        for _ in 0..MAX_BASES {
            next.retain(|address| {
                !self.known.contains_key(address) && !fresh.contains_key(address)
            });
            if next.is_empty() || self.known.len() + fresh.len() + next.len() > MAX_CLASSES {
                break;
            }
            for (address, class) in runtime.bare_classes(&std::mem::take(&mut next))? {
                if let Some(class) = &class {
                    next.extend([class.base, class.class]);
                }
                match class {
                    Some(class) => _ = fresh.insert(address, class),
                    None => _ = self.known.insert(address, None),
                }
            }
        }
        runtime.name_classes(&mut fresh)?;
        runtime.describe_members(&mut fresh)?;
        runtime.list_fields(&mut fresh)?;
        let addresses: Vec<_> = fresh.keys().copied().collect();
        let classes = fresh
            .into_iter()
            .map(|(address, class)| (address, Some(class)));
        self.known.extend(classes);
        for address in addresses {
            self.derive(address);
        }
        Ok(())
    }

    /// Concludes what instances of a class are from it and its bases.
    fn derive(&mut self, address: Address) {
        let chain = self.chain(address);
        let Some(class) = chain.first() else { return };
        let metaclasses = self.chain(class.class);
        let kind = Kind::of(&chain, &metaclasses);
        let fields = chain.iter().map(|class| &class.fields);
        let fields = fields
            .into_iter()
            .find(|fields| !fields.is_empty())
            .cloned();
        let slots = chain.iter().rev().flat_map(|class| &class.own_slots);
        let slots: Vec<_> = slots.take(MAX_SLOTS).cloned().collect();
        if let Some(Some(class)) = self.known.get_mut(&address) {
            class.kind = kind;
            class.slots = slots;
            class.fields = fields.unwrap_or_default();
        }
    }

    /// A class and its bases by `tp_base`, which are those that decide what an instance looks
    /// like.
    fn chain(&self, mut address: Address) -> Vec<&Class> {
        let mut chain = Vec::new();
        while let Some(class) = self.get(address).filter(|_| chain.len() < MAX_BASES) {
            chain.push(class);
            address = class.base;
        }
        chain
    }
}

impl<M: Memory> Runtime<M> {
    /// The classes at `addresses`, as far as they say themselves what they are.
    fn bare_classes(
        &self,
        addresses: &BTreeSet<Address>,
    ) -> Result<Vec<(Address, Option<Class>)>, Fault> {
        let layout = &self.layout.object;
        let end = layout.heap_qualname.max(layout.heap_cached_keys) + 8;
        let size = usize::try_from(end).unwrap_or(0);
        let wanted = addresses.iter().map(|address| Want::new(*address, size));
        let pieces = read_all(&self.memory, wanted)?;
        let classes = pieces.iter().map(|bytes| self.bare_class(bytes));
        Ok(addresses.iter().copied().zip(classes).collect())
    }

    fn bare_class(&self, bytes: &[u8]) -> Option<Class> {
        let layout = &self.layout.object;
        let address = |offset| word(bytes, offset).map(Address);
        let flags = word(bytes, layout.type_flags)?;
        let basicsize = word(bytes, layout.type_basicsize)?;
        if flags & READY_FLAG == 0 || basicsize > MAX_BASICSIZE {
            return None;
        }
        let in_heap = |offset| match flags & HEAP_CLASS_FLAG {
            0 => Some(Address::NULL),
            _ => address(offset),
        };
        Some(Class {
            name: Text::default(),
            flags,
            basicsize,
            itemsize: word(bytes, layout.type_itemsize)?,
            dictoffset: word(bytes, layout.type_dictoffset)?.cast_signed(),
            keys: in_heap(layout.heap_cached_keys)?,
            kind: Kind::Object,
            slots: Vec::new(),
            fields: Vec::new(),
            by_python: false,
            class: address(layout.type_of)?,
            base: address(layout.type_base)?,
            dict: address(layout.type_dict)?,
            own_slots: Vec::new(),
            c_name: address(layout.type_name)?,
            qualname: in_heap(layout.heap_qualname)?,
            members: address(layout.type_members)?,
        })
    }

    /// Reads what classes are called.
    fn name_classes(&self, classes: &mut BTreeMap<Address, Class>) -> Result<(), Fault> {
        let names: Vec<_> = classes.values().map(|class| class.c_name).collect();
        let names = self.c_strings(&names)?;
        for (class, name) in classes.values_mut().zip(names) {
            // Classes of C code have their module in their name.
            class.by_python = !class.is_native() && !name.text.contains('.');
            class.name = name;
        }
        let by_python = classes.values_mut().filter(|class| class.by_python);
        let mut by_python: Vec<_> = by_python.collect();
        let qualnames: Vec<_> = by_python.iter().map(|class| class.qualname).collect();
        let qualnames = self.strings_up_to(&qualnames, self.limits.string_characters)?;
        for (class, qualname) in by_python.iter_mut().zip(qualnames) {
            // One that changes meanwhile still has its other name.
            if let Ok(qualname) = qualname {
                class.name = qualname;
            }
        }
        Ok(())
    }

    /// Reads which pointers in instances of classes have names.
    fn describe_members(&self, classes: &mut BTreeMap<Address, Class>) -> Result<(), Fault> {
        let wanted = classes.values().map(|class| match class.members {
            Address::NULL => Want::new(Address::NULL, 0),
            table => Want::new(table, MEMBER_SIZE * MAX_MEMBERS),
        });
        let tables = read_all(&self.memory, wanted)?;
        let mut members = Vec::new();
        for (class, table) in classes.keys().zip(tables.iter()) {
            let named = table
                .chunks_exact(MEMBER_SIZE)
                .take_while(|member| word(member, MEMBER_NAME).is_some_and(|name| name != 0));
            let objects = named.filter(|member| {
                half(member, MEMBER_TYPE).is_some_and(|kind| OBJECT_MEMBERS.contains(&kind))
            });
            members.extend(objects.filter_map(|member| {
                let name = word(member, MEMBER_NAME).map(Address)?;
                Some((*class, name, word(member, MEMBER_OFFSET)?))
            }));
        }
        let names: Vec<_> = members.iter().map(|(_, name, _)| *name).collect();
        let names = self.c_strings(&names)?;
        for ((class, _, offset), name) in members.into_iter().zip(names) {
            let Some(class) = classes.get_mut(&class) else {
                continue;
            };
            // Those of C code that are called so are of no interest, and dictionaries among them.
            let special = name.text.starts_with("__") && name.text.ends_with("__");
            if offset < MAX_BASICSIZE && (class.by_python || !special) {
                class.own_slots.push(Slot { name, offset });
            }
        }
        Ok(())
    }

    /// Reads the names of the fields of named tuples.
    fn list_fields(&self, classes: &mut BTreeMap<Address, Class>) -> Result<(), Fault> {
        let tuples: Vec<_> = classes
            .values_mut()
            .filter(|class| class.flags & TUPLE_FLAG != 0 && class.by_python)
            .collect();
        let found = tuples.iter().map(|class| {
            self.dict(class.dict, self.limits.dict_entries)
                .then(|pairs| self.find_key(pairs.unwrap_or_default().items, "_fields"))
                .then(|fields| self.tuple(fields.unwrap_or(Address::NULL), MAX_FIELDS))
        });
        let found = finish(&self.memory, found)?;
        for (class, fields) in tuples.into_iter().zip(found) {
            let names = fields.map(|fields| fields.items).unwrap_or_default();
            let names = self.strings_up_to(&names, self.limits.string_characters)?;
            // Where they are no strings, they are no fields.
            class.fields = names
                .into_iter()
                .collect::<Result<_, _>>()
                .unwrap_or_default();
        }
        Ok(())
    }

    /// The strings of C that begin at `addresses`.
    pub(crate) fn c_strings(&self, addresses: &[Address]) -> Result<Vec<Text>, Fault> {
        let wanted = addresses.iter().map(|address| Want::new(*address, C_NAME));
        let came = read_all(&self.memory, wanted)?;
        Ok(came.iter().map(|bytes| c_string(bytes)).collect())
    }
}

/// The string of C that `bytes` begin with.
pub(crate) fn c_string(bytes: &[u8]) -> Text {
    let end = bytes.iter().position(|byte| *byte == 0);
    let text = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    Text {
        text: surrogate::decode(text),
        truncated: end.is_none(),
    }
}
