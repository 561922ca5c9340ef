//! Processes with two Pythons in them.

use std::env;
use std::fs;
use std::process::Command;

use crate::helpers;
use crate::interpreters::{Interpreter, interpreters};
use crate::target::Target;

/// Two interpreters of different builds that one process can have, each as a shared library.
pub type Pair = [&'static Interpreter; 2];

/// What each of the two runs: a function of its own name, and a global that says which it is.
fn program(name: &str) -> String {
    format!(
        "import os, time\n\
         who = '{name}'\n\
         def {name}():\n\
         \x20   os.write(int(os.environ['PAIR_READY']), b'.')\n\
         \x20   while True:\n\
         \x20       time.sleep(0.02)\n\
         {name}()\n"
    )
}

/// The names of the functions that the two run, in the order in which they are started.
pub const NAMES: [&str; 2] = ["first_python", "second_python"];

/// Each interpreter with the next one that it can share a process with.
///
/// # Panics
/// If there is no pair at all.
pub fn pairs() -> Vec<Pair> {
    let embeddable: Vec<&Interpreter> = interpreters()
        .iter()
        .filter(|one| one.library.is_some())
        .collect();
    let root = |one: &Interpreter| one.prefix.as_ref().map(|prefix| prefix.root.clone());
    let neighbours = embeddable.windows(2).filter_map(|two| match two {
        // They share the C library, and so the root that it comes from.
        [one, other] if root(one) == root(other) => Some([*one, *other]),
        _ => None,
    });
    let found: Vec<Pair> = neighbours.collect();
    assert!(!found.is_empty(), "no two Pythons with shared libraries");
    found
}

/// Starts a program with both in it, each of which runs a function called as in [`NAMES`], and waits
/// until both do.
///
/// # Panics
/// If it can't be started, ends, or is not ready within [`crate::target::PATIENCE`].
pub fn start(pair: Pair) -> Target {
    let scratch = tempfile::Builder::new()
        .prefix("target-")
        .tempdir()
        .expect("a directory for the target");
    let executable = helpers::pair(pair[0]);
    let mut command = Command::new(&executable);
    for (interpreter, name) in pair.into_iter().zip(NAMES) {
        let script = scratch.path().join(format!("{name}.py"));
        fs::write(&script, program(name)).expect("writing what it runs");
        let library = interpreter.library.as_ref().expect("a shared library");
        command.arg(library).arg(&interpreter.home).arg(script);
    }
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PYTHON"))
    {
        command.env_remove(name);
    }
    Target::begin(command, executable, false, scratch, None)
}
