//! Killing `invivo` at every system call that it makes, and looking at the target afterwards.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{INVIVO, busy, exec, not_held, staged, state, unharmed};
use synth::{Launch, Target, samples};

/// Runs `invivo exec` to its `number`th system call, and kills it there. `false` where it ended
/// before it came to that.
fn killed_at(number: u32, target: &Target, report: &Path, words: &[&str]) -> bool {
    let status = Command::new(synth::helpers::killat())
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

#[test]
fn killed_at_every_system_call_it_leaves_the_target_unharmed() {
    let place = tempfile::tempdir().expect("a directory");
    let report = place.path().join("report");
    let mut points = 0;
    for interpreter in synth::protocol() {
        let target = busy(interpreter);
        let before = state(&target);
        let mut number = 1;
        while killed_at(number, &target, &report, &["-c", "print('x' * 10)"]) {
            // At once, before a next run cleans up: nothing stands still.
            not_held(&target);
            number += 1;
            points += 1;
        }
        assert_eq!(state(&target), before, "{}", interpreter.name);
        unharmed(&target);
        target.close_input();
        let status = target.wait_exit(synth::target::PATIENCE);
        assert!(
            status.success(),
            "{}: its own result: {status}",
            interpreter.name
        );
    }
    println!("{points} kill points");
    assert!(points >= 300, "{points} kill points");
}

#[test]
fn after_each_kill_the_next_run_works_and_cleans_up() {
    let place = tempfile::tempdir().expect("a directory");
    let report = place.path().join("report");
    let target = busy(synth::interpreter("3.14"));
    let mut number = 1;
    while killed_at(number, &target, &report, &["-e", "1"]) {
        assert_eq!(
            exec(&target, &["-e", "6 * 7"]).expect(0).stdout,
            "42\n",
            "after {number}"
        );
        assert_eq!(
            staged(&target),
            Vec::<std::path::PathBuf>::new(),
            "after {number}"
        );
        number += 1;
    }
    unharmed(&target);
}

#[test]
fn killed_while_it_waits_for_a_sleeping_target_it_leaves_nothing_that_runs() {
    let place = tempfile::tempdir().expect("a directory");
    let report = place.path().join("report");
    let target = Launch::new(synth::interpreter("3.15"), samples::SLEEPER).start();
    support::asleep_in(&target, "clock_nanosleep");
    let mut number = 1;
    // The path of withdrawal is part of it.
    while killed_at(
        number,
        &target,
        &report,
        &["--wake", "never", "--timeout", "0.01", "-c", "print(1)"],
    ) {
        not_held(&target);
        number += 1;
    }
    exec(
        &target,
        &["--wake", "never", "--timeout", "0.01", "-e", "1"],
    )
    .expect(6);
    assert_eq!(staged(&target), Vec::<std::path::PathBuf>::new());
    assert_eq!(target.stderr_so_far(), "");
    support::asleep_in(&target, "clock_nanosleep");
}
