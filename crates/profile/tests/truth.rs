//! What is sampled is what the target itself says that it did, at every single tick: no average and
//! no moment of the machine decides.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use invivo_model::{About, Mode, ProfileFrame, ProfileFunction, ProfileProcess, ProfileThread};
use invivo_model::{Result, StackNode, Tables, Text, Trust};
use invivo_profile::{Collect, Jitter, Options, Plan, Seen, Session, Sink, Step};
use support::{alone, names, subject};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, Target, interpreters};

/// Keeps the tables, and what the last tick saw.
#[derive(Debug, Default)]
struct Last {
    collect: Collect,
    seen: Vec<Seen>,
}

impl Sink for Last {
    fn function(&mut self, function: &ProfileFunction) {
        self.collect.function(function);
    }

    fn frame(&mut self, frame: ProfileFrame) {
        self.collect.frame(frame);
    }

    fn stack(&mut self, stack: StackNode) {
        self.collect.stack(stack);
    }

    fn process(&mut self, process: &ProfileProcess) {
        self.collect.process(process);
    }

    fn thread(&mut self, thread: &ProfileThread) {
        self.collect.thread(thread);
    }

    fn rename(&mut self, thread: u32, name: &Text) {
        self.collect.rename(thread, name);
    }

    fn tick(&mut self, about: &About, seen: &[Seen]) -> Result<()> {
        self.seen.clear();
        self.seen.extend_from_slice(seen);
        self.collect.tick(about, seen)
    }
}

/// Looks whenever it is told to, at once.
struct Looker(Session<Last>);

impl Looker {
    fn new(pid: u32, (mode, idle): (Mode, bool)) -> Self {
        let plan = Plan {
            // A tick is always due.
            interval: 1,
            jitter: Jitter::None,
            from: invivo_profile::SampleFrom::Auto,
            options: Options {
                mode,
                idle,
                ..Options::default()
            },
            creator: "a test".to_owned(),
        };
        let mut session = Session::new(plan, |_| Ok(Last::default())).unwrap();
        session.add(subject(pid)).unwrap();
        Self(session)
    }

    fn look(&mut self) -> &[Seen] {
        while self.0.step().unwrap() != Step::Ticked {}
        &self.0.sink().seen
    }

    fn tables(&self) -> &Tables {
        &self.0.sink().collect.profile().tables
    }
}

/// Numbers that the test and a target both see, through a file that the target has mapped.
struct Shared {
    file: tempfile::NamedTempFile,
}

impl Shared {
    fn new() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(16).unwrap();
        Self { file }
    }

    fn launch(&self, interpreter: &'static Interpreter, program: &str) -> Target {
        Launch::new(interpreter, program)
            .arguments([self.file.path()])
            .start()
    }

    fn file(&self) -> &File {
        self.file.as_file()
    }

    fn get(&self, index: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file().read_exact_at(&mut bytes, index * 8).unwrap();
        u64::from_ne_bytes(bytes)
    }

    fn set(&self, index: u64, number: u64) {
        let bytes = number.to_ne_bytes();
        self.file().write_all_at(&bytes, index * 8).unwrap();
    }
}

fn wait(until: impl Fn() -> bool, what: &str) {
    let begun = Instant::now();
    while !until() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Stays in each part for as long as the first number says so. The second says where it is, once
/// it has printed the stack that it is there with. Nobody takes the GIL from who has it, but in
/// part 9.
const ORDERED: &str = r#"
import _thread, asyncio, mmap, os, sys
file = open(sys.argv[1], "r+b")
words = memoryview(mmap.mmap(file.fileno(), 16)).cast("Q")
sys.setswitchinterval(1000)
def tell(part):
    frame, stack = sys._getframe(1), []
    while frame:
        code = frame.f_code
        stack.append(f"{getattr(code, 'co_qualname', code.co_name)}:{frame.f_lineno}")
        frame = frame.f_back
    print("at", part, *reversed(stack), flush=True)
def spin(part):
    tell(part); words[1] = part
    while words[0] == part: pass
def recurse(part, depth=40):
    if depth:
        recurse(part, depth - 1)
    else:
        spin(part)
def inner(part):
    tell(part); words[1] = part
    while words[0] == part: pass
    yield
def outer(part):
    yield from inner(part)
def generate(part):
    next(outer(part))
def fail(part):
    try:
        {}[part]
    except KeyError:
        spin(part)
def call(part):
    sorted([part], key=spin)
async def waited(part):
    tell(part); words[1] = part
    while words[0] == part: pass
async def task(part):
    await waited(part)
async def start(part):
    await asyncio.ensure_future(task(part))
def run(part):
    asyncio.run(start(part))
def sleep(part):
    tell(part); words[1] = part
    os.read(0, 1)
def aside(part, wake, done):
    wake.release()
    os.read(0, 1)
    done.acquire()
def contend(part, wake, done):
    sys.setswitchinterval(1e-5)
    wake.release()
    while words[0] == part: pass
    done.acquire()
    sys.setswitchinterval(1000)
def rest(begun, wake, done):
    begun.release()
    while True:
        wake.acquire()
        spin(words[0])
        done.release()
def main():
    begun, wake, done = (_thread.allocate_lock() for _ in range(3))
    for lock in (begun, wake, done): lock.acquire()
    _thread.start_new_thread(rest, (begun, wake, done))
    begun.acquire()
    turns = [spin, recurse]
    print("ready", flush=True)
    while True:
        part = words[0]
        if part == 1: spin(part)
        if part == 2: recurse(part)
        if part == 3: generate(part)
        if part == 4: fail(part)
        if part == 5: call(part)
        if part == 6: run(part)
        if part == 7: sleep(part)
        if part == 8: aside(part, wake, done)
        if part == 9: contend(part, wake, done)
        if part >= 10: turns[part - 10](part)
main()
"#;

/// A part of [`ORDERED`], and what has to be seen of it.
struct Part {
    /// The functions that the two threads are in.
    inside: [&'static str; 2],
    /// Whether the first of them runs; else both sleep.
    runs: bool,
    /// Whether that one handles an exception.
    fails: bool,
}

const fn part(inside: [&'static str; 2], runs: bool, fails: bool) -> Part {
    Part {
        inside,
        runs,
        fails,
    }
}

const PARTS: [Part; 8] = [
    part(["spin", "rest"], true, false),
    part(["spin", "rest"], true, false),
    part(["inner", "rest"], true, false),
    part(["spin", "rest"], true, true),
    part(["spin", "rest"], true, false),
    part(["waited", "rest"], true, false),
    part(["sleep", "rest"], false, false),
    part(["spin", "aside"], true, false),
];
const SLEEPS: [u64; 2] = [7, 8];
const CONTEND: u64 = 9;
const TURNS: [u64; 2] = [10, 11];
/// With whether threads count that are idle. What counts in [`Mode::Cpu`] is no matter of a moment:
/// see `accounts.rs`.
const MODES: [(Mode, bool); 4] = [
    (Mode::Wall, true),
    (Mode::Wall, false),
    (Mode::Gil, true),
    (Mode::Exception, true),
];
/// In each round so many of each part and mode: 8,000 in all, of each version.
const ROUNDS: u64 = 5;
const TICKS: u64 = 50;

#[test]
fn each_sample_is_what_the_target_did_in_every_version_and_mode() {
    let _alone = alone();
    for interpreter in interpreters() {
        let shared = Shared::new();
        let process = shared.launch(interpreter, ORDERED);
        let mut lookers = MODES.map(|mode| (mode, Looker::new(process.pid(), mode)));
        for round in 0..ROUNDS {
            for (number, part) in (1..).zip(&PARTS) {
                let told = go(&shared, &process, number, 2 - usize::from(part.runs));
                for (mode, looker) in &mut lookers {
                    let what = format!("{} {mode:?} part {number} of {round}", interpreter.name);
                    see(looker, &part.wanted(*mode), &told, &what);
                }
                shared.set(0, 0);
                if SLEEPS.contains(&number) {
                    process.send_line("");
                }
            }
        }
    }
}

/// Sends the target into a part: waits until it is there and so many threads sleep, and gives the
/// stack of who told it.
fn go(shared: &Shared, process: &Target, number: u64, sleeping: usize) -> Vec<String> {
    shared.set(0, number);
    let line = process.wait_line(&format!("at {number} "), PATIENCE);
    let what = || format!("part {number}: {:?}", process.thread_states());
    wait(|| shared.get(1) == number, &what());
    let sleep = |states: Vec<(u32, char)>| states.iter().filter(|(_, state)| *state == 'S').count();
    wait(|| sleep(process.thread_states()) == sleeping, &what());
    line.split_whitespace().skip(2).map(str::to_owned).collect()
}

impl Part {
    /// The functions that threads have to be in, of those that count.
    fn wanted(&self, (mode, idle): (Mode, bool)) -> Vec<&'static str> {
        let counts = match mode {
            Mode::Wall if idle => self.inside.len(),
            Mode::Wall | Mode::Cpu | Mode::Gil => usize::from(self.runs),
            Mode::Exception => usize::from(self.fails),
        };
        let mut wanted = self.inside[..counts].to_vec();
        wanted.sort_unstable();
        wanted
    }
}

/// Looks many times, and each time has to see threads in just these functions, one of them with
/// the stack that was told.
fn see(looker: &mut Looker, wanted: &[&str], told: &[String], what: &str) {
    let mut ticks: BTreeMap<Vec<Option<u32>>, u64> = BTreeMap::new();
    for _ in 0..TICKS {
        let seen = looker.look();
        assert!(
            seen.iter().all(|seen| seen.trust == Trust::Whole),
            "{what}: {seen:?}"
        );
        *ticks
            .entry(seen.iter().map(|seen| seen.stack).collect())
            .or_insert(0) += 1;
    }
    let teller = told.last().unwrap().split(':').next().unwrap();
    for (stacks, ticks) in ticks {
        let stacks: Vec<_> = stacks
            .iter()
            .map(|stack| placed(looker.tables(), *stack))
            .collect();
        let mut inside: Vec<_> = stacks.iter().map(|stack| stack.last().unwrap().0).collect();
        inside.sort_unstable();
        assert_eq!(inside, wanted, "{what}: in {ticks} ticks: {stacks:?}");
        for stack in stacks
            .iter()
            .filter(|stack| stack.last().unwrap().0 == teller)
        {
            let (top, callers) = stack.split_last().unwrap();
            let callers = callers.iter().map(|(name, line)| format!("{name}:{line}"));
            assert!(
                callers.eq(told[..told.len() - 1].iter().cloned()),
                "{what}: in {ticks} ticks: {stack:?}, not {told:?}"
            );
            assert!(top.1 > 0, "{what}: {stack:?}");
        }
    }
}

/// What a call calls is written beside it, and here it is not what it called before.
#[test]
fn what_is_called_where_something_else_was_is_seen_or_marked() {
    let _alone = alone();
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let shared = Shared::new();
        let process = shared.launch(interpreter, ORDERED);
        let mut looker = Looker::new(process.pid(), (Mode::Gil, true));
        for round in 0..20 {
            let told = go(&shared, &process, TURNS[round % 2], 1);
            let told = told.iter().map(|place| place.split(':').next().unwrap());
            let told: Vec<_> = told.collect();
            let mut whole = 0;
            while whole < 20 {
                let [seen] = *looker.look() else {
                    panic!("{name}: not one thread");
                };
                let names = names(looker.tables(), seen.stack);
                if seen.trust == Trust::Whole {
                    assert_eq!(names, told, "{name} in round {round}");
                    whole += 1;
                } else {
                    assert!(told.starts_with(&names), "{name} {round}: {names:?}");
                }
            }
            shared.set(0, 0);
        }
    }
}

/// The functions on a stack with their lines, outermost first.
fn placed(tables: &Tables, stack: Option<u32>) -> Vec<(&str, u32)> {
    let mut lines = Vec::new();
    let mut next = stack;
    while let Some(index) = next {
        let node = tables.stacks[index as usize];
        lines.push(tables.frames[node.frame as usize].line);
        next = node.caller;
    }
    names(tables, stack)
        .into_iter()
        .zip(lines.into_iter().rev())
        .collect()
}

#[test]
fn of_threads_that_take_turns_one_has_the_gil_and_each_is_seen_with_it() {
    let _alone = alone();
    for interpreter in interpreters().iter().filter(|one| !one.free_threaded) {
        let shared = Shared::new();
        let process = shared.launch(interpreter, ORDERED);
        let mut looker = Looker::new(process.pid(), (Mode::Gil, true));
        shared.set(0, CONTEND);
        wait(|| shared.get(1) == CONTEND, &interpreter.name);
        let (begun, mut threads) = (Instant::now(), BTreeMap::new());
        while threads.len() < 2 || threads.values().any(|ticks| *ticks < 100) {
            let seen = looker.look();
            assert!(seen.len() <= 1, "{}: {seen:?}", interpreter.name);
            for seen in seen {
                *threads.entry(seen.thread).or_insert(0) += 1;
            }
            let name = &interpreter.name;
            assert!(begun.elapsed() < PATIENCE, "{name}: {threads:?}");
        }
    }
}

/// Goes through its parts without pause. The number is odd while it is in the innermost function
/// of one, and tells which; else it is on its way.
const MARKED: &str = r#"
import mmap, sys, time
file = open(sys.argv[1], "r+b")
words = memoryview(mmap.mmap(file.fileno(), 16)).cast("Q")
def spin(seconds):
    words[0] += 1
    end = time.perf_counter() + seconds
    while time.perf_counter() < end: pass
    words[0] += 1
def three():
    spin(0.0006)
def one():
    spin(0.0002)
def recurse(depth=9):
    if depth:
        recurse(depth - 1)
    else:
        spin(0.0004)
def inner():
    while True:
        spin(0.0002)
        yield
def outer():
    yield from inner()
async def waited():
    spin(0.0002)
async def task():
    await waited()
def run():
    try:
        task().send(None)
    except StopIteration:
        pass
def main():
    generator = outer()
    print("ready", flush=True)
    while True:
        three()
        one()
        recurse()
        next(generator)
        run()
main()
"#;

/// In how many different visits each part has to be seen.
const VISITS: usize = 30;

/// The functions above `main` in each of its parts.
fn marked_parts() -> [Vec<&'static str>; 5] {
    [
        vec!["three", "spin"],
        vec!["one", "spin"],
        [vec!["recurse"; 10], vec!["spin"]].concat(),
        vec!["outer", "inner", "spin"],
        vec!["run", "task", "waited", "spin"],
    ]
}

#[test]
fn a_target_that_goes_on_is_seen_where_it_marks_that_it_is() {
    let _alone = alone();
    let parts = marked_parts();
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let shared = Shared::new();
        let process = shared.launch(interpreter, MARKED);
        let mut looker = Looker::new(process.pid(), (Mode::Wall, true));
        // The visits to each part during which it was seen.
        let mut visits = [const { BTreeSet::new() }; 5];
        let begun = Instant::now();
        while visits.iter().any(|visits| visits.len() < VISITS) {
            assert!(begun.elapsed() < PATIENCE, "{name}: {visits:?}");
            let before = shared.get(0);
            let seen = looker.look().to_vec();
            if shared.get(0) != before || before.is_multiple_of(2) {
                continue;
            }
            let [seen] = seen[..] else {
                panic!("{name}: not one thread: {seen:?}");
            };
            let part = (before / 2) as usize % parts.len();
            let names = names(looker.tables(), seen.stack);
            assert_eq!(names[..2], ["<module>", "main"], "{name}: {before}");
            assert_eq!(names[2..], parts[part], "{name}: {before}");
            assert_eq!(seen.trust, Trust::Whole, "{name}: {before} {names:?}");
            visits[part].insert(before);
        }
    }
}
