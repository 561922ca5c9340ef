//! Interpreters that the machine already has.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde::Deserialize;
use synth::Interpreter;

use crate::run::{Doing, Outcome, capture};

/// The oldest minor version that Invivo knows.
const OLDEST: u32 = 8;

/// Asks an interpreter what it is.
const QUESTION: &str = "\
import json, os, platform, sys, sysconfig
get = sysconfig.get_config_var
library = os.path.join(get('LIBDIR') or '', get('INSTSONAME') or '')
print(json.dumps({
    'version': platform.python_version(),
    'debug': hasattr(sys, 'gettotalrefcount'),
    'free_threaded': bool(get('Py_GIL_DISABLED')),
    'home': sys.base_prefix,
    'include': sysconfig.get_path('include'),
    'library': library if '.so' in library and os.path.exists(library) else None,
}))";

#[derive(Deserialize)]
struct Answer {
    version: String,
    debug: bool,
    free_threaded: bool,
    home: PathBuf,
    include: PathBuf,
    library: Option<PathBuf>,
}

/// Programs called `python3.N` on PATH and where pyenv and uv keep theirs, each once.
pub(super) fn candidates() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = places().iter().flat_map(|place| programs(place)).collect();
    found.sort();
    found.dedup();
    found
}

fn places() -> Vec<PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let or = |name: &str, default: PathBuf| env::var_os(name).map_or(default, PathBuf::from);
    let data = or("XDG_DATA_HOME", home.join(".local/share"));
    let collections = [
        or("PYENV_ROOT", home.join(".pyenv")).join("versions"),
        or("UV_PYTHON_INSTALL_DIR", data.join("uv/python")),
    ];

    let mut places: Vec<PathBuf> = env::var_os("PATH")
        .iter()
        .flat_map(env::split_paths)
        .collect();
    // pyenv's shims are scripts that start another program; the programs are found below.
    places.retain(|place| !place.ends_with("shims"));
    for collection in collections {
        let versions = fs::read_dir(collection).into_iter().flatten().flatten();
        places.extend(versions.map(|version| version.path().join("bin")));
    }
    places
}

fn programs(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_python));
    named
        .filter_map(|entry| entry.path().canonicalize().ok())
        .collect()
}

/// Whether a file of this name is an interpreter: `python3.14`, `python3.13t`, `python3.15d`.
fn is_python(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("python3.") else {
        return false;
    };
    let minor = rest.trim_end_matches(['t', 'd']);
    rest.len() - minor.len() <= 2 && minor.parse().is_ok_and(|minor: u32| minor >= OLDEST)
}

/// The variable that names the interpreter `name`: `INVIVO_PYTHON_3_14D` for `3.14d`.
pub(super) fn variable(name: &str) -> String {
    format!("INVIVO_PYTHON_{}", name.replace('.', "_").to_uppercase())
}

/// The interpreters given by variables, with the name that each claims.
pub(super) fn given() -> Vec<(String, PathBuf)> {
    let mut given: Vec<_> = env::vars_os()
        .filter_map(|(key, value)| {
            let name = key
                .to_str()?
                .strip_prefix("INVIVO_PYTHON_")?
                .replace('_', ".")
                .to_lowercase();
            Some((name, PathBuf::from(value)))
        })
        .collect();
    given.sort();
    given
}

/// A text that changes when the program does.
pub(super) fn identity(program: &Path) -> String {
    let (size, time) = fs::metadata(program).map_or((0, 0), |m| (m.size(), m.mtime()));
    format!("{} {size} {time}", program.display())
}

/// Starts the program and asks it what it is.
pub(super) fn examine(program: &Path) -> Outcome<Interpreter> {
    let text = capture(Command::new(program).args(["-I", "-S", "-c", QUESTION]))?;
    let answer: Answer =
        serde_json::from_str(&text).doing(|| format!("asking {}", program.display()))?;
    let minor = numbers(&answer.version)[1];
    let flag = |set: bool, letter: &'static str| if set { letter } else { "" };
    Ok(Interpreter {
        name: format!(
            "3.{minor}{}{}",
            flag(answer.free_threaded, "t"),
            flag(answer.debug, "d")
        ),
        version: answer.version,
        debug: answer.debug,
        free_threaded: answer.free_threaded,
        program: program.to_owned(),
        home: answer.home,
        include: answer.include,
        library: answer.library,
        prefix: None,
    })
}

/// Major, minor and micro of a version text; `3.15.0rc2` counts as 3.15.0.
pub(super) fn numbers(version: &str) -> [u32; 3] {
    let mut parts = version.split('.').map(|part| {
        let digits = part
            .find(|c: char| !c.is_ascii_digit())
            .map_or(part, |end| &part[..end]);
        digits.parse().unwrap_or(0)
    });
    [(); 3].map(|()| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_an_interpreter_by_its_file_name() {
        for name in [
            "python3.8",
            "python3.14",
            "python3.14d",
            "python3.13t",
            "python3.14td",
        ] {
            assert!(is_python(name), "{name}");
        }
        for name in [
            "python",
            "python3",
            "python3.7",
            "python2.7",
            "python3.14-config",
            "python3.14-dbg",
            "python3.d",
        ] {
            assert!(!is_python(name), "{name}");
        }
    }

    #[test]
    fn reads_version_numbers() {
        assert_eq!(numbers("3.14.8"), [3, 14, 8]);
        assert_eq!(numbers("3.15.0rc2+"), [3, 15, 0]);
        assert!(numbers("3.12.10") > numbers("3.12.9"));
    }

    #[test]
    fn names_the_variable_of_an_interpreter() {
        assert_eq!(variable("3.14d"), "INVIVO_PYTHON_3_14D");
    }
}
