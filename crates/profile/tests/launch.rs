//! Commands from their first line to their end, their children, and recorders that are killed.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use invivo_model::{Budget, Profile, Sample};
use invivo_process::Launched;
use invivo_profile::{Follower, Options, Recording};
use support::{PARTS, alone, names, session, subject, ticks_in, to_the_end, until};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, interpreter};

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

/// A program whose function `first` takes so much processor time from its first line on, and which
/// says how long that took.
const FIRST: &str = r#"
import sys, time
def first():
    end = time.process_time() + 0.2
    while time.process_time() < end: pass
begun = time.perf_counter()
first()
with open(sys.argv[1], "w") as file: file.write(str(int((time.perf_counter() - begun) * 1000)))
sys.exit(7)
"#;

#[test]
fn a_command_is_sampled_from_its_first_line_to_its_end() {
    let _alone = alone();
    for interpreter in modern() {
        let begun = Instant::now();
        // The recorder itself may wait for a processor just then.
        while let Err(why) = from_first_to_last(interpreter) {
            assert!(begun.elapsed() < PATIENCE, "{}: {why}", interpreter.name);
        }
    }
}

/// Samples a command. An error where what was seen of it is not all there was.
fn from_first_to_last(interpreter: &Interpreter) -> Result<(), String> {
    let (directory, path) = program(FIRST);
    let took = directory.path().join("took");
    let mut session = session(1000, Options::default());
    let command = launch(&interpreter.program, &[&path, &took]);
    session.follow(Follower::new(command.pid(), false, None).unwrap());
    let profile = to_the_end(session);
    assert_eq!(command.wait(), Ok(7));
    let name = &interpreter.name;
    let first = profile
        .samples
        .iter()
        .find(|sample| names(&profile.tables, sample.stack).contains(&"first"));
    let first = first.ok_or_else(|| format!("never seen: {:?}", profile.about))?;
    assert_eq!(profile.tables.processes.len(), 1, "{name}");
    assert_eq!(
        profile.tables.processes[0].command[1],
        path.to_str().unwrap()
    );
    // Up to the moment in which the interpreter was found, nothing is known of it.
    let begun = profile.samples.iter().map(|sample| sample.time).min();
    if begun.unwrap() >= first.time {
        return Err(format!("nothing before its first line: {first:?}"));
    }
    let ticks = ticks_in(&profile, "first") + profile.about.missed;
    let took: u64 = fs::read_to_string(took).unwrap().parse().unwrap();
    if ticks * 100 < took * 95 {
        return Err(format!("{ticks} of {took} ms, {:?}", profile.about));
    }
    Ok(())
}

/// Each Python writes its number into a directory, spins for a tenth of a second, and ends. That is
/// processor time: where the recorder waits for a processor, they have to as well.
const BRIEF: &str = r#"
import os, sys, time
def brief():
    open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
    end = time.process_time() + 0.1
    while time.process_time() < end: pass
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
        let mut failed = Vec::new();
        // The recorder itself may wait for a processor just then, but not time after time.
        while let Err(why) = from_birth(name, how) {
            failed.push(why);
            assert!(failed.len() < 5, "{name} {how}: {failed:?}");
        }
    }
}

/// Samples a command and its children. An error where one was missed, or not seen at its work.
fn from_birth(name: &str, how: &str) -> Result<(), String> {
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
    session.follow(Follower::new(command.pid(), true, None).unwrap());
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
    if !all.is_subset(&found) {
        return Err(format!("found {found:?} of {all:?}"));
    }
    // Each was seen at its work.
    let seen: BTreeSet<u32> = profile
        .samples
        .iter()
        .filter(|sample| names(&profile.tables, sample.stack).contains(&"brief"))
        .map(|sample| pid(&profile, sample))
        .collect();
    if !(how.ends_with("server") || how == "spawn" || all == seen) {
        return Err(format!("saw {seen:?} of {all:?}"));
    }
    Ok(())
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
    let process = Launch::new(interpreter("3.15"), PARTS).start();
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
            .and_then(|file| Recording::open(file, &Budget::default()).ok());
        recording.is_some_and(|recording| recording.about().duration > 2_000_000_000)
    };
    while !enough(&path) {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    let recording = Recording::open(File::open(&path).unwrap(), &Budget::default()).unwrap();
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
    // A tick at which it could not be read has no sample.
    assert!(
        ticks <= about.ticks && ticks + about.torn + 20 >= about.ticks,
        "{ticks} of {about:?}"
    );
}

#[test]
fn the_end_of_the_target_is_an_end_like_any_other() {
    let _alone = alone();
    let process = Launch::new(interpreter("3.13"), PARTS).start();
    let mut session = session(1000, Options::default());
    session.add(subject(process.pid())).unwrap();
    until(&mut session, |session| session.about().ticks > 100);
    drop(process);
    let profile = to_the_end(session);
    let ticks = ticks_in(&profile, "main");
    assert!(ticks > 0, "{:?}", profile.about);
    assert!(ticks + profile.about.torn >= 90, "{:?}", profile.about);
}
