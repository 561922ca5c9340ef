//! Small C programs for what neither Python nor safe Rust can do, compiled when first needed.
//!
//! The sources lie in `c/`; what they print and how they exit is described at their top.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::interpreters::{Interpreter, interpreters, workspace};

/// Runs a program under a tracer that kills it at the entry of its N-th system call, or another
/// process, of which it then waits for the end; or that sends it a signal at the N-th of those that
/// change what a signal does.
///
/// `killat [-p PID | -s SIGNAL] N REPORT PROGRAM [ARGUMENT…]`
pub fn killat() -> PathBuf {
    compile("killat", include_str!("../c/killat.c"), &[])
}

/// Runs a program that may not use `ptrace`, cross-process memory calls, or whatever stops,
/// signals or writes to another process.
///
/// `noptrace [ptrace] [vm] [harm] -- PROGRAM [ARGUMENT…]`
pub fn noptrace() -> PathBuf {
    compile("noptrace", include_str!("../c/noptrace.c"), &[])
}

/// Runs a program in another root, in namespaces of its own, or as another user.
///
/// `place [-n] [-r ROOT] [-w PATH] [-u UID:GID] PROGRAM [ARGUMENT…]`
pub fn place() -> PathBuf {
    compile("place", include_str!("../c/place.c"), &[])
}

/// A C program with this interpreter in it, which runs a Python file without `Py_RunMain`.
///
/// `embed PYTHONHOME FILE`
///
/// # Panics
/// If the interpreter has no shared library or no headers.
pub fn embed(interpreter: &Interpreter) -> PathBuf {
    let name = &interpreter.name;
    let library = interpreter
        .library
        .as_ref()
        .unwrap_or_else(|| panic!("Python {name} has no shared library"));
    let mut flags = headers(interpreter);
    flags.extend([
        library.display().to_string(),
        // What the library needs is found when the program starts.
        "-Wl,--allow-shlib-undefined".to_owned(),
    ]);
    flags.extend(surroundings(interpreter, library));
    compile(
        &format!("embed-{name}"),
        include_str!("../c/embed.c"),
        &flags,
    )
}

/// A C program that loads two interpreters, where this one can be loaded.
///
/// `pair LIBRARY PYTHONHOME FILE LIBRARY PYTHONHOME FILE`
///
/// # Panics
/// If the interpreter has no shared library.
pub fn pair(interpreter: &Interpreter) -> PathBuf {
    let library = interpreter.library.as_ref().expect("a shared library");
    let mut flags = surroundings(interpreter, library);
    flags.push("-ldl".to_owned());
    compile("pair", include_str!("../c/pair.c"), &flags)
}

/// What has a program find what an interpreter's library needs.
fn surroundings(interpreter: &Interpreter, library: &Path) -> Vec<String> {
    let mut flags = Vec::new();
    let libraries = match &interpreter.prefix {
        Some(prefix) => {
            flags.push(format!(
                "-Wl,--dynamic-linker={}",
                prefix.outside(&prefix.loader).display()
            ));
            prefix.outside(&prefix.libraries)
        }
        None => library.parent().unwrap_or(library).to_owned(),
    };
    flags.push(format!(
        "-Wl,--disable-new-dtags,-rpath,{}",
        libraries.display()
    ));
    flags
}

/// A module for every interpreter, `foreign`, that waits as no code of Python's own does.
///
/// # Panics
/// If no interpreter has headers.
pub fn foreign() -> PathBuf {
    // It uses the limited API, which is the same for all.
    let usable = |one: &&Interpreter| !one.free_threaded && one.include.join("Python.h").exists();
    let found = interpreters().iter().find(usable);
    let mut flags = headers(found.expect("an interpreter with headers"));
    flags.extend(["-shared", "-fPIC"].map(str::to_owned));
    compile("foreign", include_str!("../c/foreign.c"), &flags)
}

/// A library of threads that use processors and know nothing of Python: `start`, `burst`.
pub fn spin() -> PathBuf {
    let flags = ["-shared", "-fPIC", "-pthread"].map(str::to_owned);
    compile("spin", include_str!("../c/spin.c"), &flags)
}

/// A library for every interpreter that lends thread states to threads of C.
pub fn lend() -> PathBuf {
    let flags = ["-shared", "-fPIC"].map(str::to_owned);
    compile("lend", include_str!("../c/lend.c"), &flags)
}

/// Where this interpreter's headers are.
fn headers(interpreter: &Interpreter) -> Vec<String> {
    let include = &interpreter.include;
    assert!(
        include.join("Python.h").exists(),
        "no Python.h in {}",
        include.display()
    );
    // Debian's pyconfig.h includes one that lies beside the directory, by architecture.
    let beside = include.parent().unwrap_or(include);
    vec![
        format!("-I{}", include.display()),
        format!("-idirafter{}", beside.display()),
    ]
}

/// Prints what a CPython's headers say of the structures that lie in a process.
///
/// `offsets`, compiled with these macros defined
///
/// # Panics
/// If `include` has no headers.
pub fn offsets(include: &Path, macros: &[&str]) -> PathBuf {
    let header = include.join("Python.h");
    assert!(header.exists(), "no {}", header.display());
    let directories = [
        include,
        &include.join("internal"),
        include.parent().unwrap_or(include),
    ];
    // Warnings of headers are not ours. Their macros name much that only the interpreter has.
    let flags: Vec<_> = directories
        .iter()
        .map(|directory| format!("-isystem{}", directory.display()))
        .chain(macros.iter().map(|name| format!("-D{name}")))
        .chain(["-Wl,--unresolved-symbols=ignore-all".to_owned()])
        .collect();
    let source = concat!(
        include_str!("../c/states.c"),
        include_str!("../c/offsets.c")
    );
    compile("offsets", source, &flags)
}

/// Compiles `source` once for each text and set of flags.
fn compile(name: &str, source: &str, flags: &[String]) -> PathBuf {
    let directory = workspace().join("target/synth-c");
    let key = fingerprint([source].into_iter().chain(flags.iter().map(String::as_str)));
    let program = directory.join(format!("{name}-{key:016x}"));
    if program.exists() {
        return program;
    }
    fs::create_dir_all(&directory)
        .unwrap_or_else(|e| panic!("making {}: {e}", directory.display()));
    let work = tempfile::tempdir_in(&directory).expect("a directory to compile in");
    let (file, unfinished) = (
        work.path().join(format!("{name}.c")),
        work.path().join("program"),
    );
    fs::write(&file, source).expect("writing the source");
    run_compiler(&file, &unfinished, flags);
    // Two tests may compile at once: both make the same program, and the last one stays.
    fs::rename(&unfinished, &program).expect("moving the program to its place");
    program
}

fn run_compiler(file: &Path, output: &Path, flags: &[String]) {
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(&compiler);
    command.args([
        "-std=gnu11",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pthread",
        "-o",
    ]);
    command.arg(output).arg(file).args(flags);
    let result = command
        .output()
        .unwrap_or_else(|e| panic!("a C compiler is needed: {}: {e}", compiler.display()));
    let complaint = String::from_utf8_lossy(&result.stderr);
    assert!(
        result.status.success(),
        "compiling {}: {complaint}",
        file.display()
    );
}

/// FNV-1a over the parts and the borders between them.
fn fingerprint<'a>(parts: impl Iterator<Item = &'a str>) -> u64 {
    let bytes = parts.flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
