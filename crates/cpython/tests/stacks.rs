//! Threads and their stacks, alive: as the target itself reports them.

use std::cell::Cell;
use std::time::Instant;

use invivo_cpython::{Limits, Runtime, StackOptions, locate};
use invivo_model::{Gil, InterpreterThreads, Stack, Thread, Trust};
use invivo_process::{Fault, Memory, ProcessMemory, ReadRequest, Target};
use synth::target::PATIENCE;
use synth::{Launch, interpreter, interpreters};

const PLAIN: StackOptions = StackOptions {
    opcodes: false,
    slots: false,
    names: false,
};

fn open(target: &Target) -> Runtime<ProcessMemory> {
    let modules = target.modules().expect("the target's modules");
    let location = locate(&target.memory(), &modules, target, &Limits::default());
    let location = location.expect("an interpreter");
    Runtime::open(target.memory(), &location, Limits::default()).expect("a known layout")
}

fn main_thread(found: &[InterpreterThreads]) -> &Thread {
    let all = found.iter().flat_map(|interpreter| &interpreter.threads);
    let mut main = all.filter(|thread| thread.is_main);
    main.next().expect("a main thread")
}

fn names(stack: &Stack) -> Vec<&str> {
    stack
        .frames
        .iter()
        .map(|frame| frame.code.name.text.as_str())
        .collect()
}

/// Reads until the main thread's innermost function is `name`: then it sleeps there.
fn when_in(
    runtime: &Runtime<ProcessMemory>,
    name: &str,
    options: &StackOptions,
) -> Vec<InterpreterThreads> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = runtime.threads(options).expect("threads");
        let stack = &main_thread(&found).stack;
        if names(stack).first() == Some(&name) && stack.cut.is_none() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "not in {name}, but {:?}",
            names(stack)
        );
        std::thread::yield_now();
    }
}

/// Goes through calls of every kind, says of each frame what it is, and stays there.
const KINDS: &str = r#"
import sys, time
def tell():
    frame = sys._getframe()
    while frame:
        code = frame.f_code
        print("frame", ascii(getattr(code, "co_qualname", code.co_name)), frame.f_lineno, ascii(code.co_filename))
        frame = frame.f_back
    print("ready", flush=True)
    time.sleep(1000)
class Made:
    def __init__(self, n):
        self.n = n
        [self.keyed(x) for x in [1]]
    def keyed(self, x):
        return sorted([x], key=self.key)
    def key(self, x):
        for y in generate(x):
            return y
def generate(x):
    yield from inner(x)
def inner(x):
    exec(compile("def ünnër():\n  tell()\nünnër()", "/srv/naïve/żółw", "exec"), globals())
    yield 1
class Body:
    n = (lambda: Made(3))()
"#;

#[test]
fn calls_of_every_kind_are_what_the_target_says() {
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, KINDS).start();
        let target = Target::open(process.pid()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut found = when_in(&open(&target), "tell", &PLAIN);
        // It says that it is ready before it sleeps.
        while main_thread(&found).gil != Gil::Without && Instant::now() < deadline {
            found = when_in(&open(&target), "tell", &PLAIN);
        }
        let thread = main_thread(&found);
        let told: Vec<String> = process
            .stdout_so_far()
            .lines()
            .filter_map(|line| Some(line.strip_prefix("frame ")?.to_owned()))
            .collect();
        let ascii = |text: &str| {
            let escaped = |c: char| match u32::from(c) {
                0..0x80 => c.to_string(),
                code @ 0x80..0x100 => format!("\\x{code:02x}"),
                code => format!("\\u{code:04x}"),
            };
            format!("'{}'", text.chars().map(escaped).collect::<String>())
        };
        let read: Vec<String> = thread
            .stack
            .frames
            .iter()
            .map(|frame| {
                let code = &frame.code;
                let line = frame.position.line.unwrap_or(0);
                format!(
                    "{} {line} {}",
                    ascii(&code.label().text),
                    ascii(&code.filename.text)
                )
            })
            .collect();
        // The innermost one sleeps some lines behind where it told of itself.
        assert_eq!(read[1..], told[1..], "{}", interpreter.name);
        assert_eq!(thread.stack.cut, None);
        assert!(
            thread
                .stack
                .frames
                .iter()
                .all(|frame| frame.trust == Trust::Whole)
        );
        assert_eq!(thread.handles_exception, Some(false));
        assert_eq!(thread.collects_garbage, Some(false));
        assert_eq!(thread.gil, Gil::Without, "{}: it sleeps", interpreter.name);
    }
}

#[test]
fn five_thousand_frames_are_read() {
    const DEEP: &str = "
import sys, time, threading
sys.setrecursionlimit(10000)
threading.stack_size(512 << 20)
def recurse(n):
    if n:
        return recurse(n - 1)
    print('ready', flush=True)
    time.sleep(1000)
t = threading.Thread(target=recurse, args=(5000,))
t.start()
";
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, DEEP).start();
        let target = Target::open(process.pid()).unwrap();
        let found = open(&target).threads(&PLAIN).unwrap();
        let deep = found[0]
            .threads
            .iter()
            .find(|thread| !thread.is_main)
            .unwrap();
        assert_eq!(deep.stack.cut, None, "{}", interpreter.name);
        let names = names(&deep.stack);
        let recursive = names.iter().filter(|name| **name == "recurse").count();
        assert_eq!(recursive, 5001, "{}", interpreter.name);
        assert_eq!(names.last(), Some(&"_bootstrap"), "{}", interpreter.name);
    }
}

#[test]
fn threads_have_the_names_and_numbers_that_threading_gives_them() {
    const NAMED: &str = "
import threading, time
def wait(here):
    here.release()
    time.sleep(1000)
ids = []
for name in ['first', 'zwölf', 'a name that is longer than the kernel keeps']:
    here = threading.Semaphore(0)
    thread = threading.Thread(target=wait, args=(here,), name=name)
    thread.start()
    here.acquire()
    ids.append(thread.native_id)
print('ready', threading.get_native_id(), *ids, flush=True)
time.sleep(1000)
";
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, NAMED).start();
        let target = Target::open(process.pid()).unwrap();
        let options = StackOptions {
            names: true,
            ..PLAIN
        };
        let found = open(&target).threads(&options).unwrap();
        assert_eq!(found[0].defects, []);
        let mut read: Vec<_> = found[0].threads.iter().collect();
        // CPython lists the newest first.
        read.reverse();
        let names: Vec<_> = read
            .iter()
            .map(|thread| thread.name.as_ref().map_or("", |name| name.text.as_str()))
            .collect();
        let long = "a name that is longer than the kernel keeps";
        assert_eq!(
            names,
            ["MainThread", "first", "zwölf", long],
            "{}",
            interpreter.name
        );
        // Older ones keep no such numbers in their thread states.
        if interpreter.minor() >= 11 {
            let ids: Vec<_> = read.iter().map(|thread| thread.state.native_id).collect();
            assert_eq!(ids, process.ready_ids(), "{}", interpreter.name);
        }
    }
}

/// Memory that counts how often it is asked.
struct Counting<'a>(ProcessMemory, &'a Cell<usize>);

impl Memory for Counting<'_> {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        self.1.set(self.1.get() + 1);
        self.0.read_many(requests)
    }
}

/// The interpreter of a process, read through memory that counts in `reads`.
fn counting<'a>(process: &synth::Target, reads: &'a Cell<usize>) -> Runtime<Counting<'a>> {
    let target = Target::open(process.pid()).expect("the target");
    let modules = target.modules().expect("its modules");
    let limits = Limits::default();
    let location = locate(&target.memory(), &modules, &target, &limits);
    let memory = Counting(target.memory(), reads);
    reads.set(0);
    Runtime::open(memory, &location.expect("an interpreter"), limits).expect("a known layout")
}

#[test]
fn ten_frames_cost_at_most_twelve_reads() {
    const TEN: &str = "
import time
def recurse(n):
    if n:
        return recurse(n - 1)
    print('ready', flush=True)
    time.sleep(1000)
recurse(8)
";
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, TEN).start();
        let reads = Cell::new(0);
        let runtime = counting(&process, &reads);
        let found = runtime.threads(&PLAIN).unwrap();
        assert_eq!(main_thread(&found).stack.frames.len(), 10);
        assert!(
            reads.get() <= 12,
            "{}: {} reads",
            interpreter.name,
            reads.get()
        );
    }
}

#[test]
fn a_single_thread_has_its_name_for_few_reads() {
    const NAMED: &str = "
import threading, time
threading.current_thread().name = 'the only one'
print('ready', flush=True)
time.sleep(1000)
";
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, NAMED).start();
        let reads = Cell::new(0);
        let runtime = counting(&process, &reads);
        let options = StackOptions {
            names: true,
            ..PLAIN
        };
        let found = runtime.threads(&options).unwrap();
        let name = main_thread(&found).name.as_ref();
        let name = name.map(|name| name.text.as_str());
        assert_eq!(name, Some("the only one"), "{}", interpreter.name);
        assert!(
            reads.get() <= 60,
            "{}: {} reads",
            interpreter.name,
            reads.get()
        );
    }
}

#[test]
fn thread_states_that_lie_in_a_row_are_read_together() {
    const FIFTY: &str = "
import threading
started = threading.Semaphore(0)
def wait():
    started.release()
    threading.Event().wait()
for _ in range(49):
    threading.Thread(target=wait, daemon=True).start()
for _ in range(49):
    started.acquire()
print('ready', flush=True)
threading.Event().wait()
";
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, FIFTY).start();
        let reads = Cell::new(0);
        let runtime = counting(&process, &reads);
        let found = runtime.interpreters().unwrap();
        let threads = &found.main().expect("the main interpreter").threads;
        assert_eq!(threads.len(), 50, "{}", interpreter.name);
        // Where they lie is up to the target: some ten of them are mostly in one read, except in
        // builds without a GIL, whose states are large.
        let reads = reads.get();
        let most = if interpreter.free_threaded { 54 } else { 30 };
        assert!(reads <= most, "{}: {reads} reads", interpreter.name);
    }
}

#[test]
fn handled_and_raised_exceptions_and_the_gil_are_seen() {
    const HANDLING: &str = "
import time
def gen():
    try:
        raise KeyError
    except KeyError:
        yield
def wait():
    print('ready', flush=True)
    time.sleep(1000)
def handle():
    try:
        1 / 0
    except ZeroDivisionError:
        g = gen()
        next(g)
        for _ in [1]:
            wait()
handle()
";
    const SPINNING: &str = "
print('ready', flush=True)
while True:
    pass
";
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, HANDLING).start();
        let target = Target::open(process.pid()).unwrap();
        let found = when_in(&open(&target), "wait", &PLAIN);
        assert_eq!(
            main_thread(&found).handles_exception,
            Some(true),
            "{}",
            interpreter.name
        );

        let process = Launch::new(interpreter, SPINNING).start();
        let target = Target::open(process.pid()).unwrap();
        let runtime = open(&target);
        let holds = (0..1000).filter(|_| {
            let found = runtime.threads(&PLAIN).unwrap();
            main_thread(&found).gil == Gil::Holds
        });
        let holds = holds.count();
        assert!(
            holds > 500,
            "{}: it held the GIL {holds} times of 1000",
            interpreter.name
        );
    }
}

#[test]
fn variables_and_opcodes_are_there_where_they_are_asked_for() {
    const VARIABLES: &str = "
import time
def outer(first, second):
    cell = [first]
    ids.append(id(second))
    def inner(third):
        unset_yet = None
        del unset_yet
        print('ready', id(third), *ids, flush=True)
        time.sleep(1000)
        unset_yet = 1
        return cell
    inner('third')
ids = []
outer((1,), 'second')
";
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, VARIABLES).start();
        let target = Target::open(process.pid()).unwrap();
        let runtime = open(&target);
        let options = StackOptions {
            opcodes: true,
            slots: true,
            names: false,
        };
        let found = when_in(&runtime, "inner", &options);
        let frames = &main_thread(&found).stack.frames;
        let slots = frames[0].slots.as_ref().unwrap();
        let ids = process.ready_ids();
        assert_eq!(slots.fast.len(), 3, "{}", interpreter.name);
        assert_eq!(slots.fast[0].0, ids[0], "{}", interpreter.name);
        assert!(slots.fast[1].is_null(), "{}", interpreter.name);
        let outer = frames[1].slots.as_ref().unwrap();
        assert!(
            outer.fast.iter().any(|slot| slot.0 == ids[1]),
            "{}",
            interpreter.name
        );
        let module = frames[2].slots.as_ref().unwrap();
        assert!(!module.namespace.is_null() && module.fast.is_empty());
        assert!(
            frames.iter().all(|frame| frame.opcode.is_some()),
            "{}",
            interpreter.name
        );
    }
}

#[test]
fn sub_interpreters_have_their_own_threads() {
    for name in ["3.14", "3.15"] {
        let process =
            Launch::new(interpreter(name), synth::samples::SUBINTERPRETERS_RUNNING).start();
        let target = Target::open(process.pid()).unwrap();
        let found = open(&target).threads(&PLAIN).unwrap();
        assert_eq!(found.len(), 3, "{name}");
        assert_eq!(found.last().map(|main| main.id), Some(0), "{name}");
        for interpreter in &found {
            assert_eq!(interpreter.defects, [], "{name}");
            assert!(!interpreter.threads.is_empty(), "{name}");
        }
    }
}
