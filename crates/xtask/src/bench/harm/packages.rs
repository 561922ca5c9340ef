//! What some shapes need from PyPI, in the build directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use synth::interpreters::workspace;
use synth::{Interpreter, interpreter};

use crate::run::{Outcome, capture};

fn home(python: &Interpreter, name: &str) -> PathBuf {
    workspace()
        .join("target/harm")
        .join(format!("{name}-{}", python.name))
}

/// The directory with a package for this interpreter, which need not have pip of its own.
pub(super) fn package(python: &Interpreter, name: &str) -> Outcome<PathBuf> {
    let place = home(python, name);
    if !place.exists() {
        let unfinished = home(python, &format!("unfinished-{name}"));
        let minor = python.minor();
        let free = if python.free_threaded { "t" } else { "" };
        let mut pip = Command::new(&interpreter("3.12").program);
        pip.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:"]);
        pip.args(["--disable-pip-version-check", "--implementation", "cp"]);
        pip.args(["--python-version", &format!("3.{minor}")]);
        pip.args(["--abi", &format!("cp3{minor}{free}"), "--abi", "none"]);
        if !python.free_threaded {
            pip.args(["--abi", "abi3"]);
        }
        for libc in ["_2_28", "_2_17", "2014"] {
            let platform = format!("manylinux{libc}_{}", std::env::consts::ARCH);
            pip.args(["--platform", &platform]);
        }
        pip.args(["--upgrade", "--target"]);
        capture(pip.arg(&unfinished).arg(name)).map_err(|why| {
            // What else pip says, with the machine's own paths, is for whoever runs this.
            eprintln!("xtask: {why}");
            format!("pip found no wheel of {name} for it")
        })?;
        finish(&unfinished, &place)?;
    }
    Ok(place)
}

/// The program uwsgi with this interpreter in it, built from source.
pub(super) fn uwsgi(python: &Interpreter) -> Outcome<PathBuf> {
    let place = home(python, "uwsgi");
    let program = place.join("bin/uwsgi");
    if !program.exists() {
        if python.prefix.is_some() || python.free_threaded {
            return Err(
                "uwsgi is built only where the interpreter has pip and is not free-threaded"
                    .to_owned(),
            );
        }
        capture(
            Command::new(&python.program)
                .args(["-m", "venv"])
                .arg(&place),
        )?;
        let mut install = Command::new(place.join("bin/python"));
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        capture(install.arg("uwsgi==2.0.31"))?;
    }
    Ok(program)
}

fn finish(unfinished: &Path, place: &Path) -> Outcome {
    std::fs::rename(unfinished, place)
        .map_err(|error| format!("moving to {}: {error}", place.display()))
}
