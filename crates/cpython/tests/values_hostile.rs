//! Values in memory that was read of a live interpreter and then bent: nothing panics, loops, or
//! reads without bound.

mod picture;

use std::cell::Cell;
use std::sync::OnceLock;

use invivo_cpython::{Limits, Location, Runtime, StackOptions, ValueLimits};
use invivo_model::{Address, Frame};
use invivo_process::{Fault, Image, Memory, ReadRequest, Recorder, Target};
use picture::{locate_in, shown};
use proptest::prelude::*;
use synth::{Interpreter, Launch, interpreters};

const ZOO: &str = include_str!("targets/zoo.py");

const LIMITS: ValueLimits = ValueLimits {
    depth: 8,
    items: 50,
    characters: 500,
    nodes: 500,
};
/// Pieces of memory that a look with these limits may ask for.
const MAX_PIECES: usize = 100_000;
/// Bytes that it may ask for.
const MAX_BYTES: usize = 64 << 20;

/// What was read of a zoo.
struct Recording {
    name: String,
    location: Location,
    image: Image,
    objects: Vec<Address>,
    frames: Vec<Frame>,
}

/// Memory that counts how much it is asked for.
struct Counted<'a> {
    image: &'a Image,
    pieces: Cell<usize>,
    bytes: Cell<usize>,
}

impl Memory for Counted<'_> {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        let bytes: usize = requests.iter().map(|request| request.buffer.len()).sum();
        self.pieces.set(self.pieces.get() + requests.len());
        self.bytes.set(self.bytes.get() + bytes);
        self.image.read_many(requests)
    }
}

fn record(interpreter: &Interpreter) -> Recording {
    let process = Launch::new(interpreter, ZOO).start();
    let target = Target::open(process.pid()).expect("it runs");
    let location = locate_in(&target);
    let recorder = Recorder::new(target.memory());
    let runtime = Runtime::open(&recorder, &location, Limits::default()).expect("a known layout");
    let output = process.stdout_so_far();
    let objects: Vec<_> = output
        .lines()
        .filter_map(|line| line.strip_prefix("value ")?.split(' ').next()?.parse().ok())
        .map(Address)
        .collect();
    let options = StackOptions {
        slots: true,
        ..StackOptions::default()
    };
    let found = runtime.threads(&options).expect("its threads");
    let threads = found
        .into_iter()
        .flat_map(|interpreter| interpreter.threads);
    let frames: Vec<_> = threads.flat_map(|thread| thread.stack.frames).collect();
    let ample = ValueLimits {
        nodes: 50_000,
        ..LIMITS
    };
    runtime.values(&objects, &ample);
    for frame in &frames {
        runtime.variables(frame, &ample).expect("its variables");
    }
    drop(runtime);
    Recording {
        name: interpreter.name.clone(),
        location,
        image: recorder.into_image(),
        objects,
        frames,
    }
}

fn recordings() -> &'static [Recording] {
    static RECORDINGS: OnceLock<Vec<Recording>> = OnceLock::new();
    RECORDINGS.get_or_init(|| interpreters().iter().map(record).collect())
}

/// Where a word is bent, and what is put there.
#[derive(Clone, Debug)]
enum Place {
    /// So many words behind the start of an object.
    Object(prop::sample::Index, i64),
    /// Anywhere in what was read.
    Anywhere(prop::sample::Index, prop::sample::Index),
}

#[derive(Clone, Debug)]
enum Word {
    Raw(u64),
    Object(prop::sample::Index),
    Known(prop::sample::Index, u64),
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        (any::<prop::sample::Index>(), -4_i64..12).prop_map(|(at, by)| Place::Object(at, by)),
        any::<(prop::sample::Index, prop::sample::Index)>()
            .prop_map(|(range, at)| Place::Anywhere(range, at)),
    ]
}

fn word() -> impl Strategy<Value = Word> {
    prop_oneof![
        (0_u64..70).prop_map(Word::Raw),
        any::<u64>().prop_map(Word::Raw),
        (0_u32..64).prop_map(|shift| Word::Raw(u64::MAX >> shift)),
        any::<prop::sample::Index>().prop_map(Word::Object),
        (any::<prop::sample::Index>(), 0_u64..8).prop_map(|(at, by)| Word::Known(at, by)),
    ]
}

fn bend(recording: &Recording, changes: &[(Place, Word)]) -> Image {
    let ranges: Vec<_> = recording.image.ranges().collect();
    let objects = &recording.objects;
    let mut image = recording.image.clone();
    for (place, word) in changes {
        let at = match place {
            Place::Object(at, by) => at.get(objects).0.wrapping_add_signed(by * 8),
            Place::Anywhere(range, at) => {
                let (start, bytes) = range.get(&ranges);
                start.0 + at.index(bytes.len()) as u64 / 8 * 8
            }
        };
        let word = match word {
            Word::Raw(word) => *word,
            Word::Object(at) => at.get(objects).0,
            Word::Known(at, by) => at.get(&ranges).0.0 + by * 8,
        };
        image.insert(Address(at), &word.to_le_bytes());
    }
    image
}

fn look(recording: &Recording, image: &Image) -> (usize, usize) {
    let memory = Counted {
        image,
        pieces: Cell::new(0),
        bytes: Cell::new(0),
    };
    let runtime = Runtime::open(&memory, &recording.location, Limits::default());
    let runtime = runtime.expect("a known layout");
    let values = runtime.values(&recording.objects, &LIMITS);
    assert_eq!(values.len(), recording.objects.len());
    for value in &values {
        shown(value);
    }
    for frame in &recording.frames {
        let _ = runtime.variables(frame, &LIMITS);
    }
    (memory.pieces.get(), memory.bytes.get())
}

#[test]
fn a_recording_tells_the_same_as_the_process() {
    for recording in recordings() {
        let runtime = Runtime::open(&recording.image, &recording.location, Limits::default());
        let runtime = runtime.unwrap();
        let ample = ValueLimits {
            nodes: 50_000,
            ..LIMITS
        };
        let values = runtime.values(&recording.objects, &ample);
        for value in &values {
            let text = shown(value);
            assert!(!text.contains(":!"), "{}: {text}", recording.name);
        }
        assert!(!recording.frames.is_empty());
    }
}

/// Memory that gives nothing more after so many calls.
struct Ending<'a> {
    image: &'a Image,
    left: Cell<usize>,
}

impl Memory for Ending<'_> {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        let left = self.left.get().checked_sub(1).ok_or(Fault::Exhausted)?;
        self.left.set(left);
        self.image.read_many(requests)
    }
}

#[test]
fn a_look_that_is_cut_off_keeps_what_it_has_and_says_so() {
    for recording in recordings() {
        let mut cut_off = 0;
        let mut known = 0;
        for calls in 0..80 {
            let memory = Ending {
                image: &recording.image,
                left: Cell::new(calls),
            };
            let runtime = Runtime::open(&memory, &recording.location, Limits::default()).unwrap();
            let values = runtime.values(&recording.objects, &LIMITS);
            let texts: Vec<_> = values.iter().map(shown).collect();
            if memory.left.get() == 0 {
                let why = "!more would have to be read than is allowed";
                cut_off += usize::from(texts.iter().any(|text| text.contains(why)));
            }
            // More calls tell more, never less.
            let unreadable = texts.iter().filter(|text| text.starts_with("?:!"));
            let now_known = texts.len() - unreadable.count();
            assert!(now_known >= known, "{}: {calls} calls", recording.name);
            known = now_known;
        }
        assert!(cut_off > 10, "{}", recording.name);
        assert_eq!(known, recording.objects.len(), "{}", recording.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_memory_is_read_within_bounds(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((place(), word()), 1..300),
    ) {
        let recording = which.get(recordings());
        let (pieces, bytes) = look(recording, &bend(recording, &changes));
        prop_assert!(pieces < MAX_PIECES, "{pieces} pieces in {}", recording.name);
        prop_assert!(bytes < MAX_BYTES, "{bytes} bytes in {}", recording.name);
    }
}
