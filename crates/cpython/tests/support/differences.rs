//! What a cast of scenes says of itself, held against what was read of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use invivo_model::{
    Address, Frame, Gil, InterpreterThreads, Stack, Task, TaskState, Tasks, Text, Thread, Trust,
};
use synth::Interpreter;
use synth::scenarios::{self, Told};

/// The first minor version that keeps threads' OS numbers in their states.
const NATIVE_IDS_SINCE: u32 = 11;

/// What does not agree.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    pub(crate) list: Vec<String>,
}

impl Differences {
    fn add(&mut self, difference: String) {
        self.list.push(difference);
    }

    /// Notes where `read` is not what was told.
    fn same<T: PartialEq + Debug>(&mut self, place: &str, what: &str, told: T, read: T) {
        if told != read {
            self.add(format!("{place}: {what} told {told:?}, read {read:?}"));
        }
    }
}

/// The frames of a stack that are to be compared in part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Innermost {
    /// All are as told.
    Exact,
    /// The innermost is in the same line as told, elsewhere in it.
    Line,
}

/// Notes every difference between the threads that were told of and those that were read.
pub(crate) fn compare_threads(
    differences: &mut Differences,
    interpreter: &Interpreter,
    told: &Told,
    read: &[InterpreterThreads],
) {
    let ids: BTreeSet<u64> = read.iter().map(|i| i.id.cast_unsigned()).collect();
    let told_ids = told.interpreters.iter().copied().collect();
    differences.same("process", "interpreters", told_ids, ids);
    for sub in read {
        let place = format!("interpreter {}", sub.id);
        if !sub.defects.is_empty() {
            differences.add(format!("{place}: defects {:?}", sub.defects));
        }
        let collects = told
            .threads
            .iter()
            .any(|thread| is_collecting(thread) && thread.interpreter == sub.id.cast_unsigned());
        differences.same(&place, "collecting", Some(collects), sub.collecting);
        let mut missing: BTreeMap<u64, &scenarios::Thread> = told
            .threads
            .iter()
            .filter(|thread| thread.interpreter == sub.id.cast_unsigned())
            .map(|thread| (thread.ident, thread))
            .collect();
        for thread in &sub.threads {
            let ident = thread.state.thread_id;
            match missing.remove(&ident) {
                Some(expected) => compare_thread(differences, interpreter, told, expected, thread),
                None => compare_frameless(differences, told, sub.id, thread),
            }
        }
        for (ident, thread) in missing {
            let name = &thread.name;
            differences.add(format!(
                "{place}: thread {ident:#x} ({name:?}) was not read"
            ));
        }
    }
    let main = read.iter().find(|sub| sub.id == 0);
    for ident in &told.frameless {
        let mut threads = main.iter().flat_map(|main| &main.threads);
        if !threads.any(|thread| thread.state.thread_id == *ident) {
            differences.add(format!("the thread without frames {ident:#x} was not read"));
        }
    }
}

fn is_collecting(thread: &scenarios::Thread) -> bool {
    thread.name.as_deref() == Some("collecting")
}

/// A thread of which nothing was told has no frames. In the main interpreter it is known;
/// sub-interpreters keep thread states that nothing runs in.
fn compare_frameless(differences: &mut Differences, told: &Told, interpreter: i64, read: &Thread) {
    let ident = read.state.thread_id;
    if interpreter == 0 && !told.frameless.contains(&ident) {
        differences.add(format!("thread {ident:#x} was read and is not there"));
    }
    if read.stack != Stack::default() {
        let place = format!("thread {ident:#x} without frames");
        differences.add(format!("{place}: {}", outline(&read.stack)));
    }
}

fn compare_thread(
    differences: &mut Differences,
    interpreter: &Interpreter,
    told: &Told,
    expected: &scenarios::Thread,
    read: &Thread,
) {
    let name = expected.name.as_deref().unwrap_or("no name");
    let name: String = name.chars().take(30).collect();
    let place = format!("thread {:#x} ({name:?})", expected.ident);
    let native_id = if interpreter.minor() >= NATIVE_IDS_SINCE {
        expected.native_id
    } else {
        0
    };
    differences.same(&place, "native id", native_id, read.state.native_id);
    let told_name = expected.name.as_ref();
    differences.same(
        &place,
        "name",
        told_name.map(|name| short(name)),
        read.name.clone(),
    );
    differences.same(&place, "GIL", Gil::Without, read.gil);
    differences.same(
        &place,
        "handles an exception",
        Some(expected.handles_exception),
        read.handles_exception,
    );
    differences.same(&place, "is main", expected.is_main, read.is_main);
    if let Some(collects) = read.collects_garbage {
        differences.same(
            &place,
            "collects garbage",
            is_collecting(expected),
            collects,
        );
    }
    let (frames, innermost) = if expected.ident == told.reporter && expected.interpreter == 0 {
        (&expected.frames[1..], Innermost::Line)
    } else if expected.interpreter != 0 {
        (&expected.frames[..], Innermost::Line)
    } else {
        (&expected.frames[..], Innermost::Exact)
    };
    compare_stack(differences, &place, told, frames, &read.stack, innermost);
}

/// The name of a thread or a task, of which so many characters are read.
fn short(name: &str) -> Text {
    const CHARACTERS: usize = 1024;
    Text {
        text: name.chars().take(CHARACTERS).collect(),
        truncated: name.chars().count() > CHARACTERS,
    }
}

fn compare_stack(
    differences: &mut Differences,
    place: &str,
    told: &Told,
    expected: &[scenarios::Frame],
    read: &Stack,
    innermost: Innermost,
) {
    if let Some(cut) = &read.cut {
        differences.add(format!("{place}: cut {cut:?}"));
    }
    if expected.len() != read.frames.len() {
        let names: Vec<_> = expected
            .iter()
            .take(12)
            .map(|frame| {
                told.codes[&frame.0]
                    .name
                    .chars()
                    .take(30)
                    .collect::<String>()
            })
            .collect();
        differences.add(format!(
            "{place}: told {} frames {names:?}, read {}",
            expected.len(),
            outline(read)
        ));
        return;
    }
    for (index, (expected, read)) in expected.iter().zip(&read.frames).enumerate() {
        let only_line = index == 0 && innermost == Innermost::Line;
        let name = told.codes[&expected.0].name.escape_debug().take(30);
        let place = format!("{place} frame {index} {}", name.collect::<String>());
        compare_frame(differences, &place, told, expected, read, only_line);
    }
}

fn compare_frame(
    differences: &mut Differences,
    place: &str,
    told: &Told,
    expected: &scenarios::Frame,
    read: &Frame,
    only_line: bool,
) {
    let (address, line, end_line, column, end_column) = *expected;
    let code = &*read.code;
    let described = scenarios::Code {
        address: code.address.0,
        name: code.name.text.clone(),
        qualname: code.qualname.as_ref().map(|text| text.text.clone()),
        filename: code.filename.text.clone(),
        first_line: code.first_line,
        flags: code.flags,
    };
    if told.codes[&address] != described {
        let (told, read) = (
            format!("{:?}", told.codes[&address]),
            format!("{described:?}"),
        );
        differences.add(format!("{place}: code told {told:.300}, read {read:.300}"));
    }
    differences.same(place, "trust", Trust::Whole, read.trust);
    let position = read.position;
    differences.same(place, "line", line, position.line);
    if !only_line {
        differences.same(
            place,
            "end line, columns",
            (end_line, column, end_column),
            (position.end_line, position.column, position.end_column),
        );
    }
}

/// The names of the innermost frames.
fn outline(stack: &Stack) -> String {
    let names: Vec<_> = stack
        .frames
        .iter()
        .take(12)
        .map(|frame| frame.code.name.text.chars().take(30).collect::<String>())
        .collect();
    format!("{} frames {names:?}", stack.frames.len())
}

/// Notes every difference between the tasks that were told of and those that were read.
pub(crate) fn compare_tasks(
    differences: &mut Differences,
    interpreter: &Interpreter,
    told: &Told,
    threads: &[InterpreterThreads],
    read: &Tasks,
) {
    // The thread states of the main interpreter, by ident.
    let main = threads.iter().filter(|interpreter| interpreter.id == 0);
    let states = main
        .flat_map(|main| &main.threads)
        .map(|thread| (thread.state.thread_id, thread.state.address))
        .collect();
    if !read.defects.is_empty() {
        differences.add(format!("tasks: defects {:?}", read.defects));
    }
    let mut rest: HashMap<u64, &Task> = read
        .list
        .iter()
        .map(|task| (task.address.0, task))
        .collect();
    differences.same("tasks", "each once", rest.len(), read.list.len());
    let waiters = direct_waiters(told);
    let tasks: BTreeSet<u64> = told.tasks.iter().map(|task| task.address).collect();
    for expected in &told.tasks {
        let name: String = expected.name.chars().take(30).collect();
        let place = format!("task {name:?}");
        let Some(task) = rest.remove(&expected.address) else {
            differences.add(format!("{place} was not read"));
            continue;
        };
        compare_task(differences, interpreter, told, &states, expected, task);
        let read: BTreeSet<u64> = task.awaited_by.iter().map(|address| address.0).collect();
        match &expected.awaited_by {
            Some(recorded) => {
                let recorded = recorded.iter().copied().collect();
                differences.same(&place, "awaited by", recorded, read);
            }
            // Computed from what waits: through `gather` and the like, more is known than this.
            None => {
                let direct = waiters.get(&expected.address).cloned().unwrap_or_default();
                if !direct.is_subset(&read) {
                    differences.add(format!("{place}: awaited by {direct:?}, read {read:?}"));
                }
            }
        }
        if let Some(waited) = &task.waits_for {
            let is_task = tasks.contains(&waited.address.0);
            differences.same(&place, "waits for a task", is_task, waited.is_task);
        }
    }
    for task in rest.values().filter(|task| task.state != TaskState::Done) {
        differences.add(format!(
            "a task was read that is not there: {:?}",
            task.name
        ));
    }
}

/// Who waits for a task and for nothing between.
fn direct_waiters(told: &Told) -> HashMap<u64, BTreeSet<u64>> {
    let mut waiters: HashMap<u64, BTreeSet<u64>> = HashMap::new();
    for task in &told.tasks {
        if let Some((address, _, true)) = &task.waits_for {
            waiters.entry(*address).or_default().insert(task.address);
        }
    }
    waiters
}

fn compare_task(
    differences: &mut Differences,
    interpreter: &Interpreter,
    told: &Told,
    states: &HashMap<u64, Address>,
    expected: &scenarios::Task,
    read: &Task,
) {
    let name: String = expected.name.chars().take(30).collect();
    let place = format!("task {name:?} at {:#x}", expected.address);
    differences.same(
        &place,
        "name",
        Some(short(&expected.name)),
        read.name.clone(),
    );
    let state = match expected.state.as_str() {
        "running" => TaskState::Running,
        "created" => TaskState::Created,
        _ => TaskState::Waiting,
    };
    differences.same(&place, "state", state, read.state);
    differences.same(&place, "interpreter", 0, read.interpreter);
    differences.same(&place, "loop", expected.event_loop, read.event_loop.0);
    let ident = told.loops[&expected.event_loop];
    let state = states.get(&ident).copied();
    differences.same(&place, "thread", state, Some(read.thread));
    if interpreter.minor() >= NATIVE_IDS_SINCE {
        let thread = told.threads.iter().find(|thread| thread.ident == ident);
        let native_id = thread.map(|thread| thread.native_id);
        differences.same(&place, "native id", native_id, read.native_id);
    }
    let waits_for = read.waits_for.as_ref().map(|waited| {
        let class = waited.class.as_ref().map(|class| class.text.clone());
        (waited.address.0, class)
    });
    let expected_wait = expected
        .waits_for
        .as_ref()
        .map(|(address, class, _)| (*address, Some(class.clone())));
    differences.same(&place, "waits for", expected_wait, waits_for);
    compare_stack(
        differences,
        &place,
        told,
        &expected.frames,
        &read.coroutines,
        Innermost::Exact,
    );
}
