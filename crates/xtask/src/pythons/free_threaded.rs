//! Free-threaded CPython, built from Debian's source package: no package of it has one.
//!
//! It takes minutes and a compiler, so it is built only when asked for, and stays once it is there.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, thread};

use synth::Interpreter;

use super::discover;
use crate::apt::Apt;
use crate::run::{Doing, Outcome, capture};

/// The suite whose source package is taken.
const SUITE: &str = "trixie";
const SOURCE: &str = "python3.13";
const NAME: &str = "3.13t";

/// Raised when what is built, or how, changes.
const RECIPE: &str = "recipe 1";

/// Without what no test needs, and what takes long.
const OPTIONS: [&str; 6] = [
    "--quiet",
    "--disable-gil",
    "--disable-test-modules",
    "--without-ensurepip",
    "--without-static-libpython",
    "OPT=-O2 -DNDEBUG",
];

/// The proof that it works, with the extension modules that targets use.
const PROOF: &str = "import asyncio, ctypes, json, threading, _interpreters";

/// The directory that holds, or is to hold, the build.
pub(super) struct Built {
    home: PathBuf,
}

impl Built {
    /// Below the directory `target/pythons`.
    pub(super) fn at(directory: &Path) -> Built {
        Built {
            home: directory.join("free-threaded").join(NAME),
        }
    }

    fn program(&self) -> PathBuf {
        self.home.join("bin").join(format!("python{NAME}"))
    }

    /// What a whole build leaves as its mark: the paths in it are absolute.
    fn expected(&self) -> String {
        format!("{RECIPE} {SUITE} {SOURCE} {}", self.home.display())
    }

    /// The mark that is there.
    pub(super) fn stamp(&self) -> String {
        fs::read_to_string(self.home.join("complete")).unwrap_or_default()
    }

    /// Whether it is built, for this place and by this recipe.
    pub(super) fn complete(&self) -> bool {
        self.stamp() == self.expected() && self.program().exists()
    }

    /// The interpreter, if it is built.
    pub(super) fn interpreter(&self) -> Outcome<Option<Interpreter>> {
        self.complete()
            .then(|| discover::examine(&self.program()))
            .transpose()
    }

    /// Fetches the source and builds it.
    pub(super) fn build(&self) -> Outcome {
        let parent = self.home.parent().unwrap_or(&self.home);
        fs::create_dir_all(parent).doing(|| format!("making {}", parent.display()))?;
        let work = tempfile::Builder::new()
            .prefix("building-")
            .tempdir_in(parent)
            .doing(|| "making a directory to build in".to_owned())?;
        let archive = fetch(work.path())?;
        let source = work.path().join("source");
        fs::create_dir(&source).doing(|| format!("making {}", source.display()))?;
        capture(
            Command::new("tar")
                .args(["--extract", "--strip-components=1", "--directory"])
                .args([&source, Path::new("--file"), &archive]),
        )?;

        eprintln!("xtask: building Python {NAME}; this takes some minutes");
        super::remove(&self.home)?;
        let run = |command: &mut Command| capture(command.current_dir(&source));
        let prefix = format!("--prefix={}", self.home.display());
        run(Command::new(source.join("configure"))
            .args(OPTIONS)
            .arg(prefix))?;
        let jobs = thread::available_parallelism().map_or(1, NonZero::get);
        run(Command::new("make").arg(format!("-j{jobs}")))?;
        run(Command::new("make").arg("install"))?;
        capture(Command::new(self.program()).args(["-I", "-c", PROOF]))?;
        fs::write(self.home.join("complete"), self.expected())
            .doing(|| "marking it complete".to_owned())
    }
}

/// Fetches the source archive below `work`.
fn fetch(work: &Path) -> Outcome<PathBuf> {
    eprintln!("xtask: fetching the source of {SOURCE} from Debian's {SUITE} (23 MB)");
    let apt = Apt::for_sources(work, SUITE)?;
    capture(apt.command("apt-get").arg("update"))?;
    let download = ["source", "--download-only", "--tar-only", SOURCE];
    capture(apt.command("apt-get").args(download).current_dir(work))?;
    let entries = fs::read_dir(work).doing(|| format!("reading {}", work.display()))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "xz"))
        .ok_or_else(|| format!("apt fetched no source of {SOURCE}"))
}
