//! The peers that benchmarks measure beside Invivo, installed into a private virtual environment
//! in the build directory: nothing of the machine's own is touched.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use synth::interpreter;
use synth::interpreters::workspace;

use crate::run::{Outcome, capture};

/// How long a peer may take, and a target to show that it works, before it counts as harmed.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What is installed: the newest of each when these benchmarks were written.
const PACKAGES: [&str; 7] = [
    "py-spy==0.4.3",
    "austin-dist==4.0.0",
    "pystack==1.7.2",
    "hypno==1.1.0",
    "debugpy==1.8.22",
    // These two are there as sources only. pyrasite needs gdb as well, from the machine.
    "pyrasite==2.0",
    "uwsgi==2.0.31",
];

/// The program of a peer. Installs all of them where they are not there yet.
pub(crate) fn program(name: &str) -> Outcome<PathBuf> {
    let home = workspace().join("target/peers");
    let program = home.join("bin").join(name);
    if !program.exists() {
        let own = home.join("bin/python");
        if !own.exists() {
            let python = &interpreter("3.12").program;
            capture(Command::new(python).args(["-m", "venv"]).arg(&home))?;
        }
        let mut install = Command::new(own);
        install.args(["-m", "pip", "install", "--quiet"]);
        capture(install.args(PACKAGES))?;
    }
    if program.exists() {
        Ok(program)
    } else {
        Err(format!("{} is not among {PACKAGES:?}", program.display()))
    }
}

/// Where the peers lie that are written in Python, for other versions to import.
pub(crate) fn packages() -> Outcome<PathBuf> {
    program("debugpy")?;
    Ok(workspace().join("target/peers/lib/python3.12/site-packages"))
}

/// The words that start austin. It needs a newer C library than some machines have: that of an
/// interpreter's prefix will do.
pub(crate) fn austin() -> Outcome<Vec<PathBuf>> {
    let program = program("austin")?;
    Ok(match &interpreter("3.15").prefix {
        Some(prefix) => vec![
            prefix.outside(&prefix.loader),
            "--library-path".into(),
            prefix.outside(&prefix.libraries),
            program,
        ],
        None => vec![program],
    })
}
