//! Recordings: what was written comes back, whatever was done to the file meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex};

use invivo_model::{
    About, Budget, ErrorKind, FunctionKind, Mode, Profile, ProfileFrame, ProfileFunction,
    ProfileProcess, ProfileThread, Sample, SampleStatus, StackNode, Text, Trust,
};
use invivo_profile::{Collect, Interner, Recording, Seen, Sink, Writer};
use proptest::prelude::*;

const MILLISECOND: u64 = 1_000_000;

/// A file in memory, which can be looked at while it is written.
#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl File {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn text(text: &str) -> Text {
    Text {
        text: text.to_owned(),
        truncated: false,
    }
}

fn about(interval: u64) -> About {
    About {
        started: 1_790_000_000_000_000_000,
        interval,
        mode: Mode::Gil,
        creator: "Invivo, in a test".to_owned(),
        ..About::default()
    }
}

/// Two sinks that are told the same.
struct Both<'a>(&'a mut Writer, &'a mut Collect);

impl Sink for Both<'_> {
    fn function(&mut self, function: &ProfileFunction) {
        self.0.function(function);
        self.1.function(function);
    }
    fn frame(&mut self, frame: ProfileFrame) {
        self.0.frame(frame);
        self.1.frame(frame);
    }
    fn stack(&mut self, stack: StackNode) {
        self.0.stack(stack);
        self.1.stack(stack);
    }
    fn process(&mut self, process: &ProfileProcess) {
        self.0.process(process);
        self.1.process(process);
    }
    fn thread(&mut self, thread: &ProfileThread) {
        self.0.thread(thread);
        self.1.thread(thread);
    }
    fn rename(&mut self, thread: u32, name: &Text) {
        self.0.rename(thread, name);
        self.1.rename(thread, name);
    }
    fn tick(&mut self, about: &About, seen: &[Seen]) -> invivo_model::Result<()> {
        self.1.tick(about, seen)?;
        self.0.tick(about, seen)
    }
}

/// What one tick sees: the time since the one before, and each thread that counts with its stack.
type Tick = (u64, Vec<(u32, Option<u32>, u8)>);

const THREADS: u32 = 4;
const STACKS: u32 = 300;

fn status(number: u8) -> (SampleStatus, Trust) {
    let answer = |bit: u8| Some(number & bit != 0);
    let status = SampleStatus {
        on_cpu: answer(1),
        waits_for_cpu: answer(16).filter(|_| number & 32 != 0),
        holds_gil: answer(2),
        waits_for_gil: None,
        handles_exception: answer(4),
    };
    (
        status,
        if number & 8 == 0 {
            Trust::Whole
        } else {
            Trust::Torn
        },
    )
}

/// Tells `sink` of tables with as many stacks and threads as ticks refer to.
fn tables(sink: &mut dyn Sink) {
    let mut interner = Interner::new();
    let process = ProfileProcess {
        pid: 4711,
        parent: None,
        command: vec!["python3".to_owned(), "-c".to_owned(), "a\nb".to_owned()],
        version: "3.15.0".to_owned(),
    };
    assert_eq!(interner.process(&process, sink), Ok(0));
    for tid in 0..THREADS {
        let thread = ProfileThread {
            process: 0,
            tid,
            name: (tid % 2 == 0).then(|| text("worker é")),
            interpreter: i64::from(tid) - 1,
            is_main: tid == 0,
        };
        assert_eq!(interner.thread(&thread, sink), Ok(tid));
    }
    let mut caller = None;
    for n in 0..STACKS {
        let function = ProfileFunction {
            name: Text {
                text: format!("f{}", n % 7),
                truncated: n % 7 == 3,
            },
            file: text("a file.py"),
            first_line: n % 7,
            kind: FunctionKind::Python,
        };
        let frame = ProfileFrame {
            function: interner.function(&function, sink).unwrap(),
            line: n,
            columns: (n % 3 == 0).then_some((n, n + 4)),
            opcode: (n % 5 == 0).then_some(n as u8),
        };
        let frame = interner.frame(frame, sink).unwrap();
        let caller_now = caller.filter(|_| n % 20 != 0);
        caller = Some(
            interner
                .stack(
                    StackNode {
                        caller: caller_now,
                        frame,
                    },
                    sink,
                )
                .unwrap(),
        );
    }
    sink.rename(1, &text("named later"));
}

/// Writes these ticks; gives the file, and what came as it came.
fn record(interval: u64, ticks: &[Tick]) -> (Vec<u8>, Profile) {
    let file = File::default();
    let mut about = about(interval);
    let mut writer = Writer::new(file.clone(), &about).unwrap();
    let mut collect = Collect::new();
    tables(&mut Both(&mut writer, &mut collect));
    for (step, threads) in ticks {
        about.duration += step;
        about.ticks += 1;
        about.missed += (step / interval.max(1)).saturating_sub(1);
        let seen: Vec<_> = threads
            .iter()
            .map(|(thread, stack, number)| {
                let (status, trust) = status(*number);
                Seen {
                    thread: *thread,
                    stack: *stack,
                    status,
                    trust,
                }
            })
            .collect();
        Both(&mut writer, &mut collect).tick(&about, &seen).unwrap();
    }
    about.own_time = 12_345;
    writer.finish(&about).unwrap();
    let mut profile = collect.into_profile();
    profile.about = about;
    profile
        .samples
        .sort_by_key(|sample| (sample.time, sample.thread));
    (file.bytes(), profile)
}

/// A block as it is stored, with its header.
fn block(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_le_bytes();
    let header = [&[0], &length[..], &length].concat();
    let mut checksum = flate2::Crc::new();
    checksum.update(&header);
    checksum.update(content);
    [&header, &checksum.sum().to_le_bytes()[..], content].concat()
}

/// What a writer that was dropped has left.
fn unfinished() -> Vec<u8> {
    let file = File::default();
    let about = about(MILLISECOND);
    let mut writer = Writer::new(file.clone(), &about).unwrap();
    tables(&mut writer);
    let (status, trust) = status(0);
    let seen = |thread| Seen {
        thread,
        stack: Some(1),
        status,
        trust,
    };
    writer.tick(&about, &[seen(0), seen(2)]).unwrap();
    drop(writer);
    let bytes = file.bytes();
    let recording = open(&bytes).unwrap();
    assert!(!recording.is_complete());
    assert_eq!(samples(&recording).len(), 2);
    bytes
}

fn open(bytes: &[u8]) -> invivo_model::Result<Recording<Cursor<&[u8]>>> {
    Recording::open(Cursor::new(bytes), &Budget::default())
}

fn samples<R: io::Read + io::Seek>(recording: &Recording<R>) -> Vec<Sample> {
    let mut all = Vec::new();
    let each = &mut |sample: &Sample| {
        all.push(*sample);
        Ok(())
    };
    recording.for_each_sample(each).unwrap();
    all
}

/// Samples of a thread that follow each other and say the same, as one.
fn joined(mut samples: Vec<Sample>, interval: u64) -> Vec<Sample> {
    samples.sort_by_key(|sample| (sample.thread, sample.time));
    samples.dedup_by(|next, before| {
        let same = (next.thread, next.stack, next.status, next.trust)
            == (before.thread, before.stack, before.status, before.trust);
        let follows = before.time + u64::from(before.ticks) * interval == next.time;
        if same && follows {
            before.ticks += next.ticks;
        }
        same && follows
    });
    samples
}

fn ticks() -> impl Strategy<Value = Vec<Tick>> {
    let stack = proptest::option::weighted(0.8, 0..STACKS);
    let thread = (0..THREADS, stack, 0_u8..16);
    let threads = proptest::collection::vec(thread, 0..6).prop_map(|mut threads| {
        threads.sort_by_key(|(thread, ..)| *thread);
        threads.dedup_by_key(|(thread, ..)| *thread);
        threads
    });
    let tick = (0_u64..3_000).prop_map(|microseconds| microseconds * 1000);
    let round = (tick, threads, 1_usize..4);
    proptest::collection::vec(round, 0..60).prop_map(|rounds| {
        let repeat = |(step, threads, times)| std::iter::repeat_n((step, threads), times);
        rounds.into_iter().flat_map(repeat).collect()
    })
}

proptest! {
    /// In less than a second all is one block, and comes back sample by sample.
    #[test]
    fn what_was_recorded_comes_back(ticks in ticks()) {
        let (file, profile) = record(MILLISECOND, &ticks);
        let recording = open(&file).unwrap();
        prop_assert!(recording.is_complete());
        prop_assert_eq!(recording.damage(), None);
        prop_assert_eq!(recording.about(), &profile.about);
        prop_assert_eq!(recording.tables(), &profile.tables);
        let read = samples(&recording);
        let rounded = |mut samples: Vec<Sample>| {
            samples.sort_by_key(|sample| (sample.thread, sample.time));
            let times: Vec<u64> = samples.iter().map(|sample| sample.time).collect();
            samples.iter_mut().for_each(|sample| sample.time = 0);
            (samples, times)
        };
        let (found, times) = rounded(read.clone());
        let (wanted, real) = rounded(profile.samples);
        prop_assert_eq!(found, wanted);
        // A 64th of a millisecond is the unit.
        let off = times.iter().zip(real).all(|(time, real)| *time <= real && real < time + 16_000);
        prop_assert!(off);
        prop_assert_eq!(samples(&recording), read);
    }

    /// Whatever is in a block, reading it comes to an end.
    #[test]
    fn any_block_is_taken(
        progress in proptest::collection::vec(0_u8..0x80, 5),
        entries in proptest::collection::vec(0_u8..9, 0..100),
        samples in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut file = unfinished();
        let content = [&progress, &[entries.len() as u8][..], &entries, &samples].concat();
        file.extend(block(&content));
        let recording = open(&file).unwrap();
        self::samples(&recording);
    }

    /// Whatever is in a file, reading it comes to an end.
    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..400), real: bool) {
        let mut file = b"\x89invivo\n".to_vec();
        if real {
            file = unfinished();
        }
        file.extend(bytes);
        if let Ok(recording) = open(&file) {
            samples(&recording);
        }
    }
}

/// So many ticks, at which one thread does something else each time and one comes and goes.
fn longer(interval: u64, count: u32) -> Vec<Tick> {
    let tick = |n: u32| {
        let busy = (0, Some(n * 31 % STACKS), 3);
        let idle = (1, Some(7), 0);
        let other = (2, Some(n / 50 % STACKS), u8::from(n % 300 < 150));
        let all = if n % 400 < 300 {
            vec![busy, idle, other]
        } else {
            vec![busy, idle]
        };
        (if n == 0 { 0 } else { interval }, all)
    };
    (0..count).map(tick).collect()
}

#[test]
fn a_recording_of_many_blocks_comes_back() {
    let (file, profile) = record(MILLISECOND, &longer(MILLISECOND, 10_000));
    let recording = open(&file).unwrap();
    assert_eq!(recording.tables(), &profile.tables);
    let read = samples(&recording);
    assert!(read.is_sorted_by_key(|sample| sample.time));
    let ticks: u64 = read.iter().map(|sample| u64::from(sample.ticks)).sum();
    assert_eq!(ticks, 10_000 * 2 + 7_500);
    assert_eq!(
        joined(read, MILLISECOND),
        joined(profile.samples, MILLISECOND)
    );
}

/// About ten blocks, each of few ticks.
fn ten_seconds() -> (Vec<u8>, Profile) {
    record(20 * MILLISECOND, &longer(20 * MILLISECOND, 500))
}

/// Where it is cut off, all blocks before can be read: what a killed recorder leaves behind.
#[test]
fn a_recording_that_breaks_off_anywhere_is_read_up_to_there() {
    let (file, _) = ten_seconds();
    let whole = samples(&open(&file).unwrap());
    let mut before = 0;
    let mut lengths = Vec::new();
    for length in 0..file.len() {
        match open(&file[..length]) {
            Err(error) => {
                assert_eq!(before, 0, "{length}");
                let kinds = [ErrorKind::Usage, ErrorKind::Corrupt];
                assert!(kinds.contains(&error.kind), "{length}: {error}");
            }
            Ok(recording) => {
                assert!(!recording.is_complete());
                let read = samples(&recording);
                assert!(read.len() >= before && whole.starts_with(&read), "{length}");
                before = read.len();
                lengths.push(before);
            }
        }
    }
    lengths.dedup();
    // Nothing is older than a second when it goes to the file.
    assert!(lengths.len() >= 10, "{lengths:?}");
}

#[test]
fn a_recording_with_flipped_bits_gives_fewer_samples_or_an_error() {
    let (file, _) = ten_seconds();
    let whole = samples(&open(&file).unwrap());
    for at in 0..file.len() {
        let mut file = file.clone();
        file[at] ^= 1 << (at % 8);
        if let Ok(recording) = open(&file) {
            assert!(recording.damage().is_some(), "{at}");
            let read = samples(&recording);
            assert!(
                read.len() <= whole.len() && whole.starts_with(&read),
                "{at}"
            );
        }
    }
}

#[test]
fn a_sample_takes_less_than_four_bytes() {
    // Each sees another stack, at any moment of its interval.
    let noise = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let tick = |n: u64| {
        let moment = |n: u64| n * 100_000 + noise(n) % 100_000;
        let step = moment(n + 1) - moment(n);
        (
            step,
            vec![(0, Some((noise(n + 7) % u64::from(STACKS)) as u32), 3)],
        )
    };
    let ticks: Vec<Tick> = (0..100_000).map(tick).collect();
    let (file, _) = record(100_000, &ticks);
    let per_sample = file.len() as f64 / ticks.len() as f64;
    assert!(per_sample < 4.0, "{per_sample}");
    // What does not change takes next to nothing.
    let tick = |_| {
        (
            100_000,
            vec![(0, Some(5), 3), (1, Some(6), 0), (2, None, 0)],
        )
    };
    let ticks: Vec<Tick> = (0..100_000).map(tick).collect();
    let (file, _) = record(100_000, &ticks);
    assert!(file.len() < 6000, "{}", file.len());
}

/// A run lasts an interval for each of its ticks, and what was missed lies between two of them.
#[test]
fn what_goes_on_over_ticks_that_were_missed_is_said_anew() {
    const INTERVAL: u64 = 100_000;
    const TICKS: u64 = 50_000;
    // At 10 kHz, one tick in a hundred is missed.
    let tick = |n: u64| {
        let step = INTERVAL * (1 + u64::from(n % 100 == 99));
        let busy = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % u64::from(STACKS);
        let busy = (0, Some(busy as u32), 3);
        (step, vec![busy, (1, Some(6), 0), (2, None, 0)])
    };
    let ticks: Vec<Tick> = (0..TICKS).map(tick).collect();
    let (file, profile) = record(INTERVAL, &ticks);
    let per_sample = file.len() as f64 / ticks.len() as f64;
    assert!(per_sample < 4.0, "{per_sample}");
    assert_eq!(profile.about.missed, TICKS / 100);
    let read = samples(&open(&file).unwrap());
    for mut samples in [read, profile.samples] {
        samples.sort_by_key(|sample| (sample.thread, sample.time));
        for thread in 0..3 {
            let own = samples.iter().filter(|sample| sample.thread == thread);
            let own: Vec<_> = own.collect();
            let seen: u64 = own.iter().map(|sample| u64::from(sample.ticks)).sum();
            assert_eq!(seen, TICKS, "{thread}");
            let mut holes = 0;
            for pair in own.windows(2) {
                let end = pair[0].time + u64::from(pair[0].ticks) * INTERVAL;
                // Times are rounded.
                let hole = pair[1].time.cast_signed() - end.cast_signed();
                let whole = (hole + 2_000).div_euclid(INTERVAL.cast_signed());
                let off = hole - whole * INTERVAL.cast_signed();
                assert!((0..2).contains(&whole) && off.abs() <= 2_000, "{hole}");
                holes += whole.unsigned_abs();
            }
            assert_eq!(holes, TICKS / 100, "{thread}");
        }
    }
}

#[test]
fn what_cannot_be_written_is_said() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut about = about(2_000 * MILLISECOND);
    assert_eq!(
        Writer::new(Full(3), &about).err().unwrap().kind,
        ErrorKind::Unwritten
    );
    let mut writer = Writer::new(Full(100), &about).unwrap();
    tables(&mut writer);
    let error = loop {
        about.duration += about.interval;
        if let Err(error) = writer.tick(&about, &[]) {
            break error;
        }
    };
    assert_eq!(error.kind, ErrorKind::Unwritten);
    assert_eq!(writer.finish(&about), Err(error));
}

#[test]
fn a_recording_of_a_later_form_is_refused_by_name() {
    // The number of a format behind the first entry.
    let mut file = b"\x89invivo\n".to_vec();
    file.extend(block(&[0, 0, 0, 0, 0, 2, 1, 99, 0, 0]));
    let error = open(&file).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    assert!(error.why.contains("99"));
}
