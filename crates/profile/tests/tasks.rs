//! A thread that runs an asyncio task is seen in it and in those that wait for it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::collections::BTreeMap;
use std::time::Instant;

use invivo_model::FunctionKind;
use invivo_profile::Options;
use support::{alone, sampled, whole_stacks};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, interpreters};

/// What scenarios are made of.
const PRELUDE: &str = r#"
import asyncio, functools, threading, time
def spin():
    end = time.perf_counter() + 0.002
    while time.perf_counter() < end: pass
async def step(burn):
    burn()
    await asyncio.sleep(0)
async def worker(burn):
    while True: await step(burn)
def burn0(): spin()
def burn1(): spin()
def burn2(): spin()
def started(coroutine, name):
    task = asyncio.ensure_future(coroutine)
    task.set_name(name)
    return task
def workers():
    return [started(worker(burn), burn.__name__) for burn in (burn0, burn1, burn2)]
async def begin():
    for _ in range(4): await asyncio.sleep(0)
    print("ready", flush=True)
"#;

/// Tasks that wait for tasks through `gather` and directly, and others that wait for nobody.
const CHAIN: &str = r#"
async def parent():
    await asyncio.gather(*workers())
async def main():
    asyncio.current_task().set_name("top")
    others = [started(asyncio.sleep(1000), "idle") for _ in range(OTHERS)]
    await asyncio.gather(started(parent(), "parent"), begin())
asyncio.run(main())
"#;

const CHAINED: [&str; 4] = ["<task top>", "main", "<task parent>", "parent"];

/// Samples a scenario; gives the stacks that are certain, and in how many ticks they were seen.
fn stacks(
    interpreter: &'static Interpreter,
    scenario: &str,
    options: Options,
    check: impl Fn(&str, &BTreeMap<Vec<&str>, u32>),
) {
    let program = format!("{PRELUDE}\n{scenario}");
    let process = Launch::new(interpreter, program).start();
    for opcodes in [false, true] {
        let options = Options {
            tasks: true,
            opcodes,
            ..options
        };
        let begun = Instant::now();
        let profile = loop {
            // A busy machine may leave a thread out for a while.
            let profile = sampled(process.pid(), 1000, 30, options);
            let stacks = whole_stacks(&profile);
            let seen = |burn: &&str| stacks.keys().any(|stack| stack.contains(burn));
            if burns(scenario).iter().all(seen) {
                break profile;
            }
            assert!(begun.elapsed() < PATIENCE, "{stacks:?}");
        };
        let stacks = whole_stacks(&profile);
        check(
            &format!("{}, opcodes: {opcodes}", interpreter.name),
            &stacks,
        );
        let functions = &profile.tables.functions;
        for function in functions
            .iter()
            .filter(|one| one.name.text.starts_with("<task "))
        {
            assert_eq!(function.kind, FunctionKind::Task, "{function:?}");
        }
    }
}

/// The functions that a scenario goes on to call.
fn burns(scenario: &str) -> Vec<&'static str> {
    let all = ["burn0", "burn1", "burn2"].into_iter();
    all.filter(|burn| scenario.contains(burn) || scenario.contains("workers()"))
        .collect()
}

/// Each stack in a function `burnN` has to begin with `above` and the task of that name, or to say
/// that its task is not known, which has to be rare.
fn burning(what: &str, stacks: &BTreeMap<Vec<&str>, u32>, above: &[&str]) {
    let (mut known, mut unknown) = (0, 0);
    for (stack, times) in stacks {
        let Some(burn) = stack.iter().find(|name| name.starts_with("burn")) else {
            continue;
        };
        if stack[0] == "<task not known>" {
            unknown += times;
            continue;
        }
        let task = format!("<task {burn}>");
        let mut wanted = above.to_vec();
        wanted.extend([&task, "worker", "step", burn]);
        assert!(stack.starts_with(&wanted), "{what}: {stack:?}");
        known += times;
    }
    assert!(known > unknown * 4, "{what}: {stacks:?}");
}

/// Samples a scenario in every interpreter, of which each function `burnN` has to be seen so.
fn all_burn(scenario: &str, above: &[&str]) {
    for interpreter in interpreters() {
        stacks(interpreter, scenario, Options::default(), |what, stacks| {
            burning(what, stacks, above);
        });
    }
}

#[test]
fn a_task_is_seen_below_those_that_wait_for_it() {
    let _alone = alone();
    for others in ["0", "1000"] {
        all_burn(&CHAIN.replace("OTHERS", others), &CHAINED);
    }
}

#[test]
fn tasks_that_wait_for_each_other_in_a_circle_are_told_once() {
    const CIRCLE: &str = r#"
async def one():
    await asyncio.gather(*workers(), known["other"])
async def other():
    await known["one"]
known = {}
async def main():
    known["other"] = started(other(), "other")
    known["one"] = started(one(), "one")
    await begin()
    await asyncio.sleep(1000)
asyncio.run(main())
"#;
    let _alone = alone();
    all_burn(CIRCLE, &["<task other>", "other", "<task one>", "one"]);
}

#[test]
fn of_several_that_wait_one_is_shown_and_the_others_counted() {
    const FORK: &str = r#"
async def waiting(tasks):
    await asyncio.wait(tasks)
async def main():
    tasks = workers()
    for _ in range(3): started(waiting(tasks), "waiting")
    await begin()
    await asyncio.sleep(1000)
asyncio.run(main())
"#;
    let _alone = alone();
    for interpreter in interpreters() {
        stacks(interpreter, FORK, Options::default(), |what, stacks| {
            for (stack, _) in stacks.iter().filter(|(stack, _)| stack.contains(&"spin")) {
                assert_eq!(
                    stack[..2],
                    ["<task waiting and 2 more>", "waiting"],
                    "{what}"
                );
            }
            assert!(stacks.keys().any(|stack| stack.contains(&"spin")), "{what}");
        });
    }
}

#[test]
fn loops_of_several_threads_are_told_apart() {
    const THREADS: &str = r#"
async def main(name, burn):
    asyncio.current_task().set_name(name)
    task = started(worker(burn), burn.__name__)
    await asyncio.gather(task, begin())
first = main("first", burn0)
threading.Thread(target=asyncio.run, args=(main("second", burn1),), daemon=True).start()
asyncio.run(first)
"#;
    let _alone = alone();
    for interpreter in interpreters() {
        stacks(interpreter, THREADS, Options::default(), |what, stacks| {
            for (name, burn) in [("<task first>", "burn0"), ("<task second>", "burn1")] {
                let own = stacks.iter().filter(|(stack, _)| stack.contains(&burn));
                let own: BTreeMap<_, _> =
                    own.map(|(stack, ticks)| (stack.clone(), *ticks)).collect();
                burning(what, &own, &[name, "main"]);
            }
        });
    }
}

#[test]
fn tasks_of_python_code_are_tasks() {
    const PYTHON: &str = r#"
async def parent():
    await asyncio.gather(*workers())
async def main():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coroutine, **more: asyncio.tasks._PyTask(coroutine, loop=loop, **more))
    await asyncio.gather(started(parent(), "parent"), begin())
asyncio.run(main())
"#;
    let _alone = alone();
    let above = ["<task Task-1>", "main", "<task parent>", "parent"];
    all_burn(PYTHON, &above);
}

#[test]
fn a_coroutine_of_no_task_is_said_to_be_of_none_that_is_known() {
    const BY_HAND: &str = r#"
async def main():
    burn0()
print("ready", flush=True)
def once():
    try: main().send(None)
    except StopIteration: pass
while True: once()
"#;
    let _alone = alone();
    for interpreter in interpreters() {
        stacks(interpreter, BY_HAND, Options::default(), |what, stacks| {
            let wanted = [
                "<task not known>",
                "<module>",
                "once",
                "main",
                "burn0",
                "spin",
            ];
            assert!(stacks.contains_key(&wanted[..]), "{what}: {stacks:?}");
            for stack in stacks.keys().filter(|stack| stack.contains(&"burn0")) {
                assert!(stack.starts_with(&wanted[..4]), "{what}: {stack:?}");
            }
        });
    }
}

#[test]
fn c_code_is_marked_within_tasks_as_well() {
    const NATIVE: &str = r#"
def relay(burn): sorted([1], key=lambda _: burn())
async def main():
    asyncio.current_task().set_name("top")
    await begin()
    await worker(functools.partial(relay, burn0))
asyncio.run(main())
"#;
    let _alone = alone();
    for interpreter in interpreters() {
        let options = Options {
            native: true,
            ..Options::default()
        };
        stacks(interpreter, NATIVE, options, |what, stacks| {
            let lambda = match interpreter.minor() {
                ..11 => "<lambda>",
                _ => "relay.<locals>.<lambda>",
            };
            let mut count = 0;
            for stack in stacks.keys().filter(|stack| stack.contains(&"burn0")) {
                assert_eq!(stack[..2], ["<task top>", "main"], "{what}: {stack:?}");
                let from = stack.iter().position(|name| *name == "relay").unwrap();
                let marked = ["relay", "<native>", lambda, "burn0"];
                let plain = ["relay", lambda, "burn0"];
                let wanted = if interpreter.minor() >= 11 {
                    &marked[..]
                } else {
                    &plain
                };
                assert!(stack[from..].starts_with(wanted), "{what}: {stack:?}");
                count += 1;
            }
            assert!(count > 0, "{what}: {stacks:?}");
        });
    }
}
