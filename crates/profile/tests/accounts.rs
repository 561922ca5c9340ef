//! Processor time in a profile is what the kernel accounted to each thread, on a machine that has
//! more to do than it has processors: there a thread that looks runnable mostly waits.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::collections::BTreeMap;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use invivo_model::{Mode, Profile, Trust};
use invivo_profile::{Options, Step};
use support::{alone, ended, names, session, subject};
use synth::target::PATIENCE;
use synth::{Launch, Target, helpers, interpreter};

/// Keeps processors busy until it is dropped.
struct Load(Arc<AtomicBool>);

impl Load {
    fn of(threads: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    spin_loop();
                }
            });
        }
        Self(over)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A thread of Python computes, one computes now and then, one sleeps, and two have no Python.
const BUSY: &str = r#"
import ctypes, sys, threading, time
native = ctypes.CDLL(sys.argv[1])
def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end: pass
def compute():
    while True: spin(1)
def nap():
    while True:
        spin(0.004)
        time.sleep(0.02)
def rest():
    while True: time.sleep(0.001)
for function in nap, rest:
    threading.Thread(target=function, name=function.__name__, daemon=True).start()
assert native.start(2) == 0
print("ready", flush=True)
compute()
"#;

const CPU: Options = Options {
    mode: Mode::Cpu,
    idle: true,
    activity: false,
    natives: false,
    collector: false,
    native: false,
    tasks: false,
    columns: false,
    opcodes: false,
};

fn launch(name: &str, program: &str) -> Target {
    Launch::new(interpreter(name), program)
        .arguments([helpers::spin()])
        .start()
}

/// Samples from a tick on that `begin` is called at, until `enough` of what it gave.
fn sampled<T>(
    target: &Target,
    options: Options,
    begin: impl Fn() -> T,
    enough: impl Fn(&T) -> bool,
) -> (T, Profile) {
    let mut session = session(200, options);
    session.add(subject(target.pid())).unwrap();
    while session.step().unwrap() != Step::Ticked {}
    let (begun, deadline) = (begin(), Instant::now() + PATIENCE);
    while !enough(&begun) {
        assert!(Instant::now() < deadline, "{:?}", session.about());
        assert_ne!(session.step().unwrap(), Step::Ended);
    }
    (begun, ended(session))
}

/// The time that the samples of each thread stand for: what each tick took.
fn times(profile: &Profile) -> BTreeMap<u32, Duration> {
    let about = &profile.about;
    let tick = Duration::from_nanos(about.duration / about.ticks);
    let mut times = BTreeMap::new();
    for sample in &profile.samples {
        let tid = profile.tables.threads[sample.thread as usize].tid;
        *times.entry(tid).or_default() += tick * sample.ticks;
    }
    times
}

/// Whether `shown` is off by no more than a tenth and what a few ticks come to.
fn is_about(shown: Duration, real: Duration) -> bool {
    shown.abs_diff(real) <= real / 10 + Duration::from_millis(60)
}

#[test]
fn every_thread_has_what_it_was_accounted_however_long_it_waited() {
    let _alone = alone();
    let _load = Load::of(4);
    for name in ["3.8", "3.11", "3.13", "3.15"] {
        let target = launch(name, BUSY);
        let main = target.pid();
        let (before, profile) = sampled(
            &target,
            CPU,
            || target.processor_times(),
            |before| {
                target.processor_times()[&main][0] >= before[&main][0] + Duration::from_millis(600)
            },
        );
        let after = target.processor_times();
        assert!(target.is_running(), "{name}");
        let waited = after[&main][1] - before[&main][1];
        assert!(
            waited > Duration::from_millis(100),
            "{name}: {waited:?} of no load"
        );

        let shown = times(&profile);
        for (tid, [on, _]) in &before {
            let real = after[tid][0] - *on;
            let shown = shown.get(tid).copied().unwrap_or_default();
            assert!(
                is_about(shown, real),
                "{name} {tid}: {shown:?} for {real:?}, {:?}",
                profile.about
            );
        }
        // Whose it is, and that of the threads without Python is nobody's.
        for sample in &profile.samples {
            let names = names(&profile.tables, sample.stack);
            let thread = &profile.tables.threads[sample.thread as usize];
            let place = match thread.name.as_ref().map(|name| name.text.as_str()) {
                _ if !thread.has_python() => "<thread without Python>",
                Some("nap") => "nap",
                Some("rest") => "rest",
                _ => "compute",
            };
            let unseen = names == ["<ran between samples>"];
            // Of a torn one there may be no more than the innermost functions.
            let torn = sample.trust != Trust::Whole;
            assert!(
                names.contains(&place) || unseen || torn,
                "{name}: {names:?} in {thread:?}"
            );
            assert_eq!(sample.status.on_cpu, Some(true));
            assert_eq!(sample.status.waits_for_cpu, Some(false));
        }
        let natives = profile
            .tables
            .threads
            .iter()
            .filter(|thread| !thread.has_python());
        assert_eq!(natives.count(), 2, "{name}");
    }
}

/// A thread is begun and ends before anybody could look at it, again and again.
const SHORT: &str = r#"
import ctypes, sys
native = ctypes.CDLL(sys.argv[1])
print("ready", flush=True)
while True:
    assert native.burst(2) == 0
"#;

#[test]
fn threads_that_end_before_they_are_looked_at_are_counted() {
    let _alone = alone();
    let target = launch("3.13", SHORT);
    let (before, profile) = sampled(
        &target,
        CPU,
        || target.processor_time(),
        |before| target.processor_time() >= *before + Duration::from_secs(1),
    );
    let real = target.processor_time() - before;
    let shown: Duration = times(&profile).values().sum();
    // What it was asked for last, and how exact that is, comes on top.
    let slack = real / 10 + Duration::from_millis(250);
    assert!(shown.abs_diff(real) <= slack, "{shown:?} for {real:?}");
    let short = profile
        .samples
        .iter()
        .filter(|sample| names(&profile.tables, sample.stack) == ["<short-lived threads>"]);
    let short: u64 = short.map(|sample| u64::from(sample.ticks)).sum();
    assert!(short > 0, "{:?}", profile.tables.threads);
}
