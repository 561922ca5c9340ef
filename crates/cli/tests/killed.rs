//! Killing `invivo` at every system call that it makes, and looking at the target afterwards.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use support::{INVIVO, busy, each, exec, not_held, staged, state, unharmed};
use synth::{Interpreter, Target, Wait, waits};

/// Where `invivo exec` is killed: at each system call from the one on that makes the script's directory.
/// Before it changes nothing that others could see, and it is killed there at every sixteenth.
struct KillPoints {
    changes: bool,
    number: u32,
    all: u32,
}

impl KillPoints {
    fn new() -> Self {
        Self {
            changes: false,
            number: 1,
            all: 0,
        }
    }

    /// Kills it at the next of them. `false` where it ended before it came to that.
    fn next(&mut self, target: &Target, report: &Path, words: &[&str]) -> bool {
        if !self.changes {
            if killed_at(&[], self.number, target, report, words) {
                self.number += 16;
                self.all += 1;
                return true;
            }
            (self.changes, self.number) = (true, 1);
        }
        let goes_on = killed_at(&["-d"], self.number, target, report, words);
        self.number += 1;
        self.all += u32::from(goes_on);
        goes_on
    }
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
fn killed_at_every_system_call_it_leaves_the_target_unharmed() {
    let points = AtomicU32::new(0);
    each(&synth::acted_on(), name, |interpreter| {
        let place = tempfile::tempdir().expect("a directory");
        let report = place.path().join("report");
        let target = busy(interpreter);
        let before = state(&target);
        let mut kills = KillPoints::new();
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
    // A lock, a call that is begun again, and one with a time-out of its own; of the versions
    // those that differ in how they are asked.
    let waits = ["lock", "recv", "sleep"].map(waits::named);
    let pythons = ["3.9", "3.13", "3.14"].map(synth::interpreter);
    let cells: Vec<_> = pythons
        .into_iter()
        .flat_map(|python| waits.map(|wait| (python, wait)))
        .collect();
    let name = |(python, wait): &(&Interpreter, Wait)| format!("{} {}", python.name, wait.name);
    each(&cells, name, |(python, wait)| {
        let place = tempfile::tempdir().expect("a directory");
        let report = place.path().join("report");
        let mut kills = KillPoints::new();
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
        assert!(kills.all > 80, "{} kill points", kills.all);
    });
}

#[test]
fn after_each_kill_the_next_run_works_and_cleans_up() {
    let place = tempfile::tempdir().expect("a directory");
    let report = place.path().join("report");
    let target = busy(synth::interpreter("3.14"));
    let mut kills = KillPoints::new();
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
        let mut kills = KillPoints::new();
        // The path of withdrawal is part of it.
        while kills.next(&target, &report, &words) {
            not_held(&target);
        }
        exec(&target, &words).expect(6);
        assert_eq!(staged(&target), Vec::<std::path::PathBuf>::new());
        assert_eq!(wait.verdict(&target), None, "it was ended");
        wait.end(&target);
        wait.went_well(&target);
        assert_eq!(exec(&target, &["-e", "6 * 7"]).expect(0).stdout, "42\n");
        assert!(!ran.exists(), "it ran when nobody waited for it");
        assert_eq!(target.stderr_so_far(), "");
    });
}
