//! Tasks in recordings: read again, and damaged in every way.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't have its target has failed"
)]

use std::collections::HashSet;
use std::time::Instant;

use invivo_cpython::{
    AsyncioDebug, Limits, Location, Runtime, TaskOptions, locate, locate_asyncio,
};
use invivo_model::{Address, Result, Tasks};
use invivo_process::{Image, Memory, Recorder, Target};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, interpreters};

const TELLER: &str = include_str!("tasks/teller.py");

/// Everything that a look reads, and where the interpreter is.
fn record(interpreter: &Interpreter, scenario: &str) -> (Image, Location, TaskOptions, Tasks) {
    let process = Launch::new(interpreter, format!("{TELLER}\n{scenario}")).start();
    let target = Target::open(process.pid()).unwrap();
    let modules = target.modules().unwrap();
    let limits = Limits::default();
    let memory = Recorder::new(target.memory());
    let location = locate(&memory, &modules, &target, &limits).unwrap();
    let asyncio = locate_asyncio(&location, &modules, &target).unwrap();
    let options = TaskOptions { asyncio };
    let runtime = Runtime::open(&memory, &location, limits).unwrap();
    let tasks = runtime.tasks(&options).unwrap();
    (memory.into_image(), location, options, tasks)
}

fn look(image: &Image, location: &Location, options: &TaskOptions) -> Result<Tasks> {
    Runtime::open(image, location, Limits::default())?.tasks(options)
}

#[test]
fn a_recording_gives_the_same_again() {
    for interpreter in interpreters() {
        let (image, location, options, live) =
            record(interpreter, include_str!("tasks/waiting.py"));
        let image = Image::load(&image.save()).unwrap();
        let saved = options.asyncio.map(|asyncio| asyncio.to_bytes());
        let asyncio = saved.map(|bytes| AsyncioDebug::parse(&bytes).unwrap());
        let again = look(&image, &location, &TaskOptions { asyncio }).unwrap();
        assert_eq!(again, live, "{}", interpreter.name);
    }
}

/// Links that lead in a circle, nowhere, and back: all is told that can be told, and what is wrong.
#[test]
fn a_damaged_list_is_told_of() {
    const NODE: u64 = 152;
    let listing = |interpreter: &&Interpreter| {
        let minor = interpreter.version.split('.').nth(1).unwrap();
        minor.parse::<u32>().unwrap() >= 14
    };
    for interpreter in interpreters().iter().filter(listing) {
        let (image, location, options, whole) =
            record(interpreter, include_str!("tasks/cycles.py"));
        let nodes = whole
            .list
            .iter()
            .map(|task| task.address.offset(NODE).unwrap());
        let nodes: Vec<_> = nodes.collect();
        for wrong in [
            nodes[10],
            nodes[3],
            Address(8),
            Address(u64::MAX - 7),
            Address::NULL,
        ] {
            let mut damaged = image.clone();
            damaged.insert(nodes[10], &wrong.0.to_ne_bytes());
            let found = look(&damaged, &location, &options).unwrap();
            let said: Vec<_> = found
                .defects
                .iter()
                .map(|defect| defect.what.as_str())
                .collect();
            assert_eq!(said.len(), 1, "{}: {wrong}: {said:?}", interpreter.name);
            assert!(
                said[0].contains("its list of tasks is not whole"),
                "{said:?}"
            );
            let first: Vec<_> = found.list.iter().map(|task| task.address).collect();
            let expected: Vec<_> = whole.list[..11].iter().map(|task| task.address).collect();
            assert_eq!(first, expected, "{}: {wrong}", interpreter.name);
        }
    }
}

/// Whatever memory holds: the look ends, in bounds.
#[test]
fn memory_that_makes_no_sense() {
    for interpreter in interpreters() {
        let (image, location, options, whole) = record(interpreter, include_str!("tasks/plain.py"));
        let ranges: Vec<_> = image
            .ranges()
            .map(|(at, bytes)| (at, bytes.len()))
            .collect();
        let places: Vec<_> = whole.list.iter().map(|task| task.address).collect();
        let outermost = whole
            .list
            .iter()
            .filter_map(|task| task.coroutines.frames.last());
        let frames: HashSet<_> = outermost.map(|frame| frame.address).collect();
        let mut random = Random(0x5eed);
        let mut differing = 0;
        for round in 0..ROUNDS {
            let mut damaged = image.clone();
            for _ in 0..1 + round % 40 {
                // Every second word is one of a task.
                let at = if random.below(2) == 0 {
                    let task = places[random.below(places.len())];
                    task.offset(random.below(24) as u64 * 8).unwrap()
                } else {
                    let (start, length) = ranges[random.below(ranges.len())];
                    start.offset((random.below(length) & !7) as u64).unwrap()
                };
                let word = match random.below(5) {
                    0 => places[random.below(places.len())].0,
                    1 => ranges[random.below(ranges.len())].0.0,
                    2 => image.read_u64(at).unwrap_or(0) ^ 1 << random.below(64),
                    3 => random.below(1 << 20) as u64,
                    _ => random.next(),
                };
                damaged.insert(at, &word.to_ne_bytes());
            }
            let before = Instant::now();
            if let Ok(found) = look(&damaged, &location, &options) {
                assert!(found.list.len() <= Limits::default().tasks);
                differing += usize::from(found != whole);
            }
            if let Ok(runtime) = Runtime::open(&damaged, &location, Limits::default())
                && let Ok(lineages) = runtime.lineages(&frames, &options)
            {
                assert!(lineages.keys().all(|frame| frames.contains(frame)));
            }
            assert!(before.elapsed() < PATIENCE, "{} {round}", interpreter.name);
        }
        assert!(differing > ROUNDS / 2, "{}: {differing}", interpreter.name);
    }
}

/// How many damaged recordings are looked at.
const ROUNDS: usize = 100;

/// A generator of numbers (splitmix64) that are the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}
