//! Packages that targets import, as `cargo xtask test` has fetched them.

use std::fs;
use std::path::PathBuf;

use crate::interpreters::{Interpreter, directory};

/// A release of a package for one interpreter.
#[derive(Clone, Debug)]
pub struct Package {
    /// What it is called, with its version.
    pub name: String,
    /// What is to be in `PYTHONPATH`.
    pub directory: PathBuf,
}

/// Releases of greenlet that differ in where they keep a greenlet's frames, by the versions of
/// CPython that they are there for.
pub const GREENLET: [(&str, &[&str]); 5] = [
    ("1.1.3.post0", &["3.8", "3.9", "3.10"]),
    ("2.0.2", &["3.8", "3.9", "3.10", "3.11"]),
    ("3.0.3", &["3.8", "3.9", "3.10", "3.11", "3.12"]),
    ("3.1.1", &["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"]),
    ("3.5.6", &["3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]),
];

/// Where a release of greenlet is, or is to be.
pub fn greenlet_place(release: &str, interpreter: &str) -> PathBuf {
    let packages = directory().join("packages");
    packages.join(format!("greenlet-{release}-{interpreter}"))
}

/// The releases of greenlet for an interpreter.
///
/// # Panics
/// If one is not there.
pub fn greenlet(interpreter: &Interpreter) -> Vec<Package> {
    let wanted = GREENLET
        .iter()
        .filter(|(_, versions)| versions.contains(&interpreter.name.as_str()));
    let found = wanted.map(|(release, _)| {
        let directory = greenlet_place(release, &interpreter.name);
        let is_there = fs::exists(directory.join("greenlet")).unwrap_or(false);
        assert!(
            is_there,
            "{} is not there: fetch it with: cargo xtask pythons --packages",
            directory.display()
        );
        Package {
            name: format!("greenlet {release}"),
            directory,
        }
    });
    found.collect()
}
