//! A process that a signal has stopped: every command says so, by which signal, and what lets it go
//! on.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use support::{INVIVO, Run, each, eventually, invivo};
use synth::{Launch, Target, interpreter, interpreters, samples};

/// Stops a target, and waits until all of it stands still.
fn stop(target: &Target, signal: Signal) {
    target.signal(signal);
    eventually("it stands still", || {
        let states = target.thread_states();
        states.iter().all(|(_, state)| *state == 'T')
    });
}

fn on(target: &Target, words: &[&str]) -> Run {
    let pid = target.pid().to_string();
    let place = |word: &&str| {
        if *word == "PID" {
            pid.clone()
        } else {
            (*word).to_owned()
        }
    };
    invivo(words.iter().map(place).collect::<Vec<_>>())
}

#[test]
fn a_dump_names_the_signal_and_never_ourselves() {
    each(
        interpreters(),
        |one| one.name.clone(),
        |one| {
            let target = Launch::new(one, samples::THREADS).start();
            stop(&target, Signal::STOP);
            let remedy = format!("it is stopped by SIGSTOP: kill -CONT {}", target.pid());
            for words in [&["dump", "PID"][..], &["dump", "PID", "--block"]] {
                let run = on(&target, words).expect(0);
                assert!(run.stdout.contains(&remedy), "{run:#?}");
                assert!(!run.stdout.contains("tracer"), "{run:#?}");
            }
            let report = on(&target, &["dump", "PID", "--block", "--json"])
                .expect(0)
                .json();
            let stopped = &report["stopped"];
            assert_eq!(
                (&stopped["by"], &stopped["signal"]),
                (&"signal".into(), &"SIGSTOP".into())
            );
            let threads = report["interpreters"][0]["threads"].as_array();
            for thread in threads.expect("threads") {
                assert_eq!(thread["doing"]["kind"], "stopped", "{thread}");
                assert_eq!(thread["os"]["state"], "T", "{thread}");
            }
            // It is still stopped by that signal, and by nobody else. (A thread that was let go
            // goes through the kernel once before it stands still for the signal again.)
            eventually("it is stopped by the signal alone", || {
                let states = target.thread_states();
                states.iter().all(|(_, state)| *state == 'T')
            });
            target.signal(Signal::CONT);
        },
    );
}

#[test]
fn every_other_command_says_it_too() {
    let launch = Launch::new(interpreter("3.14"), samples::ASYNCIO);
    let target = launch.in_own_group().start();
    stop(&target, Signal::TSTP);
    let pid = target.pid();
    let says = format!("stopped by SIGTSTP: kill -CONT {pid} lets it go on");
    for words in [
        &["tasks", "PID"][..],
        &["tasks", "PID", "--tree"],
        &["record", "PID", "-d", "0.5", "-f", "table"],
        &["top", "PID", "--once", "-d", "0.5"],
        &["ps"],
        &["doctor", "PID"],
    ] {
        let run = on(&target, words);
        // Text is wrapped to fit a page.
        let text = format!("{}{}", run.stdout, run.stderr);
        let text: Vec<&str> = text.split_whitespace().collect();
        assert!(text.join(" ").contains(&says), "{words:?}: {run:#?}");
    }
    for (words, at) in [
        (&["tasks", "PID", "--json"][..], "/stopped/signal"),
        (&["doctor", "PID", "--json"], "/stopped/signal"),
        (
            &[
                "record",
                "PID",
                "-d",
                "0.5",
                "-o",
                "/dev/null",
                "-f",
                "table",
                "--json",
            ],
            "/stopped/signal",
        ),
    ] {
        let report = on(&target, words).json();
        assert_eq!(report.pointer(at), Some(&"SIGTSTP".into()), "{report}");
    }
    let list = on(&target, &["ps", "--json"]).json();
    let own = list["processes"].as_array().expect("a list").iter();
    let own = own
        .clone()
        .find(|one| one["pid"] == pid)
        .expect("it is there");
    assert_eq!(own["stopped"]["signal"], "SIGTSTP");
    target.signal(Signal::CONT);
    assert_eq!(
        on(&target, &["dump", "PID", "--json"]).json()["stopped"],
        serde_json::Value::Null
    );
}

#[test]
fn an_image_keeps_that_it_was_stopped() {
    let target = Launch::new(interpreter("3.12"), samples::SLEEPER).start();
    stop(&target, Signal::STOP);
    let place = tempfile::tempdir().expect("a directory");
    let image = place.path().join("image");
    let image = image.to_str().expect("UTF-8");
    on(&target, &["dump", "PID", "--save-image", image]).expect(0);
    target.signal(Signal::CONT);
    let run = invivo(["dump", "--image", image]).expect(0);
    assert!(run.stdout.contains("stopped by SIGSTOP"), "{run:#?}");
}

#[test]
fn a_recording_tells_when_it_stops_and_when_it_goes_on() {
    let target = Launch::new(interpreter("3.13"), samples::THREADS).start();
    let pid = target.pid().to_string();
    let mut child = Command::new(INVIVO)
        .args(["record", &pid, "-f", "table"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("running invivo");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut next = || lines.next().expect("a line").expect("UTF-8");
    stop(&target, Signal::STOP);
    assert!(next().contains("is stopped by SIGSTOP"));
    target.signal(Signal::CONT);
    assert!(next().contains(&format!("process {pid} goes on")));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::INT).expect("it is there");
    assert!(child.wait().expect("its end").success());
}
