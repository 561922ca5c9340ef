//! Reading all threads again and again, all at once.
//!
//! A [`Reader`] knows where everything lay the last time, and reads all of it by one call: the
//! lists of interpreters and threads, the GIL, the thread states, the used parts of their data
//! stacks. What has changed is understood anew; where it has changed so that other memory has to be
//! read, that is read, too.
//!
//! A thread that has not had the GIL has run no Python code, and so its frames are what they were:
//! as long as the GIL says that nobody else has taken it, only the thread that had it last is read.

mod chain;
mod doubts;
mod once;
mod places;
mod region;
mod regions;
mod status;
mod thread;
mod world;

use invivo_model::{Result, ThreadState};
use invivo_process::{Fault, Memory};

use crate::fields::{corrupt, fault};
use crate::interpreters;
use crate::runtime::Runtime;

use places::Places;
pub use places::{Place, PlaceId};
use region::{Region, read_regions};
use regions::Extent;
use thread::Outcome;
pub use thread::{PlacedFrame, ReadThread};
pub use world::ReadInterpreter;
use world::World;

const WHAT: &str = "cannot read the threads";
/// What changes while it is read is read again this often.
const ATTEMPTS: usize = 6;
/// Bytes of all threads' frames.
const MAX_BYTES: usize = 64 << 20;
/// After so many rounds, what is not needed any more is not read any more.
const TIDY: u64 = 32;

/// What is to be told of threads beside their frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderOptions {
    /// Whether they wait for the GIL, where the version says so. All thread states are read for it.
    pub waits: bool,
    /// Whether they handle an exception, even where that takes another call to tell.
    pub exceptions: bool,
}

/// Reads the threads of one process round by round.
#[derive(Debug)]
pub struct Reader<M> {
    runtime: Runtime<M>,
    options: ReaderOptions,
    world: World,
    threads: Vec<ReadThread>,
    places: Places,
    serials: u64,
    round: u64,
    /// Whether the lists have to be read anew.
    lost: bool,
    /// Whether all threads are to be read, whoever has the GIL.
    all: bool,
}

/// What came of reading all that was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Whole,
    /// Threads may have run that were not read.
    TooFew,
    /// Interpreters or threads have begun or ended.
    Lost,
}

impl<M: Memory> Reader<M> {
    /// Whether such an interpreter can be read so: one with a GIL, whose frames lie on data stacks.
    pub fn serves(runtime: &Runtime<M>) -> bool {
        let layout = &runtime.layout;
        layout.chunk.is_some()
            && layout.instructions.call.is_some()
            && layout.frame.tlbc_index.is_none()
            && runtime.build().free_threaded != Some(true)
    }

    /// A reader of the interpreters in `runtime`.
    pub fn new(runtime: Runtime<M>, options: ReaderOptions) -> Self {
        Self {
            runtime,
            options,
            world: World::default(),
            threads: Vec::new(),
            places: Places::default(),
            serials: 0,
            round: 0,
            lost: true,
            all: true,
        }
    }

    /// What is read.
    pub fn runtime(&self) -> &Runtime<M> {
        &self.runtime
    }

    /// Counts how often places have got new numbers.
    pub fn era(&self) -> u32 {
        self.places.era
    }

    /// A place that a frame stands at.
    pub fn place(&self, id: PlaceId) -> Option<&Place> {
        self.places.get(id)
    }

    /// The interpreters, as of the last round.
    pub fn interpreters(&self) -> &[ReadInterpreter] {
        &self.world.interpreters
    }

    /// The threads, as of the last round.
    pub fn threads(&self) -> &[ReadThread] {
        &self.threads
    }

    /// The interpreter of a thread.
    pub fn interpreter(&self, thread: &ReadThread) -> Option<&ReadInterpreter> {
        self.world.interpreters.get(thread.interpreter)
    }

    /// Reads all threads once.
    ///
    /// # Errors
    ///
    /// As [`Runtime::interpreters`]; `Corrupt` too where the lists change whenever they are read.
    pub fn read(&mut self) -> Result<()> {
        self.begin();
        self.read_begun()
    }

    /// Reads all threads once more in the same round: what was read of it before does not count.
    ///
    /// # Errors
    ///
    /// As [`Reader::read`].
    pub fn read_again(&mut self) -> Result<()> {
        self.read_begun()
    }

    fn read_begun(&mut self) -> Result<()> {
        for _ in 0..ATTEMPTS {
            if self.lost {
                self.find()?;
            }
            match self.read_planned().map_err(|met| fault(WHAT, met))? {
                Came::Lost => self.lost = true,
                Came::TooFew => self.all = true,
                Came::Whole => return self.look().map_err(|met| fault(WHAT, met)),
            }
        }
        self.lost = true;
        Err(corrupt(WHAT, "their list changes whenever it is read"))
    }

    fn begin(&mut self) {
        self.round += 1;
        self.places.round = self.round;
        let era = self.places.era;
        self.places.bound();
        if self.places.era != era {
            self.forget();
        }
        let tidies = self.round.is_multiple_of(TIDY);
        if tidies {
            self.places
                .tidy(self.threads.iter().flat_map(ReadThread::codes));
        }
        for thread in &mut self.threads {
            thread.kept = thread.frames.len();
            if tidies {
                thread.tidy();
            }
        }
    }

    /// Has all frames understood anew.
    fn forget(&mut self) {
        self.all = true;
        self.threads.iter_mut().for_each(ReadThread::forget);
    }

    /// Finds all interpreters and threads.
    fn find(&mut self) -> Result<()> {
        let runtime = &self.runtime;
        let layout = &runtime.layout;
        let address = runtime.address();
        let found = interpreters::find_all(&runtime.memory, address, layout, &runtime.limits)?;
        self.world = World::new(layout, address, &found);
        let mut known = std::mem::take(&mut self.threads);
        let mut left = MAX_BYTES;
        for (index, interpreter) in found.list.iter().enumerate() {
            let mut link = None;
            let states = interpreter.interpreter.threads.iter();
            for (state, piece) in states.zip(&interpreter.states) {
                let mut thread = known_or_new(&mut known, &mut self.serials, state);
                thread.interpreter = index;
                thread.is_main = state.thread_id == found.main_thread;
                thread.allowed = left;
                thread.place(layout, link, piece);
                link = state.address.offset(layout.thread.next);
                left = left.saturating_sub(thread.regions.length);
                self.threads.push(thread);
            }
        }
        self.lost = false;
        self.forget();
        Ok(())
    }

    /// Reads all that is planned, by one call.
    fn read_planned(&mut self) -> Result<Came, Fault> {
        self.choose();
        let (world, threads, places) = (&mut self.world, &mut self.threads, &mut self.places);
        read_regions(&self.runtime.memory, planned(world, threads, places))?;
        Ok(self.came())
    }

    /// Says of each thread how much of it is read.
    fn choose(&mut self) {
        let waits = self.options.waits && self.runtime.layout.thread.gil_requested.is_some();
        for thread in &mut self.threads {
            let gil = self.world.gil(thread.interpreter);
            let ran = gil.is_none_or(|gil| gil.holder == thread.state.address);
            thread.extent = match (self.all || ran, waits) {
                (true, _) => Extent::All,
                (false, true) => Extent::State,
                (false, false) => Extent::Nothing,
            };
        }
    }

    /// Says what came of what has been read.
    fn came(&mut self) -> Came {
        let layout = &self.runtime.layout;
        let changes = self.world.take(layout);
        let mut threads = self.threads.iter();
        if changes.lists || threads.any(|thread| !thread.is_it(layout)) {
            return Came::Lost;
        }
        let codes = self
            .places
            .take(layout, self.world.counts_codes(), changes.codes);
        let all = self.all;
        // Who takes turns once takes turns again.
        self.all = changes.holders || !self.world.tells_who_runs();
        if codes {
            self.threads.iter_mut().for_each(ReadThread::forget);
        }
        if (codes || self.all) && !all {
            self.all = true;
            return Came::TooFew;
        }
        Came::Whole
    }

    /// Understands what has been read.
    fn look(&mut self) -> Result<(), Fault> {
        let mut open: Vec<usize> = (0..self.threads.len()).collect();
        let taken = self.threads.iter().map(|thread| thread.regions.length);
        let mut left = MAX_BYTES.saturating_sub(taken.sum());
        for attempt in 1..=ATTEMPTS {
            let mut again = Vec::new();
            for index in open {
                let Some(thread) = self.threads.get_mut(index) else {
                    continue;
                };
                if thread.extent != Extent::All {
                    continue;
                }
                match thread.look_within(&mut left, &self.runtime, &mut self.places)? {
                    Outcome::Done => {}
                    Outcome::Unsure => self.look_closer(index)?,
                    Outcome::Again if attempt == ATTEMPTS => thread.lose("its frames move away"),
                    Outcome::Again => again.push(index),
                }
            }
            if again.is_empty() {
                break;
            }
            self.read_threads(&again)?;
            open = again;
        }
        self.say()
    }

    /// Looks once more at a thread that says to be where its frames say it can't be.
    fn look_closer(&mut self, index: usize) -> Result<(), Fault> {
        self.read_threads(&[index])?;
        let Some(thread) = self.threads.get_mut(index) else {
            return Ok(());
        };
        thread.look_closer(&self.runtime, &mut self.places)
    }

    /// Reads some threads once more, by one call.
    fn read_threads(&mut self, indices: &[usize]) -> Result<(), Fault> {
        let mut wanted = indices.iter().copied().peekable();
        let threads = self.threads.iter_mut().enumerate();
        let chosen = threads.filter(|(index, _)| wanted.next_if_eq(index).is_some());
        read_threads(&self.runtime.memory, chosen.map(|(_, thread)| thread))
    }

    /// Says what the threads have to do with the GIL and with exceptions.
    fn say(&mut self) -> Result<(), Fault> {
        let ReaderOptions { waits, exceptions } = self.options;
        for thread in &mut self.threads {
            let gil = self.world.gil(thread.interpreter);
            thread.gil = status::gil(&self.runtime.layout, thread, gil, waits);
            let interpreter = self.world.interpreters.get(thread.interpreter);
            thread.collects_garbage =
                interpreter.and_then(|interpreter| status::collects(interpreter, thread));
            if thread.extent == Extent::All {
                thread.c_stack = thread.outer_c_stack(&self.runtime.layout);
                thread.handles_exception =
                    status::handles_exception(&self.runtime, thread, exceptions)?;
            }
        }
        Ok(())
    }
}

/// The thread that has this state: one of those `known`, or a new one with the next of `serials`.
fn known_or_new(known: &mut Vec<ReadThread>, serials: &mut u64, state: &ThreadState) -> ReadThread {
    let is_it = |thread: &ReadThread| {
        let (one, other) = (&thread.state, state);
        (one.address, one.thread_id, one.native_id)
            == (other.address, other.thread_id, other.native_id)
    };
    if let Some(at) = known.iter().position(is_it) {
        return known.swap_remove(at);
    }
    *serials += 1;
    ReadThread::new(*serials, state.clone())
}

/// Reads all of some threads, by one call.
fn read_threads<'a>(
    memory: &impl Memory,
    threads: impl IntoIterator<Item = &'a mut ReadThread>,
) -> Result<(), Fault> {
    let mut regions = Vec::new();
    for thread in threads {
        thread.regions.each(&mut |region| regions.push(region));
    }
    read_regions(memory, regions)
}

/// All that is to be read, in the order in which it is.
fn planned<'a>(
    world: &'a mut World,
    threads: &'a mut [ReadThread],
    places: &'a mut Places,
) -> Vec<&'a mut Region> {
    let mut planned = Vec::new();
    let mut to = |region| planned.push(region);
    world.each(&mut to);
    for thread in threads {
        match thread.extent {
            Extent::All => thread.regions.each(&mut to),
            Extent::State => to(&mut thread.regions.state),
            Extent::Nothing => {}
        }
    }
    places.each(&mut to);
    planned
}
