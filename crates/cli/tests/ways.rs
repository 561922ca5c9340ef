//! The ways into a thread: what `invivo doctor` and `--dry-run` say of them is what happens.

mod support;

use serde_json::Value;
use support::{exec, invivo, not_held, unharmed};
use synth::{Interpreter, Launch, Target, samples};

/// What doctor says of the two ways: for when the thread runs, and for when it waits.
fn ways(report: &Value) -> [Value; 2] {
    let ways = report["ways"].as_array().expect("a list").clone();
    ways.try_into().expect("two ways")
}

fn doctor(target: &Target) -> Value {
    let pid = target.pid().to_string();
    invivo(["doctor", &pid, "--json"]).json()
}

fn planned(target: &Target, words: &[&str]) -> Value {
    let words = [&["--dry-run", "--json", "-e", "1"], words].concat();
    exec(target, &words).expect(0).json()
}

fn has_protocol(interpreter: &Interpreter) -> bool {
    let mut able = synth::protocol().into_iter();
    able.any(|able| able.name == interpreter.name)
}

/// A target whose main thread sleeps in `time.sleep`, and is seen to.
fn sleeping(interpreter: &Interpreter) -> Target {
    let target = Launch::new(interpreter, samples::SLEEPER).start();
    support::eventually("it sleeps", || {
        planned(&target, &[])["ways"][1]["verdict"] != "info"
    });
    target
}

#[test]
fn the_way_into_a_thread_that_runs() {
    // It looks for input now and then, which is a wait however short: here hardly ever.
    let looks = "if select.select";
    assert!(samples::BUSY.contains(looks));
    let computing = samples::BUSY.replace(looks, "if checked % 20000 == 0 and select.select");
    for interpreter in synth::interpreters() {
        let name = &interpreter.name;
        let target = Launch::new(interpreter, &computing).start();
        let report = doctor(&target);
        let [running, waiting] = ways(&report);
        assert_eq!(waiting["verdict"], "info", "{name}: {waiting}");
        let (way, method) = if has_protocol(interpreter) {
            ("protocol", "protocol")
        } else {
            ("pending call", "pending_call")
        };
        assert_eq!(running["way"], way);
        if running["verdict"] == "refuses" {
            // Some build may leave no room for the text.
            let why = running["fact"].as_str().expect("a text");
            exec(&target, &["-e", "1"]).refused(5, "", why);
            assert_eq!(report["execution"]["works"], false, "{name}: {report}");
            continue;
        }
        assert_eq!(running["verdict"], "allows", "{name}: {running}");
        assert_eq!(report["execution"]["method"], method, "{name}");
        let plan = planned(&target, &[]);
        assert_eq!(plan["method"], method);
        let writes = plan["writes"].as_array().expect("a list");
        assert!(writes.len() >= 3, "{plan}");
        let report = exec(&target, &["--json", "-e", "1"]).expect(0).json();
        assert_eq!(report["method"], method, "{name}");
        assert_eq!(report["woken"], Value::Null);
        unharmed(&target);
    }
}

#[test]
fn the_way_into_a_thread_that_waits() {
    for interpreter in synth::interpreters() {
        let target = sleeping(interpreter);
        let [_, waiting] = ways(&doctor(&target));
        // Who keeps a frame pointer can be followed only when it stands still.
        assert!(
            ["allows", "unknown"]
                .iter()
                .any(|verdict| waiting["verdict"] == **verdict),
            "{}: {waiting}",
            interpreter.name
        );
        let protocol = has_protocol(interpreter);
        let method = if protocol { "protocol" } else { "callback" };
        assert_eq!(
            planned(&target, &[])["method"],
            method,
            "{}",
            interpreter.name
        );
        let report = exec(&target, &["--json", "-e", "1"]).expect(0).json();
        assert_eq!(report["method"], method, "{}", interpreter.name);
        assert_eq!(report["woken"] == "interrupted", protocol, "{report}");
        not_held(&target);
    }
}

#[test]
fn a_thread_that_is_not_to_be_woken_is_not() {
    for interpreter in synth::interpreters() {
        let target = sleeping(interpreter);
        let run = exec(&target, &["--wake", "never", "--dry-run", "-e", "1"]).expect(0);
        assert!(run.stdout.contains("left alone (--wake never)"), "{run:#?}");
        let words = ["--wake", "never", "--timeout", "0.3", "-e", "1"];
        exec(&target, &words).not_begun_asleep(target.pid(), "");
        assert_eq!(exec(&target, &["-e", "1"]).expect(0).stdout, "1\n");
        not_held(&target);
    }
}

#[test]
fn a_wait_of_others_is_left_alone_and_said_whose_it_is() {
    let program = "import ctypes\nprint('ready', flush=True)\nctypes.CDLL(None).sleep(1000)";
    for interpreter in synth::interpreters() {
        let target = Launch::new(interpreter, program).start();
        support::asleep_in(&target, "clock_nanosleep");
        let [_, waiting] = ways(&doctor(&target));
        assert_ne!(
            waiting["verdict"], "allows",
            "{}: {waiting}",
            interpreter.name
        );
        let plan = exec(&target, &["--dry-run", "-e", "1"]).expect(0);
        assert!(!plan.stdout.contains("wait on"), "{plan:#?}");
        let run = exec(&target, &["--timeout", "0.3", "-e", "1"]).expect(6);
        assert!(run.stderr.contains("not CPython's own"), "{run:#?}");
        not_held(&target);
    }
}

#[test]
fn the_record_of_an_act_says_by_which_way_it_went() {
    let place = tempfile::tempdir().expect("a directory");
    let log = place.path().join("log");
    let log = log.to_str().expect("a path in UTF-8");
    for (name, method, woken) in [
        ("3.9", "callback", Value::Null),
        ("3.15", "protocol", "interrupted".into()),
    ] {
        let target = sleeping(synth::interpreter(name));
        exec(&target, &["--audit-log", log, "-e", "1"]).expect(0);
        let text = std::fs::read_to_string(log).expect("the log");
        let last = text.lines().last().expect("a line");
        let end: Value = serde_json::from_str(last).expect("JSON");
        assert_eq!(end["runs"][0]["method"], method, "{end}");
        assert_eq!(end["runs"][0]["woken"], woken, "{end}");
        not_held(&target);
    }
}
