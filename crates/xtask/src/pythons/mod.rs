//! `cargo xtask pythons`: the interpreters that tests and the demo use.
//!
//! What the machine has is found; 3.14, 3.15 and their debug builds are unpacked beside the
//! system where Debian's archive can be reached; `--free-threaded` builds 3.13t from Debian's source
//! as well. The outcome is `target/pythons`: a manifest
//! for `synth`, and `bin/` with a link to each program for people.

mod debian;
mod discover;
mod free_threaded;
pub(crate) mod packages;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use synth::Interpreter;
use synth::interpreters::{Manifest, directory};

use crate::run::{Doing, Outcome};

/// Raised when the form or the meaning of the manifest changes.
const FORM: &str = "manifest 1";

/// What every machine must have for the tests.
const REQUIRED: [&str; 4] = ["3.14", "3.14d", "3.15", "3.15d"];

/// The interpreters there are, and what kept required ones from being among them.
pub(crate) struct Pythons {
    pub(crate) interpreters: Vec<Interpreter>,
    obstacle: Option<String>,
}

impl Pythons {
    /// Fails unless every required interpreter is there.
    pub(crate) fn complete(&self) -> Outcome {
        let missing: Vec<_> = REQUIRED
            .into_iter()
            .filter(|r| !self.interpreters.iter().any(|i| i.name == *r))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let why = self
            .obstacle
            .as_deref()
            .unwrap_or("not found on this machine");
        Err(format!(
            "no Python {}: {why}.\n\
             Give each by a variable, such as {}=/path/to/python{}, or put it on PATH as python{}.",
            missing.join(", "),
            discover::variable(missing[0]),
            missing[0],
            missing[0],
        ))
    }
}

/// Makes `target/pythons` complete and lists it.
pub(crate) fn report() -> Outcome {
    list(&ensure()?)
}

/// The same, with the packages that targets import.
pub(crate) fn report_with_packages() -> Outcome {
    let pythons = ensure()?;
    packages::ensure(&pythons.interpreters)?;
    list(&pythons)
}

/// The same, with a free-threaded interpreter, which is built where there is none.
pub(crate) fn report_with_free_threaded() -> Outcome {
    let directory = directory();
    let built = free_threaded::Built::at(&directory);
    let lock = lock(&directory)?;
    if !built.complete() {
        built.build()?;
    }
    drop(lock);
    list(&ensure()?)
}

fn list(pythons: &Pythons) -> Outcome {
    for python in &pythons.interpreters {
        println!(
            "{:6} {:10} {}",
            python.name,
            python.version,
            python.program.display()
        );
    }
    pythons.complete()
}

/// Makes `target/pythons` as complete as this machine allows; quick when it is already.
pub(crate) fn ensure() -> Outcome<Pythons> {
    let directory = directory();
    let _lock = lock(&directory)?;

    let found = discover::candidates();
    let given = discover::given();
    let built = free_threaded::Built::at(&directory);
    let current = |debian: &debian::Unpacked| inputs(&found, &given, debian, &built);
    let mut debian = debian::Unpacked::at(&directory);
    if let Ok(manifest) = Manifest::load(&directory)
        && manifest.inputs == current(&debian)
        && manifest.interpreters.iter().all(|i| i.program.exists())
    {
        let pythons = Pythons {
            interpreters: manifest.interpreters,
            obstacle: None,
        };
        if pythons.complete().is_ok() {
            return Ok(pythons);
        }
    }

    let mut obstacle = None;
    if !debian.complete()
        && REQUIRED
            .iter()
            .any(|r| !given.iter().any(|(name, _)| name == r))
    {
        obstacle = debian.unpack().err();
    }
    let mut by_name = BTreeMap::new();
    for program in &found {
        // A program that does not start is no interpreter; the listing shows what did.
        if let Ok(python) = discover::examine(program) {
            keep_newest(&mut by_name, python);
        }
    }
    for python in debian
        .interpreters()?
        .into_iter()
        .chain(built.interpreter()?)
    {
        by_name.insert(order(&python), python);
    }
    for (name, program) in &given {
        let python = discover::examine(program)?;
        if python.name != *name {
            return Err(format!(
                "{} says {}, but that is Python {}",
                discover::variable(name),
                program.display(),
                python.name
            ));
        }
        by_name.insert(order(&python), python);
    }

    let manifest = Manifest {
        inputs: current(&debian),
        interpreters: by_name.into_values().collect(),
    };
    link_programs(&directory.join("bin"), &manifest.interpreters)?;
    manifest
        .store(&directory)
        .doing(|| "writing the manifest".to_owned())?;
    Ok(Pythons {
        interpreters: manifest.interpreters,
        obstacle,
    })
}

/// Two chores at once must not unpack into one place.
pub(crate) fn lock(directory: &Path) -> Outcome<File> {
    fs::create_dir_all(directory).doing(|| format!("making {}", directory.display()))?;
    let lock = File::create(directory.join("lock")).doing(|| "making the lock".to_owned())?;
    lock.lock().doing(|| "waiting for the lock".to_owned())?;
    Ok(lock)
}

pub(crate) fn remove(path: &Path) -> Outcome {
    if path.exists() {
        fs::remove_dir_all(path).doing(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

fn inputs(
    found: &[std::path::PathBuf],
    given: &[(String, std::path::PathBuf)],
    debian: &debian::Unpacked,
    built: &free_threaded::Built,
) -> Vec<String> {
    let mut inputs = vec![FORM.to_owned(), debian.stamp(), built.stamp()];
    inputs.extend(
        given
            .iter()
            .map(|(name, program)| format!("{name}={}", discover::identity(program))),
    );
    inputs.extend(found.iter().map(|program| discover::identity(program)));
    inputs
}

type Order = (u32, String);

/// Sorts 3.9 before 3.10, and 3.14 before 3.14d.
fn order(python: &Interpreter) -> Order {
    let numbers = discover::numbers(&python.version);
    (numbers[1], python.name.clone())
}

fn keep_newest(by_name: &mut BTreeMap<Order, Interpreter>, python: Interpreter) {
    let key = order(&python);
    let older = by_name
        .get(&key)
        .is_none_or(|kept| discover::numbers(&kept.version) < discover::numbers(&python.version));
    if older {
        by_name.insert(key, python);
    }
}

fn link_programs(bin: &Path, interpreters: &[Interpreter]) -> Outcome {
    remove(bin)?;
    fs::create_dir_all(bin).doing(|| format!("making {}", bin.display()))?;
    for python in interpreters {
        let link = bin.join(format!("python{}", python.name));
        symlink(&python.program, &link).doing(|| format!("linking {}", link.display()))?;
    }
    Ok(())
}
