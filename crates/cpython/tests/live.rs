//! Every interpreter there is, alive: found by each way, and read as it says of itself.

mod support;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Instant;

use invivo_cpython::{Limits, Location, Method, Phase, Runtime, examine, locate, locate_with};
use invivo_model::{Address, ErrorKind};
use invivo_process::{Fault, Memory, Module, ModuleFiles, ProcessMemory, ReadRequest, Target};
use support::no_file;
use synth::image::Release;
use synth::launch::Place;
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, interpreter, interpreters, samples};

/// Says of itself what we are to find, and waits in a function with a name of its own.
const TELLER: &str = r#"
import sys, threading
started = threading.Semaphore(0)
ids = [threading.get_native_id()]
idents = [threading.get_ident()]
def worker():
    ids.append(threading.get_native_id())
    idents.append(threading.get_ident())
    started.release()
    threading.Event().wait()
for _ in range(3):
    threading.Thread(target=worker, daemon=True).start()
    started.acquire()
class Keeper:
    def méthode(self):
        print("version", ascii(sys.version))
        print("idents", *idents)
        print("ready", *ids, flush=True)
        sys.stdin.read()
Keeper().méthode()
"#;

/// Versions that have a table of offsets.
fn with_table() -> impl Iterator<Item = &'static Interpreter> {
    interpreters()
        .iter()
        .filter(|interpreter| !is_old(interpreter))
}

fn is_old(interpreter: &Interpreter) -> bool {
    let name = interpreter.name.trim_end_matches(['d', 't']);
    ["3.8", "3.9", "3.10", "3.11", "3.12"].contains(&name)
}

/// Versions that say their own only in `sys.version`, have no qualified names in code, and no
/// kernel's thread numbers in thread states.
fn is_very_old(interpreter: &Interpreter) -> bool {
    ["3.8", "3.9", "3.10"].contains(&interpreter.name.as_str())
}

fn find(target: &Target) -> Location {
    let modules = target.modules().expect("the target's modules");
    locate(&target.memory(), &modules, target, &Limits::default()).expect("an interpreter")
}

fn open(target: &Target) -> Runtime<ProcessMemory> {
    let location = find(target);
    Runtime::open(target.memory(), &location, Limits::default()).expect("a known layout")
}

/// The modules as if the pages with their headers could not be told.
fn without_headers(modules: &[Module]) -> Vec<Module> {
    let mut modules = modules.to_vec();
    for module in &mut modules {
        module.mappings.retain(|mapping| mapping.offset != 0);
    }
    modules
}

#[test]
fn every_interpreter_is_found_by_each_way_at_the_same_place() {
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, samples::SLEEPER).start();
        let target = Target::open(process.pid()).unwrap();
        let name = &interpreter.name;
        let location = find(&target);
        let has_section = !["3.8", "3.9"].contains(&name.as_str());
        let method = if has_section {
            Method::Section
        } else {
            Method::Symbol
        };
        assert_eq!(location.method, method, "{name}");
        let told = location.version.unwrap().to_string();
        assert_eq!(told, interpreter.version, "{name}");
        assert_eq!(location.build.debug, Some(interpreter.debug), "{name}");
        assert_eq!(
            location.build.free_threaded,
            Some(interpreter.free_threaded),
            "{name}"
        );

        let modules = target.modules().unwrap();
        let limits = Limits::default();
        let memory = target.memory();
        let image = locate_with(&memory, &modules, &limits, no_file).unwrap();
        assert_eq!(image.method, Method::MappedSymbol, "{name}");
        assert_eq!(image.address, location.address, "{name}");
        assert_eq!(
            (image.version, image.build),
            (location.version, location.build),
            "{name}"
        );

        let scan = locate_with(&memory, &without_headers(&modules), &limits, no_file);
        if is_old(interpreter) {
            assert_eq!(scan.unwrap_err().kind, ErrorKind::NotPython, "{name}");
        } else {
            let scan = scan.unwrap();
            assert_eq!(scan.method, Method::Scan, "{name}");
            assert_eq!(scan.address, location.address, "{name}");
            assert_eq!(scan.version, location.version, "{name}");
            assert_eq!(scan.layout.unwrap(), location.layout.unwrap(), "{name}");
        }
    }
}

#[test]
fn a_version_that_only_a_name_tells_is_confirmed_by_memory() {
    for interpreter in interpreters().iter().filter(|it| is_very_old(it)) {
        let process = Launch::new(interpreter, samples::SLEEPER).start();
        let target = Target::open(process.pid()).unwrap();
        let modules = target.modules().unwrap();
        // By names that say nothing, and by one that lies.
        for name in ["/opt/app", "/opt/libpython3.9.so.1.0", "/opt/python3.10"] {
            let mut renamed = modules.clone();
            for module in &mut renamed {
                module.name = name.into();
            }
            let location = locate_with(&target.memory(), &renamed, &Limits::default(), |module| {
                let mut same = modules.iter().filter(|other| other.inode == module.inode);
                examine(target.open_module(same.next().unwrap())?)
            });
            let location = location.unwrap();
            assert_eq!(location.version.unwrap().to_string(), interpreter.version);
            assert_eq!(location.layout.unwrap(), find(&target).layout.unwrap());
        }
    }
}

#[test]
fn another_interpreter_at_the_same_place_is_told_from_the_one_that_was_opened() {
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, samples::SLEEPER).start();
        let target = Target::open(process.pid()).unwrap();
        let mut location = find(&target);
        let open = |location: &Location| {
            Runtime::open(target.memory(), location, Limits::default()).unwrap()
        };
        open(&location).ensure_present().unwrap();
        location.version.as_mut().unwrap().micro = Some(99);
        let error = open(&location).ensure_present().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Gone, "{}", interpreter.name);
    }
}

#[test]
fn a_file_tells_version_and_build_without_a_process() {
    for interpreter in interpreters() {
        let path = interpreter.library.as_ref().unwrap_or(&interpreter.program);
        let facts = examine(std::fs::File::open(path).unwrap()).unwrap();
        assert!(facts.is_python(), "{path:?}");
        assert_eq!(facts.build().debug, Some(interpreter.debug), "{path:?}");
        match facts.version() {
            Some(version) => assert_eq!(version.to_string(), interpreter.version),
            None => assert!(is_very_old(interpreter)),
        }
    }
    let own = examine(std::fs::File::open(std::env::current_exe().unwrap()).unwrap()).unwrap();
    assert!(!own.is_python());
}

#[test]
fn threads_have_the_numbers_the_kernel_gives_them() {
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, TELLER).start();
        let target = Target::open(process.pid()).unwrap();
        let runtime = open(&target);
        let found = runtime.interpreters().unwrap();
        assert_eq!(found.defects, [], "{}", interpreter.name);
        assert_eq!(found.list.len(), 1, "{}", interpreter.name);
        let main = found.main().unwrap();
        let idents: BTreeSet<_> = main.threads.iter().map(|thread| thread.thread_id).collect();
        let output = process.stdout_so_far();
        let told = output.lines().find_map(|line| line.strip_prefix("idents "));
        let told = told.unwrap().split(' ').map(|id| id.parse().unwrap());
        assert_eq!(idents, told.collect(), "{}", interpreter.name);
        assert_eq!(runtime.phase(main).unwrap(), Phase::Running);
        if is_very_old(interpreter) {
            let unknown = main.threads.iter().all(|thread| thread.native_id == 0);
            assert!(unknown, "{}", interpreter.name);
            let main_thread = runtime.main_thread_id().unwrap();
            assert_eq!(main_thread, main.threads.last().unwrap().thread_id);
            continue;
        }
        let ours: BTreeSet<_> = main.threads.iter().map(|thread| thread.native_id).collect();
        let told: BTreeSet<_> = process.ready_ids().into_iter().collect();
        let kernel: BTreeSet<_> = target
            .threads()
            .unwrap()
            .into_iter()
            .map(|thread| thread.native_id)
            .collect();
        assert_eq!(ours, told, "{}", interpreter.name);
        assert_eq!(ours, kernel, "{}", interpreter.name);

        let first = main
            .threads
            .iter()
            .find(|thread| thread.native_id == u64::from(process.pid()));
        let first = first.expect("the main thread has the process's number");
        assert_eq!(
            runtime.main_thread_id().unwrap(),
            first.thread_id,
            "{}",
            interpreter.name
        );
        if let Some(address) = main.main_thread {
            assert_eq!(address, first.address, "{}", interpreter.name);
            assert_eq!(main.remote_debugging, Some(true), "{}", interpreter.name);
        }
    }
}

#[test]
fn strings_of_sys_and_of_code_are_what_the_target_prints() {
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, TELLER)
            .options(["-X", "dev", "-X", "frozen_modules=on"])
            .start();
        let target = Target::open(process.pid()).unwrap();
        let runtime = open(&target);
        let found = runtime.interpreters().unwrap();
        let main = found.main().unwrap();
        let version = runtime.sys_version(main).unwrap().unwrap();
        let printed = format!("version '{version}'").replace('\n', "\\n");
        assert!(
            process.stdout_so_far().contains(&printed),
            "{version} is not what {} prints",
            interpreter.name
        );
        assert!(version.text.starts_with(&interpreter.version));
        let flags = match (interpreter.free_threaded, interpreter.debug) {
            (false, false) => "",
            (false, true) => "d",
            (true, false) => "t",
            (true, true) => "td",
        };
        assert_eq!(runtime.abiflags(main).unwrap().unwrap().text, flags);
        let options = runtime.xoptions(main).unwrap();
        let options: Vec<_> = options
            .iter()
            .map(|o| (o.name.as_str(), o.value.as_deref()))
            .collect();
        assert_eq!(options, [("dev", None), ("frozen_modules", Some("on"))]);

        let [inner, wait] = if is_very_old(interpreter) {
            ["méthode", "wait"]
        } else {
            ["Keeper.méthode", "Condition.wait"]
        };
        let first = main.threads.last().unwrap().thread_id;
        let other = main.threads.first().unwrap().thread_id;
        let file = wait_for_function(&runtime, first, inner);
        assert!(file.ends_with("target.py"), "{file}");
        let file = wait_for_function(&runtime, other, wait);
        assert!(file.ends_with("threading.py"), "{file}");
    }
}

/// Waits until a thread is in a function; gives the function's file.
fn wait_for_function(runtime: &Runtime<ProcessMemory>, thread_id: u64, name: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = runtime.interpreters().expect("interpreters");
        let mut threads = found.main().expect("a main one").threads.iter();
        let thread = threads
            .find(|thread| thread.thread_id == thread_id)
            .expect("its thread");
        let function = runtime.thread_top_function(thread);
        if let Ok(Some(function)) = &function
            && function.qualname.text == name
        {
            return function.filename.text.clone();
        }
        assert!(Instant::now() < deadline, "not in {name}, but {function:?}");
        std::thread::yield_now();
    }
}

#[test]
fn tables_are_the_ones_we_know_word_by_word() {
    for interpreter in with_table().filter(|interpreter| !interpreter.free_threaded) {
        let process = Launch::new(interpreter, samples::SLEEPER).start();
        let target = Target::open(process.pid()).unwrap();
        let address = find(&target).address;
        let release = match interpreter.name.trim_end_matches(['d', 't']) {
            "3.13" => Release::V3_13,
            "3.14" => Release::V3_14,
            "3.15" => Release::V3_15,
            other => panic!("no table of {other} is at hand"),
        };
        // Sizes of whole states grow in patch releases and debug builds; offsets do not.
        let thread_size = if release == Release::V3_13 { 18 } else { 21 };
        let grows = |index| [2, 5, thread_size].contains(&index);
        for (index, expected) in release.table().iter().enumerate().skip(1) {
            let word = target
                .memory()
                .read_u64(address.offset(8 + 8 * index as u64).unwrap());
            let word = word.unwrap();
            assert!(
                word == *expected || grows(index) && word > *expected,
                "{}: word {index} is {word}, not {expected}",
                interpreter.name
            );
        }
    }
}

#[test]
fn sub_interpreters_are_told_from_the_main_one() {
    for name in ["3.14", "3.15"] {
        for sample in [
            samples::SUBINTERPRETERS_IDLE,
            samples::SUBINTERPRETERS_RUNNING,
        ] {
            let process = Launch::new(interpreter(name), sample).start();
            let target = Target::open(process.pid()).unwrap();
            let found = open(&target).interpreters().unwrap();
            assert_eq!(found.defects, []);
            assert_eq!(found.list.len(), 3);
            assert_ne!(found.list[0].id, 0, "the newest stands first");
            let main = found.main().unwrap();
            assert!(
                main.threads
                    .iter()
                    .any(|t| t.native_id == u64::from(process.pid()))
            );
            let ids: BTreeSet<_> = found.list.iter().map(|i| i.id.cast_unsigned()).collect();
            assert!(
                process.ready_ids().iter().all(|id| ids.contains(id)),
                "{ids:?}"
            );
        }
    }
}

#[test]
fn embedded_python_is_found_and_has_no_main_thread() {
    for name in ["3.14", "3.15"] {
        let process = Launch::new(interpreter(name), samples::SLEEPER)
            .embedded()
            .start();
        let target = Target::open(process.pid()).unwrap();
        let found = open(&target).interpreters().unwrap();
        let main = found.main().unwrap();
        assert_eq!(main.main_thread, Some(Address::NULL));
        assert_eq!(main.threads.len(), 1);
        assert_eq!(main.threads[0].native_id, u64::from(process.pid()));
    }
}

#[test]
fn the_live_one_of_two_copies_is_taken() {
    for name in ["3.14", "3.15"] {
        let interpreter = interpreter(name);
        let library = interpreter
            .library
            .as_ref()
            .expect("a shared library of this build");
        let process = Launch::new(interpreter, samples::TWO_LIBRARIES)
            .arguments([library])
            .start();
        let target = Target::open(process.pid()).unwrap();
        let modules = target.modules().unwrap();
        let runs = |location: &Location| {
            let memory = target.memory();
            let runtime = Runtime::open(memory, location, Limits::default()).unwrap();
            runtime.interpreters().unwrap().main().is_some()
        };
        assert!(runs(&find(&target)));
        // The same, whichever comes first.
        let backwards: Vec<_> = modules.iter().rev().cloned().collect();
        let memory = target.memory();
        let location = locate(&memory, &backwards, &target, &Limits::default()).unwrap();
        assert!(runs(&location));
        let copies = modules.iter().filter(|module| {
            let file = module.is_code().then(|| target.open_module(module));
            file.is_some_and(|file| examine(file.unwrap()).is_ok_and(|facts| facts.is_python()))
        });
        assert_eq!(copies.count(), 2, "the target has two copies");
    }
}

#[test]
fn neither_name_nor_file_is_needed() {
    let busy = || {
        Launch::new(interpreter("3.14"), samples::SLEEPER)
            .named("app")
            .start()
    };
    let process = busy();
    let target = Target::open(process.pid()).unwrap();
    assert_eq!(find(&target).method, Method::Section);
    assert!(find(&target).module.ends_with(b"/app"));

    process.delete_executable();
    let deleted = find(&target);
    assert!(deleted.layout.is_ok(), "{deleted:?}");

    let process = busy();
    let target = Target::open(process.pid()).unwrap();
    process.replace_executable(b"something else");
    let replaced = find(&target);
    assert!(replaced.layout.is_ok(), "{replaced:?}");
    assert!(open(&target).interpreters().unwrap().main().is_some());
}

#[test]
fn an_interpreter_in_a_container_is_found_by_its_file() {
    let process = Launch::new(interpreter("3.15"), samples::SLEEPER)
        .place(Place::Container)
        .start();
    let target = Target::open(process.pid()).unwrap();
    assert_eq!(find(&target).method, Method::Section);
    let found = open(&target).interpreters().unwrap();
    let thread = &found.main().unwrap().threads[0];
    let kernel = target.threads().unwrap();
    assert_eq!(
        thread.native_id, kernel[0].native_id,
        "the number in the target's namespace"
    );
    assert_ne!(thread.native_id, u64::from(kernel[0].tid));
}

#[test]
fn a_process_without_python_says_what_was_looked_at() {
    let target = Target::open(std::process::id()).unwrap();
    let modules = target.modules().unwrap();
    let error = locate(&target.memory(), &modules, &target, &Limits::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotPython);
    let code = modules.iter().filter(|module| module.is_code()).count();
    assert!(
        error.why.contains(&format!("none of {code} mapped")),
        "{}",
        error.why
    );
}

/// Memory that may not be read.
struct Closed(Fault);

impl Memory for Closed {
    fn read_many(&self, _: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        Err(self.0)
    }
}

#[test]
fn where_memory_is_closed_the_file_still_tells_the_version() {
    let process = Launch::new(interpreter("3.14d"), samples::SLEEPER).start();
    let target = Target::open(process.pid()).unwrap();
    let modules = target.modules().unwrap();
    let limits = Limits::default();
    let location = locate(&Closed(Fault::Refused), &modules, &target, &limits).unwrap();
    assert_eq!(
        location.version.unwrap().to_string(),
        interpreter("3.14d").version
    );
    assert_eq!(location.build.debug, Some(true));
    assert_eq!(location.layout.unwrap_err().kind, ErrorKind::Refused);

    let nothing = locate_with(&Closed(Fault::Refused), &modules, &limits, no_file).unwrap_err();
    assert_eq!(nothing.kind, ErrorKind::Refused);
    let gone = locate(&Closed(Fault::Gone), &modules, &target, &limits).unwrap_err();
    assert_eq!(gone.kind, ErrorKind::Gone);
}

/// Memory that counts how often it is asked.
struct Counting<'a>(ProcessMemory, &'a Cell<usize>);

impl Memory for Counting<'_> {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        self.1.set(self.1.get() + 1);
        self.0.read_many(requests)
    }
}

#[test]
fn a_plain_target_costs_a_handful_of_reads_and_one_file() {
    let process = Launch::new(interpreter("3.14"), samples::SLEEPER).start();
    let target = Target::open(process.pid()).unwrap();
    let modules = target.modules().unwrap();
    let (reads, files) = (Cell::new(0), Cell::new(0));
    let memory = Counting(target.memory(), &reads);
    let limits = Limits::default();
    let location = locate_with(&memory, &modules, &limits, |module| {
        files.set(files.get() + 1);
        examine(target.open_module(module)?)
    });
    let runtime = Runtime::open(memory, &location.unwrap(), limits).unwrap();
    let found = runtime.interpreters().unwrap();
    assert_eq!(found.main().unwrap().threads.len(), 1);
    assert_eq!(files.get(), 1);
    // The table, the head and its id; then the head, the interpreter and its thread.
    assert_eq!(reads.get(), 6);
}
