//! Sampling live interpreters: what was recorded is what they did.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Instant;

use invivo_cpython::{Limits, Runtime, locate};
use invivo_model::{FunctionKind, Mode, Profile, ProfileFrame, Tables};
use invivo_process::{Fault, Memory, ProcessMemory, ReadRequest, Target};
use invivo_profile::{Collect, Interner, Options, SampleFrom, Sampler, Whereabouts};
use support::{PARTS, alone, ended, sampled, session, subject, ticks_in, until};
use synth::samples::FORKED_BY_C;
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, interpreter, interpreters};

#[test]
fn ticks_and_those_missed_are_all_that_were_due() {
    let _alone = alone();
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let process = Launch::new(interpreter, PARTS).start();
        let mut session = session(2000, Options::default());
        session.add(subject(process.pid())).unwrap();
        until(&mut session, |session| session.about().ticks >= 500);
        // It may be long after the last tick that it ends, on a busy machine.
        let last = session.about().duration;
        let profile = ended(session);
        let about = &profile.about;
        let due = |duration| duration / about.interval;
        assert!(
            (due(last)..due(about.duration) + 2).contains(&(about.ticks + about.missed)),
            "{name}: {last} of {about:?}"
        );
        assert!(about.own_time > 0, "{name}: {about:?}");
        let inside = ticks_in(&profile, "main");
        assert!(
            inside + about.torn + 1 >= about.ticks,
            "{name}: {inside} of {about:?}"
        );
    }
}

/// Memory that counts how often it is read.
struct Counted {
    memory: ProcessMemory,
    calls: Cell<u64>,
}

impl Memory for &Counted {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        self.calls.set(self.calls.get() + 1);
        self.memory.read_many(requests)?;
        // A piece that comes short costs the platform a call more, and so do very many.
        let short = requests.iter().filter(|request| !request.is_complete());
        self.calls.set(self.calls.get() + short.count() as u64);
        assert!(requests.len() <= 1024);
        Ok(())
    }
}

/// System calls a tick beside the sleep: one, and hardly any more where a stack moved.
const MOST_CALLS: f64 = 1.1;

/// Many threads, each as deep as it is told. The main thread computes, the others wait.
const SHAPE: &str = r#"
import sys, threading
threads, depth = map(int, sys.argv[1:])
sys.setrecursionlimit(depth + 100)
def compute():
    print("ready", flush=True)
    count = 0
    while True:
        count += 1
def down(left, then):
    if left:
        down(left - 1, then)
    else:
        then()
for _ in range(threads - 1):
    threading.Thread(target=down, args=(depth, threading.Event().wait), daemon=True).start()
down(depth, compute)
"#;

#[test]
fn a_tick_takes_few_system_calls_whatever_the_threads_and_the_depth() {
    let _alone = alone();
    for name in ["3.8", "3.11", "3.12", "3.13", "3.14", "3.15"] {
        for (threads, depth) in [("1", "10"), ("1", "500"), ("50", "10")] {
            let process = Launch::new(interpreter(name), SHAPE)
                .arguments([threads, depth])
                .start();
            let target = Target::open(process.pid()).unwrap();
            let counted = Counted {
                memory: target.memory(),
                calls: Cell::new(0),
            };
            let limits = Limits::default();
            let modules = target.modules().unwrap();
            let location = locate(&target.memory(), &modules, &target, &limits).unwrap();
            let runtime = Runtime::open(&counted, &location, limits).unwrap();
            let mut sampler = Sampler::new(target, runtime, 0, Options::default());
            let (mut interner, mut sink, mut seen) = (Interner::new(), Collect::new(), Vec::new());
            let mut whereabouts = Whereabouts::new(SampleFrom::Auto);
            let mut tick = || {
                seen.clear();
                sampler
                    .tick(&mut interner, &mut sink, &mut seen, &mut whereabouts)
                    .unwrap();
                seen.len().to_string()
            };
            for _ in 0..100 {
                tick();
            }
            counted.calls.set(0);
            const TICKS: u64 = 100;
            for _ in 0..TICKS {
                assert_eq!(tick(), threads, "{name}");
            }
            let calls = counted.calls.get() as f64 / TICKS as f64;
            // Where frames are objects, a stack that moved is looked at again.
            let most = if name == "3.8" { 5.0 } else { MOST_CALLS };
            assert!(
                calls <= most,
                "{name}: {calls} calls a tick for {threads} x {depth}"
            );
        }
    }
}

const THREADS: &str = r#"
import sys, threading, time
def busy():
    while True:
        pass
def faulty():
    try:
        raise ValueError
    except ValueError:
        while True:
            pass
def sleeping():
    threading.Event().wait()
for function in (busy, faulty, sleeping):
    threading.Thread(target=function, name=function.__name__, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"#;

/// Ticks by thread's name.
fn by_thread(profile: &Profile) -> BTreeMap<&str, u64> {
    let mut ticks = BTreeMap::new();
    for sample in &profile.samples {
        let thread = &profile.tables.threads[sample.thread as usize];
        let name = thread.name.as_ref().map_or("", |name| name.text.as_str());
        *ticks.entry(name).or_insert(0) += u64::from(sample.ticks);
    }
    ticks
}

/// Samples until both threads that run were seen: when each gets the GIL or a processor is for
/// others to decide. And so many ticks that one that does not run would have been seen.
fn sampled_until_both(pid: u32, options: Options) -> Profile {
    let mut session = session(1000, options);
    session.add(subject(pid)).unwrap();
    until(&mut session, |session| {
        let ticks = by_thread(session.sink().profile());
        let both = ["busy", "faulty"].iter().all(|one| ticks.contains_key(one));
        both && session.about().ticks >= 500
    });
    ended(session)
}

#[test]
fn modes_count_the_threads_they_are_about() {
    let _alone = alone();
    for name in ["3.8", "3.11", "3.13", "3.15"] {
        let process = Launch::new(interpreter(name), THREADS).start();
        let mode = |mode| Options {
            mode,
            ..Options::default()
        };
        let sampled = |options| sampled(process.pid(), 1000, 500, options);

        let wall = sampled(mode(Mode::Wall));
        let all = by_thread(&wall);
        for thread in ["MainThread", "busy", "faulty", "sleeping"] {
            assert_eq!(all[thread], wall.about.ticks, "{name}: {thread} in {all:?}");
        }
        let main: Vec<_> = wall
            .tables
            .threads
            .iter()
            .filter(|thread| thread.is_main)
            .collect();
        assert_eq!(main.len(), 1, "{name}");
        assert_eq!(main[0].tid, process.pid(), "{name}");

        let gil = sampled_until_both(process.pid(), mode(Mode::Gil));
        let ticks = by_thread(&gil);
        assert!(
            ticks.values().sum::<u64>() <= gil.about.ticks,
            "{name}: gil {ticks:?}"
        );
        assert!(!ticks.contains_key("sleeping"), "{name}: gil {ticks:?}");

        let exception = sampled(mode(Mode::Exception));
        let ticks = by_thread(&exception);
        assert_eq!(
            ticks,
            BTreeMap::from([("faulty", exception.about.ticks)]),
            "{name}"
        );

        let cpu = sampled_until_both(process.pid(), mode(Mode::Cpu));
        let ticks = by_thread(&cpu);
        assert!(!ticks.contains_key("sleeping"), "{name}: cpu {ticks:?}");
        assert!(
            cpu.samples
                .iter()
                .all(|sample| sample.status.on_cpu == Some(true))
        );
    }
}

/// Collects garbage nearly all the time.
const COLLECTOR: &str = r#"
import gc
kept = [[n] for n in range(200_000)]
print("ready", flush=True)
def collect():
    while True:
        gc.collect()
collect()
"#;

#[test]
fn the_collector_columns_and_opcodes_are_told_where_they_are_asked_for() {
    let _alone = alone();
    for name in ["3.8", "3.13", "3.15"] {
        let process = Launch::new(interpreter(name), COLLECTOR).start();
        let options = Options {
            collector: true,
            columns: true,
            opcodes: true,
            ..Options::default()
        };
        let profile = sampled(process.pid(), 500, 200, options);
        let all = ticks_in(&profile, "collect");
        let collecting = ticks_in(&profile, "<garbage collector>");
        assert!(
            all >= 190 && collecting * 10 > all * 8,
            "{name}: {collecting} of {all}"
        );
        let Tables {
            frames, functions, ..
        } = &profile.tables;
        let python = frames
            .iter()
            .filter(|frame| functions[frame.function as usize].kind == FunctionKind::Python);
        let has_columns = !["3.8"].contains(&name);
        for frame in python {
            assert!(
                frame.line > 0 && frame.opcode.is_some(),
                "{name}: {frame:?}"
            );
            assert_eq!(frame.columns.is_some(), has_columns, "{name}: {frame:?}");
        }

        let plain = sampled(process.pid(), 500, 20, Options::default());
        let bare = |frame: &ProfileFrame| frame.columns.is_none() && frame.opcode.is_none();
        assert!(plain.tables.frames.iter().all(bare), "{name}");
        assert_eq!(ticks_in(&plain, "<garbage collector>"), 0, "{name}");
    }
}

/// One thread after the other, each of which may get all that the one before it had.
const GENERATIONS: &str = r#"
import sys, threading
def busy():
    while goes_on: pass
print("ready", flush=True)
for number, _ in enumerate(sys.stdin):
    goes_on = True
    thread = threading.Thread(target=busy)
    thread.start()
    print(f"begun {number} ", flush=True)
    sys.stdin.readline()
    goes_on = False
    thread.join()
"#;

#[test]
fn a_thread_that_has_the_place_of_one_that_ended_is_seen() {
    let _alone = alone();
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let process = Launch::new(interpreter, GENERATIONS).start();
        let options = Options {
            mode: Mode::Cpu,
            ..Options::default()
        };
        let mut session = session(1000, options);
        session.add(subject(process.pid())).unwrap();
        for number in 0..10 {
            process.send_line("");
            process.wait_line(&format!("begun {number} "), PATIENCE);
            let before = ticks_in(session.sink().profile(), "busy");
            let begun = Instant::now();
            while ticks_in(session.sink().profile(), "busy") < before + 10 {
                session.step().unwrap();
                assert!(begun.elapsed() < PATIENCE, "{name}: thread {number}");
            }
            process.send_line("");
        }
    }
}

#[test]
fn a_child_that_c_code_forked_is_seen_at_work() {
    let _alone = alone();
    let options = [(Mode::Cpu, true), (Mode::Wall, false)].map(|(mode, idle)| Options {
        mode,
        idle,
        ..Options::default()
    });
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let process = Launch::new(interpreter, FORKED_BY_C).start();
        let child = u32::try_from(process.ready_ids()[0]).unwrap();
        for options in options {
            let mut session = session(1000, options);
            session.add(subject(child)).unwrap();
            until(&mut session, |session| {
                ticks_in(session.sink().profile(), "child_computes") >= 10
            });
            let profile = ended(session);
            let samples = profile.samples.iter();
            let threads = samples.map(|sample| &profile.tables.threads[sample.thread as usize]);
            for thread in threads.filter(|thread| thread.tid != child) {
                // Just forked, it had no number yet.
                assert_eq!(thread.tid, 0, "{name}: {options:?}");
            }
            assert_eq!(
                profile.tables.threads.last().unwrap().tid,
                child,
                "{name}: {options:?}"
            );
        }
        process.close_input();
        assert!(process.wait_exit(PATIENCE).success(), "{name}");
    }
}

/// A thread leaves a thread state behind, and another gets the memory of the thread.
const LEFT: &str = r#"
import ctypes, os, threading, time
get = ctypes.pythonapi.PyInterpreterState_Get
new = ctypes.pythonapi.PyThreadState_New
get.restype = new.restype = ctypes.c_void_p
new.argtypes = [ctypes.c_void_p]
def leave():
    new(get())
def compute():
    print("ready", threading.get_native_id(), flush=True)
    while True:
        sum(range(300))
first = threading.Thread(target=leave)
first.start()
ident = first.ident
first.join()
while len(os.listdir("/proc/self/task")) > 1:
    time.sleep(0.001)
second = threading.Thread(target=compute, daemon=True)
second.start()
assert second.ident == ident
second.join()
"#;

#[test]
fn a_thread_state_that_was_left_is_not_taken_for_who_has_the_memory_of_its_thread() {
    let _alone = alone();
    // Older ones do not say more than what the two have in common.
    let old = ["3.8.", "3.9.", "3.10."];
    let is_old = |one: &&Interpreter| old.iter().any(|old| one.version.starts_with(old));
    for interpreter in interpreters().iter().filter(|one| !is_old(one)) {
        let name = &interpreter.name;
        let process = Launch::new(interpreter, LEFT).start();
        let computes = u32::try_from(process.ready_ids()[0]).unwrap();
        let profile = sampled(process.pid(), 1000, 50, Options::default());
        let threads = &profile.tables.threads;
        let mut tids: Vec<_> = threads.iter().map(|thread| thread.tid).collect();
        tids.sort_unstable();
        assert_eq!(tids, [0, process.pid(), computes], "{name}: {threads:?}");
    }
}
