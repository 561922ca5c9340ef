//! `cargo xtask demo`: the newest interpreter, the release binary, and `invivo demo` with both.

use synth::Interpreter;

use crate::pythons;
use crate::run::{Outcome, cargo, show};

/// Where `invivo demo` looks first for its interpreter.
const VARIABLE: &str = "INVIVO_DEMO_PYTHON";

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let pythons = pythons::ensure()?;
    let mut command = cargo();
    command.args([
        "run",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "invivo-cli",
        "--",
        "demo",
    ]);
    command.args(arguments);
    match best(&pythons.interpreters) {
        Some(python) => command.env(VARIABLE, &python.program),
        None => return pythons.complete(),
    };
    eprintln!("xtask: building the release binary");
    show(&mut command)
}

/// The newest ordinary build; they are listed oldest first.
fn best(interpreters: &[Interpreter]) -> Option<&Interpreter> {
    interpreters
        .iter()
        .rev()
        .find(|python| !python.debug && !python.free_threaded)
}
