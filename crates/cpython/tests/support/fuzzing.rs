//! What is done to a recorded process, and what is asked of it then: for the property test, and for
//! the fuzz targets in `fuzz/`, which include this file.

#![allow(dead_code, reason = "each user uses its part")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use invivo_cpython::{
    AsyncioDebug, Limits, Location, Queue, Reader, ReaderOptions, Runtime, StackOptions,
    TaskOptions, ValueLimits, locate, locate_with,
};
use invivo_model::{Address, Error, ErrorKind, Result};
use invivo_process::{
    Bounded, Fault, Image, Mapping, Memory, Module, ReadRequest, Recorder, Target,
};

/// How long a look may take; what a command allows by default.
const DEADLINE: Duration = Duration::from_secs(2);
/// How much it may go beyond: what lies between two reads is bounded too, and takes longer on a
/// machine that has more to do.
const GRACE: Duration = Duration::from_secs(3);
/// How much of the memory it may ask for; what a command allows.
const BYTES: u64 = 256 << 20;
/// Changes to one recording.
const MAX_CHANGES: usize = 64;
/// Variables are read of so many frames.
const FRAMES: usize = 200;

/// A process of which all that a look reads is kept.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// The interpreter's mapped file.
    pub(crate) module: Module,
    pub(crate) image: Image,
    /// Each range's first address, and how many words lie before it.
    index: Vec<(u64, u64)>,
    /// How many words there are.
    words: u64,
}

impl Recorded {
    /// Looks at a live target and keeps what that reads.
    pub(crate) fn of(target: &Target) -> Self {
        let modules = target.modules().expect("the target's modules");
        let memory = target.memory();
        let location = locate(&memory, &modules, target, &Limits::default());
        let name = location.expect("an interpreter").module;
        let module = modules.into_iter().find(|module| module.name == name);
        let module = module.expect("the interpreter's module");
        let recorder = Recorder::new(memory);
        let location = find(&recorder, &module).expect("an interpreter by memory alone");
        look_at(&recorder, &location, None);
        Self::new(module, recorder.into_image())
    }

    fn new(module: Module, image: Image) -> Self {
        let mut words = 0;
        let index = image.ranges().map(|(start, bytes)| {
            let before = words;
            words += bytes.len() as u64 / 8;
            (start.0, before)
        });
        let index = index.collect();
        Self {
            module,
            image,
            index,
            words,
        }
    }

    /// The address of one of its words, any number taken as one.
    fn word(&self, number: u64) -> u64 {
        let number = number % self.words.max(1);
        let range = self.index.partition_point(|(_, before)| *before <= number);
        let (start, before) = self.index[range - 1];
        // Aligned as structures are, whatever was read first of the range.
        (start + 8 * (number - before)) & !7
    }
}

/// Files, for the fuzz targets: a line for the module, one for each mapping, an empty one, and the
/// image.
impl Recorded {
    pub(crate) fn save(&self) -> Vec<u8> {
        let mut text = format!("{}\n", String::from_utf8_lossy(&self.module.name));
        for mapping in &self.module.mappings {
            let flags = [
                (mapping.readable, 'r'),
                (mapping.writable, 'w'),
                (mapping.executable, 'x'),
            ];
            let flags = flags
                .into_iter()
                .map(|(set, flag)| if set { flag } else { '-' });
            let (start, end) = (mapping.range.start.0, mapping.range.end.0);
            let flags: String = flags.collect();
            text += &format!(
                "{start} {end} {flags} {} {}\n",
                mapping.offset, mapping.inode
            );
        }
        text.push('\n');
        [text.into_bytes(), self.image.save()].concat()
    }

    pub(crate) fn load(saved: &[u8]) -> Self {
        let mut lines = saved.split(|byte| *byte == b'\n');
        let name = lines.next().expect("the module's name").to_vec();
        let mut length = name.len() + 1;
        let mut mappings = Vec::new();
        for line in lines {
            length += line.len() + 1;
            if line.is_empty() {
                break;
            }
            mappings.push(mapping(
                std::str::from_utf8(line).expect("a mapping"),
                &name,
            ));
        }
        let module = Module {
            name,
            device: (8, 1),
            inode: 1,
            deleted: false,
            mappings,
        };
        let image = Image::load(&saved[length..]).expect("an image");
        Self::new(module, image)
    }
}

fn mapping(line: &str, name: &[u8]) -> Mapping {
    let fields: Vec<&str> = line.split(' ').collect();
    let number = |index: usize| fields[index].parse::<u64>().expect("a number");
    Mapping {
        range: Address(number(0))..Address(number(1)),
        readable: fields[2].contains('r'),
        writable: fields[2].contains('w'),
        executable: fields[2].contains('x'),
        offset: number(3),
        device: (8, 1),
        inode: number(4),
        name: name.to_vec(),
        deleted: false,
    }
}

/// A recording that has been changed: what a broken or hostile target would show.
#[derive(Debug)]
pub(crate) struct Changed<'a> {
    recorded: &'a Recorded,
    words: BTreeMap<u64, Word>,
    reads: Cell<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Word {
    /// It holds this.
    Set(u64),
    /// It holds this in every other look at it, as one that a running target changes.
    Now(u64),
    /// It can't be read.
    Gone,
}

impl<'a> Changed<'a> {
    /// Changes a recording as `choices` say, which may be any bytes.
    pub(crate) fn new(recorded: &'a Recorded, choices: &[u8]) -> Self {
        let mut words = BTreeMap::new();
        let mut choices = Choices(choices);
        while words.len() < MAX_CHANGES
            && let Some(kind) = choices.byte()
        {
            let place = recorded.word(choices.number());
            let old = recorded.image.read_u64(Address(place)).unwrap_or_default();
            let value = match kind % 8 {
                0 | 1 => recorded.word(choices.number()),
                2 => u64::from(choices.byte().unwrap_or_default()),
                3 => HUGE[usize::from(choices.byte().unwrap_or_default()) % HUGE.len()],
                4 => old ^ (1 << (choices.byte().unwrap_or_default() % 64)),
                5 => old.wrapping_add_signed((choices.byte().unwrap_or_default() as i8).into()),
                6 => {
                    let other = Address(recorded.word(choices.number()));
                    recorded.image.read_u64(other).unwrap_or_default()
                }
                // Only one half of it, as of an `int`.
                _ => old & 0xffff_ffff_0000_0000 | u64::from(choices.half()),
            };
            let word = match kind / 8 % 8 {
                0 => Word::Now(value),
                1 => Word::Gone,
                _ => Word::Set(value),
            };
            words.insert(place, word);
        }
        Self {
            recorded,
            words,
            reads: Cell::new(0),
        }
    }

    fn spoil(&self, request: &mut ReadRequest<'_>) {
        let start = request.address.0;
        let end = start.saturating_add(request.filled as u64);
        for (place, word) in self.words.range(start.saturating_sub(7)..end) {
            let value = match word {
                Word::Set(value) => *value,
                Word::Now(value) if self.reads.get() % 2 == 1 => *value,
                Word::Now(_) => continue,
                Word::Gone => {
                    request.filled = place.saturating_sub(start) as usize;
                    return;
                }
            };
            for (at, byte) in (*place..).zip(value.to_ne_bytes()) {
                let byte_in = at.checked_sub(start).map(|at| at as usize);
                if let Some(into) = byte_in.and_then(|at| request.buffer.get_mut(at))
                    && at < end
                {
                    *into = byte;
                }
            }
        }
    }
}

/// Lengths and addresses that are none.
const HUGE: [u64; 10] = [
    u64::MAX,
    i64::MAX as u64,
    1 << 63,
    1 << 31,
    (1 << 31) - 1,
    1 << 47,
    1 << 32,
    1 << 20,
    1 << 16,
    4096,
];

impl Memory for Changed<'_> {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> std::result::Result<(), Fault> {
        self.recorded.image.read_many(requests)?;
        self.reads.set(self.reads.get() + 1);
        for request in requests {
            self.spoil(request);
        }
        Ok(())
    }
}

/// Bytes taken as choices.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn half(&mut self) -> u32 {
        (0..4).fold(0, |sum, _| {
            sum << 8 | u32::from(self.byte().unwrap_or_default())
        })
    }

    /// Three bytes: a recording has fewer words than they can say.
    fn number(&mut self) -> u64 {
        u64::from(self.half() >> 8)
    }
}

fn no_file(_: &Module) -> Result<invivo_cpython::FileFacts> {
    Err(Error::new(
        ErrorKind::Refused,
        "cannot open the file",
        "memory is all there is",
        "look at memory",
    ))
}

fn find(memory: &impl Memory, module: &Module) -> Result<Location> {
    locate_with(
        memory,
        std::slice::from_ref(module),
        &Limits::default(),
        no_file,
    )
}

/// Changes a recording and looks at everything in it: nothing panics, and it ends in time.
///
/// # Panics
/// If it takes longer.
pub(crate) fn run(recorded: &Recorded, choices: &[u8]) -> Option<Seen> {
    let changed = Changed::new(recorded, choices);
    let location = in_time(&changed, |memory| find(memory, &recorded.module).ok())?;
    look_at(&changed, &location, None)
}

/// What a look came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How many frames there are, of all threads.
    pub(crate) frames: usize,
    /// How many variables of theirs.
    pub(crate) variables: usize,
    pub(crate) tasks: usize,
}

/// Every view of a process, each as a command bounds it; `None` where it can't be opened.
///
/// # Panics
/// If a view takes longer.
pub(crate) fn look_at(
    memory: &impl Memory,
    location: &Location,
    asyncio: Option<AsyncioDebug>,
) -> Option<Seen> {
    view(memory, location, |runtime| {
        let _ = runtime.main_thread_id();
        let _ = runtime.ensure_present();
        let found = runtime.interpreters().unwrap_or_default();
        for interpreter in found.list.iter().take(3) {
            let _ = runtime.sys_version(interpreter);
            let _ = runtime.xoptions(interpreter);
            let _ = runtime.phase(interpreter);
            let _ = runtime.pending_calls(interpreter, Queue::MainThread);
            let _ = runtime.pending_calls(interpreter, Queue::AnyThread);
            for thread in interpreter.threads.iter().take(3) {
                let _ = runtime.standing(interpreter, thread);
            }
        }
    })?;
    let options = StackOptions {
        opcodes: true,
        slots: true,
        names: true,
    };
    let found = view(memory, location, |runtime| runtime.threads(&options))?;
    let threads = found.unwrap_or_default();
    let threads: Vec<_> = threads.iter().flat_map(|found| &found.threads).collect();
    view(memory, location, |runtime| {
        if Reader::serves(runtime) {
            let options = ReaderOptions {
                waits: true,
                exceptions: true,
            };
            let mut reader = Reader::new(runtime.clone(), options);
            for _ in 0..3 {
                let _ = reader.read();
            }
        }
    })?;
    let limits = ValueLimits {
        nodes: 4000,
        ..ValueLimits::default()
    };
    let variables = view(memory, location, |runtime| {
        let mut left = FRAMES;
        let all = threads.iter().flat_map(|thread| {
            let count = thread.stack.frames.len().min(left);
            left -= count;
            let places: Vec<_> = (0..count).collect();
            runtime.variables_of(thread, &places, &limits)
        });
        all.collect::<Vec<_>>()
    })?;
    let tasks = view(memory, location, |runtime| {
        runtime.tasks(&TaskOptions { asyncio })
    })?;
    let tasks = tasks.unwrap_or_default();
    let waited = tasks.list.iter().filter_map(|task| task.waits_for.as_ref());
    let mut objects: Vec<_> = waited.map(|waited| waited.address).collect();
    // And what is no object.
    let frames: Vec<_> = threads
        .iter()
        .flat_map(|thread| &thread.stack.frames)
        .collect();
    objects.extend(frames.iter().map(|frame| frame.address).take(20));
    view(memory, location, |runtime| {
        let _ = runtime.values(&objects, &limits);
        for address in objects.iter().rev().take(20) {
            let _ = (runtime.string(*address), runtime.dict_items(*address));
        }
    })?;
    Some(Seen {
        frames: frames.len(),
        variables: variables.into_iter().flatten().flatten().count(),
        tasks: tasks.list.len(),
    })
}

fn view<M: Memory, T>(
    memory: &M,
    location: &Location,
    look: impl FnOnce(&Runtime<&Bounded<&M>>) -> T,
) -> Option<T> {
    in_time(memory, |memory| {
        let runtime = Runtime::open(memory, location, Limits::default()).ok()?;
        Some(look(&runtime))
    })
}

/// Looks at memory as a command does, within bounds.
///
/// # Panics
/// If it takes longer than these allow.
fn in_time<M: Memory, T>(memory: &M, look: impl FnOnce(&Bounded<&M>) -> T) -> T {
    let bounded = Bounded::new(memory, DEADLINE, BYTES);
    let began = Instant::now();
    let result = look(&bounded);
    let time = began.elapsed();
    assert!(time < DEADLINE + GRACE, "a view took {time:?}");
    result
}
