//! Writing a recording.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{self, JoinHandle};

use invivo_model::{
    About, Error, ErrorKind, Looks, ProfileFrame, ProfileFunction, ProfileProcess, ProfileThread,
    Result, StackNode, Text,
};

use super::block::{MAGIC, Packer};
use super::bytes::{cut, put, put_bytes, put_option, put_signed, put_text};
use super::{FORMAT, MAX_ARGUMENTS, MAX_TEXT, MICROSECOND, code, entry, unit};
use crate::sink::{Seen, Sink};

/// How old what was sampled becomes before it goes to the file, in nanoseconds.
const FLUSH_AFTER: u64 = 1_000_000_000;
/// Bytes with which a block goes to the file before its time.
const FULL: usize = 64 << 10;
/// Blocks that may wait to be written. More are waited for: memory is bounded.
const WAITING: usize = 16;

/// Writes a recording while it is made. What has come goes to the file at least once a second.
///
/// Deflating and writing happen in a thread of its own, so that neither keeps a tick waiting.
#[derive(Debug)]
pub struct Writer {
    about: About,
    /// How threads were read, as far as that has been written.
    looks: Looks,
    /// Entries of the tables that the block has so far.
    tables: Vec<u8>,
    samples: Samples,
    to_file: Option<ToFile>,
    failure: Option<Error>,
}

/// The samples of a block.
#[derive(Debug, Default)]
struct Samples {
    bytes: Vec<u8>,
    /// The ticks of the block.
    ticks: u64,
    /// When the first of them was.
    begun: u64,
    /// The tick that something was written of last, and the time that who reads takes for its.
    last: (u64, u64),
    /// The thread that was written of last.
    thread: u32,
    /// What each thread did last.
    threads: Vec<Last>,
    /// The threads that counted at the last tick.
    counted: Vec<u32>,
    /// What has changed at this tick.
    changes: Vec<Change>,
}

/// What a thread did last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Last {
    /// The tick of the block at which that was, counted from 1; 0 where it was not in this block.
    tick: u64,
    state: code::State,
    stack: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Stack(u32, Option<u32>),
    State(u32, code::State, Option<u32>),
    Stop(u32),
}

impl Writer {
    /// Begins a recording that goes to `out`. `about` says of what: its start, interval, mode and
    /// creator.
    ///
    /// # Errors
    ///
    /// `Unwritten` where `out` does not take the first bytes.
    pub fn new(mut out: impl Write + Send + 'static, about: &About) -> Result<Self> {
        out.write_all(&MAGIC).map_err(unwritten)?;
        let mut writer = Self {
            about: about.clone(),
            looks: Looks::default(),
            tables: Vec::new(),
            samples: Samples::default(),
            to_file: Some(ToFile::new(Box::new(out))?),
            failure: None,
        };
        writer.tables.push(entry::START);
        put(&mut writer.tables, FORMAT);
        put(&mut writer.tables, about.started);
        put(&mut writer.tables, about.interval);
        writer.tables.push(code::mode(about.mode));
        put_bytes(&mut writer.tables, cut(&about.creator, MAX_TEXT).as_bytes());
        writer.flush(false);
        writer.outcome()?;
        Ok(writer)
    }

    /// Ends the recording. `about` is how things stood at the end.
    ///
    /// # Errors
    ///
    /// `Unwritten` where what was recorded could not be written.
    pub fn finish(mut self, about: &About) -> Result<()> {
        self.about.clone_from(about);
        self.flush(true);
        if let Some(to_file) = self.to_file.take() {
            to_file.finish()?;
        }
        self.outcome()
    }

    /// Hands the block to the thread that writes.
    fn flush(&mut self, last: bool) {
        let Looks {
            own_processor,
            elsewhere,
            stopped,
        } = self.about.looks;
        if self.looks != self.about.looks {
            self.looks = self.about.looks;
            self.tables.push(entry::LOOKS);
            [own_processor, elsewhere, stopped]
                .into_iter()
                .for_each(|number| put(&mut self.tables, number));
        }
        let mut block = self.to_file.as_mut().map_or_else(Vec::new, ToFile::buffer);
        block.clear();
        put(&mut block, self.about.duration);
        put(&mut block, self.about.ticks);
        put(&mut block, self.about.missed);
        put(&mut block, self.about.torn);
        put(&mut block, self.about.own_time);
        put_bytes(&mut block, &self.tables);
        put(&mut block, self.samples.ticks);
        put(&mut block, self.samples.begun / MICROSECOND);
        block.extend_from_slice(&self.samples.bytes);
        self.tables.clear();
        self.samples.clear();
        if let Some(to_file) = &mut self.to_file
            && !to_file.send(block, last)
        {
            let failure = self.to_file.take().map(ToFile::finish);
            self.failure = failure.and_then(Result::err);
        }
    }

    fn outcome(&self) -> Result<()> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    /// Makes room for another entry of the tables.
    fn make_room(&mut self) {
        // Entries come between ticks, and what a tick refers to may stand in an earlier block.
        if self.tables.len() > FULL {
            self.flush(false);
        }
    }
}

impl Drop for Writer {
    /// What has come goes to the file, which then lacks its end.
    fn drop(&mut self) {
        if self.to_file.is_some() {
            self.flush(false);
        }
        if let Some(to_file) = self.to_file.take() {
            // Nobody is there to be told.
            let _ = to_file.finish();
        }
    }
}

impl Sink for Writer {
    fn function(&mut self, function: &ProfileFunction) {
        self.make_room();
        self.tables.push(entry::FUNCTION);
        self.tables.push(code::kind(function.kind));
        put_text(&mut self.tables, &function.name, MAX_TEXT);
        put_text(&mut self.tables, &function.file, MAX_TEXT);
        put(&mut self.tables, function.first_line.into());
    }

    fn frame(&mut self, frame: ProfileFrame) {
        self.make_room();
        self.tables.push(entry::FRAME);
        put(&mut self.tables, frame.function.into());
        put(&mut self.tables, frame.line.into());
        let has = u8::from(frame.columns.is_some()) | u8::from(frame.opcode.is_some()) << 1;
        self.tables.push(has);
        if let Some((from, to)) = frame.columns {
            put(&mut self.tables, from.into());
            put(&mut self.tables, to.into());
        }
        self.tables.extend(frame.opcode);
    }

    fn stack(&mut self, stack: StackNode) {
        self.make_room();
        self.tables.push(entry::STACK);
        put_option(&mut self.tables, stack.caller);
        put(&mut self.tables, stack.frame.into());
    }

    fn process(&mut self, process: &ProfileProcess) {
        self.make_room();
        self.tables.push(entry::PROCESS);
        put(&mut self.tables, process.pid.into());
        put_option(&mut self.tables, process.parent);
        put_bytes(&mut self.tables, cut(&process.version, MAX_TEXT).as_bytes());
        let count = process.command.len().min(MAX_ARGUMENTS);
        put(&mut self.tables, count as u64);
        for argument in process.command.iter().take(count) {
            put_bytes(&mut self.tables, cut(argument, MAX_TEXT).as_bytes());
        }
    }

    fn thread(&mut self, thread: &ProfileThread) {
        self.make_room();
        self.tables.push(entry::THREAD);
        put(&mut self.tables, thread.process.into());
        put(&mut self.tables, thread.tid.into());
        put_signed(&mut self.tables, thread.interpreter);
        self.tables
            .push(u8::from(thread.is_main) | u8::from(thread.name.is_some()) << 1);
        if let Some(name) = &thread.name {
            put_text(&mut self.tables, name, MAX_TEXT);
        }
        self.samples.threads.push(Last::default());
    }

    fn rename(&mut self, thread: u32, name: &Text) {
        self.make_room();
        self.tables.push(entry::RENAME);
        put(&mut self.tables, thread.into());
        put_text(&mut self.tables, name, MAX_TEXT);
    }

    fn tick(&mut self, about: &About, seen: &[Seen]) -> Result<()> {
        let missed = about.missed != self.about.missed;
        self.about.clone_from(about);
        self.samples.tick(about, missed, seen);
        // The next tick may come too late for what has waited since the first one.
        let waited = about.duration.saturating_sub(self.samples.begun);
        let full = self.samples.bytes.len() + self.tables.len() > FULL;
        if full || waited.saturating_add(about.interval) >= FLUSH_AFTER {
            self.flush(false);
        }
        self.outcome()
    }
}

impl Samples {
    /// Begins a block: nothing is known of any thread.
    fn clear(&mut self) {
        self.bytes.clear();
        self.ticks = 0;
        self.thread = 0;
        self.counted.clear();
        self.threads.fill(Last::default());
    }

    /// `missed` says whether ticks were, since the last one.
    fn tick(&mut self, about: &About, missed: bool, seen: &[Seen]) {
        let time = about.duration;
        if self.ticks == 0 {
            self.begun = time;
            self.last = (0, time / MICROSECOND * MICROSECOND);
        }
        let tick = self.ticks + 1;
        self.changes.clear();
        for seen in seen {
            let Some(last) = self.threads.get_mut(seen.thread as usize) else {
                continue;
            };
            let now = Last {
                tick,
                state: code::state(&seen.status, seen.trust),
                stack: seen.stack,
            };
            let goes_on = last.tick != 0 && last.tick + 1 == tick;
            if !goes_on || last.state != now.state {
                let change = Change::State(seen.thread, now.state, now.stack);
                self.changes.push(change);
            } else if last.stack != now.stack || missed {
                // Who reads takes ticks in a row for an interval each.
                self.changes.push(Change::Stack(seen.thread, now.stack));
            }
            *last = now;
        }
        for thread in self.counted.drain(..) {
            let last = self.threads.get(thread as usize);
            if last.is_some_and(|last| last.tick != tick) {
                self.changes.push(Change::Stop(thread));
            }
        }
        self.counted.extend(seen.iter().map(|seen| seen.thread));
        if !self.changes.is_empty() {
            self.write(self.ticks, time, about.interval);
        }
        self.ticks += 1;
    }

    /// Writes what has changed at the tick.
    fn write(&mut self, tick: u64, time: u64, interval: u64) {
        let (last_tick, last_time) = self.last;
        let gap = tick - last_tick;
        let expected = last_time.saturating_add(gap.saturating_mul(interval));
        let unit = unit(interval).cast_signed();
        let late = time.cast_signed().wrapping_sub(expected.cast_signed());
        let late = late.div_euclid(unit);
        self.last = (
            tick,
            expected.saturating_add_signed(late.saturating_mul(unit)),
        );
        let simple = match self.changes.as_slice() {
            [Change::Stack(thread, stack)] if *thread == self.thread => Some(*stack),
            _ => None,
        };
        put(&mut self.bytes, gap << 1 | u64::from(simple.is_none()));
        put_signed(&mut self.bytes, late);
        if let Some(stack) = simple {
            put_option(&mut self.bytes, stack);
            return;
        }
        put(&mut self.bytes, self.changes.len() as u64);
        for change in &self.changes {
            let (thread, kind) = match *change {
                Change::Stack(thread, _) => (thread, 0),
                Change::State(thread, ..) => (thread, 1),
                Change::Stop(thread) => (thread, 2),
            };
            let step = i64::from(thread) - i64::from(self.thread);
            self.thread = thread;
            // Threads are numbered in 32 bits, so there is room for the kind.
            put_signed(&mut self.bytes, step * 4 + kind);
            match *change {
                Change::Stack(_, stack) => put_option(&mut self.bytes, stack),
                Change::State(_, state, stack) => {
                    state.put(&mut self.bytes);
                    put_option(&mut self.bytes, stack);
                }
                Change::Stop(_) => {}
            }
        }
    }
}

/// The thread that deflates and writes.
#[derive(Debug)]
struct ToFile {
    blocks: SyncSender<(Vec<u8>, bool)>,
    /// Blocks that have been written, to be filled anew.
    written: Receiver<Vec<u8>>,
    thread: JoinHandle<io::Result<()>>,
}

impl ToFile {
    fn new(out: Box<dyn Write + Send>) -> Result<Self> {
        let (blocks, to_write) = mpsc::sync_channel(WAITING);
        let (give_back, written) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("invivo-record".to_owned())
            .spawn(move || write_blocks(out, &to_write, &give_back))
            .map_err(unwritten)?;
        Ok(Self {
            blocks,
            written,
            thread,
        })
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.written.try_recv().unwrap_or_default()
    }

    /// `false` where nothing can be written any more.
    fn send(&self, block: Vec<u8>, last: bool) -> bool {
        self.blocks.send((block, last)).is_ok()
    }

    fn finish(self) -> Result<()> {
        drop(self.blocks);
        match self.thread.join() {
            Ok(outcome) => outcome.map_err(unwritten),
            Err(_) => Err(Error::internal(
                "the thread that writes the recording panicked",
            )),
        }
    }
}

fn write_blocks(
    mut out: Box<dyn Write + Send>,
    blocks: &Receiver<(Vec<u8>, bool)>,
    give_back: &Sender<Vec<u8>>,
) -> io::Result<()> {
    let mut packer = Packer::new();
    for (block, last) in blocks {
        packer.write(&mut *out, &block, last)?;
        // Who fills blocks may have gone.
        let _ = give_back.send(block);
    }
    out.flush()
}

fn unwritten(error: io::Error) -> Error {
    Error::new(
        ErrorKind::Unwritten,
        "the recording could not be written",
        error.to_string(),
        "look whether there is room where it should go",
    )
}
