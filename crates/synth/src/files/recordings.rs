//! Recordings of which much would be made.

use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress};

use super::HostileFile;

/// Bytes that a block may hold.
const BLOCK: usize = 4 << 20;
/// Bytes of names and files that a recording has.
const LONG: usize = 16 << 10;

/// A recording of which what is asked for is made: whole blocks of entries and of changes.
#[derive(Clone, Debug, Default)]
pub struct RecordingFile {
    bytes: Vec<u8>,
    tables: Vec<u8>,
}

impl RecordingFile {
    /// One that has begun, with a process and a thread.
    pub fn new() -> Self {
        let mut file = Self {
            bytes: b"\x89invivo\n".to_vec(),
            tables: Vec::new(),
        };
        // Format 2, a start, a thousand ticks a second, the wall clock, and what recorded it.
        let start = [1, 2, 0];
        file.tables.extend(start);
        put(&mut file.tables, 1_000_000);
        file.tables.extend([0, 1, b'x']);
        file.block(&[]);
        file
    }

    /// Another entry of the tables. Blocks are cut where they are full.
    pub fn entry(&mut self, kind: u8, rest: impl FnOnce(&mut Vec<u8>)) {
        if self.tables.len() > BLOCK - 4 * LONG {
            self.block(&[]);
        }
        self.tables.push(kind);
        rest(&mut self.tables);
    }

    /// A process of no name and `threads` threads of it.
    pub fn threads(&mut self, threads: usize) {
        self.entry(5, |out| out.extend([1, 0, 0, 0]));
        for _ in 0..threads {
            self.entry(6, |out| out.extend([0, 1, 0, 0]));
        }
    }

    /// A function with this name and file.
    pub fn function(&mut self, name: &str, file: &str) {
        self.entry(2, |out| {
            out.push(0);
            for text in [name, file] {
                out.push(0);
                put(out, text.len() as u64);
                out.extend(text.as_bytes());
            }
            out.push(1);
        });
    }

    /// A line of a function.
    pub fn frame(&mut self, function: u64, line: u64) {
        self.entry(3, |out| {
            put(out, function);
            put(out, line);
            out.push(0);
        });
    }

    /// A stack: a frame on another stack.
    pub fn stack(&mut self, caller: Option<u64>, frame: u64) {
        self.entry(4, |out| {
            put(out, caller.map_or(0, |caller| caller.wrapping_add(1)));
            put(out, frame);
        });
    }

    /// Ends a block, with these changes in so many ticks.
    pub fn block(&mut self, changes: &[u8]) {
        if self.tables.len() + changes.len() > BLOCK - LONG {
            let packed = self.packed(&[]);
            self.bytes.extend(packed);
        }
        let packed = self.packed(changes);
        self.bytes.extend(packed);
    }

    /// The same block again and again.
    pub fn blocks(&mut self, changes: &[u8], count: usize) {
        let packed = self.packed(changes);
        let all = std::iter::repeat_n(packed.as_slice(), count);
        self.bytes.extend(all.flatten());
    }

    fn packed(&mut self, changes: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        // A second, a million ticks; none missed or torn, no time of ours.
        for number in [
            1_000_000_000_000,
            1_000_000,
            0,
            0,
            0,
            self.tables.len() as u64,
        ] {
            put(&mut block, number);
        }
        block.append(&mut self.tables);
        put(&mut block, 1 << 30);
        put(&mut block, 0);
        block.extend(changes);
        packed(&block, 0)
    }

    /// The file.
    pub fn into_bytes(mut self) -> Vec<u8> {
        if !self.tables.is_empty() {
            self.block(&[]);
        }
        self.bytes
    }
}

/// The recording with what `change` makes of what each block says, packed anew so that it is read.
/// What is no whole block stays behind.
pub fn reworked(recording: &[u8], mut change: impl FnMut(&mut Vec<u8>)) -> Vec<u8> {
    let (magic, mut rest) = recording.split_at(recording.len().min(8));
    let mut file = magic.to_vec();
    while let Some((head, after)) = rest.split_at_checked(13) {
        let number = |at: usize| {
            let bytes = head[at..at + 4].try_into().expect("four bytes");
            u32::from_le_bytes(bytes) as usize
        };
        let Some((stored, after)) = after.split_at_checked(number(1)) else {
            break;
        };
        let mut block = Vec::with_capacity(number(5).min(BLOCK));
        if head[0] & 1 == 0 {
            block.extend(stored);
        } else {
            let mut inflate = Decompress::new(false);
            let status = inflate.decompress_vec(stored, &mut block, FlushDecompress::Finish);
            status.expect("one that was packed");
        }
        change(&mut block);
        file.extend(packed(&block, head[0] & 2));
        rest = after;
    }
    file
}

/// A block as it is stored; `last` is 2 for the last one, else 0.
fn packed(block: &[u8], last: u8) -> Vec<u8> {
    let mut smaller = Vec::with_capacity(block.len() + 1024);
    let mut deflate = Compress::new(Compression::fast(), false);
    let status = deflate.compress_vec(block, &mut smaller, FlushCompress::Finish);
    status.expect("it has the room");
    let is_smaller = smaller.len() < block.len();
    let stored = if is_smaller { &smaller } else { block };
    let mut file = vec![u8::from(is_smaller) | last];
    file.extend((stored.len() as u32).to_le_bytes());
    file.extend((block.len() as u32).to_le_bytes());
    let mut checksum = Crc::new();
    checksum.update(&file);
    checksum.update(stored);
    file.extend(checksum.sum().to_le_bytes());
    file.extend(stored);
    file
}

/// A number as a recording has it.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The changes of a tick at which so many threads are seen in a stack each.
fn seen(stacks: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut changes = Vec::new();
    let mut count = 0;
    for (number, stack) in stacks.into_iter().enumerate() {
        // From one thread to the next is a distance of 1: twice 4, and a change of state.
        put(&mut changes, if number == 0 { 2 } else { 10 });
        changes.push(0);
        put(&mut changes, stack + 1);
        count += 1;
    }
    let mut tick = vec![1, 0];
    put(&mut tick, count);
    tick.extend(changes);
    tick
}

impl RecordingFile {
    /// Blocks of ticks of thread 0, each in another of these stacks.
    fn walk(&mut self, stacks: std::ops::Range<u64>) {
        let mut from = stacks.start;
        while from < stacks.end {
            let to = stacks.end.min(from + 100_000);
            self.block(&one_after_the_other(from..to));
            from = to;
        }
    }
}

/// Ticks of thread 0, each with another of these stacks.
fn one_after_the_other(stacks: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut changes = seen([0]);
    for stack in stacks {
        changes.extend([2, 0]);
        put(&mut changes, stack + 1);
    }
    changes
}

/// What makes one of a kind.
type Make = fn() -> RecordingFile;

/// One of each kind.
pub fn hostile() -> Vec<HostileFile> {
    let kinds: [(&'static str, Make); 12] = [
        ("arguments", arguments),
        ("threads", threads),
        ("same", same),
        ("deep", deep),
        ("wide", wide),
        ("lines", lines),
        ("names", names),
        ("controls", controls),
        ("samples", samples),
        ("roots", roots),
        ("pairs", pairs),
        ("titles", titles),
    ];
    let made = kinds.into_iter().map(|(name, make)| HostileFile {
        name,
        bytes: make().into_bytes(),
    });
    made.collect()
}

/// A process of 120 million empty arguments.
fn arguments() -> RecordingFile {
    let mut file = RecordingFile::new();
    let mut one = RecordingFile::default();
    let count = (BLOCK - 1024) as u64;
    one.entry(5, |out| {
        out.extend([1, 0, 0]);
        put(out, count);
        out.extend(std::iter::repeat_n(0, BLOCK - 1024));
    });
    one.blocks(&[], 1);
    (0..29).for_each(|_| file.bytes.extend(&one.bytes));
    file
}

/// A quarter of a million threads with the same number.
fn threads() -> RecordingFile {
    let mut file = RecordingFile::new();
    file.threads(1);
    file.block(&[]);
    let mut many = RecordingFile::default();
    for _ in 0..250_000 {
        many.tables.extend([6, 0, 1, 0, 0]);
    }
    many.blocks(&[], 1);
    file.bytes.extend(many.bytes);
    file
}

/// The same frame and stack, thirty million times.
fn same() -> RecordingFile {
    let mut file = RecordingFile::new();
    file.threads(1);
    file.function("f", "f.py");
    file.frame(0, 1);
    file.stack(None, 0);
    file.block(&[]);
    let mut many = RecordingFile::default();
    for _ in 0..BLOCK / 7 - 100 {
        many.tables.extend([3, 0, 1, 0, 4, 0, 0]);
    }
    many.blocks(&[], 1);
    (0..25).for_each(|_| file.bytes.extend(&many.bytes));
    file
}

/// A stack of six hundred thousand frames, seen from everywhere in it.
fn deep() -> RecordingFile {
    let depth = 600_000;
    let mut file = RecordingFile::new();
    file.threads(1);
    file.function("f", "f.py");
    file.frame(0, 1);
    file.stack(None, 0);
    for caller in 0..depth - 1 {
        file.stack(Some(caller), 0);
    }
    file.walk(depth - 200_000..depth);
    file
}

/// Half a million stacks beside each other.
fn wide() -> RecordingFile {
    let mut file = RecordingFile::new();
    file.threads(1);
    for function in 0..700 {
        file.function(&format!("f{function}"), "f.py");
        file.frame(function, 1);
    }
    for caller in 0..700 {
        file.stack(None, caller);
    }
    for caller in 0..700 {
        for frame in 0..700 {
            file.stack(Some(caller), frame);
        }
    }
    file.walk(0..490_000);
    file
}

/// Eight hundred thousand lines of a function.
fn lines() -> RecordingFile {
    let mut file = RecordingFile::new();
    file.threads(1);
    file.function("f", "f.py");
    for line in 0..800_000 {
        file.frame(0, line);
    }
    for frame in 0..400_000 {
        file.stack(None, frame * 2);
    }
    file.walk(0..400_000);
    file
}

/// Functions with long names and files, each in its own.
fn names() -> RecordingFile {
    let mut file = RecordingFile::new();
    file.threads(1);
    let long = "x".repeat(LONG - 10);
    for number in 0..2500 {
        file.function(&format!("{number}{long}"), &format!("/{number}{long}"));
        file.frame(number, 1);
        file.stack(number.checked_sub(1), number);
    }
    file.walk(0..2500);
    file
}

/// The same with characters that take more room where they are shown.
fn controls() -> RecordingFile {
    let mut file = RecordingFile::new();
    let long = "\x1b".repeat(LONG - 10);
    file.entry(5, |out| out.extend([1, 0, 0, 0]));
    for _ in 0..600 {
        file.entry(6, |out| {
            out.extend([0, 1, 0, 2, 0]);
            put(out, long.len() as u64);
            out.extend(long.as_bytes());
        });
    }
    for number in 0..600 {
        file.function(&format!("{number}{long}"), &format!("/{number}{long}"));
        file.frame(number, 1);
        file.stack(None, number);
    }
    file.block(&seen(0..600));
    file
}

/// Two hundred and forty million samples.
fn samples() -> RecordingFile {
    let mut file = RecordingFile::new();
    file.threads(1);
    for frame in 0..2 {
        file.function(&format!("f{frame}"), "f.py");
        file.frame(frame, 1);
        file.stack(None, frame);
    }
    file.block(&[]);
    let changes = one_after_the_other((0..120_000).map(|tick| tick % 2));
    file.blocks(&changes, 2000);
    file
}

/// Two thousand threads, each seen everywhere in a deep stack.
fn roots() -> RecordingFile {
    let (threads, depth) = (2000, 3000);
    let mut file = RecordingFile::new();
    file.threads(threads);
    // Another process, so that each has a root of its own.
    file.entry(5, |out| out.extend([2, 0, 0, 0]));
    file.function("f", "f.py");
    file.frame(0, 1);
    file.stack(None, 0);
    for caller in 0..depth - 1 {
        file.stack(Some(caller), 0);
    }
    file.block(&[]);
    for stack in (0..depth).rev().step_by(10) {
        file.block(&seen(std::iter::repeat_n(stack, threads)));
    }
    file
}

/// Seven hundred functions that all call each other, and long names.
fn pairs() -> RecordingFile {
    let functions = 700;
    let long = "y".repeat(1000);
    let mut file = RecordingFile::new();
    file.threads(1);
    for number in 0..functions {
        file.function(&format!("{number}{long}"), &format!("{number}{long}.py"));
        file.frame(number, 1);
        file.stack(None, number);
    }
    for caller in 0..functions {
        for frame in 0..functions {
            file.stack(Some(caller), frame);
        }
    }
    file.walk(functions..functions * functions);
    file
}

/// Many threads of a process whose command is long.
fn titles() -> RecordingFile {
    let mut file = RecordingFile::new();
    let long = "z".repeat(LONG - 10);
    file.entry(5, |out| {
        out.extend([1, 0, 0]);
        put(out, 60);
        for _ in 0..60 {
            put(out, long.len() as u64);
            out.extend(long.as_bytes());
        }
    });
    for _ in 0..30_000 {
        file.entry(6, |out| out.extend([0, 1, 0, 0]));
    }
    file.function("f", "f.py");
    file.frame(0, 1);
    file.stack(None, 0);
    file.block(&seen(std::iter::repeat_n(0, 30_000)));
    file
}
