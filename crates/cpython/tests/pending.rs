//! The calls that wait in every interpreter: what is seen of them, and that what is said to be
//! written makes the interpreter make a call, or spares it one.

mod support;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use invivo_cpython::{
    Change, Limits, PendingCall, PendingCalls, Phase, Queue, Runtime, Standing, locate,
};
use invivo_model::{Address, ErrorKind, Interpreter, ThreadState};
use invivo_process::{Memory, ProcessMemory, Target};
use support::{Made, open};
use synth::image::{Image, RUNTIME, Release};
use synth::target::PATIENCE;
use synth::{Launch, interpreter, interpreters, samples};

const OBEDIENT: &str = include_str!("targets/pending.py");

/// A target that does as it is told while its main thread waits.
struct Obedient {
    process: synth::Target,
    target: Target,
    runtime: Runtime<ProcessMemory>,
    function: Address,
}

fn runtime(target: &Target) -> Runtime<ProcessMemory> {
    let modules = target.modules().expect("the target's modules");
    let location = locate(&target.memory(), &modules, target, &Limits::default());
    let location = location.expect("an interpreter");
    Runtime::open(target.memory(), &location, Limits::default()).expect("a known layout")
}

fn main_interpreter(runtime: &Runtime<ProcessMemory>) -> Interpreter {
    let found = runtime.interpreters().expect("the interpreters");
    found.main().expect("the main one").clone()
}

impl Obedient {
    fn start(interpreter: &synth::Interpreter) -> Self {
        let process = Launch::new(interpreter, OBEDIENT).start();
        let target = Target::open(process.pid()).expect("the target");
        Self {
            runtime: runtime(&target),
            function: Address(process.ready_ids()[0]),
            process,
            target,
        }
    }

    /// The lines that it has printed so far which begin so.
    fn printed(&self, start: &str) -> Vec<String> {
        let output = self.process.stdout_so_far();
        let lines = output
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let such = lines.filter(|line| line.starts_with(start));
        such.map(|line| line.trim_end().to_owned()).collect()
    }

    /// Waits until it has printed more than `before` lines which begin so; gives the last.
    fn wait(&self, start: &str, before: usize) -> String {
        let begun = Instant::now();
        loop {
            let lines = self.printed(start);
            if lines.len() > before {
                return lines.last().expect("a line").clone();
            }
            let errors = self.process.stderr_so_far();
            assert!(begun.elapsed() < PATIENCE, "no {start}: {lines:?} {errors}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until its main thread waits for a lock, while the other waits to be told something.
    fn settle(&self) {
        /// `futex`, on x86-64 and on AArch64, and `read` likewise.
        const FUTEX: [&str; 2] = ["202", "98"];
        const READ: [&str; 2] = ["0", "63"];
        let pid = self.process.pid();
        let begun = Instant::now();
        loop {
            let sits = |tid: u32, calls: [&str; 2]| {
                let line = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall"));
                let line = line.unwrap_or_default();
                calls.contains(&line.split(' ').next().unwrap_or_default())
            };
            let states = self.process.thread_states();
            let mut tids = states.into_iter().map(|(tid, _)| tid);
            if tids.all(|tid| sits(tid, if tid == pid { FUTEX } else { READ })) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not settle");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What it answers.
    fn tell(&self, command: &str) -> i32 {
        self.settle();
        let before = self.printed("done").len();
        self.process.send_line(command);
        let answer = self.wait("done", before);
        answer
            .trim_start_matches("done ")
            .parse()
            .expect("a number")
    }

    fn write(&self, changes: &[Change]) {
        let word = |change: &Change| {
            let hex = change.bytes.iter().map(|byte| format!("{byte:02x}"));
            format!(" {} {}", change.address.0, hex.collect::<String>())
        };
        let words: String = changes.iter().map(word).collect();
        assert_eq!(self.tell(&format!("write{words}")), 0);
    }

    fn pending(&self, queue: Queue) -> PendingCalls {
        let main = main_interpreter(&self.runtime);
        self.runtime.pending_calls(&main, queue).expect("the queue")
    }

    /// The arguments of the calls that wait for the main thread, which all are its own.
    fn waiting(&self) -> Vec<u64> {
        let calls = self.pending(Queue::MainThread).calls;
        assert!(calls.iter().all(|call| call.function == self.function));
        calls.iter().map(|call| call.argument.0).collect()
    }

    fn call(&self, argument: u64) -> PendingCall {
        PendingCall {
            function: self.function,
            argument: Address(argument),
        }
    }

    /// That the main thread, let go on, makes these calls and no other.
    fn makes(&self, arguments: &[u64]) {
        let made = self.printed("made").len();
        let through = self.printed("through").len();
        assert_eq!(self.tell("open"), 0);
        self.wait("through", through);
        let expected = arguments.iter().map(|it| format!("made {it} main"));
        let expected: Vec<_> = expected.collect();
        assert_eq!(self.printed("made")[made..], expected);
        assert!(self.waiting().is_empty());
    }
}

fn minor(interpreter: &synth::Interpreter) -> u32 {
    let minor = interpreter.version.split('.').nth(1);
    minor
        .and_then(|minor| minor.parse().ok())
        .expect("a version")
}

#[test]
fn a_call_is_seen_added_and_taken_back_as_the_interpreter_does_it() {
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let it = Obedient::start(interpreter);
        assert!(it.waiting().is_empty(), "{name}");
        assert_eq!(it.tell("add 7"), 0);
        assert_eq!(it.tell("add 8"), 0);
        assert_eq!(it.waiting(), [7, 8], "{name}");

        let seen = it.pending(Queue::MainThread);
        assert!(!seen.locked && !seen.closed, "{name}");
        assert_eq!(seen.being_made, (minor(interpreter) >= 12).then_some(false));
        assert_eq!(seen.without_last(it.call(7)), None, "{name}: not the last");
        it.write(&seen.entry(it.call(9)).unwrap());
        assert_eq!(it.waiting(), [7, 8, 9], "{name}");
        it.makes(&[7, 8, 9]);

        it.write(&it.pending(Queue::MainThread).entry(it.call(10)).unwrap());
        assert_eq!(it.waiting(), [10]);
        let seen = it.pending(Queue::MainThread);
        it.write(&seen.without_last(it.call(10)).unwrap());
        assert!(it.waiting().is_empty(), "{name}");
        it.makes(&[]);

        // All is as it was: whoever adds a call next finds the queue in order.
        it.write(&it.pending(Queue::MainThread).entry(it.call(11)).unwrap());
        assert_eq!(it.tell("add 12"), 0);
        it.makes(&[11, 12]);
    }
}

#[test]
fn whatever_part_of_an_entry_is_written_does_no_harm() {
    for interpreter in interpreters() {
        let it = Obedient::start(interpreter);
        let changes = it.pending(Queue::MainThread).entry(it.call(1)).unwrap();
        let fields: Vec<_> = changes.iter().map(|change| change.field).collect();
        let next = if minor(interpreter) >= 13 {
            "pending.next"
        } else {
            "pending.last"
        };
        assert_eq!(fields[..2], ["pending.calls", next]);
        assert_eq!(fields.last(), Some(&"eval_breaker"));
        // The place alone, then all but what makes the thread look: it looks as it takes the GIL,
        // or as soon as somebody else makes it.
        it.write(&changes[..1]);
        it.makes(&[]);
        it.write(&changes[..3]);
        assert_eq!(it.waiting(), [1], "{}", interpreter.name);
        it.write(&it.pending(Queue::MainThread).entry(it.call(2)).unwrap());
        it.makes(&[1, 2]);
    }
}

#[test]
fn a_full_ring_is_full_and_goes_round() {
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let it = Obedient::start(interpreter);
        let capacity = it.pending(Queue::MainThread).capacity as u64;
        assert_eq!(capacity, if minor(interpreter) >= 13 { 32 } else { 31 });
        for _ in 0..12 {
            let arguments: Vec<_> = (1..=capacity).collect();
            let (added, written) = arguments.split_at(arguments.len() - 2);
            for argument in added {
                assert_eq!(it.tell(&format!("add {argument}")), 0, "{name}");
            }
            for argument in written {
                let seen = it.pending(Queue::MainThread);
                it.write(&seen.entry(it.call(*argument)).unwrap());
            }
            assert_eq!(it.tell("add 99"), -1, "{name}: it is full");
            let error = it.pending(Queue::MainThread).entry(it.call(99));
            assert_eq!(error.unwrap_err().kind, ErrorKind::Unsupported, "{name}");
            assert_eq!(it.waiting(), arguments, "{name}");
            it.makes(&arguments);
        }
    }
}

#[test]
fn a_lock_that_is_held_keeps_the_queue_as_it_is() {
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let it = Obedient::start(interpreter);
        assert_eq!(it.tell("add 5"), 0);
        let seen = it.pending(Queue::MainThread);
        // The first place of the ring: the pointer to the lock stands before it, or the lock does.
        let place = seen.entry(it.call(6)).unwrap()[0].address.0;
        let (lock, unlock) = if minor(interpreter) >= 13 {
            let mutex = place - 24 - 16;
            (format!("mutex {mutex}"), format!("unmutex {mutex}"))
        } else {
            let pointer = it.target.memory().read_u64(Address(place - 16 - 16));
            let pointer = pointer.unwrap();
            (format!("lock {pointer}"), format!("unlock {pointer}"))
        };
        it.tell(&lock);
        let seen = it.pending(Queue::MainThread);
        assert!(seen.locked, "{name}");
        assert_eq!(it.waiting(), [5], "{name}");
        let error = seen.entry(it.call(6)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported, "{name}");
        assert_eq!(seen.without_last(it.call(5)), None, "{name}");
        it.tell(&unlock);
        assert!(!it.pending(Queue::MainThread).locked, "{name}");
        it.makes(&[5]);
    }
}

#[test]
fn it_is_said_while_a_call_is_being_made() {
    for interpreter in interpreters() {
        let it = Obedient::start(interpreter);
        assert_eq!(it.tell("add 1000"), 0);
        assert_eq!(it.tell("open"), 0);
        it.wait("made 1000", 0);
        let seen = it.pending(Queue::MainThread);
        assert_eq!(seen.being_made, (minor(interpreter) >= 12).then_some(true));
        assert_eq!(seen.calls, []);
        // What is added then is made with it.
        it.write(&seen.entry(it.call(2)).unwrap());
        assert_eq!(it.tell("leave"), 0);
        it.wait("through", 0);
        assert_eq!(it.printed("made"), ["made 1000 main", "made 2 main"]);
    }
}

#[test]
fn any_thread_makes_the_calls_of_an_interpreter() {
    for interpreter in interpreters() {
        let it = Obedient::start(interpreter);
        let main = main_interpreter(&it.runtime);
        let seen = it.runtime.pending_calls(&main, Queue::AnyThread);
        if minor(interpreter) < 12 {
            assert_eq!(seen.unwrap_err().kind, ErrorKind::Unsupported);
            continue;
        }
        let seen = seen.unwrap();
        assert_eq!((seen.calls.len(), seen.locked), (0, false));
        it.write(&seen.entry(it.call(3)).unwrap());
        // The thread that wrote it, while the main one waits.
        it.wait("made 3 worker", 0);
        assert_eq!(it.pending(Queue::AnyThread).calls, []);
    }
}

#[test]
fn only_the_main_interpreter_has_a_queue_for_the_main_thread() {
    let process = Launch::new(interpreter("3.14"), samples::SUBINTERPRETERS_IDLE).start();
    let target = Target::open(process.pid()).unwrap();
    let runtime = runtime(&target);
    let found = runtime.interpreters().unwrap();
    let main = found.main().unwrap();
    for one in &found.list {
        let seen = runtime.pending_calls(one, Queue::MainThread);
        if one == main {
            assert_eq!(seen.unwrap().calls, []);
        } else {
            assert_eq!(seen.unwrap_err().kind, ErrorKind::Unsupported);
        }
    }
}

/// Waits until what is read of a thread is so.
fn until(
    runtime: &Runtime<ProcessMemory>,
    what: &str,
    is_so: impl Fn(&ThreadState, Standing) -> bool,
) {
    let start = Instant::now();
    loop {
        let main = main_interpreter(runtime);
        let thread = main.threads.last().expect("the main thread");
        let standing = runtime.standing(&main, thread).expect("its standing");
        if is_so(thread, standing) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {standing:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_thread_tells_how_deep_it_may_go_and_whether_it_may_run() {
    const DEEP: &str = r#"
import ctypes, sys
sys.setrecursionlimit(700)
def down(count):
    try:
        return down(count + 1)
    except RecursionError:
        return count
def deep(count):
    if count:
        return deep(count - 1)
    print("ready", down(1), flush=True)
    sys.stdin.readline()
    # Without letting go of the GIL.
    ctypes.PyDLL(None).read(0, ctypes.create_string_buffer(1), 1)
    sys.stdin.read()
deep(int(sys.argv[1]))
"#;
    for interpreter in interpreters() {
        let name = &interpreter.name;
        for depth in ["0", "123", "456"] {
            let process = Launch::new(interpreter, DEEP).arguments([depth]).start();
            let told = process.ready_ids()[0].cast_signed();
            let target = Target::open(process.pid()).unwrap();
            let runtime = runtime(&target);
            until(&runtime, name, |_, standing| {
                // What waits is called too, and some versions count calls of C functions.
                let left = standing.recursion_left;
                !standing.attached && (left..=left + 5).contains(&told)
            });
            process.send_line("");
            until(&runtime, name, |_, standing| standing.attached);
            process.send_line("");
            until(&runtime, name, |_, standing| !standing.attached);
        }
    }
}

fn phase(process: &synth::Target) -> Option<Phase> {
    let target = Target::open(process.pid()).expect("it can be read");
    let runtime = runtime(&target);
    let found = runtime.interpreters().expect("it can be read");
    found
        .main()
        .map(|main| runtime.phase(main).expect("it can be read"))
}

#[test]
fn python_runs_from_site_to_its_exit_functions() {
    const AT_EXIT: &str = r#"
import atexit, sys
def last():
    print("ready", flush=True)
    sys.stdin.read()
atexit.register(last)
"#;
    const AT_ITS_THREADS: &str = r#"
import sys, threading, time
def outlives():
    while threading.main_thread().is_alive():
        time.sleep(0.001)
    print("ready", flush=True)
    sys.stdin.read()
threading.Thread(target=outlives).start()
"#;
    const IN_SITE: &str = r#"
import sys
print("ready", flush=True)
sys.stdin.read()
"#;
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("sitecustomize.py"), IN_SITE).unwrap();
    for interpreter in interpreters() {
        let name = &interpreter.name;
        for program in [samples::SLEEPER, AT_EXIT, AT_ITS_THREADS] {
            let process = Launch::new(interpreter, program).start();
            assert_eq!(phase(&process), Some(Phase::Running), "{name}");
        }
        let process = Launch::new(interpreter, "")
            .variable("PYTHONPATH", site.path())
            .start();
        assert_eq!(phase(&process), Some(Phase::Running), "{name}");
    }
}

#[test]
fn python_that_takes_its_modules_apart_is_shutting_down() {
    const IN_THE_END: &str = r#"
import os
class Late:
    def __del__(self, write=os.write, read=os.read):
        write(1, b"ready\n")
        read(0, 1)
late = Late()
"#;
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, IN_THE_END).start();
        let name = &interpreter.name;
        assert_eq!(phase(&process), Some(Phase::Finalizing), "{name}");
    }
}

#[test]
fn a_queue_that_can_not_be_is_none() {
    /// Where the queue of the main thread is, and in it: first, next, count, the most.
    const FIELDS: [u64; 4] = [7224, 7228, 12, 16];
    for (release, at) in [
        (Release::V3_13, 2640),
        (Release::V3_14, 2848),
        (Release::V3_15, 2976),
    ] {
        let seen = |[first, next, count, most]: [i32; 4], function: u64| {
            let (mut image, ..) = Image::with_main(release);
            let queue = RUNTIME + at;
            image.write(queue, &[0; 7232]);
            for (field, value) in FIELDS.iter().zip([first, next, count, most]) {
                image.write(queue + field, &value.to_le_bytes());
            }
            for place in 0..300 {
                image.set_word(queue + 24 + 24 * place, function);
                image.set_word(queue + 24 + 24 * place + 8, place);
            }
            let memory = Made::new(image);
            let mut location = support::find(&memory).unwrap();
            location.build.debug = Some(false);
            let runtime = Runtime::open(&memory, &location, Limits::default()).unwrap();
            let main = runtime.interpreters().unwrap().main().unwrap().clone();
            let seen = runtime.pending_calls(&main, Queue::MainThread);
            // Where it is not known how it was built, it is not known where the queue is.
            let unknown = open(&memory).pending_calls(&main, Queue::MainThread);
            assert_eq!(unknown.unwrap_err().kind, ErrorKind::Unsupported);
            seen.map(|seen| {
                seen.calls
                    .iter()
                    .map(|call| call.argument.0)
                    .collect::<Vec<_>>()
            })
        };
        assert!(seen([0, 0, 0, 32], 9).unwrap().is_empty());
        assert_eq!(seen([298, 2, 4, 32], 9).unwrap(), [298, 299, 0, 1]);
        for wild in [
            [300, 0, 0, 32],
            [-1, 0, 1, 32],
            [0, 300, 0, 32],
            [0, i32::MIN, 0, 32],
            [0, 1, 0, 32],
            [0, 0, 300, 32],
            [0, 33, 33, 32],
            [0, 1, i32::MAX, 32],
            [0, 1, -1, 32],
            [0, 1, 1, 31],
            [0, 1, 1, i32::MAX],
            [0, 1, 1, -32],
        ] {
            assert_eq!(
                seen(wild, 9).unwrap_err().kind,
                ErrorKind::Corrupt,
                "{wild:?}"
            );
        }
        let error = seen([0, 1, 1, 32], 0).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "a call of no function");
    }
}
