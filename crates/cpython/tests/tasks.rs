//! Tasks of every interpreter there is, held against what the target says of itself.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't have its target has failed"
)]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Instant;

use invivo_cpython::{Limits, Runtime, TaskOptions, locate, locate_asyncio};
use invivo_model::{Address, Links, Stack, Task, TaskState, Tasks, Trust};
use invivo_process::{Fault, Memory, ProcessMemory, ReadRequest, Target};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, interpreters};

const TELLER: &str = include_str!("tasks/teller.py");

fn program(scenario: &str) -> String {
    format!("{TELLER}\n{scenario}")
}

/// The interpreters from this minor version on.
fn since(minor: u32) -> impl Iterator<Item = &'static Interpreter> {
    interpreters()
        .iter()
        .filter(move |interpreter| self::minor(interpreter) >= minor)
}

fn minor(interpreter: &Interpreter) -> u32 {
    let minor = interpreter.version.split('.').nth(1).unwrap();
    minor.parse().unwrap()
}

/// Whether the version keeps who awaits whom, and lists of its tasks.
fn keeps_links(interpreter: &Interpreter) -> bool {
    minor(interpreter) >= 14
}

fn open(target: &Target) -> (Runtime<ProcessMemory>, TaskOptions) {
    open_with(target, target.memory())
}

/// The same, with its memory read through `memory`.
fn open_with<M: Memory>(target: &Target, memory: M) -> (Runtime<M>, TaskOptions) {
    let modules = target.modules().unwrap();
    let limits = Limits::default();
    let location = locate(&target.memory(), &modules, target, &limits).unwrap();
    let asyncio = locate_asyncio(&location, &modules, target).unwrap();
    let runtime = Runtime::open(memory, &location, limits).unwrap();
    (runtime, TaskOptions { asyncio })
}

/// Runs a scenario and reads its tasks.
fn read(interpreter: &Interpreter, scenario: &str) -> (Told, Tasks) {
    let process = Launch::new(interpreter, program(scenario)).start();
    let target = Target::open(process.pid()).unwrap();
    let (runtime, options) = open(&target);
    assert_eq!(options.asyncio.is_some(), keeps_links(interpreter));
    let deadline = Instant::now() + PATIENCE;
    // A task that runs has told of itself a moment before it stays where it says.
    let mut tasks = runtime.tasks(&options).unwrap();
    while tasks.list.iter().any(runs_elsewhere) && Instant::now() < deadline {
        tasks = runtime.tasks(&options).unwrap();
    }
    (Told::parse(&process.stdout_so_far()), tasks)
}

fn runs_elsewhere(task: &Task) -> bool {
    let innermost = task.coroutines.frames.first();
    task.state == TaskState::Running && innermost.is_none_or(|frame| frame.code.name.text != "stay")
}

/// What a target says of its tasks.
#[derive(Debug, Default)]
struct Told {
    tasks: BTreeMap<u64, ToldTask>,
    futures: BTreeMap<u64, BTreeSet<u64>>,
    /// A task, and one that waits for it.
    edges: Vec<(u64, u64)>,
    /// Whether some tasks are of Python code.
    mixed: bool,
}

#[derive(Debug)]
struct ToldTask {
    state: String,
    event_loop: u64,
    thread: u64,
    waits_for: u64,
    class: String,
    awaited_by: BTreeSet<u64>,
    /// Function, file and line, innermost first.
    frames: Vec<(String, String, u32)>,
    name: String,
    interpreter: i64,
}

impl Told {
    fn parse(text: &str) -> Self {
        let mut told = Self::default();
        for line in text.lines() {
            let words: Vec<_> = line.split('\t').collect();
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            match words[0] {
                "task" => {
                    let task = ToldTask {
                        state: words[2].to_owned(),
                        event_loop: number(3),
                        thread: number(4),
                        waits_for: number(5),
                        class: words[6].to_owned(),
                        awaited_by: numbers(words[7]),
                        frames: frames(words[8]),
                        name: text_of(words[9]),
                        interpreter: words[10].parse().unwrap(),
                    };
                    told.tasks.insert(number(1), task);
                }
                "future" => {
                    told.futures.insert(number(1), numbers(words[2]));
                }
                "mixed" => told.mixed = true,
                "edge" => told.edges.push((number(1), number(2))),
                _ => {}
            }
        }
        assert!(!told.tasks.is_empty(), "{text}");
        told
    }
}

fn numbers(text: &str) -> BTreeSet<u64> {
    let words = text.split(',').filter(|word| *word != "-");
    words.map(|word| word.parse().unwrap()).collect()
}

fn frames(text: &str) -> Vec<(String, String, u32)> {
    let frames = text.split(';').filter(|frame| *frame != "-");
    let frame = |text: &str| {
        let parts: Vec<_> = text.split('|').collect();
        (
            parts[0].to_owned(),
            text_of(parts[1]),
            parts[2].parse().unwrap(),
        )
    };
    frames.map(frame).collect()
}

fn text_of(hexadecimal: &str) -> String {
    let bytes = hexadecimal.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    String::from_utf8(bytes.map(byte).collect()).unwrap()
}

fn frames_of(stack: &Stack) -> Vec<(String, String, u32)> {
    let frames = stack.frames.iter().map(|frame| {
        (
            frame.code.name.text.clone(),
            frame.code.filename.text.clone(),
            frame.position.line.unwrap_or(0),
        )
    });
    frames.collect()
}

/// What differs between what a target says of its tasks and what was found.
fn differences(told: &Told, found: &Tasks, links: bool) -> Vec<String> {
    let mut all: Vec<_> = found
        .defects
        .iter()
        .map(|defect| format!("{defect:?}"))
        .collect();
    let mut by_address: BTreeMap<_, _> = BTreeMap::new();
    for task in &found.list {
        if by_address.insert(task.address.0, task).is_some() {
            all.push(format!("{} is listed twice", task.address));
        }
        if !told.tasks.contains_key(&task.address.0) {
            all.push(format!("nobody told of {task:?}"));
        }
    }
    for (address, told_task) in &told.tasks {
        match by_address.get(address) {
            Some(task) => differ((*address, told_task), task, links, !told.mixed, &mut all),
            // What has ended is listed nowhere in versions that have lists.
            None if links && told_task.state == "Done" => {}
            None => all.push(format!("{told_task:?} is missing")),
        }
    }
    let futures: BTreeMap<_, _> = found
        .futures
        .iter()
        .map(|(future, awaiters)| (future.0, awaiters))
        .collect();
    if links {
        for (future, told_awaiters) in &told.futures {
            let awaiters = futures.get(future).map(|all| set(all)).unwrap_or_default();
            if awaiters != *told_awaiters {
                all.push(format!(
                    "future {future:#x}: {awaiters:?}, not {told_awaiters:?}"
                ));
            }
        }
    }
    for (task, awaiter) in &told.edges {
        if !reaches(&by_address, &futures, *task, *awaiter) {
            let name = |address| told.tasks.get(address).map(|task| &task.name);
            let names = (name(task), name(awaiter));
            all.push(format!(
                "that {:?} waits for {:?} is missing",
                names.1, names.0
            ));
        }
    }
    all
}

fn set(addresses: &[Address]) -> BTreeSet<u64> {
    addresses.iter().map(|address| address.0).collect()
}

/// Whether a task waits for another, at most through futures.
fn reaches(
    tasks: &BTreeMap<u64, &Task>,
    futures: &BTreeMap<u64, &Vec<Address>>,
    task: u64,
    awaiter: u64,
) -> bool {
    let mut open: Vec<_> = tasks
        .get(&task)
        .map(|task| &task.awaited_by)
        .into_iter()
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(awaiters) = open.pop() {
        for one in awaiters {
            if one.0 == awaiter {
                return true;
            }
            if seen.insert(one.0) {
                open.extend(futures.get(&one.0));
            }
        }
    }
    false
}

fn differ(
    (address, told): (u64, &ToldTask),
    found: &Task,
    links: bool,
    all_native: bool,
    all: &mut Vec<String>,
) {
    let name = &told.name;
    let mut compare = |what: &str, told: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| {
        let (told, found) = (format!("{told:?}"), format!("{found:?}"));
        if told != found {
            let name: String = name.chars().take(40).collect();
            all.push(format!(
                "{name:?} at {address:#x}: {what}: {found}, not {told}"
            ));
        }
    };
    // So many characters of it are read.
    let short: String = name.chars().take(1024).collect();
    compare(
        "name",
        &Some(&short),
        &found.name.as_ref().map(|name| &name.text),
    );
    let state = match told.state.as_str() {
        "Running" => TaskState::Running,
        "Waiting" => TaskState::Waiting,
        "Created" => TaskState::Created,
        "Done" => TaskState::Done,
        other => panic!("{other}"),
    };
    compare("state", &state, &found.state);
    compare("interpreter", &told.interpreter, &found.interpreter);
    compare("loop", &told.event_loop, &found.event_loop.0);
    let thread = (told.thread != 0).then_some(told.thread);
    if !found.thread.is_null() {
        // Old versions keep no such number.
        compare("thread", &thread, &found.native_id.or(thread));
    } else {
        compare("thread", &thread, &found.native_id);
    }
    let mut frames = frames_of(&found.coroutines);
    if state == TaskState::Running {
        // The frame in which it stays was not there yet when it told of the others.
        frames.retain(|(function, ..)| function != "stay");
    }
    compare("coroutines", &told.frames, &frames);
    compare("cut", &None::<()>, &found.coroutines.cut);
    let trusted = |frame: &&invivo_model::Frame| frame.trust != Trust::Whole;
    compare(
        "doubtful frames",
        &0,
        &found.coroutines.frames.iter().filter(trusted).count(),
    );
    let waited = found.waits_for.as_ref();
    compare(
        "waits for",
        &told.waits_for,
        &waited.map_or(0, |waited| waited.address.0),
    );
    let class = waited.map_or("-", |waited| {
        waited.class.as_ref().map_or("?", |class| &class.text)
    });
    compare("waits for a", &told.class, &class);
    if links {
        // What a version keeps leaves out tasks of Python code, which `edges` tell of.
        let mut awaited_by = set(&found.awaited_by);
        if all_native {
            compare("awaited by", &told.awaited_by, &awaited_by);
        } else {
            awaited_by.retain(|awaiter| told.awaited_by.contains(awaiter));
            compare("awaited by", &told.awaited_by, &awaited_by);
        }
    }
}

/// Plays a scenario on all of these, and asserts that nothing differs on any.
fn no_differences(interpreters: impl Iterator<Item = &'static Interpreter>, scenario: &str) {
    let mut all = Vec::new();
    for interpreter in interpreters {
        let links = keeps_links(interpreter);
        let (told, found) = read(interpreter, scenario);
        let expected = if links {
            Links::Recorded
        } else {
            Links::Computed
        };
        assert_eq!(found.links, expected);
        let differences = differences(&told, &found, links);
        let few = differences.iter().take(10);
        all.extend(few.map(|difference| format!("{}: {difference}", interpreter.name)));
    }
    assert!(all.is_empty(), "{all:#?}");
}

#[test]
fn tasks_of_every_state_name_and_way_of_awaiting() {
    no_differences(since(8), include_str!("tasks/plain.py"));
}

#[test]
fn who_waits_for_whom() {
    no_differences(since(8), include_str!("tasks/waiting.py"));
}

#[test]
fn circles() {
    no_differences(since(8), include_str!("tasks/cycles.py"));
}

#[test]
fn tasks_of_python_code() {
    no_differences(since(8), include_str!("tasks/python.py"));
}

#[test]
fn five_thousand_tasks() {
    no_differences(since(8), include_str!("tasks/many.py"));
}

#[test]
fn several_loops_and_threads_that_have_ended() {
    no_differences(since(8), include_str!("tasks/loops.py"));
}

#[test]
fn a_task_that_runs() {
    no_differences(since(8), include_str!("tasks/running.py"));
}

#[test]
fn eager_tasks() {
    no_differences(since(12), include_str!("tasks/eager.py"));
}

#[test]
// Before 3.12 the interpreters of a process share what `_asyncio` keeps, and get in each other's way.
fn tasks_of_several_interpreters() {
    no_differences(since(12), include_str!("tasks/interpreters.py"));
}

/// How many looks at a busy target have to find its tasks whole.
const LOOKS: usize = 25;
/// How many looks that may take, on a machine that stops the target at bad moments.
const MAX_LOOKS: usize = 250;

/// A loop that never rests: those that stay are found, and nothing is made up.
#[test]
fn tasks_come_and_go_while_they_are_read() {
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let process = Launch::new(interpreter, program(include_str!("tasks/busy.py"))).start();
        let target = Target::open(process.pid()).unwrap();
        let (runtime, options) = open(&target);
        let (mut running, mut whole) = (0, 0);
        for _ in 0..MAX_LOOKS {
            if whole == LOOKS {
                break;
            }
            let found = runtime.tasks(&options).unwrap();
            // A target that the system stops while it rebuilds the set of its tasks has none then.
            if found
                .defects
                .iter()
                .any(|defect| defect.what.contains("is not whole"))
            {
                continue;
            }
            whole += 1;
            let names = found.list.iter().filter_map(|task| task.name.as_ref());
            let names: Vec<_> = names.map(|name| name.text.as_str()).collect();
            for n in 0..50 {
                let staying = format!("stays {n}");
                let staying: Vec<_> = named(&found, &staying).collect();
                let [task] = staying[..] else {
                    panic!(
                        "{name}: {} of stays {n}: {:?}",
                        staying.len(),
                        found.defects
                    );
                };
                assert_eq!(task.state, TaskState::Waiting, "{name}");
                let frames = task.coroutines.frames.iter();
                let functions: Vec<_> = frames.map(|frame| frame.code.name.text.as_str()).collect();
                assert_eq!(functions, ["wait", "waiting"], "{name}");
            }
            let known = |name: &str| {
                let number = name.strip_prefix("stays ").or(name.strip_prefix("Task-"));
                number.is_some_and(|number| number.parse::<u32>().is_ok())
                    || ["main", "brief"].contains(&name)
            };
            let unknown: Vec<_> = names.iter().filter(|name| !known(name)).collect();
            assert!(unknown.is_empty(), "{name}: {unknown:?}");
            running += named(&found, "main")
                .filter(|task| task.state == TaskState::Running)
                .count();
        }
        assert!(running > 0 && whole == LOOKS, "{name}: {running}, {whole}");
    }
}

/// A task that waits, and where its name is and how many bytes it takes. Others lie around it.
const NAMED: &str = r#"
async def waiting():
    await asyncio.Event().wait()

async def main():
    task = asyncio.ensure_future(waiting())
    names = ["stays %d" % n for n in range(10)]
    name = names[5]
    task.set_name(name)
    await asyncio.sleep(0)
    print("ready", id(name), sys.getsizeof(name), flush=True)
    sys.stdin.read()

asyncio.run(main())
"#;

/// Memory in which these bytes are other ones each time.
struct Restless {
    memory: ProcessMemory,
    bytes: Range<u64>,
    reads: Cell<u8>,
}

impl Memory for Restless {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        self.memory.read_many(requests)?;
        self.reads.set(self.reads.get().wrapping_add(1));
        for request in requests {
            for (address, byte) in (request.address.0..).zip(&mut *request.buffer) {
                if self.bytes.contains(&address) {
                    *byte = self.reads.get();
                }
            }
        }
        Ok(())
    }
}

/// A name is no longer than it is: what comes and goes behind it says nothing of its task.
#[test]
fn what_lies_behind_a_name_may_change() {
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, program(NAMED)).start();
        let [name, size] = process.ready_ids()[..] else {
            panic!("{}", interpreter.name);
        };
        let target = Target::open(process.pid()).unwrap();
        let memory = Restless {
            memory: target.memory(),
            bytes: name + size..name + size + 16,
            reads: Cell::new(0),
        };
        let (runtime, options) = open_with(&target, memory);
        let tasks = runtime.tasks(&options).unwrap();
        let found: Vec<_> = named(&tasks, "stays 5").collect();
        assert_eq!(found.len(), 1, "{}: {tasks:?}", interpreter.name);
        assert_eq!(found[0].state, TaskState::Waiting, "{}", interpreter.name);
        let frames = &found[0].coroutines.frames;
        let whole = frames.iter().all(|frame| frame.trust == Trust::Whole);
        assert!(whole && !frames.is_empty(), "{}", interpreter.name);
    }
}

fn named<'a>(tasks: &'a Tasks, name: &str) -> impl Iterator<Item = &'a Task> {
    let is_it = move |task: &&Task| task.name.as_ref().is_some_and(|own| own.text == name);
    tasks.list.iter().filter(is_it)
}

/// Where no file says where a version keeps its tasks, it is supposed to be as in release builds,
/// and held against memory.
#[test]
fn without_the_file_of_asyncio() {
    for interpreter in since(14) {
        let process = Launch::new(interpreter, program(include_str!("tasks/python.py"))).start();
        let target = Target::open(process.pid()).unwrap();
        let (runtime, _) = open(&target);
        let mut found = runtime.tasks(&TaskOptions::default()).unwrap();
        let told = Told::parse(&process.stdout_so_far());
        let said = found.defects.iter().map(|defect| defect.what.as_str());
        let said = said.collect::<Vec<_>>().join("; ");
        assert!(
            said.contains("supposed to be as in release builds"),
            "{said}"
        );
        if interpreter.debug {
            assert!(
                said.contains("only those that asyncio's modules know"),
                "{said}"
            );
            assert!(named(&found, "own python").count() == 1, "{found:?}");
            assert!(named(&found, "native").count() == 0, "{found:?}");
        } else {
            found.defects.clear();
            assert_eq!(
                differences(&told, &found, true),
                Vec::<String>::new(),
                "{said}"
            );
        }
    }
}
