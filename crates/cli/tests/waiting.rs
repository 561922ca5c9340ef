//! Threads that wait, and threads that are at work in C: a script runs in them at once, or is
//! refused with the reason, and they go on as if nothing had been.

mod support;

use std::time::{Duration, Instant};

use support::{Run, each, each_asleep, exec, not_held, staged};
use synth::target::PATIENCE;
use synth::waits::{ALL, Kind, Wait, named};
use synth::{Interpreter, Target};

/// How long a wait with a time-out lasts.
const SECONDS: f64 = 1.5;

/// Every way to wait of these kinds, on every interpreter.
fn cells(kinds: &[Kind]) -> Vec<(&'static Interpreter, Wait)> {
    let waits: Vec<Wait> = ALL
        .into_iter()
        .filter(|one| kinds.contains(&one.kind))
        .collect();
    let of = |python| waits.iter().map(move |wait| (python, *wait));
    synth::acted_on().into_iter().flat_map(of).collect()
}

fn name((interpreter, wait): &(&Interpreter, Wait)) -> String {
    format!("{} {}", interpreter.name, wait.name)
}

/// Asserts that a script runs in it, and gives the time that its own patience leaves.
#[track_caller]
fn runs(target: &Target) {
    let run = exec(target, &["--timeout", "60", "-e", "6 * 7"]).expect(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("42\n", ""));
}

/// Asserts that it ended as it should, that nothing is left, and that the program lives on.
#[track_caller]
fn ended_well(wait: Wait, target: &Target) {
    wait.went_well(target);
    not_held(target);
    assert_eq!(staged(target), Vec::<std::path::PathBuf>::new());
    assert_eq!(target.stderr_so_far(), "");
    runs(target);
    target.close_input();
    assert!(target.wait_exit(PATIENCE).success());
}

#[test]
fn a_wait_with_a_time_out_runs_scripts_and_ends_when_it_would_have() {
    each_asleep(&cells(&[Kind::Timed]), name, |(interpreter, wait)| {
        let target = wait.start(interpreter, SECONDS);
        // Scripts come until it is over. A wait that began anew after each would never be.
        while wait.verdict(&target).is_none() {
            runs(&target);
            std::thread::sleep(Duration::from_millis(500));
        }
        ended_well(*wait, &target);
    });
}

#[test]
fn a_wait_for_an_event_runs_scripts_and_goes_on() {
    each(&cells(&[Kind::Event]), name, |(interpreter, wait)| {
        let target = wait.start(interpreter, SECONDS);
        for _ in 0..2 {
            runs(&target);
        }
        assert_eq!(wait.verdict(&target), None, "before its event");
        wait.end(&target);
        ended_well(*wait, &target);
    });
}

#[test]
fn work_runs_scripts_between_two_steps_and_goes_on() {
    each(&cells(&[Kind::Python]), name, |(interpreter, wait)| {
        let target = wait.start(interpreter, SECONDS);
        for _ in 0..3 {
            runs(&target);
        }
        wait.end(&target);
        ended_well(*wait, &target);
    });
}

/// A script that leaves a file behind when it runs, with little time to begin.
fn marked(target: &Target, place: &tempfile::TempDir, words: &[&str]) -> Run {
    let file = place.path().join("ran");
    let code = format!("open({file:?}, 'w').close()");
    exec(
        target,
        &[words, &["--timeout", "0.3", "-c", &code]].concat(),
    )
}

fn has_run(place: &tempfile::TempDir) -> bool {
    place.path().join("ran").exists()
}

#[test]
fn long_work_in_c_is_left_alone_and_nothing_is_left_to_run_later() {
    let cells = cells(&[Kind::Heedful, Kind::Deaf]);
    each(&cells, name, |(interpreter, wait)| {
        let target = wait.start(interpreter, 3.0);
        // It may just be between two calls into C, where a script does run.
        for number in 1.. {
            assert!(number < 20, "it always runs");
            let place = tempfile::tempdir().expect("a directory");
            let run = marked(&target, &place, &[]);
            // A debug build may not be done in that time.
            if run.code == Some(0) || run.stderr.contains("did not end") {
                support::eventually("it runs", || has_run(&place));
                // The new protocol is heeded by what heeds signals.
                if wait.kind == Kind::Heedful && interpreter.minor() >= 14 {
                    break;
                }
                continue;
            }
            run.refused(6, "did not begin", &format!("thread {}", target.pid()));
            wait.end(&target);
            wait.went_well(&target);
            runs(&target);
            assert!(
                !has_run(&place),
                "it ran when nobody waited for it any more"
            );
            ended_well_again(*wait, &target);
            return;
        }
        wait.end(&target);
        ended_well(*wait, &target);
    });
}

#[track_caller]
fn ended_well_again(wait: Wait, target: &Target) {
    assert!(matches!(wait.verdict(target), Some(Ok(_))));
    not_held(target);
    assert_eq!(target.stderr_so_far(), "");
    support::eventually("nothing is staged", || staged(target).is_empty());
}

/// The system call in which such a wait sleeps.
fn call_of(wait: Wait) -> &'static str {
    match wait.name {
        "sigtimedwait" => "rt_sigtimedwait",
        "c-sleep" | "c-usleep" => "clock_nanosleep",
        "c-poll" | "extension" => "poll",
        _ => "pause",
    }
}

#[test]
fn a_wait_of_foreign_code_is_not_disturbed() {
    let cells = cells(&[Kind::ForeignTimed, Kind::ForeignEvent]);
    each(&cells, name, |(interpreter, wait)| {
        let target = wait.start(interpreter, 3.0);
        support::asleep_in(&target, call_of(*wait));
        let place = tempfile::tempdir().expect("a directory");
        let begun = Instant::now();
        let is_timed = wait.kind == Kind::ForeignTimed;
        let mut refused = 0;
        for _ in 0..3 {
            // On a slow machine its time may nearly be over by now. It is not to be stopped just
            // then: CPython returns rubbish from `sigtimedwait` where its time runs out meanwhile.
            if is_timed && begun.elapsed() > Duration::from_millis(1800) {
                break;
            }
            let run = marked(&target, &place, &[]);
            // It may even be over.
            let has_begun = run.code == Some(0) || run.stderr.contains("did not end");
            if is_timed && has_begun {
                break;
            }
            run.refused(6, "did not begin", &format!("thread {}", target.pid()));
            assert!(!has_run(&place));
            refused += 1;
        }
        if wait.ends_when_asked() {
            assert_eq!((refused, wait.verdict(&target)), (3, None));
            wait.end(&target);
        }
        let took = wait.went_well(&target);
        assert!(refused > 0 || took >= 3.0);
        // If it had just taken a request up, that is what removes what was staged for it.
        runs(&target);
        ended_well_again(*wait, &target);
        assert!(!has_run(&place) || refused < 3, "it ran when nobody waited");
    });
}

#[test]
fn whoever_wants_no_thread_woken_gets_the_reason() {
    let calls = [
        ("sleep", "clock_nanosleep"),
        ("lock", "futex"),
        ("recv", "recvfrom"),
    ];
    let cells: Vec<_> = synth::acted_on()
        .into_iter()
        .flat_map(|python| calls.map(|(wait, call)| (python, named(wait), call)))
        .collect();
    let name = |(python, wait, _): &(&Interpreter, Wait, &str)| name(&(*python, *wait));
    each(&cells, name, |(interpreter, wait, call)| {
        let target = wait.start(interpreter, 5.0);
        let call = match (*call, interpreter.minor()) {
            // That is how the older ones sleep.
            ("clock_nanosleep", ..=10) => "pselect6",
            (call, _) => call,
        };
        support::asleep_in(&target, call);
        let place = tempfile::tempdir().expect("a directory");
        let run = marked(&target, &place, &["--wake", "never"]);
        run.not_begun_asleep(target.pid(), call);
        assert!(staged(&target).is_empty());
        support::asleep_in(&target, call);
        if wait.ends_when_asked() {
            wait.end(&target);
        }
        wait.went_well(&target);
        runs(&target);
        assert!(
            !has_run(&place),
            "it ran when nobody waited for it any more"
        );
        ended_well_again(*wait, &target);
    });
}
