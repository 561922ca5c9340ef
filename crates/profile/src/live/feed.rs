//! From the thread that samples to the one that shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use invivo_model::{
    About, Error, ErrorKind, ProcessorTime, ProfileFrame, ProfileFunction, ProfileProcess,
    ProfileThread, Result, SampleStatus, StackNode, Text,
};
use rustc_hash::FxHashMap;

use crate::session::{Session, Step};
use crate::sink::{Charge, Seen, Sink, Turn};

/// How much time a slice covers.
const PERIOD: u64 = 250_000_000;
/// Slices that may wait to be taken.
const WAITING: usize = 4;
/// Entries of a slice from which on it waits to be taken rather than grow.
const MAX_ENTRIES: usize = 1 << 18;

/// What was the same of several samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) thread: u32,
    pub(super) stack: Option<u32>,
    pub(super) status: SampleStatus,
}

/// What came in a quarter of a second: what is new, and how often each thing was seen.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    pub(super) about: About,
    pub(super) functions: Vec<ProfileFunction>,
    pub(super) frames: Vec<ProfileFrame>,
    pub(super) stacks: Vec<StackNode>,
    pub(super) processes: Vec<ProfileProcess>,
    pub(super) threads: Vec<ProfileThread>,
    pub(super) names: Vec<(u32, Text)>,
    pub(super) turns: Vec<Turn>,
    pub(super) counts: FxHashMap<Key, Tally>,
}

/// How often something was seen, and the processor time that was charged to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) ticks: u64,
    pub(super) time: ProcessorTime,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.ticks += other.ticks;
        self.time.on = self.time.on.saturating_add(other.time.on);
        self.time.waiting = self.time.waiting.saturating_add(other.time.waiting);
    }
}

impl Slice {
    fn entries(&self) -> usize {
        self.functions.len()
            + self.frames.len()
            + self.stacks.len()
            + self.threads.len()
            + self.names.len()
            + self.turns.len()
            + self.counts.len()
    }
}

/// The end that samples go into.
#[derive(Debug)]
pub struct Feed {
    out: SyncSender<Slice>,
    slice: Slice,
    /// The time of the session at which the slice is handed on.
    due: u64,
}

/// The end that slices come out of.
#[derive(Debug)]
pub struct Slices(Receiver<Slice>);

/// What has come out.
#[derive(Debug)]
pub enum Received {
    /// A slice.
    Slice(Box<Slice>),
    /// Nothing in this time.
    Nothing,
    /// The sampling is over: nothing comes any more.
    Ended,
}

/// Both ends of a feed.
pub fn feed() -> (Feed, Slices) {
    let (out, slices) = mpsc::sync_channel(WAITING);
    let feed = Feed {
        out,
        slice: Slice::default(),
        due: 0,
    };
    (feed, Slices(slices))
}

impl Slices {
    /// Waits this long for the next slice.
    pub fn next(&self, patience: Duration) -> Received {
        match self.0.recv_timeout(patience) {
            Ok(slice) => Received::Slice(Box::new(slice)),
            Err(RecvTimeoutError::Timeout) => Received::Nothing,
            Err(RecvTimeoutError::Disconnected) => Received::Ended,
        }
    }
}

impl Feed {
    /// Hands on what there is. While nobody takes it, it grows; when it has grown too much, this
    /// waits, and ticks are missed.
    fn hand_on(&mut self) {
        let slice = std::mem::take(&mut self.slice);
        // Where nobody listens any more, nobody misses it.
        match self.out.try_send(slice) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(slice)) if slice.entries() < MAX_ENTRIES => self.slice = slice,
            Err(TrySendError::Full(slice)) => drop(self.out.send(slice)),
        }
    }

    /// Hands on the rest. `about` is how things stood at the end.
    fn finish(mut self, about: About) {
        self.slice.about = about;
        drop(self.out.send(self.slice));
    }
}

impl Sink for Feed {
    fn function(&mut self, function: &ProfileFunction) {
        self.slice.functions.push(function.clone());
    }

    fn frame(&mut self, frame: ProfileFrame) {
        self.slice.frames.push(frame);
    }

    fn stack(&mut self, stack: StackNode) {
        self.slice.stacks.push(stack);
    }

    fn process(&mut self, process: &ProfileProcess) {
        self.slice.processes.push(process.clone());
    }

    fn thread(&mut self, thread: &ProfileThread) {
        self.slice.threads.push(thread.clone());
    }

    fn rename(&mut self, thread: u32, name: &Text) {
        self.slice.names.push((thread, name.clone()));
    }

    fn charge(&mut self, charge: &Charge) {
        let key = Key {
            thread: charge.thread,
            stack: charge.stack,
            status: charge.status,
        };
        let tally = self.slice.counts.entry(key).or_default();
        tally.add(&Tally {
            ticks: 0,
            time: charge.time,
        });
    }

    fn turn(&mut self, turn: &Turn) {
        self.slice.turns.push(turn.clone());
    }

    fn tick(&mut self, about: &About, seen: &[Seen]) -> Result<()> {
        for seen in seen {
            let key = Key {
                thread: seen.thread,
                stack: seen.stack,
                status: seen.status,
            };
            self.slice.counts.entry(key).or_default().ticks += 1;
        }
        if about.duration >= self.due || self.slice.entries() >= MAX_ENTRIES {
            self.slice.about.clone_from(about);
            self.due = about.duration.saturating_add(PERIOD);
            self.hand_on();
        }
        Ok(())
    }
}

/// A session that is stepped in a thread of its own, so that nothing keeps it waiting.
#[derive(Debug)]
pub struct Sampling {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Sampling {
    /// Goes on with `session` in another thread, until its processes have ended or
    /// [`Sampling::end`].
    ///
    /// # Errors
    /// `Refused` where there can't be another thread.
    pub fn start(session: Session<Feed>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("invivo-sample".to_owned())
            .spawn(move || sample(session, &stopped));
        let thread = thread.map_err(|error| {
            Error::new(
                ErrorKind::Refused,
                "nothing can be sampled",
                format!("no thread can be started for it: {error}"),
                "raise the limit of threads, or end some",
            )
        })?;
        Ok(Self { stop, thread })
    }

    /// Stops sampling, where it has not ended by itself, and says what went wrong. Slices that
    /// nobody takes must be dropped before.
    ///
    /// # Errors
    /// What ended it before its time.
    pub fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let outcome = self.thread.join();
        outcome.unwrap_or_else(|_| Err(Error::internal("the thread that samples has panicked")))
    }
}

fn sample(mut session: Session<Feed>, stop: &AtomicBool) -> Result<()> {
    let outcome = loop {
        match session.step() {
            Ok(Step::Ended) => break Ok(()),
            Ok(Step::Ticked | Step::Waited) if stop.load(Ordering::Relaxed) => break Ok(()),
            Ok(Step::Ticked | Step::Waited) => {}
            Err(error) => break Err(error),
        }
    };
    let (feed, about) = session.end();
    feed.finish(about);
    outcome
}
