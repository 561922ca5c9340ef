//! Stopping live processes, in every state that they can be in.

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use invivo_model::ErrorKind;
use invivo_process::{Memory, Stopper, WriteRequest};
use support::{PATIENCE, Subject, assert_left_alone, example, thread_states, until};

/// Stops it `times`, looking each time whether all of its threads stand still.
fn stop_and_look(subject: &Subject, times: usize) {
    let target = subject.target();
    for _ in 0..times {
        target
            .while_stopped(PATIENCE, |suspension| {
                let states = thread_states(subject.pid());
                let mut tids: Vec<u32> = states.iter().map(|(tid, ..)| *tid).collect();
                tids.sort_unstable();
                assert_eq!(tids, suspension.tids());
                assert!(
                    states.iter().all(|(_, state, _)| *state == 't'),
                    "{states:?}"
                );
                let counted = subject.counter(&target);
                std::thread::yield_now();
                assert_eq!(subject.counter(&target), counted);
            })
            .expect("it can be stopped");
    }
    assert_left_alone(subject.pid());
}

#[test]
fn a_busy_process_stands_still_and_runs_on() {
    let subject = Subject::new(&["single"]);
    stop_and_look(&subject, 50);
    subject.assert_runs(&subject.target());
}

#[test]
fn it_stands_still_until_it_is_let_go() {
    let subject = Subject::new(&["threads", "20"]);
    let target = subject.target();
    let mut stopper = Stopper::new(&target).expect("another process");
    let mut other = Stopper::new(&target).expect("another process");
    for round in 0..20 {
        // From whatever processor, be there such a one or not.
        let processor = (round > 0).then_some(round % 4);
        let still = stopper.stand_still(PATIENCE, processor);
        let still = still.expect("it can be stopped");
        let states = thread_states(subject.pid());
        assert!(
            states.iter().all(|(_, state, _)| *state == 't'),
            "{states:?}"
        );
        let counted = subject.counter(&target);
        std::thread::yield_now();
        assert_eq!(subject.counter(&target), counted);
        // Whoever wants it as well is refused.
        let error = other.stand_still(PATIENCE, None).expect_err("it is held");
        assert_eq!(error.kind, ErrorKind::Refused);
        drop(still);
    }
    // It is its tracer no more, though the thread that stops is still there.
    assert_left_alone(subject.pid());
    subject.assert_runs(&target);
    let ourselves = invivo_process::Target::open(std::process::id()).expect("we are there");
    let error = Stopper::new(&ourselves).expect_err("it is us");
    assert_eq!(error.kind, ErrorKind::Refused);
}

#[test]
fn a_sleeping_process_stands_still() {
    let subject = Subject::new(&["asleep"]);
    stop_and_look(&subject, 50);
    let target = subject.target();
    until("it sleeps again", || {
        target
            .activity(subject.pid())
            .is_ok_and(|doing| doing.to_string() == "asleep in system call read")
    });
}

#[test]
fn all_of_many_threads_stand_still() {
    let subject = Subject::new(&["threads", "100"]);
    stop_and_look(&subject, 10);
    subject.assert_runs(&subject.target());
}

#[test]
fn threads_that_start_meanwhile_are_stopped_too() {
    let subject = Subject::new(&["churn"]);
    stop_and_look(&subject, 200);
    subject.assert_runs(&subject.target());
}

#[test]
fn a_process_whose_first_thread_has_ended_stands_still() {
    let subject = Subject::new(&["leaderless"]);
    let target = subject.target();
    let first_has_ended = || {
        let states = thread_states(subject.pid());
        states
            .iter()
            .any(|(tid, state, _)| *tid == subject.pid() && *state == 'Z')
    };
    until("its first thread has ended", first_has_ended);
    for _ in 0..20 {
        target
            .while_stopped(PATIENCE, |suspension| {
                let states = thread_states(subject.pid());
                assert_eq!(suspension.tids().len() + 1, states.len());
                assert!(!suspension.tids().contains(&subject.pid()));
                let still = |tid: u32, state| state == if tid == subject.pid() { 'Z' } else { 't' };
                assert!(
                    states.iter().all(|(tid, state, _)| still(*tid, *state)),
                    "{states:?}"
                );
                let counted = target
                    .memory()
                    .read_u64(subject.said[0])
                    .expect("memory is there");
                let bytes = (counted + 1_000_000).to_ne_bytes();
                let request = WriteRequest {
                    address: subject.said[0],
                    bytes: &bytes,
                };
                suspension
                    .write_many(&[request])
                    .expect("and can be written");
                assert_eq!(
                    target.memory().read_u64(subject.said[0]),
                    Ok(counted + 1_000_000)
                );
            })
            .expect("it can be stopped");
    }
    assert_left_alone(subject.pid());
    subject.assert_runs(&target);
}

#[test]
fn a_process_stopped_by_a_signal_stays_stopped() {
    let subject = Subject::new(&["threads", "3"]);
    let target = subject.target();
    let all_stopped = || {
        thread_states(subject.pid())
            .iter()
            .all(|(_, state, _)| *state == 'T')
    };
    subject.signal("STOP");
    until("it is stopped", all_stopped);
    for _ in 0..20 {
        target
            .while_stopped(PATIENCE, |suspension| {
                assert_eq!(suspension.tids().len(), 4)
            })
            .expect("it can be stopped");
        until("it is stopped as before", all_stopped);
    }
    let counted = subject.counter(&target);
    subject.signal("CONT");
    until("it runs on", || subject.counter(&target) != counted);
}

#[test]
fn a_stop_signal_that_arrives_meanwhile_takes_effect_afterwards() {
    let subject = Subject::new(&["busy"]);
    let target = subject.target();
    target
        .while_stopped(PATIENCE, |_| subject.signal("STOP"))
        .expect("it can be stopped");
    until("it is stopped", || {
        thread_states(subject.pid())
            .iter()
            .all(|(_, state, tracer)| *state == 'T' && *tracer == 0)
    });
    subject.signal("CONT");
    subject.assert_runs(&target);
}

#[test]
fn no_signal_is_lost_or_doubled() {
    let subject = Subject::new(&["signals"]);
    let target = subject.target();
    let pid = subject.pid().to_string();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                target
                    .while_stopped(PATIENCE, |_| ())
                    .expect("it can be stopped");
            }
        });
        // Queued signals: each that is sent is to be handled once.
        let script =
            format!("i=0; while [ $i -lt 500 ]; do kill -s RTMIN {pid}; i=$((i + 1)); done");
        let sent = Command::new("bash").args(["-c", &script]).status();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(sent.expect("a shell is there").success());
    });
    until("all were handled", || subject.counter(&target) >= 500);
    assert_eq!(subject.counter(&target), 500);
}

#[test]
fn a_process_that_another_traces_is_refused_by_name() {
    let subject = Subject::new(&["busy"]);
    let mut tracer = Command::new(example("hold"))
        .arg(subject.pid().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut line = String::new();
    let output = tracer.stdout.take().expect("it is piped");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("it says something");
    assert_eq!(line, "holding 2 threads\n");

    let target = subject.target();
    let refused = target
        .while_stopped(PATIENCE, |_| ())
        .expect_err("there is a tracer");
    assert_eq!(refused.kind, ErrorKind::Refused);
    // The kernel names a thread; we name the process it belongs to.
    assert_eq!(
        refused.why,
        format!(
            "process {} traces it already, and there can be only one tracer",
            tracer.id()
        )
    );

    drop(tracer.stdin.take());
    assert!(tracer.wait().expect("it ends").success());
    assert_left_alone(subject.pid());
    subject.assert_runs(&target);
}

#[test]
fn a_process_that_dies_meanwhile_is_gone() {
    let mut subject = Subject::new(&["busy"]);
    let target = subject.target();
    let address = subject.said[0];
    target
        .while_stopped(PATIENCE, |suspension| {
            subject.signal("KILL");
            until("it has died", || {
                thread_states(subject.pid())
                    .iter()
                    .all(|(_, state, _)| *state == 'Z')
            });
            let failed = suspension.write_many(&[WriteRequest {
                address,
                bytes: b"late",
            }]);
            assert_eq!(failed.expect_err("nobody is there").kind, ErrorKind::Gone);
        })
        .expect("it could be stopped");
    // Its end was left for its parent to see.
    assert_eq!(
        subject.child.wait().expect("it has ended").signal(),
        Some(9)
    );
    let gone = target
        .while_stopped(PATIENCE, |_| ())
        .expect_err("it has ended");
    assert_eq!(gone.kind, ErrorKind::Gone);
}

#[test]
fn a_process_that_dies_while_it_is_being_stopped_is_gone() {
    for _ in 0..50 {
        let mut subject = Subject::new(&["threads", "8"]);
        let target = subject.target();
        std::thread::scope(|scope| {
            let stopping = scope.spawn(|| {
                loop {
                    match target.while_stopped(PATIENCE, |_| ()) {
                        Ok(()) => {}
                        Err(error) => break error,
                    }
                }
            });
            subject.child.kill().expect("it can be killed");
            assert_eq!(
                subject.child.wait().expect("it has ended").signal(),
                Some(9)
            );
            assert_eq!(stopping.join().expect("no panic").kind, ErrorKind::Gone);
        });
    }
}

#[test]
fn a_thread_that_cannot_stop_is_named_and_all_run_on() {
    let subject = Subject::new(&["vfork"]);
    let target = subject.target();
    let first = || {
        thread_states(subject.pid())
            .iter()
            .any(|(tid, state, _)| *tid == subject.pid() && *state == 'D')
    };
    until("it waits in vfork", first);
    let deadline = Duration::from_millis(50);
    let begin = Instant::now();
    let error = target
        .while_stopped(deadline, |_| ())
        .expect_err("one of them can't stop");
    assert!(begin.elapsed() >= deadline);
    assert_eq!(error.kind, ErrorKind::TimedOut);
    // The call behind `vfork()` has another name on other machines.
    let named = format!(
        "thread {} does not stop: it is in uninterruptible sleep in system call ",
        subject.pid()
    );
    assert!(error.why.starts_with(&named), "{error}");
    assert_left_alone(subject.pid());
    subject.assert_runs(&target);
}

#[test]
fn a_process_that_runs_itself_anew_all_the_time_is_not_held_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let rounds_file = directory.path().join("rounds");
    let subject = Subject::new(&["exec", rounds_file.to_str().expect("plain text")]);
    let rounds = || {
        let bytes = std::fs::read(&rounds_file).expect("it counts there");
        u64::from_ne_bytes(bytes.try_into().expect("eight bytes"))
    };
    let target = subject.target();
    let first = rounds();
    let mut stopped = 0;
    let until_then = Instant::now() + PATIENCE;
    // How often both get to run is for the machine to decide.
    while rounds() < first + 200 || stopped <= 20 {
        assert!(Instant::now() < until_then, "{stopped} stops");
        match target.while_stopped(PATIENCE, |_| stopped += 1) {
            Ok(()) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_left_alone(subject.pid());
    let reached = rounds();
    until("it goes on", || rounds() > reached + 10);
}

#[test]
fn killing_the_holder_lets_the_target_run_on() {
    let subject = Subject::new(&["threads", "5"]);
    let target = subject.target();
    let mut holder = Command::new(example("hold"))
        .arg(subject.pid().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut line = String::new();
    let output = holder.stdout.take().expect("it is piped");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("it says something");
    assert_eq!(line, "holding 6 threads\n");
    assert!(
        thread_states(subject.pid())
            .iter()
            .all(|(_, state, _)| *state == 't')
    );
    holder.kill().expect("it can be killed");
    holder.wait().expect("it ends");
    assert_left_alone(subject.pid());
    subject.assert_runs(&target);
}

#[test]
fn killing_the_holder_at_any_moment_lets_the_target_run_on() {
    let subject = Subject::new(&["threads", "5"]);
    let target = subject.target();
    for round in 0..60_u32 {
        let mut holder = Command::new(example("hold"))
            .args(["--again", &subject.pid().to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut line = String::new();
        let output = holder.stdout.take().expect("it is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it says something");
        // Somewhere in one of the first rounds.
        let moment = Instant::now() + Duration::from_micros(u64::from(round) * 37);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        holder.kill().expect("it can be killed");
        holder.wait().expect("it ends");
        assert_left_alone(subject.pid());
        subject.assert_runs(&target);
    }
}

#[test]
fn a_panic_inside_lets_the_target_run_on_and_goes_on_itself() {
    let subject = Subject::new(&["busy"]);
    let target = subject.target();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        target.while_stopped(PATIENCE, |_| panic!("on purpose"))
    }));
    let panic = caught
        .map(|outcome: Result<(), _>| outcome)
        .expect_err("it panicked");
    assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
    assert_left_alone(subject.pid());
    subject.assert_runs(&target);
}

#[test]
fn nobody_stops_himself() {
    let target = invivo_process::Target::open(std::process::id()).expect("we are there");
    let error = target
        .while_stopped(PATIENCE, |_| ())
        .expect_err("it is ourselves");
    assert_eq!(error.kind, ErrorKind::Refused);
}

#[test]
fn pieces_are_written_in_order_up_to_the_first_that_fails() {
    let subject = Subject::new(&["pages"]);
    let target = subject.target();
    let [pages, counter] = subject.said[..] else {
        panic!("it says two addresses")
    };
    let size = rustix::param::page_size() as u64;
    let read_only = pages.offset(2 * size).expect("in range");
    let hole = pages.offset(size).expect("in range");
    target
        .while_stopped(PATIENCE, |suspension| {
            let first = WriteRequest {
                address: pages,
                bytes: b"one",
            };
            let last = WriteRequest {
                address: counter,
                bytes: b"eight by",
            };
            suspension
                .write_many(&[first, last])
                .expect("both are writable");
            for bad in [read_only, hole] {
                let first = WriteRequest {
                    address: pages,
                    bytes: b"two",
                };
                let bad = WriteRequest {
                    address: bad,
                    bytes: b"x",
                };
                let never = WriteRequest {
                    address: counter,
                    bytes: b"not this",
                };
                let error = suspension
                    .write_many(&[first, bad, never])
                    .expect_err("not writable");
                assert_eq!(error.kind, ErrorKind::Corrupt);
            }
            suspension
                .write_many(&[])
                .expect("nothing is always written");
        })
        .expect("it can be stopped");
    let mut bytes = [0; 4];
    target.memory().read(pages, &mut bytes).expect("readable");
    assert_eq!(&bytes, b"twoa");
    let mut bytes = [0; 8];
    target.memory().read(counter, &mut bytes).expect("readable");
    assert_eq!(&bytes, b"eight by");
    target
        .memory()
        .read(read_only, &mut bytes)
        .expect("readable");
    assert_eq!(&bytes, b"cccccccc");
}

#[test]
fn two_at_once_exclude_each_other() {
    let subject = Subject::new(&["busy"]);
    let target = subject.target();
    target
        .while_stopped(PATIENCE, |_| {
            let again = subject.target();
            let error = again
                .while_stopped(PATIENCE, |_| ())
                .expect_err("it is traced");
            assert_eq!(error.kind, ErrorKind::Refused);
        })
        .expect("it can be stopped");
    assert_left_alone(subject.pid());
}
