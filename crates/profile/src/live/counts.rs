//! How often things were seen.

use invivo_model::{Mode, SampleStatus};
use rustc_hash::{FxHashMap, FxHashSet};

use super::feed::Key;
use super::tables::Tables;

/// Entries of a table at most; what would be one more is not told apart.
const MAX_ENTRIES: usize = 1 << 18;
/// Stands for what is not told apart.
const OTHERS: u32 = 0;
/// Stands for threads that have ended.
pub(super) const ENDED: u32 = u32::MAX;

/// Ticks at which threads did something, by which threads count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    wall: u64,
    cpu: u64,
    gil: u64,
    exception: u64,
}

impl Ticks {
    pub(super) fn new(status: &SampleStatus, count: u64) -> Self {
        let if_so = |so: bool| if so { count } else { 0 };
        Self {
            wall: count,
            // Where it can't be told, it may have been.
            cpu: if_so(status.on_cpu != Some(false)),
            gil: if_so(status.holds_gil == Some(true)),
            exception: if_so(status.handles_exception == Some(true)),
        }
    }

    /// Of threads that count in `mode`. Where it is not known whether a thread was on a processor,
    /// it counts as if it were.
    pub fn of(&self, mode: Mode) -> u64 {
        match mode {
            Mode::Wall => self.wall,
            Mode::Cpu => self.cpu,
            Mode::Gil => self.gil,
            Mode::Exception => self.exception,
        }
    }

    fn add(&mut self, other: Self) {
        self.wall += other.wall;
        self.cpu += other.cpu;
        self.gil += other.gil;
        self.exception += other.exception;
    }
}

/// How often a function or line was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Where it was innermost.
    pub own: Ticks,
    /// Where it was on the stack, once for each stack.
    pub total: Ticks,
}

impl Count {
    pub(super) fn add(&mut self, other: &Self) {
        self.own.add(other.own);
        self.total.add(other.total);
    }
}

/// How often a thread was seen, and what it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadCount {
    /// Ticks at which it was seen.
    pub seen: u64,
    /// At which it was on a processor.
    pub running: u64,
    /// At which it was not known whether it was on one.
    pub unknown: u64,
    /// At which it held the GIL.
    pub holds_gil: u64,
    /// At which it waited for the GIL.
    pub waits_for_gil: u64,
}

impl ThreadCount {
    fn new(status: &SampleStatus, count: u64) -> Self {
        let if_so = |so: bool| if so { count } else { 0 };
        Self {
            seen: count,
            running: if_so(status.on_cpu == Some(true)),
            unknown: if_so(status.on_cpu.is_none()),
            holds_gil: if_so(status.holds_gil == Some(true)),
            waits_for_gil: if_so(status.waits_for_gil == Some(true)),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.running += other.running;
        self.unknown += other.unknown;
        self.holds_gil += other.holds_gil;
        self.waits_for_gil += other.waits_for_gil;
    }

    /// At which it neither ran nor waited for the GIL.
    pub fn idle(&self) -> u64 {
        let busy = self.running + self.unknown + self.waits_for_gil;
        self.seen.saturating_sub(busy)
    }
}

/// Counts by thread and function, thread and line, and thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) functions: FxHashMap<(u32, u32), Count>,
    pub(super) places: FxHashMap<(u32, u32), Count>,
    pub(super) threads: FxHashMap<u32, ThreadCount>,
    /// Of the stack that is being added: used again and again.
    met: Met,
}

#[derive(Clone, Debug, Default)]
struct Met {
    functions: FxHashSet<u32>,
    places: FxHashSet<u32>,
}

impl Counts {
    /// Adds what was seen `count` times.
    pub(super) fn add(&mut self, tables: &Tables, key: &Key, count: u64) {
        let thread = self.threads.entry(key.thread).or_default();
        thread.add(&ThreadCount::new(&key.status, count));
        let Some(stack) = key.stack else { return };
        let ticks = Ticks::new(&key.status, count);
        self.met.functions.clear();
        self.met.places.clear();
        let mut own = ticks;
        for number in tables.places_of(stack) {
            let function = tables.place(number).function;
            if self.met.functions.insert(function) {
                let entry = entry(&mut self.functions, key.thread, function);
                entry.total.add(ticks);
                entry.own.add(own);
            }
            if self.met.places.insert(number) {
                let entry = entry(&mut self.places, key.thread, number);
                entry.total.add(ticks);
                entry.own.add(own);
            }
            // Only the first, which is the innermost.
            own = Ticks::default();
        }
    }

    /// Counts what `ended` names no longer by itself.
    pub(super) fn put_together(&mut self, ended: impl Fn(u32) -> bool) {
        for table in [&mut self.functions, &mut self.places] {
            let gone: Vec<_> = table.extract_if(|(thread, _), _| ended(*thread)).collect();
            for ((_, what), count) in gone {
                table.entry((ENDED, what)).or_default().add(&count);
            }
        }
        let gone: Vec<_> = self
            .threads
            .extract_if(|thread, _| ended(*thread))
            .collect();
        for (_, count) in gone {
            self.threads.entry(ENDED).or_default().add(&count);
        }
    }
}

/// The entry for something that a thread did; where there are too many, one for all else.
fn entry(table: &mut FxHashMap<(u32, u32), Count>, thread: u32, what: u32) -> &mut Count {
    let full = table.len() >= MAX_ENTRIES;
    let key = if full && !table.contains_key(&(thread, what)) {
        (ENDED, OTHERS)
    } else {
        (thread, what)
    };
    table.entry(key).or_default()
}
