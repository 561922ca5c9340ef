//! What becomes of a request that does not begin, or does not end, in time.

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{INVIVO, busy, eventually, exec, not_held, staged, unharmed, value};
use synth::{Launch, Target, samples};

/// The `debugger_pending_call` of a target's main thread, read from its memory.
fn pending(target: &Target) -> i32 {
    let attached = invivo::attach(target.pid()).expect("attaching");
    let interpreters = attached.runtime.interpreters().expect("interpreters").list;
    let main = interpreters
        .iter()
        .find(|one| one.id == 0)
        .expect("the main interpreter");
    let thread = main
        .threads
        .iter()
        .find(|thread| Some(thread.address) == main.main_thread);
    thread
        .expect("its main thread")
        .debugger
        .as_ref()
        .expect("the protocol")
        .pending
}

/// A target that is asleep, and not just about to be.
fn sleeper() -> Target {
    let target = Launch::new(synth::interpreter("3.14"), samples::SLEEPER).start();
    support::asleep_in(&target, "clock_nanosleep");
    target
}

/// What asks it and lets it sleep on, and is patient: what is done meanwhile may take its time.
fn sleepy(target: &Target) -> [String; 8] {
    let pid = target.pid().to_string();
    let words = [
        "exec",
        &pid,
        "--wake",
        "never",
        "--timeout",
        "60",
        "-c",
        "print(1)",
    ];
    words.map(str::to_owned)
}

#[test]
fn a_request_to_a_thread_that_sleeps_is_withdrawn() {
    let asleep = [
        (samples::SLEEPER, "clock_nanosleep"),
        (samples::LOCK_WAITER, "futex"),
    ];
    for interpreter in synth::protocol() {
        for (sample, call) in asleep {
            let target = Launch::new(interpreter, sample).start();
            support::asleep_in(&target, call);
            let words = ["--wake", "never", "--timeout", "0.2", "-e", "1"];
            exec(&target, &words).not_begun_asleep(target.pid(), call);
            assert_eq!(pending(&target), 0, "{}", interpreter.name);
            assert_eq!(staged(&target), Vec::<std::path::PathBuf>::new());
            assert_eq!(target.stderr_so_far(), "");
            not_held(&target);
        }
    }
}

#[test]
fn a_stopped_target_is_said_to_be_stopped_and_stays_so() {
    use rustix::process::Signal;

    for (python, signal, by) in [
        ("3.9", Signal::STOP, "SIGSTOP"),
        ("3.13", Signal::TSTP, "SIGTSTP"),
        ("3.14", Signal::STOP, "SIGSTOP"),
    ] {
        let launch = Launch::new(synth::interpreter(python), samples::BUSY);
        let target = launch.in_own_group().start();
        let stands = || {
            let states = target.thread_states();
            states.iter().all(|(_, state)| *state == 'T')
        };
        target.signal(signal);
        eventually("it stops", stands);
        let begun = Instant::now();
        let told = exec(&target, &["--timeout", "600", "-e", "1"]).refused(5, "is stopped", by);
        assert!(told.stderr.contains("kill -CONT"), "{told:#?}");
        exec(&target, &["--dry-run", "-e", "1"]).refused(5, "is stopped", by);
        let pid = target.pid().to_string();
        let report = support::invivo(["doctor", &pid, "--json"]).expect(5).json();
        assert_eq!(report["execution"]["works"], false, "{report}");
        assert!(
            report["execution"]["error"]["why"]
                .as_str()
                .is_some_and(|why| why.contains(by))
        );
        assert!(begun.elapsed() < Duration::from_secs(60), "not at once");
        assert!(stands());
        target.signal(Signal::CONT);
        unharmed(&target);
    }
}

#[test]
fn a_target_that_is_stopped_meanwhile_is_said_to_be() {
    use rustix::process::Signal;

    for python in ["3.9", "3.14"] {
        let target = Launch::new(synth::interpreter(python), samples::SLEEPER).start();
        eventually("it sleeps", || {
            target
                .thread_states()
                .iter()
                .all(|(_, state)| *state == 'S')
        });
        let pid = target.pid().to_string();
        let words = [
            "exec",
            &pid,
            "--wake",
            "never",
            "--timeout",
            "600",
            "-e",
            "1",
        ];
        let run = Command::new(INVIVO)
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("running invivo");
        eventually("it is staged", || !staged(&target).is_empty());
        target.signal(Signal::STOP);
        let run = support::Run::of(run.wait_with_output().expect("its end"));
        run.refused(5, "is stopped", "SIGSTOP");
        target.signal(Signal::CONT);
        assert_eq!(exec(&target, &["-e", "1"]).expect(0).stdout, "1\n");
        not_held(&target);
        assert_eq!(staged(&target), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn a_script_that_runs_on_is_left_running_and_cleans_up_after_itself() {
    let target = busy(synth::interpreter("3.14"));
    let gate = tempfile::tempdir().expect("a directory");
    let (open, done) = (gate.path().join("open"), gate.path().join("done"));
    let code = format!(
        "import os, time\nprint('begun')\nwhile not os.path.exists({open:?}): time.sleep(0.001)\n\
         print('nobody hears this')\nopen({done:?}, 'w').close()"
    );
    // Enough for it to begin.
    let run = exec(&target, &["--timeout", "3", "-c", &code]);
    assert_eq!(run.stdout, "begun\n");
    run.refused(
        6,
        "the script did not end",
        "in the Python function <module> (<invivo>)",
    );
    assert_eq!(staged(&target), Vec::<std::path::PathBuf>::new());
    fs::write(open, "").expect("the gate");
    eventually("the script ends", || done.exists());
    unharmed(&target);
}

#[test]
fn a_request_that_nobody_waits_for_runs_and_leaves_nothing() {
    for interpreter in synth::protocol() {
        let target = busy(interpreter);
        let place = tempfile::tempdir().expect("a directory");
        let done = place.path().join("done");
        let code = format!("print('unheard')\nopen({done:?}, 'w').write('x')");
        let run = exec(&target, &["--no-wait", "-c", &code]).expect(0);
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
        eventually("it ran", || done.exists());
        eventually("it cleaned up", || staged(&target).is_empty());
        unharmed(&target);
        assert_eq!(target.stdout_so_far().matches("unheard").count(), 0);
    }
}

#[test]
fn a_request_that_nobody_waits_for_does_nothing_after_its_deadline() {
    use rustix::process::Signal;

    let target = busy(synth::interpreter("3.15"));
    let place = tempfile::tempdir().expect("a directory");
    let done = place.path().join("done");
    target.signal(Signal::STOP);
    eventually("it stops", || {
        target
            .thread_states()
            .iter()
            .all(|(_, state)| *state == 'T')
    });
    let code = format!("open({done:?}, 'w')");
    exec(&target, &["--no-wait", "--timeout", "0.05", "-c", &code]).expect(0);
    assert_eq!(staged(&target).len(), 1);
    // The deadline is the name's fourth number.
    let name = staged(&target)[0]
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let deadline: u128 = name
        .split('-')
        .nth(4)
        .expect("a part")
        .parse()
        .expect("a number");
    eventually("the deadline passes", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // The script goes by the clock of the file system, which is some milliseconds behind.
        now.expect("after 1970").as_millis() > deadline + 100
    });
    target.signal(Signal::CONT);
    eventually("it was taken up", || pending(&target) == 0);
    eventually("it cleaned up", || staged(&target).is_empty());
    assert!(!done.exists());
    unharmed(&target);
}

#[test]
fn a_request_left_by_a_killed_run_is_withdrawn_by_the_next() {
    let target = sleeper();
    let mut killed = Command::new(INVIVO)
        .args(sleepy(&target))
        .stdout(Stdio::null())
        .spawn()
        .expect("running invivo");
    eventually("the request is made", || pending(&target) == 1);
    killed.kill().expect("killing it");
    killed.wait().expect("its end");
    assert_eq!(staged(&target).len(), 1);
    let words = ["--wake", "never", "--timeout", "0.1", "-e", "1"];
    exec(&target, &words).not_begun_asleep(target.pid(), "clock_nanosleep");
    assert_eq!(pending(&target), 0);
    assert_eq!(staged(&target), Vec::<std::path::PathBuf>::new());
    assert_eq!(target.stderr_so_far(), "");
}

#[test]
fn what_a_killed_run_left_for_a_process_that_is_gone_is_removed_too() {
    let gone = sleeper();
    let mut killed = Command::new(INVIVO)
        .args(sleepy(&gone))
        .spawn()
        .expect("running invivo");
    eventually("the request is made", || pending(&gone) == 1);
    killed.kill().expect("killing it");
    killed.wait().expect("its end");
    let left = staged(&gone);
    assert_eq!(left.len(), 1);
    drop(gone);
    let other = busy(synth::interpreter("3.14"));
    assert_eq!(value(&other, "1"), 1);
    assert!(!left[0].exists());
}

#[test]
fn a_target_that_ends_while_it_is_waited_for_is_gone() {
    let target = sleeper();
    let waiting = Command::new(INVIVO)
        .args(sleepy(&target))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("running invivo");
    eventually("the request is made", || pending(&target) == 1);
    let left = staged(&target);
    drop(target);
    let run = support::Run::of(waiting.wait_with_output().expect("its end"));
    // When it is looked after next decides which of these is met.
    let run = run.refused(7, "", "ended");
    let said = ["went away", "is not there any more"];
    assert!(
        said.iter().any(|said| run.stderr.contains(said)),
        "{run:#?}"
    );
    assert!(left.iter().all(|directory| !directory.exists()));
}

#[test]
fn a_script_that_prints_without_end_is_not_listened_to_for_longer() {
    let target = busy(synth::interpreter("3.14"));
    let code = "import time\nend = time.time() + 4\nwhile time.time() < end: print('x' * 1000)";
    // Enough for it to begin.
    let run = exec(&target, &["--timeout", "2", "-c", code]);
    assert!(run.stdout.starts_with("xxx"));
    // The rest of it would drown any message.
    let run = support::Run {
        stdout: String::new(),
        ..run
    };
    run.refused(6, "the script did not end within 2 s", "thread");
    unharmed(&target);
}

#[test]
fn ctrl_c_withdraws_what_has_not_begun() {
    use rustix::process::{Pid, Signal, kill_process};

    for signal in [Signal::INT, Signal::TERM] {
        let target = sleeper();
        let waiting = support::heedful()
            .args(sleepy(&target))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("running invivo");
        eventually("the request is made", || pending(&target) == 1);
        kill_process(Pid::from_child(&waiting), signal).expect("interrupting it");
        let run = support::Run::of(waiting.wait_with_output().expect("its end"));
        run.refused(130, "did not begin when Invivo was told to stop", "thread");
        assert_eq!(pending(&target), 0);
        assert_eq!(staged(&target), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn a_target_that_runs_another_program_meanwhile_is_gone() {
    const CHANGES: &str = "
import os, threading, time
def change():
    os.read(0, 1)
    os.execv('/bin/sleep', ['sleep', '1000'])
threading.Thread(target=change).start()
print('ready', flush=True)
time.sleep(1000)
";
    for interpreter in synth::protocol() {
        let target = Launch::new(interpreter, CHANGES).start();
        support::asleep_in(&target, "clock_nanosleep");
        let waiting = Command::new(INVIVO)
            .args(sleepy(&target))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("running invivo");
        eventually("the request is made", || pending(&target) == 1);
        let left = staged(&target);
        assert_eq!(left.len(), 1);
        target.send_line("change");
        let run = support::Run::of(waiting.wait_with_output().expect("its end"));
        // Its threads end a moment before.
        let run = run.expect(7);
        let said = ["another program", "ended before it ran the script"];
        assert!(
            said.iter().any(|said| run.stderr.contains(said)),
            "{run:#?}"
        );
        assert!(!left[0].exists());
        not_held(&target);
    }
}
