//! Packages that targets of tests import.

use std::fs;
use std::process::Command;

use synth::Interpreter;
use synth::interpreters::directory;
use synth::packages::{GREENLET, greenlet_place};

use super::lock;
use crate::run::{Doing, Outcome, capture};

/// Fetches those that are not there yet.
pub(crate) fn ensure(interpreters: &[Interpreter]) -> Outcome {
    let _lock = lock(&directory())?;
    for (release, versions) in GREENLET {
        for name in versions {
            let place = greenlet_place(release, name);
            let is_wanted = interpreters.iter().any(|one| one.name == *name);
            if !is_wanted || place.exists() {
                continue;
            }
            // It appears whole.
            let unfinished = place.with_extension("unfinished");
            super::remove(&unfinished)?;
            let mut install = Command::new(&installer(interpreters)?.program);
            install.args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--only-binary",
            ]);
            install.args([":all:", "--python-version", name, "--target"]);
            install.arg(&unfinished).arg(format!("greenlet=={release}"));
            capture(&mut install)?;
            fs::rename(&unfinished, &place).doing(|| format!("making {}", place.display()))?;
        }
    }
    Ok(())
}

/// An interpreter that has pip, which can install for others.
fn installer(interpreters: &[Interpreter]) -> Outcome<&Interpreter> {
    let has_pip = |one: &&Interpreter| {
        let mut asked = Command::new(&one.program);
        capture(asked.args(["-m", "pip", "--version"])).is_ok()
    };
    let found = interpreters.iter().rev().find(has_pip);
    found.ok_or_else(|| "no Python with pip, which fetches packages".to_owned())
}
