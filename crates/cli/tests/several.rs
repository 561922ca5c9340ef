//! `invivo exec` in any thread, and in each of several.

mod support;

use serde_json::Value;
use support::{busy, exec, not_held};
use synth::{Launch, samples};

const OWN_ID: &str = "__import__('threading').get_native_id()";

fn threads(interpreter: &synth::Interpreter) -> synth::Target {
    Launch::new(interpreter, samples::THREADS).start()
}

/// The entries of `results`.
fn results(report: &Value) -> &Vec<Value> {
    assert_eq!(report["outcome"], "several", "{report}");
    report["results"].as_array().expect("a list")
}

#[test]
fn each_thread_has_its_own_result() {
    for interpreter in synth::protocol() {
        let target = threads(interpreter);
        // The main thread waits in `join`, and may be out of reach.
        let words = ["--thread", "all", "--timeout", "10", "--json", "-e", OWN_ID];
        let run = exec(&target, &words);
        let report = run.json();
        let mut workers = target.ready_ids();
        workers.sort_unstable();
        let of_workers = || {
            let main = target.pid();
            let all = results(&report).iter();
            all.filter(move |one| one["thread"] != main)
        };
        let mut found = Vec::new();
        for one in of_workers() {
            assert_eq!(one["outcome"], "done", "{one}");
            assert_eq!(one["value"]["json"], one["thread"]);
            assert_eq!(one["interpreter"], 0);
            found.push(one["thread"].as_u64().expect("a number"));
        }
        found.sort_unstable();
        assert_eq!(found, workers, "{report}");
        let mut names: Vec<_> = of_workers().map(|one| one["name"].as_str()).collect();
        names.sort_unstable();
        let expected = ["worker 0", "worker 1", "worker 2", "worker 3"];
        assert_eq!(names, expected.map(Some));
        assert_eq!(results(&report).len(), 5, "{report}");
        not_held(&target);
    }
}

#[test]
fn each_result_stands_below_its_thread() {
    let target = threads(synth::interpreter("3.14"));
    let code = format!(
        "import sys\nprint('out', end='')\nprint('err', file=sys.stderr)\n\
         if {OWN_ID} == {}: raise KeyError(7)",
        target.ready_ids()[0]
    );
    let run = exec(
        &target,
        &["--thread", "all", "--timeout", "10", "-c", &code],
    );
    // One raised, whatever came of the main thread.
    let run = run.expect(1);
    for (place, tid) in target.ready_ids().into_iter().enumerate() {
        let heading = format!("thread {tid} \"worker {place}\" (interpreter 0):\n");
        let out = format!("{heading}out\n");
        assert!(run.stdout.contains(&out), "{run:#?}");
        let err = format!("{heading}err\n");
        assert!(run.stderr.contains(&err), "{run:#?}");
    }
    assert_eq!(run.stderr.matches("KeyError: 7\n").count(), 1, "{run:#?}");
    not_held(&target);
}

#[test]
fn each_interpreter_answers_for_itself() {
    let id = "__import__('concurrent.interpreters').interpreters.get_current().id";
    for interpreter in synth::protocol() {
        let target = Launch::new(interpreter, samples::SUBINTERPRETERS_RUNNING).start();
        let run = exec(&target, &["--interpreter", "all", "--json", "-e", id]);
        let report = run.expect(0).json();
        let all = results(&report);
        assert_eq!(all.len(), 3, "{report}");
        for one in all {
            assert_eq!(one["value"]["json"], one["interpreter"], "{report}");
        }
        not_held(&target);

        // An interpreter in which nothing runs says so, and keeps none from running.
        let target = Launch::new(interpreter, samples::SUBINTERPRETERS_IDLE).start();
        for thread in ["main", "all"] {
            let words = [
                "--interpreter",
                "all",
                "--thread",
                thread,
                "--json",
                "-e",
                id,
            ];
            let report = exec(&target, &words).expect(5).json();
            let outcomes: Vec<_> = results(&report).iter().map(|one| &one["outcome"]).collect();
            assert_eq!(outcomes, ["done", "failed", "failed"], "{report}");
            assert!(results(&report)[1]["thread"].is_null());
        }
        not_held(&target);
    }
}

#[test]
fn a_thread_that_runs_is_taken_before_one_that_waits() {
    for interpreter in synth::protocol() {
        let target = threads(interpreter);
        let report = exec(&target, &["--thread", "any", "--json", "-e", OWN_ID]);
        let report = report.expect(0).json();
        assert_eq!(report["value"]["json"], report["thread"]);
        let workers = target.ready_ids();
        assert!(
            workers.iter().any(|tid| report["thread"] == *tid),
            "{report}"
        );
        not_held(&target);
    }
}

#[test]
fn what_is_planned_for_each_is_shown_and_nothing_is_written() {
    let target = threads(synth::interpreter("3.15"));
    let words = ["--thread", "all", "--dry-run", "--json", "-e", "1"];
    let report = exec(&target, &words).expect(0).json();
    assert_eq!(results(&report).len(), 5, "{report}");
    for one in results(&report) {
        assert_eq!(one["outcome"], "dry-run", "{report}");
    }
    let run = exec(&target, &["--thread", "all", "--dry-run", "-e", "1"]).expect(0);
    assert_eq!(run.stdout.matches("Nothing was written.").count(), 5);
    not_held(&target);
}

#[test]
fn a_thread_that_is_in_no_interpreter_is_refused() {
    let target = busy(synth::interpreter("3.14"));
    let words = ["--thread", "1", "--interpreter", "all", "-e", "1"];
    exec(&target, &words).refused(2, "runs no Python", "has no thread 1");
    exec(&target, &["--thread", "most", "-e", "1"]).expect(2);
    exec(&target, &["--interpreter", "some", "-e", "1"]).expect(2);
}
