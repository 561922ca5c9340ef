//! What the names of mapped files tell.

use invivo_model::Version;
use invivo_process::Module;

use crate::layout;

/// The files mapped as code, in the order in which an interpreter is likely to be found: the
/// program itself (which lies before its libraries), then what is called after Python, then all
/// others.
pub(super) fn likely_first(modules: &[Module]) -> Vec<&Module> {
    let mut code: Vec<_> = modules.iter().filter(|module| module.is_code()).collect();
    if let Some((_program, libraries)) = code.split_first_mut() {
        libraries.sort_by_key(|module| !sounds_like_python(module));
    }
    code
}

/// Whether a file is called after Python.
pub(super) fn sounds_like_python(module: &Module) -> bool {
    find(module.file_name(), b"python").is_some()
}

/// Whether a file is called like a library that holds an interpreter.
pub(super) fn is_libpython(module: &Module) -> bool {
    find(module.file_name(), b"libpython").is_some()
}

/// The minor version that the interpreter's own file is called after (`libpythonX.Y.so.1.0`), or
/// else the directory that extension modules come from (`/lib/pythonX.Y/lib-dynload/`).
pub(super) fn version(own: &Module, all: &[Module]) -> Option<Version> {
    version_behind_python(own.file_name()).or_else(|| {
        all.iter().find_map(|module| {
            let end = find(&module.name, b"/lib-dynload/")?;
            let directory = module
                .name
                .get(..end)?
                .rsplit(|byte| *byte == b'/')
                .next()?;
            version_behind_python(directory)
        })
    })
}

/// A Python that is none we look into: what people call it, and why it is none. By the names of
/// its files, since it has nothing else that we know.
pub(super) fn other_python(modules: &[Module]) -> Option<(String, &'static str)> {
    let code = || modules.iter().filter(|module| module.is_code());
    let other = code().find_map(|module| {
        let name = module.file_name();
        let begins = |start: &str| name.starts_with(start.as_bytes());
        let (known_as, word, _) = OTHERS
            .iter()
            .find(|(_, _, starts)| starts.iter().any(|start| begins(start)))?;
        // A library is often called after no version, and its program after one.
        let word = word.as_bytes();
        let version = code().find_map(|one| version_behind(one.file_name(), word));
        let version = version.map_or_else(String::new, |version| format!(" {version}"));
        Some((
            format!("{known_as}{version}"),
            "it is another implementation of Python",
        ))
    });
    other.or_else(|| {
        let own = code().find(|module| sounds_like_python(module))?;
        let named = code().find_map(|module| version_behind_python(module.file_name()));
        let version = named.or_else(|| version(own, modules))?;
        layout::is_too_old(version).then(|| (format!("CPython {version}"), "it is too old"))
    })
}

/// Other implementations: the word that a version follows, and what the files are called that hold
/// one.
const OTHERS: [(&str, &str, &[&str]); 3] = [
    ("PyPy", "pypy", &["pypy", "libpypy"]),
    ("GraalPy", "graalpy", &["graalpy", "libpythonvm"]),
    ("MicroPython", "micropython", &["micropython"]),
];

/// `X.Y` from `libpythonX.Y.so.1.0`.
fn version_behind_python(name: &[u8]) -> Option<Version> {
    version_behind(name, b"python")
}

fn version_behind(name: &[u8], word: &[u8]) -> Option<Version> {
    let start = find(name, word)? + word.len();
    let text = str::from_utf8(name.get(start..)?).ok()?;
    let (major, rest) = text.split_once('.')?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    Some(Version::from_minor(
        major.parse().ok()?,
        rest.get(..digits)?.parse().ok()?,
    ))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
