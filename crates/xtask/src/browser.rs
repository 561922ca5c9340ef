//! A headless Chromium, in which tests open the pages that profiles are written as: the machine's, or
//! Debian's, unpacked beside the system.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{self, Apt};
use crate::pythons::{lock, remove};
use crate::run::{Doing, Outcome, capture};

/// What names a program to the tests, and to this chore.
pub(crate) const VARIABLE: &str = "INVIVO_CHROMIUM";

/// What a machine may have it as.
const PROGRAMS: [&str; 4] = [
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
];

const PACKAGE: &str = "chromium-headless-shell";

/// Left out when unpacking.
const NOT_UNPACKED: [&str; 3] = ["./usr/share/doc", "./usr/share/locale", "./usr/share/man"];

/// The program; fetched where there is none.
pub(crate) fn ensure() -> Outcome<PathBuf> {
    if let Some(given) = env::var_os(VARIABLE) {
        return starts(&given).map_err(|why| format!("{VARIABLE}: {why}"));
    }
    if let Some(found) = PROGRAMS.iter().find_map(|name| starts(name).ok()) {
        return Ok(found);
    }
    let directory = synth::interpreters::workspace().join("target/browser");
    let _lock = lock(&directory)?;
    let program = directory.join("chromium");
    if let Ok(program) = starts(&program) {
        return Ok(program);
    }
    let unpacked = unpack(&directory, &program).and_then(|()| starts(&program));
    unpacked.map_err(|why| {
        format!(
            "no headless Chromium to open pages in: {why}.\n\
             Install one as Debian's package {PACKAGE}, or give one by {VARIABLE}=/path/to/chromium."
        )
    })
}

fn starts(program: impl AsRef<OsStr>) -> Outcome<PathBuf> {
    capture(Command::new(&program).arg("--version"))?;
    Ok(program.as_ref().into())
}

/// Fetches the browser and the libraries that the system lacks. `program` starts it with them.
fn unpack(directory: &Path, program: &Path) -> Outcome {
    let work = tempfile::Builder::new()
        .prefix("unpacking-")
        .tempdir_in(directory)
        .doing(|| "making a directory to unpack into".to_owned())?;
    let apt = Apt::for_system(work.path())?;
    eprintln!("xtask: fetching a headless Chromium from Debian (90 MB, once)");
    apt.update()?;
    let packages = apt.download([PACKAGE])?;
    let root = directory.join("root");
    remove(&root)?;
    apt::unpack(&packages, &root, &NOT_UNPACKED)?;
    let libraries = root.join(format!("usr/lib/{}-linux-gnu", env::consts::ARCH));
    // Some libraries have their own ones in a directory further down.
    let further = fs::read_dir(&libraries).doing(|| format!("reading {}", libraries.display()))?;
    let further = further.flatten().map(|entry| entry.path());
    let path: Vec<String> = std::iter::once(libraries)
        .chain(further.filter(|path| path.is_dir()))
        .map(|path| path.display().to_string())
        .collect();
    let original = root.join("usr/lib/chromium").join(PACKAGE);
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n",
        path.join(":"),
        original.display()
    );
    let doing = || format!("writing {}", program.display());
    fs::write(program, script).doing(doing)?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).doing(doing)
}
