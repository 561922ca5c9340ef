//! `invivo tasks`: asyncio's tasks on every interpreter, as a table, as trees and in JSON.

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::{Run, eventually, invivo};
use synth::{Interpreter, Launch, Target, interpreter, interpreters, samples};

/// A task that waits for another, a circle of two, one whose name is out to get the terminal, and
/// one that runs all the time in an event loop of another thread.
const TASKS: &str = r#"
import asyncio, threading
async def sleeper():
    await asyncio.sleep(3600)
async def waiter(other):
    await other
async def circle(tasks, other):
    while other not in tasks:
        await asyncio.sleep(0)
    await tasks[other]
async def runner():
    while True:
        await asyncio.sleep(0)
def other_thread():
    asyncio.run(runner())
async def main():
    loop = asyncio.get_running_loop()
    def task(coroutine, name):
        return asyncio.create_task(coroutine, name=name)
    tasks = {}
    tasks["one"] = task(circle(tasks, "two"), "one")
    tasks["two"] = task(circle(tasks, "one"), "two")
    leaf = task(sleeper(), "leaf")
    first = task(waiter(leaf), "first")
    evil = task(sleeper(), "evil\x1b[2J\u202e\nname")
    threading.Thread(target=other_thread, daemon=True).start()
    await asyncio.sleep(0.01)
    print("ready", flush=True)
    await first
asyncio.run(main())
"#;

fn tasks(target: &Target, words: &[&str]) -> Run {
    let pid = target.pid().to_string();
    invivo(["tasks", &pid].into_iter().chain(words.iter().copied()))
}

/// The tasks by name.
fn by_name(report: &Value) -> BTreeMap<&str, &Value> {
    let list = report["tasks"].as_array().expect("tasks");
    assert!(list.iter().all(|task| task["address"].is_string()));
    list.iter()
        .map(|task| (task["name"].as_str().expect("a name"), task))
        .collect()
}

/// A target whose tasks have all come to wait.
fn started(interpreter: &Interpreter) -> Target {
    let target = Launch::new(interpreter, TASKS).start();
    eventually("its tasks wait", || {
        let report = tasks(&target, &["--json"]).expect(0).json();
        let list = report["tasks"].as_array().expect("tasks");
        let waits = |name: &str| {
            let mut found = list.iter().filter(|task| task["name"] == name);
            found.any(|task| task["waits_for"]["task"] == true)
        };
        list.len() == 7 && ["one", "two", "first"].into_iter().all(waits)
    });
    target
}

#[test]
fn each_task_is_told_with_what_it_waits_for() {
    for interpreter in interpreters() {
        let version = &interpreter.name;
        let target = started(interpreter);
        let report = tasks(&target, &["--json"]).expect(0).json();
        assert_eq!(report["schema"], 1);
        assert_eq!(report["incomplete"], Value::Null);
        let named = by_name(&report);
        let evil = "evil\u{1b}[2J\u{202e}\nname";
        for name in ["one", "two", "leaf", "first", evil] {
            assert_eq!(named[name]["state"], "waiting", "{version}: {name}");
            assert_eq!(named[name]["tid"], target.pid(), "{version}: {name}");
        }
        let waits = |one: &str, other: &str| {
            assert_eq!(
                named[one]["waits_for"]["address"], named[other]["address"],
                "{version}"
            );
            let waiters = named[other]["awaited_by"].as_array().expect("a list");
            assert!(waiters.contains(&named[one]["address"]), "{version}");
        };
        waits("one", "two");
        waits("two", "one");
        waits("first", "leaf");
        let frames = named["leaf"]["coroutines"].as_array().expect("frames");
        let names: Vec<_> = frames.iter().map(|frame| &frame["name"]).collect();
        assert_eq!(names, ["sleep", "sleeper"], "{version}");
        assert_eq!(frames[1]["source"], "    await asyncio.sleep(3600)");
        let elsewhere = named.values().find(|task| task["tid"] != target.pid());
        let elsewhere = elsewhere.expect("a task of the other thread");
        assert_ne!(elsewhere["tid"], Value::Null, "{version}");
    }
}

#[test]
fn the_table_and_the_tree_can_be_read() {
    for interpreter in interpreters() {
        let target = started(interpreter);
        let run = tasks(&target, &[]).expect(0);
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert!(
            lines[1].ends_with(", 7 asyncio tasks in 2 event loops"),
            "{run:#?}"
        );
        let heads: Vec<&str> = lines[3]
            .split("  ")
            .filter(|word| !word.is_empty())
            .collect();
        assert_eq!(
            heads.iter().map(|head| head.trim()).collect::<Vec<_>>(),
            [
                "TASK",
                "STATE",
                "THREAD",
                "COROUTINE",
                "WAITS FOR",
                "AWAITED BY"
            ]
        );
        let row = |name: &str| {
            let line = lines.iter().find(|line| line.starts_with(name));
            let cells = line
                .unwrap_or_else(|| panic!("no {name}: {run:#?}"))
                .split("  ");
            let cells = cells.map(str::trim).filter(|cell| !cell.is_empty());
            cells.collect::<Vec<_>>()
        };
        let pid = target.pid().to_string();
        assert_eq!(
            row("first "),
            ["first", "waiting", &pid, "waiter", "leaf", "Task-1"]
        );
        let leaf = row("leaf ");
        assert_eq!(leaf[3..], ["sleep ← sleeper", "Future", "first"]);
        assert!(
            run.stdout.contains("\nevil\\x1b[2J\\u202e\\nname  "),
            "{run:#?}"
        );

        let run = tasks(&target, &["--tree"]).expect(0);
        let tree = &run.stdout;
        let file = "target.py:";
        for part in [
            "\n   └─ leaf  waiting",
            "\n        sleeper  /",
            file,
            "cycle: back to task ",
        ] {
            assert!(tree.contains(part), "{part} in {tree}");
        }
        // Each task once, the circle aside.
        for name in ["leaf  ", "first  ", "one  ", "two  "] {
            assert_eq!(tree.matches(name).count(), 1, "{name} in {tree}");
        }
        let bad = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!tree.contains(bad), "{tree:?}");
    }
}

#[test]
fn the_tasks_of_one_thread() {
    for interpreter in interpreters() {
        let target = started(interpreter);
        let pid = target.pid().to_string();
        let report = tasks(&target, &["--json", "--thread", &pid])
            .expect(0)
            .json();
        assert_eq!(report["tasks"].as_array().map(Vec::len), Some(6));
        tasks(&target, &["--thread", "1"]).refused(2, "thread 1 is no Python thread", &pid);
    }
}

#[test]
fn a_chain_of_five_thousand_is_drawn() {
    const CHAIN: &str = r#"
import asyncio
async def link(other):
    if other:
        await other
    else:
        await asyncio.sleep(3600)
async def main():
    task = None
    for number in range(5000):
        task = asyncio.create_task(link(task), name=f"link-{number}")
    await asyncio.sleep(0)
    print("ready", flush=True)
    await task
asyncio.run(main())
"#;
    for interpreter in interpreters() {
        let target = Launch::new(interpreter, CHAIN).start();
        let run = tasks(&target, &["--tree", "--timeout", "20"]).expect(0);
        let lines: Vec<&str> = run.stdout.lines().collect();
        let first = lines.iter().position(|line| line.contains("link-4999  "));
        let last = lines.iter().position(|line| line.contains("link-0  "));
        assert!(first.expect("the first") < last.expect("the last"));
        assert!(
            lines[last.unwrap_or(0)].starts_with("[5000] "),
            "{}",
            interpreter.name
        );
        let widest = lines.iter().map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| widest < 300), "{widest:?}");
    }
}

#[test]
fn where_there_are_no_tasks_that_is_said() {
    for interpreter in interpreters() {
        let target = Launch::new(interpreter, samples::SLEEPER).start();
        for words in [&[][..], &["--tree"]] {
            let run = tasks(&target, words).expect(0);
            assert!(run.stdout.ends_with(", no asyncio tasks\n"), "{run:#?}");
        }
    }
}

#[test]
fn refusals_have_their_codes() {
    let run = invivo(["tasks", "4294967295", "--json"]);
    assert_eq!(run.json()["error"]["kind"], "NoSuchProcess");
    run.refused(3, "4294967295", "");
    assert_eq!(invivo(["tasks"]).code, Some(2));
    assert_eq!(invivo(["tasks", "1", "--tree", "--json"]).code, Some(2));
    let target = Launch::new(interpreter("3.14"), samples::ASYNCIO).start();
    let run = tasks(&target, &["--timeout", "0.001"]);
    assert!(matches!(run.code, Some(0 | 6)), "{run:#?}");
}
