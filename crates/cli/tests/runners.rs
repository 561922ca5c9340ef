//! Thread states that other threads run than made them: who looks is shown each stack under the
//! thread that it is on, and who acts does so in the thread that was chosen, or not at all.

mod support;

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::Value;
use support::people::{dump, functions, threads};
use support::{each, exec, invivo, not_held, staged};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, Target, acted_on, helpers, interpreters, samples};

/// Scripts that each target of these shapes is made to run.
const RUNS: usize = 40;

fn lent(interpreter: &Interpreter, how: &str) -> Target {
    let library = helpers::lend();
    Launch::new(interpreter, samples::LENT)
        .arguments([library.as_os_str(), how.as_ref()])
        .start()
}

/// Whether this interpreter lets thread states go round a pool. Debug builds end such a program
/// themselves (`tstate_activate` of `Python/pystate.c` asserts that a state stays in its thread).
fn has_pools(python: &Interpreter) -> bool {
    !python.debug
}

fn elsewhere(interpreter: &Interpreter) -> Target {
    Launch::new(interpreter, samples::SUBINTERPRETER_ELSEWHERE).start()
}

/// The thread that runs this function, if one is shown to.
fn runs<'a>(report: &'a Value, function: &str) -> Option<&'a Value> {
    let mut all = threads(report).into_iter();
    all.find(|one| functions(one).contains(&function))
}

/// It goes on with its work, which it checks, stands still nowhere and says nothing; it ends as it
/// should.
#[track_caller]
fn ends_well(target: &Target) {
    let before = target.checked();
    let until = Instant::now() + PATIENCE;
    while target.checked() <= before {
        assert!(Instant::now() < until, "the target works no more");
    }
    not_held(target);
    assert_eq!(staged(target), Vec::<std::path::PathBuf>::new());
    target.close_input();
    let status = target.wait_exit(PATIENCE);
    assert!(
        status.success(),
        "{status}, said last: {}{}",
        target.stdout_so_far(),
        target.stderr_so_far()
    );
}

#[test]
fn a_lent_thread_state_is_shown_under_the_thread_that_runs_it() {
    each(
        interpreters(),
        |python| python.name.clone(),
        |python| {
            let target = lent(python, "lent");
            let main = u64::from(target.pid());
            for words in [&["--json"][..], &["--json", "--block"]] {
                let report = dump(&target, words).expect(0).json();
                let own = runs(&report, "main_function").expect("the main thread");
                assert_eq!((&own["tid"], &own["main"]), (&main.into(), &true.into()));
                assert_eq!(own["tid_proven"], true);
                let worker = runs(&report, "work_on").expect("the worker");
                assert_ne!(worker["tid"], main, "{worker:#}");
                assert_eq!(worker["tid_proven"], true, "{worker:#}");
                assert_eq!(
                    (&worker["main"], &worker["name"]),
                    (&false.into(), &Value::Null)
                );
                assert_eq!(report["without_python"], Value::Array(Vec::new()));
            }
            ends_well(&target);
        },
    );
}

#[test]
fn an_interpreter_of_another_thread_is_shown_under_that_thread() {
    each(
        interpreters(),
        |python| python.name.clone(),
        |python| {
            let target = elsewhere(python);
            let report = dump(&target, &["--json", "--all-interpreters"])
                .expect(0)
                .json();
            let outer = runs(&report, "run").expect("the worker");
            let inner = runs(&report, "view_in_sub").expect("what it runs");
            assert_eq!(outer["tid"], inner["tid"]);
            assert_ne!(inner["tid"], u64::from(target.pid()));
            ends_well(&target);
        },
    );
}

#[test]
fn states_that_go_round_a_pool_are_never_shown_under_their_maker() {
    let pythons: Vec<_> = interpreters().iter().filter(|one| has_pools(one)).collect();
    each(
        &pythons,
        |python| python.name.clone(),
        |python| {
            let target = lent(python, "pool");
            for _ in 0..20 {
                let report = dump(&target, &["--json"]).expect(0).json();
                for one in threads(&report) {
                    if functions(one).contains(&"worker_function") {
                        assert_ne!(one["tid"], u64::from(target.pid()), "{one:#}");
                        assert_eq!(one["main"], false);
                    }
                }
            }
            ends_well(&target);
        },
    );
}

/// What a command prints that samples for some time: for as long as it takes to see something.
fn sampled(words: &[&str]) -> String {
    let mut longest = Vec::new();
    for duration in ["0.3", "2", "10", "30"] {
        longest = [words, &["-d", duration]].concat();
        let run = invivo(&longest);
        if run.code != Some(3) {
            return run.expect(0).stdout;
        }
    }
    panic!("nothing was seen: {longest:?}");
}

/// The numbers of the threads under which `record` has stacks with this function.
fn recorded_under(target: &Target, function: &str) -> BTreeSet<u32> {
    let pid = target.pid().to_string();
    let recorded = sampled(&["record", &pid, "-f", "collapsed", "--threads", "-o", "-"]);
    let here = format!(";{function} (");
    let lines = recorded.lines().filter(|line| line.contains(&here));
    // Of one that runs it may not be known at first, which is said.
    let known = lines.filter(|line| !line.starts_with("thread not known;"));
    let number = |line: &str| {
        let after = line.strip_prefix("thread ").expect(line);
        let digits = after.split(|one: char| !one.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()).expect(line)
    };
    known.map(number).collect()
}

/// The same for the threads that `top` shows to be most often in this function.
fn shown_under(pid: u64, function: &str) -> BTreeSet<String> {
    let shown = sampled(&["top", &pid.to_string(), "--once", "--mode", "wall"]);
    let (_, threads) = shown.split_once("MOST OFTEN IN").expect(&shown);
    let here = format!("  {function}  ");
    let lines = threads.lines().filter(|line| line.contains(&here));
    let number = |line: &str| line.split_whitespace().nth(6).map(str::to_owned);
    let numbers = lines.filter_map(number);
    numbers.filter(|number| number != "?").collect()
}

#[test]
fn who_is_sampled_is_the_thread_that_runs() {
    let cells: Vec<_> = interpreters()
        .iter()
        .flat_map(|python| ["lent", "pool", "elsewhere"].map(|shape| (python, shape)))
        .filter(|(python, shape)| *shape != "pool" || has_pools(python))
        .collect();
    let name = |(python, shape): &(&Interpreter, &str)| format!("{} {shape}", python.name);
    each(&cells, name, |(python, shape)| {
        let (target, function, leaf) = match *shape {
            "elsewhere" => (elsewhere(python), "view_in_sub", "view_in_sub"),
            "pool" => (lent(python, "pool"), "worker_function", "worker_function"),
            how => (lent(python, how), "work_on", "worker_function"),
        };
        let main = target.pid();
        let recorded = recorded_under(&target, function);
        assert!(!recorded.contains(&main), "{recorded:?}, main: {main}");
        let shown = shown_under(main.into(), leaf);
        assert!(
            !shown.contains(&main.to_string()),
            "{shown:?}, main: {main}"
        );
        if *shape != "pool" {
            assert_eq!(recorded.len(), 1, "{recorded:?}");
            let one = recorded.first().map(u32::to_string);
            assert_eq!(shown.into_iter().collect::<Vec<_>>(), Vec::from_iter(one));
        }
        ends_well(&target);
    });
}

#[test]
fn scripts_run_where_they_were_meant_to_and_do_no_harm() {
    let shapes = ["lent", "pool", "elsewhere"];
    let cells: Vec<_> = acted_on()
        .into_iter()
        .flat_map(|python| shapes.map(|shape| (python, shape)))
        .filter(|(python, shape)| *shape != "pool" || has_pools(python))
        .collect();
    let name = |(python, shape): &(&Interpreter, &str)| format!("{} {shape}", python.name);
    each(&cells, name, |(python, shape)| {
        let target = match *shape {
            "elsewhere" => elsewhere(python),
            how => lent(python, how),
        };
        let main = target.pid().to_string();
        let within = match *shape {
            "elsewhere" => target.ready_ids()[0].to_string(),
            _ => "0".to_owned(),
        };
        let words = [
            "--interpreter",
            &within,
            "--thread",
            "any",
            "--timeout",
            "20",
        ];
        let ask = "(__import__('threading').get_native_id(), 6 * 7)";
        for number in 0..RUNS {
            let of_main = number % 2 == 0;
            let words = if of_main {
                &["--timeout", "20"][..]
            } else {
                &words[..]
            };
            let run = exec(&target, &[words, &["-e", ask]].concat());
            match run.code {
                Some(0) if of_main => assert_eq!(run.stdout, format!("({main}, 42)\n")),
                Some(0) => {
                    assert!(run.stdout.ends_with(", 42)\n"), "{run:#?}");
                    if *shape == "elsewhere" {
                        assert_ne!(run.stdout, format!("({main}, 42)\n"));
                    }
                }
                // A thread state that goes round may be another thread's by then, or nobody's.
                Some(5 | 6) if *shape == "pool" && !of_main => {}
                _ => panic!(
                    "{run:#?}, it runs: {}, it said: {}",
                    target.is_running(),
                    target.stderr_so_far()
                ),
            }
        }
        ends_well(&target);
    });
}

#[test]
fn what_doctor_says_of_a_lent_state_is_what_happens() {
    each(
        &acted_on(),
        |python| python.name.clone(),
        |python| {
            let target = lent(python, "lent");
            let pid = target.pid().to_string();
            let report = invivo(["doctor", &pid, "--json"]).expect(0).stdout;
            assert!(report.contains(&format!("thread {pid} ")), "{report}");
            assert_eq!(exec(&target, &["-e", "6 * 7"]).expect(0).stdout, "42\n");
            ends_well(&target);
        },
    );
}

#[test]
fn a_child_that_c_code_forked_has_its_thread() {
    each(
        interpreters(),
        |python| python.name.clone(),
        |python| {
            let target = Launch::new(python, samples::FORKED_BY_C).start();
            let child = target.ready_ids()[0];
            let report = invivo(["dump", &child.to_string(), "--json"])
                .expect(0)
                .json();
            let computes = runs(&report, "child_computes").expect("what it does");
            assert_eq!(computes["tid"], child);
            assert_eq!(computes["native_id"], child);
            let shown = shown_under(child, "child_computes");
            assert_eq!(shown, BTreeSet::from([child.to_string()]));
            assert_eq!(report["without_python"], Value::Array(Vec::new()));
            target.close_input();
            assert!(target.wait_exit(PATIENCE).success());
        },
    );
}

/// A program with two threads forks a worker with one.
const WORKER: &str = "
import os, sys, threading, time
def work(parent):
    while os.getppid() == parent:
        time.sleep(0.01)
    os._exit(0)
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
parent = os.getpid()
child = os.fork()
if child == 0:
    work(parent)
print('ready', child, flush=True)
sys.stdin.read()
os._exit(0)
";

#[test]
fn the_thread_of_a_forked_worker_has_its_name() {
    each(
        interpreters(),
        |python| python.name.clone(),
        |python| {
            let target = Launch::new(python, WORKER).start();
            let worker = target.ready_ids()[0];
            let pid = worker.to_string();
            let report = invivo(["dump", &pid, "--json"]).expect(0).json();
            let works = runs(&report, "work").expect("what it does");
            assert_eq!(
                (&works["name"], &works["main"]),
                (&"MainThread".into(), &true.into())
            );
            let recorded = sampled(&["record", &pid, "-f", "collapsed", "--threads", "-o", "-"]);
            let label = format!("thread {pid}: MainThread;");
            assert!(recorded.contains(&label), "{recorded}");
            let shown = sampled(&["top", &pid, "--once", "--mode", "wall"]);
            let (_, threads) = shown.split_once("MOST OFTEN IN").expect(&shown);
            assert!(threads.contains(&format!(" {pid} ")), "{shown}");
            assert!(threads.contains("MainThread"), "{shown}");
            target.close_input();
            assert!(target.wait_exit(PATIENCE).success());
        },
    );
}

#[test]
fn where_the_main_thread_has_ended_others_run_scripts() {
    each(
        &acted_on(),
        |python| python.name.clone(),
        |python| {
            let target = Launch::new(python, samples::MAIN_THREAD_GONE).start();
            let survivor = target.ready_ids()[0].to_string();
            for thread in ["any", &survivor] {
                let run = exec(
                    &target,
                    &["--thread", thread, "--timeout", "20", "-e", "6 * 7"],
                );
                assert_eq!(run.expect(0).stdout, "42\n");
            }
            exec(&target, &["-e", "1"]).refused(5, "main thread", "has ended");
            assert!(target.is_running());
            assert_eq!(target.stderr_so_far(), "");
        },
    );
}
