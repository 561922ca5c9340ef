//! What a script of ours needs of the program that runs it, and what may keep it from beginning.

use invivo_cpython::{BuiltinNames, Runtime};
use invivo_model::{Error, ErrorKind, Interpreter, Result};
use invivo_process::{Descriptors, Memory, Target};

use crate::pending;

/// What a script takes from the program's builtins: every name that `bootstrap.py` uses of them.
const NAMES: [&str; 42] = [
    LOADER,
    "BaseException",
    "ConnectionRefusedError",
    "Exception",
    "FileNotFoundError",
    "KeyboardInterrupt",
    "MemoryError",
    "OSError",
    "OverflowError",
    "RecursionError",
    "SyntaxError",
    "SystemExit",
    "TypeError",
    "ValueError",
    "any",
    "bool",
    "bytearray",
    "bytes",
    "compile",
    "dict",
    "enumerate",
    "eval",
    "exec",
    "float",
    "getattr",
    "globals",
    "hasattr",
    "id",
    "int",
    "isinstance",
    "len",
    "list",
    "max",
    "memoryview",
    "min",
    "object",
    "range",
    "repr",
    "setattr",
    "str",
    "tuple",
    "type",
];

/// Not made of C code: it is a class of the import system.
const LOADER: &str = "__loader__";

/// It opens at most so many files at a time: the socket, and the directory where its path is too
/// long; or the task and what is sent.
const FILES: u64 = 2;

/// Makes sure that a program has what a script can't do without.
///
/// # Errors
/// `Unsupported` where it has not.
pub(crate) fn check<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    interpreter: &Interpreter,
) -> Result<()> {
    let (why, remedy) = if let Some(Descriptors { limit, .. }) =
        target.descriptors().filter(|it| it.free < FILES)
    {
        (
            format!(
                "it may have {limit} file descriptors, and fewer than {FILES} of these are free"
            ),
            format!(
                "let it close some, or raise its limit: prlimit --pid {} --nofile=…",
                target.pid()
            ),
        )
    } else if let Some(limit) = target.file_size_limit()
        && runtime.has_module(interpreter, "_socket").ok() == Some(false)
    {
        (
            format!(
                "it has no sockets, so that a script hands over what it prints by a file, and its \
                 files may have {limit} bytes (RLIMIT_FSIZE): a longer one may end it"
            ),
            format!(
                "raise its limit: prlimit --pid {} --fsize=unlimited",
                target.pid()
            ),
        )
    } else if let Some(missing) = names(runtime, interpreter)
        .map(|names| names.missing)
        .filter(|missing| !missing.is_empty())
    {
        (
            format!("these builtins are gone from it: {}", missing.join(", ")),
            "the program has removed them; what only looks needs none: invivo dump, record"
                .to_owned(),
        )
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("a script can't run in process {}", target.pid()),
        why,
        remedy,
    ))
}

/// What may keep a script from beginning all the same, as far as it is known from outside.
pub(crate) fn doubts<M: Memory>(runtime: &Runtime<M>, interpreter: &Interpreter) -> Vec<String> {
    let mut names = names(runtime, interpreter).unwrap_or_default();
    names.replaced.retain(|name| *name != LOADER);
    let replaced = (!names.replaced.is_empty()).then(|| {
        format!(
            "the program has replaced builtins that a script uses: {}",
            names.replaced.join(", ")
        )
    });
    let hooks = pending::hooked(runtime, interpreter).map_or_else(
        || {
            "an audit hook may refuse what a script does; whether the program has one can't be \
             told from outside"
                .to_owned()
        },
        |why| format!("an audit hook may refuse what a script does: {why}"),
    );
    replaced.into_iter().chain([hooks]).collect()
}

/// What became of the names; `None` where that can't be read.
fn names<M: Memory>(runtime: &Runtime<M>, interpreter: &Interpreter) -> Option<BuiltinNames> {
    runtime.builtin_names(interpreter, &NAMES).ok().flatten()
}
