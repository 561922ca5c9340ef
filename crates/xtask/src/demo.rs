//! `cargo xtask demo`: the newest interpreter, the release binary, and `invivo demo` with both.

use std::process::Command;

use synth::Interpreter;

use crate::run::{Outcome, show};
use crate::{pythons, release};

/// Where `invivo demo` looks first for its interpreter.
const VARIABLE: &str = "INVIVO_DEMO_PYTHON";

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let pythons = pythons::ensure()?;
    let python = match best(&pythons.interpreters) {
        Some(python) => &python.program,
        None => return pythons.complete(),
    };
    let mut command = Command::new(release::binary()?);
    show(command.arg("demo").args(arguments).env(VARIABLE, python))
}

/// The newest ordinary build; they are listed oldest first.
fn best(interpreters: &[Interpreter]) -> Option<&Interpreter> {
    interpreters
        .iter()
        .rev()
        .find(|python| !python.debug && !python.free_threaded)
}
