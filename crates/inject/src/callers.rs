//! Who called the system call that a thread sits in.
//!
//! CPython's own code repeats a call that was interrupted, and releases the GIL only where
//! running Python is safe. Code of others need not: before such a call is disturbed, its callers
//! are followed up to the evaluation of bytecode.

use std::collections::HashMap;
use std::ops::Range;

use invivo_cpython::Runtime;
use invivo_image::{Called, MappedElf, Registers, called, jumps};
use invivo_process::{Address, Mapping, Memory, Module, Standing, Target};

/// How many frames are followed. Between a system call and the evaluation of bytecode there are
/// about ten.
const MAX_FRAMES: usize = 128;

/// What evaluates bytecode.
const EVALUATION: &[u8] = b"_PyEval_EvalFrameDefault";
/// What does so at once and calls nobody else, and where the program itself begins, from whose
/// prompt no bytecode need have been evaluated.
const BELOW: [&[u8]; 4] = [
    b"_PyFunction_Vectorcall",
    b"PyEval_EvalCode",
    b"Py_RunMain",
    b"Py_BytesMain",
];

/// The most code that the evaluation may have; a debug build's has about 100,000 bytes.
const MAX_CODE: u64 = 1 << 20;

/// Who called the system call that a thread sits in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// CPython's own code, by frames that are all its own.
    CPython,
    /// Code of this file, of which there is a frame in between; unescaped.
    Foreign(String),
    /// The frames could not be followed that far: why.
    Unknown(String),
}

/// Tells who called the system call that a thread sits in. It has to stand still for as long as
/// the answer is to hold.
pub(crate) fn caller<M: Memory>(
    runtime: &Runtime<M>,
    target: &Target,
    modules: &[Module],
    standing: &Standing,
) -> Caller {
    let registers = Registers {
        ip: standing.instruction().0,
        sp: standing.stack().0,
        bp: Some(standing.frame().0),
    };
    caller_at(runtime, target, modules, registers)
}

/// The same for a thread with these registers.
///
/// The C library's frames come first and are passed over. Then every frame has to lie in the
/// module with the runtime state, or in an extension module of the standard library other than
/// `_ctypes`, until one evaluates bytecode. What is linked into the interpreter's own module can't
/// be told from it by the file: `libffi` is known by calling the C library through a pointer, and
/// of a program that embeds CPython nothing may come before the evaluation has been reached.
pub(crate) fn caller_at<M: Memory>(
    runtime: &Runtime<M>,
    target: &Target,
    modules: &[Module],
    mut registers: Registers,
) -> Caller {
    let memory = target.memory();
    let read = |at, buffer: &mut [u8]| memory.read(Address(at), buffer).is_ok();
    let evaluation = Evaluation::find(runtime, target, modules);
    let mut tables = HashMap::new();
    let mut in_library = true;
    for depth in 0..MAX_FRAMES {
        let returning = depth > 0;
        let at = Address(registers.ip.saturating_sub(u64::from(returning)));
        let Some(module) = module_at(modules, at) else {
            return Caller::Unknown(format!("the code at {at} is no file's"));
        };
        if is_own(module, runtime.address()) {
            if in_library && returning && !is_call_by_name(&memory, module, registers.ip) {
                return Caller::Foreign(format!("{} (by a pointer)", shown(module)));
            }
            in_library = false;
        } else if !(in_library && module.is_c_library()) {
            return Caller::Foreign(shown(module));
        }
        let base = base_of(module, at);
        let table = tables
            .entry(base)
            .or_insert_with(|| MappedElf::parse(base?.0, read).ok()?.unwind_table());
        let step = table
            .as_ref()
            .and_then(|table| table.step(&registers, returning, read));
        let Some(step) = step else {
            let file = shown(module);
            return Caller::Unknown(format!("the frame at {at} in {file} can't be followed"));
        };
        if evaluation.has(&step.function) {
            return Caller::CPython;
        }
        if step.signal {
            return Caller::Unknown("it is in a signal handler".to_owned());
        }
        match step.caller {
            Some(caller) => registers = caller,
            None => return Caller::Unknown("it runs no Python code".to_owned()),
        }
    }
    Caller::Unknown(format!("it has more than {MAX_FRAMES} callers"))
}

/// Where bytecode is evaluated.
struct Evaluation {
    /// Where [`EVALUATION`] and [`BELOW`] begin.
    known: Vec<u64>,
    /// Where the first jumps to. Compilers move most of it away from its beginning, where no
    /// symbol tells what it belongs to; but only a function's own jumps lead into its middle.
    jumps: Vec<u64>,
}

impl Evaluation {
    fn find<M: Memory>(runtime: &Runtime<M>, target: &Target, modules: &[Module]) -> Self {
        let [evaluation] = runtime.exports(modules, target, [EVALUATION]);
        let below = runtime.exports(modules, target, BELOW);
        let known = [evaluation].into_iter().chain(below).flatten();
        let jumps = evaluation.and_then(|export| {
            let size = usize::try_from(export.size?.min(MAX_CODE)).ok()?;
            let mut code = vec![0; size];
            target.memory().read(export.address, &mut code).ok()?;
            Some(jumps(&code, export.address.0).collect())
        });
        Self {
            known: known.map(|export| export.address.0).collect(),
            jumps: jumps.unwrap_or_default(),
        }
    }

    /// Whether `function`, or a part of one, is it.
    fn has(&self, function: &Range<u64>) -> bool {
        let is_in_middle = |at: &u64| *at != function.start && function.contains(at);
        self.known.contains(&function.start) || self.jumps.iter().any(is_in_middle)
    }
}

/// The file whose code is at `at`.
fn module_at(modules: &[Module], at: Address) -> Option<&Module> {
    let is_code = |mapping: &Mapping| mapping.executable && mapping.inode != 0;
    modules.iter().find(|module| lies_in(module, at, is_code))
}

fn lies_in(module: &Module, at: Address, kind: impl Fn(&Mapping) -> bool) -> bool {
    let mut mappings = module.mappings.iter();
    mappings.any(|mapping| mapping.range.contains(&at) && kind(mapping))
}

/// Where the copy of the file begins that `at` is in: one file may be mapped several times.
fn base_of(module: &Module, at: Address) -> Option<Address> {
    let starts = module
        .mappings
        .iter()
        .filter(|mapping| mapping.inode != 0 && mapping.offset == 0 && mapping.range.start <= at);
    starts.map(|mapping| mapping.range.start).next_back()
}

/// The module that the runtime state at `runtime` is in, or an extension module of the standard
/// library that calls nothing on behalf of others.
fn is_own(module: &Module, runtime: Address) -> bool {
    let mut parts = module.name.rsplit(|byte| *byte == b'/');
    let name = parts.next().unwrap_or_default();
    let is_standard = parts.next() == Some(b"lib-dynload") && !name.starts_with(b"_ctypes");
    is_standard || lies_in(module, runtime, |_| true)
}

/// Whether the call in `module` that returns to `return_address` names what it calls, in its
/// instruction or through the module's table of imported functions. A call that takes the address
/// from a register may be anybody's.
fn is_call_by_name(memory: &impl Memory, module: &Module, return_address: u64) -> bool {
    let mut code = [0; 6];
    let start = return_address.wrapping_sub(code.len() as u64);
    if memory.read(Address(start), &mut code).is_err() {
        return false;
    }
    match called(code, return_address) {
        Some(Called::Function(at)) => lies_in(module, Address(at), |mapping| mapping.executable),
        Some(Called::Pointer(at)) => lies_in(module, Address(at), |mapping| !mapping.executable),
        None => false,
    }
}

fn shown(module: &Module) -> String {
    String::from_utf8_lossy(module.file_name()).into_owned()
}

#[cfg(test)]
mod tests;
