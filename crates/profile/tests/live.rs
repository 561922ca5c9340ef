//! Sampling live interpreters: what was recorded is what they did.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use invivo_cpython::{Limits, Runtime, locate};
use invivo_model::{FunctionKind, Mode, Profile, ProfileFrame, Sample, Tables};
use invivo_process::{Fault, Launched, Memory, ProcessMemory, ReadRequest, Target};
use invivo_profile::{
    Collect, Follower, Interner, Jitter, Options, Plan, Prefetch, Recording, Sampler, Session,
    Step, Subject,
};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, interpreter, interpreters};

/// Spends its time in known parts, and says on request how much it has spent in each.
const SHARES: &str = r#"
import sys, threading, time
spent = dict.fromkeys(("three", "one", "recurse", "generate"), 0.0)
def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
def three(): spin(0.003)
def one(): spin(0.001)
def recurse(depth):
    if depth:
        recurse(depth - 1)
    else:
        spin(0.002)
def generate():
    while True:
        spin(0.002)
        yield
def main():
    generator = generate()
    parts = {"three": three, "one": one, "recurse": lambda: recurse(9), "generate": lambda: next(generator)}
    print("ready", flush=True)
    while True:
        for name, part in parts.items():
            begun = time.perf_counter()
            part()
            spent[name] += time.perf_counter() - begun
def answer():
    for line in sys.stdin:
        print("spent", line.strip(), *(f"{name}={seconds}" for name, seconds in sorted(spent.items())), flush=True)
threading.Thread(target=answer, daemon=True).start()
main()
"#;

/// Tests that measure don't do so at the same time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn plan(hertz: u64, options: Options) -> Plan {
    Plan {
        interval: 1_000_000_000 / hertz,
        jitter: Jitter::Uniform,
        options,
        creator: "a test".to_owned(),
    }
}

fn session(hertz: u64, options: Options) -> Session<Collect> {
    Session::new(plan(hertz, options), |_| Ok(Collect::new())).unwrap()
}

fn subject(pid: u32) -> Subject {
    Subject::new(Target::open(pid).unwrap(), None).unwrap()
}

/// Samples a process for so many ticks.
fn sampled(pid: u32, hertz: u64, ticks: u64, options: Options) -> Profile {
    let mut session = session(hertz, options);
    session.add(subject(pid)).unwrap();
    until(&mut session, |session| session.about().ticks >= ticks);
    ended(session)
}

/// Steps until it is enough.
fn until(session: &mut Session<Collect>, enough: impl Fn(&Session<Collect>) -> bool) {
    let begun = Instant::now();
    while !enough(session) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", session.about());
        assert_ne!(session.step().unwrap(), Step::Ended);
    }
}

/// Steps until all processes have ended.
fn to_the_end(mut session: Session<Collect>) -> Profile {
    let begun = Instant::now();
    while session.step().unwrap() != Step::Ended {
        assert!(begun.elapsed() < PATIENCE, "{:?}", session.about());
    }
    ended(session)
}

fn ended(session: Session<Collect>) -> Profile {
    let (collect, about) = session.end();
    let mut profile = collect.into_profile();
    profile.about = about;
    profile
}

/// The names of the functions on a stack, outermost first.
fn names(tables: &Tables, mut stack: Option<u32>) -> Vec<&str> {
    let mut names = Vec::new();
    while let Some(index) = stack {
        let node = tables.stacks[index as usize];
        let frame = tables.frames[node.frame as usize];
        names.push(tables.functions[frame.function as usize].name.text.as_str());
        stack = node.caller;
    }
    names.reverse();
    names
}

/// In how many ticks the stack of a thread had a function of this name.
fn ticks_in(profile: &Profile, name: &str) -> u64 {
    let all = profile.samples.iter();
    let inside = all.filter(|sample| names(&profile.tables, sample.stack).contains(&name));
    inside.map(|sample| u64::from(sample.ticks)).sum()
}

fn close(found: f64, wanted: f64, tolerance: f64, what: &str) {
    assert!(
        (found - wanted).abs() <= tolerance,
        "{what}: {found}, should be {wanted}"
    );
}

/// What it has spent in each part so far, in seconds. Each time it is asked by another `word`.
fn spent(process: &synth::Target, word: &str) -> BTreeMap<String, f64> {
    process.send_line(word);
    let line = process.wait_line(&format!("spent {word} "), PATIENCE);
    let pair = |word: &str| {
        let (name, seconds) = word.split_once('=').unwrap();
        (name.to_owned(), seconds.parse().unwrap())
    };
    line.split_whitespace().skip(2).map(pair).collect()
}

#[test]
fn shares_are_those_of_the_target_in_every_version() {
    let _alone = alone();
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let process = Launch::new(interpreter, SHARES).start();
        let off: Vec<_> = (0..5)
            .map(|attempt| share_that_is_off(&process, attempt))
            .take_while(|off| *off > 0.04)
            .collect();
        assert!(off.len() < 5, "{name}: {off:?}");
    }
}

/// By how much the share of that part is off that is off the most. When others keep both processors
/// busy, neither we nor the target run when they should.
fn share_that_is_off(process: &synth::Target, attempt: usize) -> f64 {
    let before = spent(process, &format!("before{attempt}"));
    let profile = sampled(process.pid(), 2000, 2000, Options::default());
    let after = spent(process, &format!("after{attempt}"));
    let whole: f64 = after.values().sum::<f64>() - before.values().sum::<f64>();
    let main = ticks_in(&profile, "main");
    assert!(
        main + 50 >= profile.about.ticks,
        "{main} of {:?}",
        profile.about
    );
    let parts = ["three", "one", "recurse", "generate"];
    let off = parts.map(|part| {
        let share = (after[part] - before[part]) / whole;
        let seen = ticks_in(&profile, part) as f64 / main as f64;
        (seen - share).abs()
    });
    for sample in &profile.samples {
        let names = names(&profile.tables, sample.stack);
        let depth = names.iter().filter(|name| **name == "recurse").count();
        assert!(depth <= 10, "{names:?}");
    }
    let about = &profile.about;
    assert!(about.own_time > 0, "{about:?}");
    let due = about.duration / about.interval;
    assert!(
        (due..due + 2).contains(&(about.ticks + about.missed)),
        "{about:?}"
    );
    off.into_iter().fold(0.0, f64::max)
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
fn a_tick_takes_one_system_call_whatever_the_threads_and_the_depth() {
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
            let memory = Prefetch::new(&counted);
            let limits = Limits::default();
            let modules = target.modules().unwrap();
            let location = locate(&target.memory(), &modules, &target, &limits).unwrap();
            let runtime = Runtime::open(memory.clone(), &location, limits).unwrap();
            let mut sampler = Sampler::new(target, runtime, memory, 0, Options::default());
            let (mut interner, mut sink, mut seen) = (Interner::new(), Collect::new(), Vec::new());
            let mut tick = || {
                seen.clear();
                sampler.tick(&mut interner, &mut sink, &mut seen).unwrap();
                seen.len().to_string()
            };
            for _ in 0..20 {
                tick();
            }
            counted.calls.set(0);
            const TICKS: u64 = 100;
            for _ in 0..TICKS {
                assert_eq!(tick(), threads, "{name}");
            }
            let calls = counted.calls.get() as f64 / TICKS as f64;
            assert!(
                calls <= 1.1,
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

/// Ticks by thread's name, as shares of all.
fn by_thread(profile: &Profile) -> BTreeMap<&str, f64> {
    let mut ticks = BTreeMap::new();
    for sample in &profile.samples {
        let thread = &profile.tables.threads[sample.thread as usize];
        let name = thread.name.as_ref().map_or("", |name| name.text.as_str());
        *ticks.entry(name).or_insert(0.0) += f64::from(sample.ticks) / profile.about.ticks as f64;
    }
    ticks
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
            close(
                all[thread],
                1.0,
                0.02,
                &format!("{name}: {thread} in {all:?}"),
            );
        }
        let main: Vec<_> = wall
            .tables
            .threads
            .iter()
            .filter(|thread| thread.is_main)
            .collect();
        assert_eq!(main.len(), 1, "{name}");
        assert_eq!(main[0].tid, process.pid(), "{name}");

        let gil = sampled(mode(Mode::Gil));
        let shares = by_thread(&gil);
        close(
            shares.values().sum(),
            1.0,
            0.05,
            &format!("{name}: gil {shares:?}"),
        );
        for thread in ["busy", "faulty"] {
            close(
                shares[thread],
                0.5,
                0.15,
                &format!("{name}: gil {shares:?}"),
            );
        }

        let exception = sampled(mode(Mode::Exception));
        let shares = by_thread(&exception);
        close(
            shares["faulty"],
            1.0,
            0.02,
            &format!("{name}: exception {shares:?}"),
        );
        assert_eq!(shares.len(), 1, "{name}: exception {shares:?}");

        let cpu = sampled(mode(Mode::Cpu));
        let busy = by_thread(&cpu);
        assert!(!busy.contains_key("sleeping"), "{name}: cpu {busy:?}");
        assert!(
            busy["busy"] > 0.1 && busy["faulty"] > 0.1,
            "{name}: cpu {busy:?}"
        );
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

/// A directory with a Python program in it.
fn program(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program.py");
    fs::write(&path, text).unwrap();
    (directory, path)
}

fn launch(command: impl Into<OsString>, arguments: &[&Path]) -> Launched {
    let arguments: Vec<OsString> = arguments.iter().map(|path| path.into()).collect();
    Launched::start(&command.into(), &arguments).unwrap()
}

fn modern() -> impl Iterator<Item = &'static Interpreter> {
    ["3.8", "3.10", "3.12", "3.14", "3.15"]
        .into_iter()
        .map(interpreter)
}

#[test]
fn a_command_is_sampled_from_its_first_line_to_its_end() {
    let _alone = alone();
    let text = "import sys, time\ndef first():\n    end = time.perf_counter() + 0.2\n    \
                while time.perf_counter() < end: pass\nfirst()\nsys.exit(7)\n";
    for interpreter in modern() {
        let (_directory, path) = program(text);
        let mut session = session(1000, Options::default());
        let command = launch(&interpreter.program, &[&path]);
        session.follow(Follower::new(command.pid(), false).unwrap());
        let profile = to_the_end(session);
        assert_eq!(command.wait(), Ok(7));
        let name = &interpreter.name;
        let first = profile
            .samples
            .iter()
            .find(|sample| names(&profile.tables, sample.stack).contains(&"first"));
        let first = first.unwrap_or_else(|| panic!("{name}: {:?}", profile.about));
        // Up to the moment in which the interpreter was found, nothing is known of it.
        let begun = profile
            .samples
            .iter()
            .map(|sample| sample.time)
            .min()
            .unwrap();
        assert!(begun < first.time, "{name}: {begun} {first:?}");
        let ticks = ticks_in(&profile, "first");
        assert!(
            ticks + profile.about.missed >= 190,
            "{name}: {ticks} of {:?}",
            profile.about
        );
        assert_eq!(profile.tables.processes.len(), 1, "{name}");
        assert_eq!(
            profile.tables.processes[0].command[1],
            path.to_str().unwrap()
        );
    }
}

/// Each Python writes its number into a directory, spins for a tenth of a second, and ends.
const BRIEF: &str = r#"
import os, sys, time
def brief():
    open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
    end = time.perf_counter() + 0.1
    while time.perf_counter() < end: pass
if __name__ == "__main__":
    if sys.argv[2] == "fork":
        for _ in range(3):
            if os.fork() == 0:
                brief()
                os._exit(0)
        for _ in range(3):
            os.wait()
    elif sys.argv[2] != "alone":
        import multiprocessing
        with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
            list(pool.imap(time.sleep, [0.1] * 4))
            for process in multiprocessing.active_children():
                open(os.path.join(sys.argv[1], str(process.pid)), "w").close()
    brief()
"#;

#[test]
fn children_are_followed_from_birth() {
    let _alone = alone();
    for (name, how) in [
        ("3.8", "spawn"),
        ("3.12", "fork"),
        ("3.15", "fork"),
        ("3.15", "forkserver"),
        ("3.14", "shell"),
    ] {
        let program_path = &interpreter(name).program;
        let (directory, path) = program(BRIEF);
        let born = directory.path().join("born");
        fs::create_dir(&born).unwrap();
        let mut session = session(500, Options::default());
        let command = if how == "shell" {
            let line = format!(
                "{0} {1} {2} alone & {0} {1} {2} alone; {0} {1} {2} alone; wait",
                program_path.display(),
                path.display(),
                born.display(),
            );
            launch("sh", &[Path::new("-c"), Path::new(&line)])
        } else {
            launch(program_path, &[&path, &born, Path::new(how)])
        };
        session.follow(Follower::new(command.pid(), true).unwrap());
        let profile = to_the_end(session);
        assert_eq!(command.wait(), Ok(0), "{name} {how}");
        let found: BTreeSet<u32> = profile
            .tables
            .processes
            .iter()
            .map(|process| process.pid)
            .collect();
        let all = fs::read_dir(&born).unwrap();
        let all: BTreeSet<u32> = all
            .map(|entry| {
                entry
                    .unwrap()
                    .file_name()
                    .to_str()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        assert!(all.len() >= 3, "{name} {how}: {all:?}");
        assert!(all.is_subset(&found), "{name} {how}: {found:?} of {all:?}");
        // Each was seen at its work.
        let seen: BTreeSet<u32> = profile
            .samples
            .iter()
            .filter(|sample| names(&profile.tables, sample.stack).contains(&"brief"))
            .map(|sample| pid(&profile, sample))
            .collect();
        assert!(
            how.ends_with("server") || how == "spawn" || all == seen,
            "{name} {how}: {seen:?} of {all:?}"
        );
    }
}

fn pid(profile: &Profile, sample: &Sample) -> u32 {
    let thread = &profile.tables.threads[sample.thread as usize];
    profile.tables.processes[thread.process as usize].pid
}

/// The example `record`, which is built with the tests.
fn recorder() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples/record")
}

#[test]
fn a_recorder_that_is_killed_leaves_what_it_saw() {
    let _alone = alone();
    let process = Launch::new(interpreter("3.15"), SHARES).start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    let mut recorder = Command::new(recorder())
        .args([&process.pid().to_string(), "500", "60"])
        .arg(&path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Three blocks with samples.
    let begun = Instant::now();
    let enough = |path: &Path| {
        let recording = File::open(path)
            .ok()
            .and_then(|file| Recording::open(file).ok());
        recording.is_some_and(|recording| recording.about().duration > 2_000_000_000)
    };
    while !enough(&path) {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    let recording = Recording::open(File::open(&path).unwrap()).unwrap();
    assert!(!recording.is_complete());
    let mut ticks = 0;
    recording
        .for_each_sample(&mut |sample| {
            let names = names(recording.tables(), sample.stack);
            ticks += u64::from(names.contains(&"main")) * u64::from(sample.ticks);
            Ok(())
        })
        .unwrap();
    let about = recording.about();
    assert!(
        (about.ticks - 20..=about.ticks).contains(&ticks),
        "{ticks} of {about:?}"
    );
}

#[test]
fn the_end_of_the_target_is_an_end_like_any_other() {
    let _alone = alone();
    let process = Launch::new(interpreter("3.13"), SHARES).start();
    let mut session = session(1000, Options::default());
    session.add(subject(process.pid())).unwrap();
    until(&mut session, |session| session.about().ticks > 100);
    drop(process);
    let profile = to_the_end(session);
    assert!(ticks_in(&profile, "main") >= 90, "{:?}", profile.about);
}
