//! The functions that interpreters export, found from outside where they say themselves.

use invivo_cpython::{Export, Limits, Location, Runtime, locate};
use invivo_model::{Address, Error, ErrorKind, Result};
use invivo_process::{Fault, Memory, Module, ModuleFiles, ReadRequest, Target};
use synth::{Launch, interpreter, interpreters, samples};

/// What a debugger needs, and what is no function or nowhere.
const ASKED: [&[u8]; 7] = [
    b"PyRun_SimpleString",
    b"PyErr_CheckSignals",
    b"PyEval_RestoreThread",
    b"PyEval_SaveThread",
    b"_PyEval_EvalFrameDefault",
    b"_PyRuntime",
    b"no_such",
];

/// Says where these functions are.
const TELLER: &str = r#"
import ctypes, sys
at = lambda name: ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
print("ready", *map(at, sys.argv[1:]), flush=True)
sys.stdin.read()
"#;

/// Memory that may not be read.
struct Closed;

impl Memory for Closed {
    fn read_many(&self, _: &mut [ReadRequest<'_>]) -> std::result::Result<(), Fault> {
        Err(Fault::Refused)
    }
}

/// Files that are all gone.
struct NoFiles;

impl ModuleFiles for NoFiles {
    type File = std::fs::File;

    fn open_module(&self, _: &Module) -> Result<Self::File> {
        Err(Error::new(ErrorKind::Gone, "no file", "it is gone", ""))
    }
}

fn find(target: &Target, modules: &[Module]) -> Location {
    locate(&target.memory(), modules, target, &Limits::default()).expect("an interpreter")
}

fn addresses<const N: usize>(found: [Option<Export>; N]) -> [Option<Address>; N] {
    found.map(|export| export.map(|export| export.address))
}

#[test]
fn functions_are_where_the_interpreter_has_them() {
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let told = ASKED[..5].iter().map(|name| str::from_utf8(name).unwrap());
        let process = Launch::new(interpreter, TELLER).arguments(told).start();
        let told = process.ready_ids();
        let target = Target::open(process.pid()).unwrap();
        let modules = target.modules().unwrap();
        let location = find(&target, &modules);
        let runtime = Runtime::open(target.memory(), &location, Limits::default()).unwrap();

        let found = runtime.exports(&modules, &NoFiles, ASKED);
        let expected: Vec<_> = told.into_iter().map(|at| Some(Address(at))).collect();
        assert_eq!(addresses(found)[..5], expected, "{name}");
        assert_eq!(found[5..], [None, None], "{name}: data is no function");
        let sizes = found.map(|export| export?.size);
        assert!(sizes[..5].iter().all(Option::is_some), "{name}: {sizes:?}");
        // The interpreter's loop, of which some compilers keep little in one place.
        let interpreting = sizes[4].unwrap();
        assert!(
            (1 << 9..1 << 20).contains(&interpreting),
            "{name}: {interpreting}"
        );
        let by_file = runtime.with_memory(Closed);
        assert_eq!(by_file.exports(&modules, &target, ASKED), found, "{name}");
        assert_eq!(by_file.exports(&modules, &NoFiles, ASKED), [None; 7]);
        // As if its code could not be executed, and as if it were not mapped.
        let mut changed = modules.clone();
        let mappings = changed.iter_mut().flat_map(|module| &mut module.mappings);
        mappings.for_each(|mapping| mapping.executable = false);
        assert_eq!(runtime.exports(&changed, &NoFiles, ASKED), [None; 7]);
        changed.retain(|module| module.name != location.module);
        assert_eq!(runtime.exports(&changed, &target, ASKED), [None; 7]);
    }
}

#[test]
fn of_two_copies_those_of_the_interpreter_that_was_opened_are_found() {
    let interpreter = interpreter("3.14");
    let library = interpreter.library.as_ref().expect("a shared library");
    let process = Launch::new(interpreter, samples::TWO_LIBRARIES)
        .arguments([library])
        .start();
    let target = Target::open(process.pid()).unwrap();
    let modules = target.modules().unwrap();
    let location = find(&target, &modules);
    let runtime = Runtime::open(target.memory(), &location, Limits::default()).unwrap();
    let own = modules.iter().find(|module| module.name == location.module);
    for found in runtime.exports(&modules, &target, ASKED)[..5].iter() {
        let at = found.unwrap().address;
        let mut ranges = own.unwrap().mappings.iter().map(|mapping| &mapping.range);
        assert!(ranges.any(|range| range.contains(&at)), "{at}");
    }
}

#[test]
fn one_file_that_is_mapped_twice_has_its_functions_beside_its_runtime_state() {
    const TWICE: &str = r#"
import ctypes, sys
LM_ID_NEWLM, RTLD_NOW = -1, 2
libc = ctypes.CDLL(None)
libc.dlmopen.restype = libc.dlsym.restype = ctypes.c_void_p
copy = libc.dlmopen(ctypes.c_long(LM_ID_NEWLM), sys.argv[1].encode(), RTLD_NOW)
at = lambda name: libc.dlsym(ctypes.c_void_p(copy), name)
print("ready", at(b"_PyRuntime"), at(b"PyRun_SimpleString"), flush=True)
sys.stdin.read()
"#;
    let interpreter = interpreter("3.12");
    let library = interpreter.library.as_ref().expect("a shared library");
    let process = Launch::new(interpreter, TWICE).arguments([library]).start();
    let &[runtime, function] = &*process.ready_ids() else {
        panic!("two addresses");
    };
    let target = Target::open(process.pid()).unwrap();
    let modules = target.modules().unwrap();
    let mut location = find(&target, &modules);
    assert_ne!(location.address, Address(runtime));
    for (at, expected) in [(location.address, false), (Address(runtime), true)] {
        location.address = at;
        let runtime = Runtime::open(target.memory(), &location, Limits::default()).unwrap();
        for found in [
            runtime.exports(&modules, &NoFiles, [b"PyRun_SimpleString"]),
            runtime
                .with_memory(Closed)
                .exports(&modules, &target, [b"PyRun_SimpleString"]),
        ] {
            let [Some(export)] = found else {
                panic!("it is exported");
            };
            assert_eq!(export.address == Address(function), expected);
        }
    }
}
