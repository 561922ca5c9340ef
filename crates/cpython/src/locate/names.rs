//! What the names of mapped files tell.

use invivo_model::Version;
use invivo_process::Module;

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

/// `X.Y` from `libpythonX.Y.so.1.0`.
fn version_behind_python(name: &[u8]) -> Option<Version> {
    let start = find(name, b"python")? + b"python".len();
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
