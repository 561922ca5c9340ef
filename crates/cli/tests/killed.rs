//! Killing `invivo` at the system calls that it makes, at every one that may change something, and
//! looking at the target afterwards.

mod support;

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use support::{INVIVO, busy, each, exec, not_held, staged, state, unharmed};
use synth::{Interpreter, Target, Wait, waits};

/// Versions that differ in how they are asked. The others differ from these in where things lie.
const DIFFERENT: [&str; 3] = ["3.9", "3.13", "3.14"];

/// How many system calls lie between two at which it is killed before it makes the script's
/// directory: nothing has changed by then that others could see.
const BEFORE: u32 = 48;
/// The same from there on, where others are tried at every single one.
const SOME: u32 = 4;

/// Where `invivo exec` is killed: at each system call from the one on that makes the script's
/// directory, or at some of those; and at few before. Where these begin is drawn anew for each run.
struct KillPoints {
    changes: bool,
    number: u32,
    step: u32,
    all: u32,
}

impl KillPoints {
    /// At each that may change something.
    fn each() -> Self {
        Self::of_every(1)
    }

    /// At one in so many of those that may change something.
    fn of_every(step: u32) -> Self {
        let number = drawn(BEFORE);
        println!(
            "killed at call {number} and each {BEFORE}th from there on before it changes anything"
        );
        Self {
            changes: false,
            number,
            step,
            all: 0,
        }
    }

    /// Kills it at the next of them. `false` where it ended before it came to that.
    fn next(&mut self, target: &Target, report: &Path, words: &[&str]) -> bool {
        if !self.changes {
            if killed_at(&[], self.number, target, report, words) {
                self.number += BEFORE;
                self.all += 1;
                return true;
            }
            (self.changes, self.number) = (true, drawn(self.step));
            let (number, step) = (self.number, self.step);
            println!("and at call {number} and each {step}th after it makes a directory");
        }
        let goes_on = killed_at(&["-d"], self.number, target, report, words);
        self.number += self.step;
        self.all += u32::from(goes_on);
        goes_on
    }
}

/// A number from 1 to `most`.
fn drawn(most: u32) -> u32 {
    let number = RandomState::new().build_hasher().finish();
    u32::try_from(number % u64::from(most)).expect("less than a number of that size") + 1
}

/// Runs `invivo exec` to its `number`th system call, and kills it there. `false` where it ended
/// before it came to that.
fn killed_at(
    counted: &[&str],
    number: u32,
    target: &Target,
    report: &Path,
    words: &[&str],
) -> bool {
    let status = Command::new(synth::helpers::killat())
        .args(counted)
        .arg(number.to_string())
        .arg(report)
        .args([INVIVO, "exec", &target.pid().to_string()])
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("running killat");
    assert_ne!(status.code(), Some(125), "killat could not start it");
    let report = fs::read_to_string(report).expect("killat's report");
    report.starts_with("killed ")
}

fn name(python: &&Interpreter) -> String {
    python.name.clone()
}

#[test]
fn killed_at_every_system_call_that_may_change_it_the_target_is_unharmed() {
    let points = AtomicU32::new(0);
    each(&synth::acted_on(), name, |interpreter| {
        let place = tempfile::tempdir().expect("a directory");
        let report = place.path().join("report");
        let target = busy(interpreter);
        let before = state(&target);
        let mut kills = match DIFFERENT.contains(&interpreter.name.as_str()) {
            true => KillPoints::each(),
            false => KillPoints::of_every(SOME),
        };
        while kills.next(&target, &report, &["-c", "print('x' * 10)"]) {
            // At once, before a next run cleans up: nothing stands still.
            not_held(&target);
        }
        points.fetch_add(kills.all, Ordering::Relaxed);
        assert_eq!(state(&target), before, "{}", interpreter.name);
        unharmed(&target);
        target.close_input();
        let status = target.wait_exit(synth::target::PATIENCE);
        assert!(
            status.success(),
            "{}: its own result: {status}",
            interpreter.name
        );
    });
    let points = points.into_inner();
    println!("{points} kill points");
    assert!(points >= 900, "{points} kill points");
}

#[test]
fn killed_while_it_makes_a_thread_act_it_leaves_the_wait_as_it_was() {
    // A lock, a call that is begun again, and one with a time-out of its own. Each wait and each
    // version is there once with all of the calls.
    let waits = ["lock", "recv", "sleep"].map(waits::named);
    let pythons = DIFFERENT.map(synth::interpreter);
    let cells: Vec<_> = pythons
        .into_iter()
        .enumerate()
        .flat_map(|(row, python)| [0, 1, 2].map(|column| (python, waits[column], row == column)))
        .collect();
    let name =
        |(python, wait, _): &(&Interpreter, Wait, bool)| format!("{} {}", python.name, wait.name);
    each(&cells, name, |(python, wait, thorough)| {
        let place = tempfile::tempdir().expect("a directory");
        let report = place.path().join("report");
        let mut kills = match thorough {
            true => KillPoints::each(),
            false => KillPoints::of_every(SOME),
        };
        let mut goes_on = true;
        while goes_on {
            // One with a time-out ends meanwhile: the next one takes its place.
            let target = wait.start(python, 2.0);
            while goes_on && wait.verdict(&target).is_none() {
                goes_on = kills.next(&target, &report, &["-c", "print('x' * 10)"]);
                not_held(&target);
            }
            if wait.ends_when_asked() {
                assert_eq!(wait.verdict(&target), None, "before its event");
                wait.end(&target);
            }
            wait.went_well(&target);
            assert_eq!(exec(&target, &["-e", "6 * 7"]).expect(0).stdout, "42\n");
            assert_eq!(staged(&target), Vec::<std::path::PathBuf>::new());
            assert_eq!(target.stderr_so_far(), "");
            target.close_input();
            assert!(target.wait_exit(synth::target::PATIENCE).success());
        }
        let least = if *thorough { 80 } else { 30 };
        assert!(kills.all > least, "{} kill points", kills.all);
    });
}

#[test]
fn after_each_kill_the_next_run_works_and_cleans_up() {
    let place = tempfile::tempdir().expect("a directory");
    let report = place.path().join("report");
    let target = busy(synth::interpreter("3.14"));
    let mut kills = KillPoints::each();
    while kills.next(&target, &report, &["-e", "1"]) {
        assert_eq!(
            exec(&target, &["-e", "6 * 7"]).expect(0).stdout,
            "42\n",
            "after {} kills",
            kills.all
        );
        assert_eq!(
            staged(&target),
            Vec::<std::path::PathBuf>::new(),
            "after {} kills",
            kills.all
        );
    }
    unharmed(&target);
}

#[test]
fn killed_while_it_waits_for_a_thread_that_it_may_not_wake_it_leaves_nothing_that_runs() {
    let cells = [
        ("3.9", "c-pause"),
        ("3.12", "signal-pause"),
        ("3.15", "c-pause"),
    ];
    let cells = cells.map(|(python, wait)| (synth::interpreter(python), waits::named(wait)));
    let name = |(python, wait): &(&Interpreter, Wait)| format!("{} {}", python.name, wait.name);
    each(&cells, name, |(python, wait)| {
        let place = tempfile::tempdir().expect("a directory");
        let (report, ran) = (place.path().join("report"), place.path().join("ran"));
        let target = wait.start(python, 1.0);
        let code = format!("open({ran:?}, 'w').close()");
        let words = ["--timeout", "0.01", "-c", &code];
        let mut kills = KillPoints::each();
        // The path of withdrawal is part of it.
        while kills.next(&target, &report, &words) {
            not_held(&target);
        }
        // With time to find what the one before has left.
        exec(&target, &["--timeout", "2", "-c", &code]).expect(6);
        assert_eq!(staged(&target), Vec::<std::path::PathBuf>::new());
        assert_eq!(wait.verdict(&target), None, "it was ended");
        wait.end(&target);
        wait.went_well(&target);
        assert_eq!(exec(&target, &["-e", "6 * 7"]).expect(0).stdout, "42\n");
        assert!(!ran.exists(), "it ran when nobody waited for it");
        assert_eq!(target.stderr_so_far(), "");
    });
}
