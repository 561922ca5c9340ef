//! How long things were seen.

use invivo_model::{Mode, ProcessorTime, SampleStatus};
use rustc_hash::{FxHashMap, FxHashSet};

use super::feed::Key;
use super::tables::Tables;

/// Entries of a table at most; what would be one more is not told apart.
const MAX_ENTRIES: usize = 1 << 18;
/// Stands for what is not told apart.
const OTHERS: u32 = 0;
/// Stands for threads that have ended.
pub(super) const ENDED: u32 = u32::MAX;

/// How long threads did something, by which threads count, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    wall: u64,
    cpu: u64,
    gil: u64,
    exception: u64,
}

impl Times {
    pub(super) fn new(status: &SampleStatus, spent: &Spent) -> Self {
        let if_so = |so: bool| if so { spent.seen } else { 0 };
        Self {
            wall: spent.seen,
            cpu: match spent.accounted {
                Some(time) => time.on,
                // Where it can't be told, it may have been.
                None => if_so(status.on_cpu != Some(false)),
            },
            gil: if_so(status.holds_gil == Some(true)),
            exception: if_so(status.handles_exception == Some(true)),
        }
    }

    /// Of threads that count in `mode`. Time on a processor is what the kernel accounted; where it
    /// keeps no accounts, that of threads that were runnable, or of which that is not known.
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

/// What something that was seen comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    /// The ticks at which it was seen, as time, in nanoseconds.
    pub(super) seen: u64,
    /// What was charged to it; `None` where there are no accounts.
    pub(super) accounted: Option<ProcessorTime>,
}

impl Spent {
    pub(super) fn add(&mut self, other: &Self) {
        self.seen = self.seen.saturating_add(other.seen);
        if let Some(time) = other.accounted {
            let sum = self.accounted.get_or_insert_default();
            sum.on = sum.on.saturating_add(time.on);
            sum.waiting = sum.waiting.saturating_add(time.waiting);
        }
    }

    pub(super) fn take_away(&mut self, other: &Self) {
        self.seen = self.seen.saturating_sub(other.seen);
        if let (Some(sum), Some(time)) = (&mut self.accounted, other.accounted) {
            *sum = sum.since(time);
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.seen == 0 && self.accounted.unwrap_or_default() == ProcessorTime::default()
    }
}

/// How long a function or line was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Where it was innermost.
    pub own: Times,
    /// Where it was on the stack, once for each stack.
    pub total: Times,
}

impl Count {
    pub(super) fn add(&mut self, other: &Self) {
        self.own.add(other.own);
        self.total.add(other.total);
    }
}

/// How long a thread was seen, and what it did, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadTimes {
    /// It was there.
    pub seen: u64,
    /// It was on a processor.
    pub on_cpu: u64,
    /// It was runnable and waited for a processor. Nothing where the kernel keeps no accounts: that
    /// is part of `on_cpu` then.
    pub waits_for_cpu: u64,
    /// It was not known whether it was on one.
    pub unknown: u64,
    /// It held the GIL.
    pub holds_gil: u64,
    /// It waited for the GIL.
    pub waits_for_gil: u64,
}

/// What a thread did, in shares of a stretch of time: none is above 1, and all but the GIL's, of
/// which two never hold at a time, come to no more than 1 together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ThreadShares {
    /// It was on a processor.
    pub on_cpu: f64,
    /// It was runnable and waited for a processor.
    pub waits_for_cpu: f64,
    /// It waited for the GIL.
    pub waits_for_gil: f64,
    /// It did neither: it slept.
    pub idle: f64,
    /// It held the GIL.
    pub holds_gil: f64,
}

impl ThreadTimes {
    fn new(status: &SampleStatus, spent: &Spent) -> Self {
        let if_so = |so: bool| if so { spent.seen } else { 0 };
        let time = spent.accounted;
        Self {
            seen: spent.seen,
            on_cpu: time.map_or_else(|| if_so(status.on_cpu == Some(true)), |time| time.on),
            waits_for_cpu: time.map_or(0, |time| time.waiting),
            unknown: if_so(status.on_cpu.is_none() && time.is_none()),
            holds_gil: if_so(status.holds_gil == Some(true)),
            waits_for_gil: if_so(status.waits_for_gil == Some(true)),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.on_cpu += other.on_cpu;
        self.waits_for_cpu += other.waits_for_cpu;
        self.unknown += other.unknown;
        self.holds_gil += other.holds_gil;
        self.waits_for_gil += other.waits_for_gil;
    }

    /// It was there and did nothing: it neither ran nor waited for a processor or the GIL.
    pub fn idle(&self) -> u64 {
        let busy = self.on_cpu + self.waits_for_cpu + self.unknown + self.waits_for_gil;
        self.seen.saturating_sub(busy)
    }

    /// As [`ThreadTimes::shares`], for threads that are not told apart: they may do at once what a
    /// thread can only do in turn, so that a share may well be above 1.
    pub fn shares_of_several(&self, whole: u64) -> ThreadShares {
        let share = |time: u64| time as f64 / whole.max(1) as f64;
        ThreadShares {
            on_cpu: share(self.on_cpu),
            waits_for_cpu: share(self.waits_for_cpu),
            waits_for_gil: share(self.waits_for_gil),
            idle: share(self.idle()),
            holds_gil: share(self.holds_gil),
        }
    }

    /// The shares of so much time, of one thread. Accounts are kept to the tick of the scheduler and
    /// looks are a sample, so that in a short time what was measured may come to a little more than
    /// that: what is measured best counts first.
    pub fn shares(&self, whole: u64) -> ThreadShares {
        let mut left = whole;
        let mut take = |time: u64| {
            let taken = time.min(left);
            left -= taken;
            taken as f64 / whole.max(1) as f64
        };
        ThreadShares {
            on_cpu: take(self.on_cpu),
            waits_for_cpu: take(self.waits_for_cpu),
            waits_for_gil: take(self.waits_for_gil),
            idle: take(self.idle()),
            holds_gil: self.holds_gil.min(whole) as f64 / whole.max(1) as f64,
        }
    }
}

/// Counts by thread and function, thread and line, and thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) functions: FxHashMap<(u32, u32), Count>,
    pub(super) places: FxHashMap<(u32, u32), Count>,
    pub(super) threads: FxHashMap<u32, ThreadTimes>,
    /// Of the stack that is being added: used again and again.
    met: Met,
}

#[derive(Clone, Debug, Default)]
struct Met {
    functions: FxHashSet<u32>,
    places: FxHashSet<u32>,
}

impl Counts {
    /// Adds what was spent on this.
    pub(super) fn add(&mut self, tables: &Tables, key: &Key, spent: &Spent) {
        let thread = self.threads.entry(key.thread).or_default();
        thread.add(&ThreadTimes::new(&key.status, spent));
        let Some(stack) = key.stack else { return };
        let times = Times::new(&key.status, spent);
        self.met.functions.clear();
        self.met.places.clear();
        let mut own = times;
        for number in tables.places_of(stack) {
            let function = tables.place(number).function;
            if self.met.functions.insert(function) {
                let entry = entry(&mut self.functions, key.thread, function);
                entry.total.add(times);
                entry.own.add(own);
            }
            if self.met.places.insert(number) {
                let entry = entry(&mut self.places, key.thread, number);
                entry.total.add(times);
                entry.own.add(own);
            }
            // Only the first, which is the innermost.
            own = Times::default();
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
