//! What an object is, by its class.

use std::rc::Rc;

use invivo_model::{Address, Text};
use invivo_process::{Memory, ReadRequest};

use super::Look;
use crate::fields::read_fields;
use crate::layout::common::{HEAP_CLASS_FLAG, INT_FLAG};

/// How many classes are kept. When there are more, all are forgotten.
const MAX_KEPT: usize = 4096;
/// How many classes a class is derived from in a row at most.
const MAX_BASES: usize = 32;
/// Bytes of a class's name.
const MAX_NAME: usize = 256;

/// A class, as far as a look at tasks needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// `tp_name`: of a class made by C code with its module.
    pub(super) name: String,
    pub(super) flags: u64,
    /// What it is derived from among the classes of `_asyncio`.
    pub(super) native: Option<Native>,
}

/// The classes of `_asyncio` that others are derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Native {
    Task,
    Future,
}

impl Class {
    /// Its name without its module.
    pub(super) fn short_name(&self) -> Text {
        let name = self.name.rsplit('.').next().unwrap_or_default();
        Text {
            text: name.to_owned(),
            truncated: false,
        }
    }

    /// Whether it was made at run time: by Python code, or by an extension module.
    pub(super) fn is_heap(&self) -> bool {
        self.flags & HEAP_CLASS_FLAG != 0
    }

    /// Whether tasks may be of it: any class that Python code or an extension module made can
    /// pretend to be one.
    pub(super) fn may_be_task(&self) -> bool {
        self.native == Some(Native::Task) || self.is_heap()
    }

    /// Whether some module made it: it is none of the interpreter's own, which are called by one
    /// word.
    pub(super) fn is_of_a_module(&self) -> bool {
        self.is_heap() || self.name.contains('.')
    }

    /// Whether it is the interpreter's own class of this name.
    pub(super) fn is_builtin(&self, name: &str) -> bool {
        !self.is_heap() && self.name == name
    }

    pub(super) fn is_none(&self) -> bool {
        self.is_builtin("NoneType")
    }

    pub(super) fn is_int(&self) -> bool {
        self.flags & INT_FLAG != 0
    }
}

impl<M: Memory> Look<'_, M> {
    /// The class of the object at `object`; `None` where there is none.
    pub(super) fn class_of(&self, object: Address) -> Option<Rc<Class>> {
        if object.is_null() {
            return None;
        }
        let at = object.offset(self.layout().object.type_of)?;
        self.class(self.memory().read_pointer(at).ok()?)
    }

    /// The class at `address`.
    pub(super) fn class(&self, address: Address) -> Option<Rc<Class>> {
        if let Some(known) = self.classes.borrow().get(&address) {
            return Some(Rc::clone(known));
        }
        let (name, flags, mut base) = self.read_class(address)?;
        let mut native = native(&name);
        for _ in 0..MAX_BASES {
            if native.is_some() || base.is_null() {
                break;
            }
            let (name, _, next) = self.read_class(base)?;
            native = self::native(&name);
            base = next;
        }
        let class = Rc::new(Class {
            name,
            flags,
            native,
        });
        let mut classes = self.classes.borrow_mut();
        if classes.len() >= MAX_KEPT {
            classes.clear();
        }
        classes.insert(address, Rc::clone(&class));
        Some(class)
    }

    /// Name, flags and base of the class at `address`.
    fn read_class(&self, address: Address) -> Option<(String, u64, Address)> {
        let layout = &self.layout().object;
        let fields = [
            (layout.type_name, 8),
            (layout.type_flags, 8),
            (layout.type_base, 8),
        ];
        let [name, flags, base] = read_fields(self.memory(), address, fields).ok()?;
        Some((self.c_string(Address(name))?, flags, Address(base)))
    }

    /// The C string at `address`, if it is a name.
    fn c_string(&self, address: Address) -> Option<String> {
        let mut bytes = [0; MAX_NAME];
        let mut request = [ReadRequest::new(address, &mut bytes)];
        self.memory().read_many(&mut request).ok()?;
        let [request] = &request;
        let filled = request.filled;
        let bytes = bytes.get(..filled)?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let name = str::from_utf8(bytes.get(..end)?).ok()?;
        (!name.is_empty()).then(|| name.to_owned())
    }
}

fn native(name: &str) -> Option<Native> {
    match name {
        "_asyncio.Task" => Some(Native::Task),
        "_asyncio.Future" => Some(Native::Future),
        _ => None,
    }
}
