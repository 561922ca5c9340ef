//! What the module `builtins` of an interpreter has under some names.

use std::collections::HashMap;

use invivo_model::{Address, Interpreter, Result};
use invivo_process::Memory;

use crate::fields::{fault, read_fields};
use crate::runtime::Runtime;

const WHAT: &str = "cannot read the module builtins";

/// `Py_TPFLAGS_TYPE_SUBCLASS`, and what says of a type that a program made it: `Py_TPFLAGS_HEAPTYPE`
/// without `Py_TPFLAGS_IMMUTABLETYPE` (`Include/object.h`).
const TYPE_FLAG: u64 = 1 << 31;
const MADE: (u64, u64) = (1 << 9 | 1 << 8, 1 << 9);

/// What became of names that `builtins` has at first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuiltinNames {
    /// It has them no more.
    pub missing: Vec<&'static str>,
    /// They stand for what is no function, or no type, that C code made.
    pub replaced: Vec<&'static str>,
}

impl<M: Memory> Runtime<M> {
    /// What became of `names` in the module `builtins` of an interpreter; `None` where that module
    /// is not in `sys.modules`.
    ///
    /// # Errors
    ///
    /// As [`Runtime::dict_items`].
    pub fn builtin_names(
        &self,
        interpreter: &Interpreter,
        names: &[&'static str],
    ) -> Result<Option<BuiltinNames>> {
        let fields = [(self.layout.interpreter.modules, 8)];
        let [modules] = read_fields(&self.memory, interpreter.address, fields)
            .map_err(|met| fault(WHAT, met))?;
        if modules == 0 {
            return Ok(None);
        }
        let Some(module) = self.dict_value(Address(modules), "builtins")? else {
            return Ok(None);
        };
        let field = [(self.layout.builtin.module_dict, 8)];
        let [namespace] =
            read_fields(&self.memory, module, field).map_err(|met| fault(WHAT, met))?;
        let items = self.dict_items(Address(namespace))?;
        if items.truncated {
            return Ok(None);
        }
        let (keys, values): (Vec<_>, Vec<_>) = items.items.into_iter().unzip();
        let keys = self.strings(&keys).into_iter();
        let found: HashMap<String, Address> = keys
            .zip(values)
            .filter_map(|(key, value)| Some((key.ok()?.text, value)))
            .collect();
        let mut became = BuiltinNames::default();
        // Those that are no types, with their classes.
        let mut others = Vec::new();
        for name in names {
            match found.get(*name) {
                None => became.missing.push(name),
                Some(value) => match self.kind(*value)? {
                    Kind::OwnType => {}
                    Kind::MadeType => became.replaced.push(name),
                    Kind::Other(class) => others.push((*name, class)),
                },
            }
        }
        // Functions of C code have one class, and are most of them.
        let count = |class: u64| others.iter().filter(|(_, other)| *other == class).count();
        let usual = others.iter().map(|(_, class)| *class);
        let usual = usual.max_by_key(|class| count(*class));
        let unusual = others.iter().filter(|(_, class)| Some(*class) != usual);
        became.replaced.extend(unusual.map(|(name, _)| name));
        Ok(Some(became))
    }

    fn kind(&self, object: Address) -> Result<Kind> {
        let layout = &self.layout.object;
        if self.type_flags(object, WHAT)? & TYPE_FLAG == 0 {
            let [class] = read_fields(&self.memory, object, [(layout.type_of, 8)])
                .map_err(|met| fault(WHAT, met))?;
            return Ok(Kind::Other(class));
        }
        let [own] = read_fields(&self.memory, object, [(layout.type_flags, 8)])
            .map_err(|met| fault(WHAT, met))?;
        let (mask, made) = MADE;
        Ok(if own & mask == made {
            Kind::MadeType
        } else {
            Kind::OwnType
        })
    }
}

/// What a name in `builtins` stands for.
enum Kind {
    /// A type that C code made.
    OwnType,
    /// One that a program made.
    MadeType,
    /// No type; its class.
    Other(u64),
}
