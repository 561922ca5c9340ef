//! CPython 3.14, 3.15 and their debug builds from Debian, unpacked beside the system.
//!
//! apt works on a private state below `target/pythons`, fetches the packages with everything
//! they need, the C library included, and they are unpacked into one directory laid out like a
//! root file system. Nothing is installed, and nothing of the system's is changed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use synth::Interpreter;
use synth::interpreters::Prefix;

use super::discover;
use crate::apt::{self, Apt};
use crate::run::{Doing, Outcome, capture};

const SUITE: &str = "forky";

/// What is asked for; what these need comes along.
const WANTED: [&str; 9] = [
    "python3.14",
    "python3.14-dbg",
    "libpython3.14",
    "libpython3.14-dev",
    "python3.15",
    "python3.15-dbg",
    "libpython3.15",
    "libpython3.15-dev",
    "patchelf",
];

/// Taken as long as the suite has them: the last version without remote debugging.
const WELCOME: [&str; 1] = ["python3.13"];

/// Told to apt as already there: nothing that an interpreter under test loads.
const NEEDLESS: [&str; 9] = [
    "debconf",
    "libc6-dev",
    "libexpat1-dev",
    "libtcl8.6",
    "libtk8.6",
    "media-types",
    "netbase",
    "tzdata",
    "zlib1g-dev",
];

/// Left out when unpacking: two thirds of the bytes.
const NOT_UNPACKED: [&str; 3] = ["./usr/lib/debug", "./usr/share", "*.a"];

/// The interpreters in the packages, as Debian and `sys.abiflags` name them.
const NAMES: [&str; 5] = ["3.13", "3.14", "3.14d", "3.15", "3.15d"];

/// Programs of our own making lie here: CPython finds its library from any place below `usr`,
/// so that no variable has to tell it, which a target would hand on to its children.
const PATCHED: &str = "usr/local/bin";

/// Raised when what is unpacked, or how, changes.
const RECIPE: &str = "recipe 1";

/// What the first start of an interpreter would otherwise spend seconds on compiling; also the
/// proof that the interpreter and its extension modules work.
const WARM_UP: &str = "\
import argparse, asyncio, code, collections, concurrent.futures, contextlib, ctypes, dataclasses
import decimal, hashlib, inspect, io, json, logging, math, multiprocessing, os, pdb, pickle
import platform, queue, random, re, select, selectors, signal, socket, sqlite3, ssl, struct
import subprocess, sysconfig, tempfile, threading, time, traceback, typing, unittest, uuid, zlib
try:
    import concurrent.interpreters
except ImportError:
    pass";

/// The directory that holds, or is to hold, the unpacked interpreters.
pub(super) struct Unpacked {
    directory: PathBuf,
    root: PathBuf,
}

impl Unpacked {
    /// Below the directory `target/pythons`.
    pub(super) fn at(directory: &Path) -> Unpacked {
        Unpacked {
            directory: directory.to_owned(),
            root: directory.join("debian"),
        }
    }

    /// What a whole unpacking leaves as its mark: the paths in it are absolute, so a moved
    /// directory has to be made anew.
    fn expected(&self) -> String {
        format!(
            "{RECIPE} {SUITE} {} {}",
            WANTED.join(" "),
            self.root.display()
        )
    }

    /// The mark that is there.
    pub(super) fn stamp(&self) -> String {
        fs::read_to_string(self.root.join("complete")).unwrap_or_default()
    }

    /// Whether everything is unpacked, for this place and by this recipe.
    pub(super) fn complete(&self) -> bool {
        let there = |name| self.program(name).exists();
        self.stamp() == self.expected() && super::REQUIRED.into_iter().all(there)
    }

    /// The program that starts without `chroot`.
    fn program(&self, name: &str) -> PathBuf {
        self.root.join(PATCHED).join(format!("python{name}"))
    }

    /// The interpreters that are unpacked; none if not everything is.
    pub(super) fn interpreters(&self) -> Outcome<Vec<Interpreter>> {
        if !self.complete() {
            return Ok(Vec::new());
        }
        let layout = Layout::of(&self.root)?;
        let names = NAMES.into_iter().filter(|name| self.program(name).exists());
        names
            .map(|name| layout.interpreter(&self.root, name))
            .collect()
    }

    /// Fetches and unpacks everything; whatever an interrupted run left is replaced.
    pub(super) fn unpack(&mut self) -> Outcome {
        let unfinished = "unpacking-";
        for entry in fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with(unfinished) {
                super::remove(&entry.path())?;
            }
        }
        let work = tempfile::Builder::new()
            .prefix(unfinished)
            .tempdir_in(&self.directory)
            .doing(|| "making a directory to unpack into".to_owned())?;
        let packages = fetch(&Apt::for_packages(work.path(), SUITE, &NEEDLESS)?)?;

        eprintln!("xtask: unpacking {} packages", packages.len());
        let root = work.path().join("root");
        apt::unpack(&packages, &root, &NOT_UNPACKED)?;
        let layout = Layout::of(&root)?;
        for name in NAMES {
            layout.patch(&root, &self.root, name)?;
        }
        super::remove(&self.root)?;
        fs::rename(&root, &self.root).doing(|| format!("moving to {}", self.root.display()))?;
        self.prove()?;
        fs::write(self.root.join("complete"), self.expected())
            .doing(|| "marking it complete".to_owned())
    }

    fn prove(&self) -> Outcome {
        for name in NAMES {
            let program = self.program(name);
            if program.exists() {
                capture(Command::new(program).args(["-I", "-c", WARM_UP]))?;
            }
        }
        Ok(())
    }
}

/// Fetches the packages and returns their files.
fn fetch(apt: &Apt) -> Outcome<Vec<PathBuf>> {
    eprintln!("xtask: fetching Python 3.14 and 3.15 from Debian's {SUITE} (250 MB, once)");
    apt.update()?;
    let welcome = WELCOME
        .into_iter()
        .filter(|name| capture(apt.command("apt-cache").args(["show", name])).is_ok());
    apt.download(WANTED.into_iter().chain(welcome))
}

/// Where things lie in the prefix on this architecture.
struct Layout {
    loader: PathBuf,
    libraries: PathBuf,
}

impl Layout {
    fn of(root: &Path) -> Outcome<Layout> {
        let loader = ["lib64", "lib"].into_iter().find_map(|part| {
            let entries = fs::read_dir(root.join(part)).ok()?;
            let mut names = entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok());
            names
                .find(|name| name.starts_with("ld-linux"))
                .map(|name| Path::new("/").join(part).join(name))
        });
        Ok(Layout {
            loader: loader.ok_or_else(|| format!("no dynamic loader in {}", root.display()))?,
            libraries: format!("/usr/lib/{}-linux-gnu", env::consts::ARCH).into(),
        })
    }

    /// Makes a copy of a program that starts without `chroot` once `root` has been moved to `home`.
    fn patch(&self, root: &Path, home: &Path, name: &str) -> Outcome {
        let file = format!("python{name}");
        let original = root.join("usr/bin").join(&file);
        if !original.exists() {
            return Ok(());
        }
        let patched = root.join(PATCHED).join(&file);
        fs::create_dir_all(root.join(PATCHED)).doing(|| format!("making {PATCHED}"))?;
        fs::copy(&original, &patched).doing(|| format!("copying {file}"))?;
        let below = |base: &Path, path: &Path| base.join(path.strip_prefix("/").unwrap_or(path));
        let patchelf = || {
            let mut command = Command::new(below(root, &self.loader));
            command
                .arg("--library-path")
                .arg(below(root, &self.libraries))
                .arg(root.join("usr/bin/patchelf"));
            command
        };
        // Of two calls, this order: patchelf 0.18 writes a broken file otherwise. An old-style
        // RPATH, since a RUNPATH would not reach the libraries that extension modules need.
        let libraries = below(home, &self.libraries);
        capture(
            patchelf()
                .args(["--force-rpath", "--set-rpath"])
                .arg(libraries)
                .arg(&patched),
        )?;
        capture(
            patchelf()
                .arg("--set-interpreter")
                .arg(below(home, &self.loader))
                .arg(&patched),
        )?;
        Ok(())
    }

    fn interpreter(&self, root: &Path, name: &str) -> Outcome<Interpreter> {
        let prefix = Prefix {
            root: root.to_owned(),
            program: format!("/usr/bin/python{name}").into(),
            loader: self.loader.clone(),
            libraries: self.libraries.clone(),
        };
        let library = prefix
            .outside(&self.libraries)
            .join(format!("libpython{name}.so.1.0"));
        let mut python = discover::examine(&root.join(PATCHED).join(format!("python{name}")))?;
        python.library = library.exists().then_some(library);
        python.prefix = Some(prefix);
        Ok(python)
    }
}
