//! Every interpreter there is, in every situation: what is read of it is what it says of itself,
//! frame by frame, position by position and task by task.

#[path = "support/differences.rs"]
mod differences;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use differences::{Differences, compare_tasks, compare_threads};
use invivo_cpython::{
    Limits, PlacedFrame, ReadThread, Reader, ReaderOptions, Runtime, StackOptions, TaskOptions,
    locate, locate_asyncio,
};
use invivo_model::{Defect, Frame, InterpreterThreads, Stack, Tasks};
use invivo_process::{ProcessMemory, Target};
use synth::scenarios::{
    ASYNCIO, CROWD, Cast, FORK, FORK_BY_THREAD, NAMES, OTHERS, PLAIN, SAMPLER, TRACED,
};
use synth::{Interpreter, interpreters};

/// How long stopping a target may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is read of a cast.
struct Seen {
    threads: Vec<InterpreterThreads>,
    tasks: Tasks,
}

fn look(target: &Target, limits: Limits) -> Seen {
    let modules = target.modules().expect("the target's modules");
    let memory = target.memory();
    let location = locate(&memory, &modules, target, &limits).expect("an interpreter");
    let asyncio = locate_asyncio(&location, &modules, target).expect("what asyncio says");
    let runtime = Runtime::open(memory, &location, limits).expect("a known layout");
    let options = StackOptions {
        opcodes: false,
        slots: false,
        names: true,
    };
    Seen {
        threads: runtime.threads(&options).expect("the threads"),
        tasks: runtime.tasks(&TaskOptions { asyncio }).expect("the tasks"),
    }
}

/// The same threads as a reader sees them that has read them a few times; `None` where it serves
/// no such interpreter.
fn read(target: &Target, seen: &[InterpreterThreads]) -> Option<Vec<InterpreterThreads>> {
    let limits = Limits::default();
    let modules = target.modules().expect("the target's modules");
    let memory = target.memory();
    let location = locate(&memory, &modules, target, &limits).expect("an interpreter");
    let runtime = Runtime::open(memory, &location, limits).expect("a known layout");
    let options = ReaderOptions {
        waits: true,
        exceptions: true,
    };
    let served = Reader::serves(&runtime);
    let mut reader = Reader::new(runtime, options);
    for _ in 0..if served { 4 } else { 0 } {
        reader.read().expect("the threads");
    }
    let mut threads = seen.to_vec();
    for thread in threads.iter_mut().flat_map(|one| &mut one.threads) {
        let mut read = reader.threads().iter();
        let read = read.find(|read| read.state.address == thread.state.address);
        thread.stack = read.map_or_else(Stack::default, |read| stack(&reader, read));
        if let Some(read) = read {
            thread.gil = read.gil;
            thread.handles_exception = read.handles_exception;
            thread.collects_garbage = read.collects_garbage;
            thread.is_main = read.is_main;
        }
    }
    served.then_some(threads)
}

fn stack(reader: &Reader<ProcessMemory>, thread: &ReadThread) -> Stack {
    let frame = |frame: &PlacedFrame| {
        let place = reader.place(frame.place).expect("a place");
        Frame {
            address: frame.address,
            code: Arc::clone(&place.code),
            position: place.position,
            opcode: None,
            through_c: Some(frame.through_c),
            trust: thread.trust,
            slots: None,
        }
    };
    let defect = |what: &str| Defect {
        address: thread.state.address,
        what: what.to_owned(),
    };
    Stack {
        c_stack: None,
        frames: thread.frames.iter().rev().map(frame).collect(),
        cut: thread.cut.map(defect),
        gap: None,
    }
}

/// Plays a cast on one interpreter and looks at it twice, as it runs and while it is stopped.
fn play(interpreter: &Interpreter, cast: &Cast) -> Vec<String> {
    let (process, told) = cast.start(interpreter);
    let target = Target::open(told.pid).expect("the target");
    let running = look(&target, Limits::default());
    let stopped = target
        .while_stopped(PATIENCE, |_| look(&target, Limits::default()))
        .expect("stopping the target");
    let read = read(&target, &running.threads).map(|threads| Seen {
        threads,
        tasks: running.tasks.clone(),
    });
    assert!(process.is_running());
    let mut found = Vec::new();
    let looks = [("running", running), ("stopped", stopped)];
    for (how, seen) in looks
        .into_iter()
        .chain(read.map(|read| ("read again", read)))
    {
        let mut differences = Differences::default();
        compare_threads(&mut differences, interpreter, &told, &seen.threads);
        compare_tasks(
            &mut differences,
            interpreter,
            &told,
            &seen.threads,
            &seen.tasks,
        );
        let context = format!("{} {} {how}", interpreter.name, cast.name);
        found.extend(
            differences
                .list
                .iter()
                .map(|line| format!("{context}: {line}")),
        );
    }
    found
}

/// Plays a cast on every interpreter: there is no difference.
fn play_everywhere(cast: &Cast) {
    let mut counts = BTreeMap::new();
    let mut first = Vec::new();
    for interpreter in interpreters() {
        let found = play(interpreter, cast);
        counts.insert(&interpreter.name, found.len());
        first.extend(found.into_iter().take(20));
    }
    assert!(
        first.is_empty(),
        "differences: {counts:?}\n{}",
        first.join("\n")
    );
}

#[test]
fn calls_of_every_kind() {
    play_everywhere(&PLAIN);
}

#[test]
fn names_and_line_tables_of_every_kind() {
    play_everywhere(&NAMES);
}

#[test]
fn calls_that_are_traced_and_monitored() {
    play_everywhere(&TRACED);
}

#[test]
fn many_threads_and_deep_stacks() {
    play_everywhere(&CROWD);
}

#[test]
fn tasks_of_every_kind() {
    play_everywhere(&ASYNCIO);
}

#[test]
fn sub_interpreters() {
    play_everywhere(&OTHERS);
}

#[test]
fn children_by_fork() {
    play_everywhere(&FORK);
    play_everywhere(&FORK_BY_THREAD);
}

#[test]
fn objects_of_every_kind() {
    play_everywhere(&SAMPLER);
}

#[test]
fn long_names_are_cut_and_said_to_be() {
    for interpreter in interpreters() {
        let (_process, told) = NAMES.start(interpreter);
        let target = Target::open(told.pid).unwrap();
        let limits = Limits {
            string_characters: 1000,
            ..Limits::default()
        };
        let threads = look(&target, limits).threads;
        let mut cut = 0;
        for frame in threads
            .iter()
            .flat_map(|i| &i.threads)
            .flat_map(|t| &t.stack.frames)
        {
            let told = &told.codes[&frame.code.address.0].name;
            let name = &frame.code.name;
            let whole: String = told.chars().take(limits.string_characters).collect();
            assert_eq!(name.text, whole, "{}", interpreter.name);
            assert_eq!(
                name.truncated,
                whole.len() < told.len(),
                "{}",
                interpreter.name
            );
            cut += usize::from(name.truncated);
        }
        assert!(
            cut >= 5,
            "{}: {cut} names of 5,000 characters",
            interpreter.name
        );
    }
}
