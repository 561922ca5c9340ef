//! What things of a program are called: functions, classes, modules and the like.

use invivo_model::{Address, Result, Text};
use invivo_process::{Fault, Memory};

use super::classes::c_string;
use super::head::Head;
use super::kinds::Kind;
use crate::fields::fault;
use crate::layout::common::{HEAP_CLASS_FLAG, IMMUTABLE_CLASS_FLAG};
use crate::objects::{Step, Want, word};
use crate::runtime::Runtime;

const READING: &str = "cannot read a name";
/// Bytes of a name that C code gave.
const C_NAME: usize = 128;
/// Entries of a module's dictionary that its name stands among: it is the first of them.
const FIRST_NAMES: usize = 8;

impl<M: Memory> Runtime<M> {
    /// What the object that begins with `head` is called.
    pub(super) fn called<'a>(
        &'a self,
        head: &Head,
        kind: Kind,
        characters: usize,
    ) -> Step<'a, Result<Text>> {
        let layout = &self.layout.builtin;
        let address = head.address;
        let string = move |at| {
            let name = self.words(head, [at]);
            name.and_then(move |[name]| self.string_at(Address(name), characters))
        };
        match kind {
            Kind::Class => self.name_of_class(address, characters),
            Kind::Module => self
                .words(head, [layout.module_dict])
                .and_then(move |[dict]| self.dict(Address(dict), FIRST_NAMES))
                .and_then(|pairs| {
                    self.find_key(pairs.items, "__name__")
                        .then(|name| Step::Done(Ok(name)))
                })
                .and_then(move |name| self.string_at(name.unwrap_or(Address::NULL), characters)),
            Kind::Method => self
                .words(head, [layout.method.0])
                .and_then(move |[function]| self.function_name(Address(function), characters)),
            Kind::NativeFunction => self
                .words(head, [layout.builtin_function])
                .and_then(|[definition]| self.c_string_through(Address(definition), 0)),
            Kind::Generator => string(self.layout.generator.qualname),
            Kind::Code => string(self.layout.code.qualname.unwrap_or(self.layout.code.name)),
            _ => string(layout.function_qualname),
        }
    }

    /// The name of what a method calls: of any other class than a function, that of the class.
    fn function_name(&self, function: Address, characters: usize) -> Step<'_, Result<Text>> {
        let class = self.pointer(function, self.layout.object.type_of);
        class.and_then(move |class| {
            self.name_of_class(class, characters).and_then(move |name| {
                if name.text != "function" {
                    return Step::Done(Ok(name));
                }
                self.pointer(function, self.layout.builtin.function_qualname)
                    .and_then(move |name| self.string_at(name, characters))
            })
        })
    }

    /// What the class at `class` is called.
    pub(super) fn name_of_class(
        &self,
        class: Address,
        characters: usize,
    ) -> Step<'_, Result<Text>> {
        let layout = &self.layout.object;
        let wanted = [layout.type_flags, layout.heap_qualname].map(|at| Want::at(class, at, 8));
        let then = move |came: &[&[u8]]| {
            let field = |at: usize| word(came.get(at)?, 0);
            let flags = field(0).unwrap_or(0);
            let by_python = flags & (HEAP_CLASS_FLAG | IMMUTABLE_CLASS_FLAG) == HEAP_CLASS_FLAG;
            match field(1).filter(|_| by_python) {
                Some(qualname) => self.string_at(Address(qualname), characters),
                None => self.c_string_through(class, layout.type_name),
            }
        };
        Step::Read(wanted.to_vec(), Box::new(then))
    }

    /// The string of C that the pointer at `offset` behind `base` leads to.
    fn c_string_through(&self, base: Address, offset: u64) -> Step<'_, Result<Text>> {
        self.pointer(base, offset).and_then(|string| {
            Step::read(Want::new(string, C_NAME).telling(0, 8), move |bytes| {
                Step::Done(match bytes {
                    [] => Err(fault(READING, Fault::Unmapped(string))),
                    _ => Ok(c_string(bytes)),
                })
            })
        })
    }

    /// The pointer at `offset` behind `base`.
    pub(super) fn pointer(&self, base: Address, offset: u64) -> Step<'_, Result<Address>> {
        Step::read(Want::at(base, offset, 8), move |bytes| {
            let pointer = word(bytes, 0).map(Address);
            Step::Done(pointer.ok_or_else(|| fault(READING, Fault::Unmapped(base))))
        })
    }

    /// The string at `address`, which is one.
    fn string_at(&self, address: Address, characters: usize) -> Step<'_, Result<Text>> {
        Step::read(self.string_head(address), move |head| {
            self.string_text(address, head, characters)
        })
    }
}
