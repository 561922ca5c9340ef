//! Steering threads that wait in a system call.

mod support;

use std::io::Write as _;

use invivo_process::{Address, Argument, Call, Standing, Suspension};
use support::{PATIENCE, Subject, assert_left_alone, until, waits};

/// What `waits.c` says at its end.
#[derive(Debug, PartialEq, Eq)]
struct Done {
    result: i64,
    milliseconds: u64,
    /// All registers and the signal mask are as they were.
    unharmed: bool,
    sum: u64,
    text: String,
}

fn done(subject: &mut Subject) -> Done {
    let line = subject.line();
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["done", result, milliseconds, unharmed, sum, text] = words[..] else {
        panic!("it said {line:?}");
    };
    Done {
        result: result.parse().expect("a number"),
        milliseconds: milliseconds.parse().expect("a number"),
        unharmed: unharmed == "1",
        sum: sum.parse().expect("a number"),
        text: text.to_owned(),
    }
}

/// The program, asleep in the system call that belongs to `kind`.
fn waiting(kind: &str, call: &str) -> Subject {
    let mut command = std::process::Command::new(waits());
    let subject = Subject::start(command.arg(kind));
    let target = subject.target();
    until("it sleeps", || {
        let doing = target.activity(subject.pid());
        doing.is_ok_and(|doing| doing.to_string() == format!("asleep in system call {call}"))
    });
    subject
}

/// Does something to its only thread while that stands still.
fn steer(subject: &Subject, action: impl Fn(&Suspension<'_>, &Standing) + Sync) {
    let target = subject.target();
    target
        .while_stopped(PATIENCE, |stopped| {
            let standing = stopped.standing(subject.pid()).expect("its registers");
            action(stopped, &standing);
        })
        .expect("it can be stopped");
    assert_left_alone(subject.pid());
}

/// Has it call both of its functions, `add` with 20 and `keep` with `text`, and `add` with 22.
fn divert(subject: &Subject, text: &str) {
    let target = subject.target();
    let modules = target.modules().expect("its modules");
    let back = target.signal_return(&modules).expect("it has a C library");
    let [add, keep] = subject.said[..] else {
        panic!("it said {:?}", subject.said);
    };
    let call = |function: Address, argument| Call { function, argument };
    let calls = [
        call(add, Argument::Value(20)),
        call(keep, Argument::Text),
        call(add, Argument::Value(22)),
    ];
    steer(subject, |stopped, standing| {
        assert!(standing.call().is_some());
        stopped
            .detour(standing, &calls, text.as_bytes(), back)
            .expect("it can be steered");
    });
}

const KINDS: [(&str, &str, i64); 7] = [
    ("absolute", "clock_nanosleep", 0),
    ("relative", "clock_nanosleep", -4),
    ("select", "select", -4),
    ("poll", "poll", -4),
    ("read", "read", 1),
    ("futex", "futex", -110),
    ("pause", "pause", -4),
];

#[test]
fn a_thread_makes_calls_and_goes_on_as_if_it_had_not() {
    for (kind, call, result) in KINDS {
        let mut subject = waiting(kind, call);
        divert(&subject, "called");
        let waits_again = |subject: &Subject| {
            until("it waits again", || {
                let target = subject.target();
                let doing = target.activity(subject.pid());
                doing.is_ok_and(|doing| doing.to_string().ends_with(call))
            });
        };
        if matches!(kind, "read" | "pause") {
            // It waits on, until there is a reason to end.
            waits_again(&subject);
            divert(&subject, "again");
            waits_again(&subject);
        }
        match kind {
            "read" => subject
                .input
                .as_mut()
                .expect("its input")
                .write_all(b"x")
                .expect("it reads"),
            "pause" => steer(&subject, |stopped, standing| {
                stopped.interrupt(standing).expect("it can be steered");
            }),
            _ => {}
        }
        let done = done(&mut subject);
        let (sum, text) = match kind {
            "read" | "pause" => (84, "again"),
            _ => (42, "called"),
        };
        assert!(done.unharmed, "{kind}: {done:?}");
        assert_eq!((done.sum, done.text.as_str()), (sum, text), "{kind}");
        assert_eq!(done.result, result, "{kind}");
        if result == 0 || result == -110 {
            assert!(done.milliseconds >= 1000, "{kind}: {done:?}");
        }
    }
}

#[test]
fn a_call_is_interrupted_without_a_signal() {
    for (kind, call, _) in KINDS {
        let mut subject = waiting(kind, call);
        steer(&subject, |stopped, standing| {
            let name = standing.call().and_then(|call| call.name);
            assert_eq!(name, Some(call));
            stopped.interrupt(standing).expect("it can be steered");
        });
        let done = done(&mut subject);
        assert_eq!((done.result, done.unharmed), (-4, true), "{kind}");
        assert_eq!((done.sum, done.text.as_str()), (0, "-"), "{kind}");
    }
}

#[test]
fn a_thread_that_runs_is_left_alone() {
    let subject = Subject::new(&["single"]);
    let target = subject.target();
    let modules = target.modules().expect("its modules");
    let back = target.signal_return(&modules).expect("it has a C library");
    steer(&subject, |stopped, standing| {
        assert_eq!(standing.call(), None);
        let error = stopped
            .detour(standing, &[], b"", back)
            .expect_err("it waits for nothing");
        assert_eq!(error.kind, invivo_model::ErrorKind::Unsupported);
        stopped.interrupt(standing).expect("nothing to do");
        assert!(stopped.standing(1).is_err(), "not a thread of it");
    });
    subject.assert_runs(&target);
}
