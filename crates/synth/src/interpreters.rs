//! The interpreters to test with, as `cargo xtask pythons` found or unpacked them.
//!
//! The chore writes a manifest; this module owns its form and reads it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs, io};

use serde::{Deserialize, Serialize};

/// What to do when an interpreter is missing; part of every such message.
pub const REMEDY: &str = "run: cargo xtask pythons";

/// One CPython that tests can start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// `3.14`, with `t` for a free-threaded and `d` for a debug build, as in `sys.abiflags`.
    pub name: String,
    /// The full version, such as `3.14.8`.
    pub version: String,
    /// Built with `--with-pydebug`.
    pub debug: bool,
    /// Built with `--disable-gil`.
    pub free_threaded: bool,
    /// The program to start. It needs no environment variables.
    pub program: PathBuf,
    /// What `PYTHONHOME` has to be for a copy of the program that lies elsewhere.
    pub home: PathBuf,
    /// Where `Python.h` and `pyconfig.h` lie, for building a program that embeds it.
    pub include: PathBuf,
    /// The shared `libpython` of exactly this build, where there is one.
    pub library: Option<PathBuf>,
    /// Set for the interpreters that we unpacked ourselves: a root one can `chroot` into.
    pub prefix: Option<Prefix>,
}

/// A directory laid out as a root file system, with its own C library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefix {
    /// The directory, in the host's view.
    pub root: PathBuf,
    /// The untouched program inside it, such as `/usr/bin/python3.14`.
    pub program: PathBuf,
    /// The dynamic loader inside it, such as `/lib64/ld-linux-x86-64.so.2`.
    pub loader: PathBuf,
    /// The directory of its shared libraries, such as `/usr/lib/x86_64-linux-gnu`.
    pub libraries: PathBuf,
}

impl Interpreter {
    /// The 14 of 3.14.
    ///
    /// # Panics
    /// If the version is not of that form.
    pub fn minor(&self) -> u32 {
        let minor = self.version.split('.').nth(1);
        minor
            .and_then(|minor| minor.parse().ok())
            .unwrap_or_else(|| panic!("{} is no version of Python", self.version))
    }
}

impl Prefix {
    /// Where `inside`, a path in the prefix's own view, lies in the host's view.
    pub fn outside(&self, inside: &Path) -> PathBuf {
        self.root.join(inside.strip_prefix("/").unwrap_or(inside))
    }
}

/// The file `manifest.json`: what was found, and from what.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Everything the list depends on; when it changes, the list is made anew.
    pub inputs: Vec<String>,
    /// The interpreters, oldest version first.
    pub interpreters: Vec<Interpreter>,
}

impl Manifest {
    /// The manifest in `directory`; `NotFound` if there is none or it has another form.
    pub fn load(directory: &Path) -> io::Result<Manifest> {
        let text = fs::read(directory.join("manifest.json"))?;
        serde_json::from_slice(&text).map_err(|e| io::Error::new(io::ErrorKind::NotFound, e))
    }

    /// Writes the manifest into `directory`, in one step.
    pub fn store(&self, directory: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let unfinished = directory.join("manifest.json.new");
        fs::write(&unfinished, text)?;
        fs::rename(unfinished, directory.join("manifest.json"))
    }
}

/// The workspace's top directory.
pub fn workspace() -> &'static Path {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates
        .and_then(Path::parent)
        .expect("crates/synth lies two levels deep")
}

/// Where the manifest lies: `$INVIVO_PYTHONS`, or `target/pythons` in the workspace.
pub fn directory() -> PathBuf {
    env::var_os("INVIVO_PYTHONS").map_or_else(|| workspace().join("target/pythons"), PathBuf::from)
}

/// Every interpreter there is, oldest version first.
///
/// # Panics
/// If there is no manifest, or one of its programs is gone.
pub fn interpreters() -> &'static [Interpreter] {
    static LOADED: OnceLock<Manifest> = OnceLock::new();
    let manifest = LOADED.get_or_init(|| {
        let directory = directory();
        let manifest = Manifest::load(&directory).unwrap_or_else(|e| {
            panic!(
                "no list of interpreters in {}: {e}; {REMEDY}",
                directory.display()
            )
        });
        for interpreter in &manifest.interpreters {
            let program = &interpreter.program;
            assert!(program.exists(), "{} is gone; {REMEDY}", program.display());
        }
        manifest
    });
    &manifest.interpreters
}

/// The interpreter of this name, such as `3.14` or `3.15d`.
///
/// # Panics
/// If there is none: a test that needs an interpreter fails without it.
pub fn interpreter(name: &str) -> &'static Interpreter {
    interpreters()
        .iter()
        .find(|i| i.name == name)
        .unwrap_or_else(|| {
            let names: Vec<_> = interpreters().iter().map(|i| i.name.as_str()).collect();
            panic!("no Python {name} among {}; {REMEDY}", names.join(", "))
        })
}

/// The interpreters that speak the remote debugging protocol and that every machine can have.
///
/// # Panics
/// If one of them is missing.
pub fn protocol() -> [&'static Interpreter; 4] {
    ["3.14", "3.14d", "3.15", "3.15d"].map(interpreter)
}

/// The interpreters that scripts run in: all but the free-threaded ones before 3.14.
pub fn acted_on() -> Vec<&'static Interpreter> {
    let all = interpreters().iter();
    all.filter(|one| !one.free_threaded || one.minor() >= 14)
        .collect()
}
