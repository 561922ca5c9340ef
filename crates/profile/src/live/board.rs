//! Slices put together.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use invivo_model::{About, Mode, ProcessorTime, ProfileFunction, ProfileProcess, ProfileThread};
use rustc_hash::FxHashMap;

use super::counts::{Count, Counts, Spent, ThreadTimes, Times};
use super::feed::{Key, Slice, Tally};
use super::tables::Tables;
use super::tree::{Branch, Tree};
use crate::sink::Turn;

/// Threads that are told apart; of more, those that have ended are not.
const MAX_THREADS: usize = 4096;
/// Processes that are remembered: the latest.
const MAX_PROCESSES: usize = 1024;
/// Turns of processes that are remembered: the latest.
const MAX_TURNS: usize = 64;
/// How many loads are remembered.
const MAX_LOADS: usize = 600;
/// How much time a load covers.
const LOAD_PERIOD: u64 = 1_000_000_000;

/// What was seen of a function, or of a line of one.
#[derive(Clone, Debug)]
pub struct PlaceShare {
    /// The function.
    pub function: Arc<ProfileFunction>,
    /// The line, where it is about one; 0 where that is not known.
    pub line: Option<u32>,
    /// In the last seconds.
    pub recent: Count,
    /// Since the start.
    pub ever: Count,
}

/// What was seen of a thread.
#[derive(Clone, Debug)]
pub struct ThreadShare {
    /// Its index.
    pub index: u32,
    /// The thread; `None` for all that have ended and are not told apart any more.
    pub thread: Option<ProfileThread>,
    /// In the last seconds.
    pub recent: ThreadTimes,
    /// Since the start.
    pub ever: ThreadTimes,
    /// Where it was most often of late: the innermost function and its line.
    pub at: Option<(Arc<ProfileFunction>, u32)>,
}

/// How many threads did what, on average over a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Were on a processor, or may have been.
    pub running: f64,
    /// Held the GIL.
    pub holds_gil: f64,
}

/// The last seconds as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overview {
    /// Rounds of sampling.
    pub ticks: u64,
    /// The time they took, in nanoseconds.
    pub time: u64,
    /// Processor time that we took ourselves meanwhile, in nanoseconds.
    pub own_time: u64,
    /// All threads.
    pub threads: ThreadTimes,
    /// What was seen since the start: threads with Python, each at each tick.
    pub samples: u64,
    /// Whether the kernel accounts processor time. Where it does not, a thread that is runnable
    /// counts as one on a processor.
    pub accounted: bool,
    /// Whether a thread has been seen to wait for the GIL. Some versions never say so; a thread
    /// that waits looks idle then.
    pub tells_waiting: bool,
}

/// A slice that still counts as recent.
#[derive(Clone, Debug)]
struct Passed {
    ticks: u64,
    time: u64,
    own_time: u64,
    counts: Vec<(Key, Spent)>,
}

/// What was seen in the last seconds, and since the start.
#[derive(Clone, Debug)]
pub struct Board {
    /// How much time counts as recent, in nanoseconds.
    window: u64,
    about: About,
    tables: Tables,
    processes: BTreeMap<u32, ProfileProcess>,
    processes_announced: u32,
    turns: VecDeque<Turn>,
    /// The programs that processes run now in which no Python has been found yet.
    becoming: BTreeMap<u32, Vec<String>>,
    threads: FxHashMap<u32, ProfileThread>,
    threads_announced: u32,
    passed: VecDeque<Passed>,
    /// What the slices that have passed come to.
    keys: FxHashMap<Key, Spent>,
    /// Whether accounts have come.
    accounted: bool,
    samples: u64,
    recent: Counts,
    ever: Counts,
    loads: VecDeque<Load>,
    /// The load that is not complete yet: threads' time, and the time it took.
    load: (Load, u64),
}

impl Board {
    /// Nothing seen yet. What came in the last `window` will be recent.
    pub fn new(window: Duration) -> Self {
        Self {
            window: u64::try_from(window.as_nanos()).unwrap_or(u64::MAX),
            about: About::default(),
            tables: Tables::new(),
            processes: BTreeMap::new(),
            processes_announced: 0,
            turns: VecDeque::new(),
            becoming: BTreeMap::new(),
            threads: FxHashMap::default(),
            threads_announced: 0,
            passed: VecDeque::new(),
            keys: FxHashMap::default(),
            accounted: false,
            samples: 0,
            recent: Counts::default(),
            ever: Counts::default(),
            loads: VecDeque::new(),
            load: (Load::default(), 0),
        }
    }

    /// Takes what has come.
    pub fn take(&mut self, slice: Slice) {
        let mut passed = Passed {
            ticks: slice.about.ticks.saturating_sub(self.about.ticks),
            time: slice.about.duration.saturating_sub(self.about.duration),
            own_time: slice.about.own_time.saturating_sub(self.about.own_time),
            counts: Vec::new(),
        };
        self.about = slice.about;
        // The first account may take its time to come, but a status tells that there will be one.
        let accounted = |(key, tally): (&Key, &Tally)| {
            key.status.waits_for_cpu.is_some() || tally.time != ProcessorTime::default()
        };
        self.accounted |= slice.counts.iter().any(accounted);
        // As many ticks as there were stand for all this time, those that were missed included.
        let in_time = |ticks: u64| {
            let time = u128::from(ticks) * u128::from(passed.time);
            let time = time / u128::from(passed.ticks.max(1));
            u64::try_from(time).unwrap_or(u64::MAX)
        };
        let spent = |(key, tally): (&Key, &Tally)| {
            let spent = Spent {
                seen: in_time(tally.ticks),
                accounted: self.accounted.then_some(tally.time),
            };
            (*key, spent)
        };
        passed.counts = slice.counts.iter().map(spent).collect();
        slice
            .functions
            .into_iter()
            .for_each(|function| self.tables.add_function(function));
        slice
            .frames
            .into_iter()
            .for_each(|frame| self.tables.add_frame(frame));
        slice
            .stacks
            .into_iter()
            .for_each(|stack| self.tables.add_stack(stack));
        for turn in slice.turns {
            match &turn {
                Turn::Exec { pid, command } => self.becoming.insert(*pid, command.clone()),
                Turn::End { pid } => self.becoming.remove(pid),
            };
            self.turns.push_back(turn);
            if self.turns.len() > MAX_TURNS {
                self.turns.pop_front();
            }
        }
        for process in slice.processes {
            self.becoming.remove(&process.pid);
            self.processes.insert(self.processes_announced, process);
            self.processes_announced += 1;
            if self.processes.len() > MAX_PROCESSES {
                self.processes.pop_first();
            }
        }
        for thread in slice.threads {
            self.threads.insert(self.threads_announced, thread);
            self.threads_announced += 1;
        }
        for (thread, name) in slice.names {
            if let Some(thread) = self.threads.get_mut(&thread) {
                thread.name = Some(name);
            }
        }
        self.load(&passed);
        for (key, spent) in &passed.counts {
            self.ever.add(&self.tables, key, spent);
            self.keys.entry(*key).or_default().add(spent);
        }
        for (key, tally) in &slice.counts {
            let thread = self.threads.get(&key.thread);
            let python = thread.is_none_or(ProfileThread::has_python);
            self.samples += if python { tally.ticks } else { 0 };
        }
        self.passed.push_back(passed);
        self.let_pass();
        self.recent = Counts::default();
        for (key, spent) in &self.keys {
            self.recent.add(&self.tables, key, spent);
        }
        self.tables
            .make_room(self.keys.keys().filter_map(|key| key.stack));
        self.let_threads_go();
    }

    /// Takes out what is recent no more.
    fn let_pass(&mut self) {
        let mut time: u64 = self.passed.iter().map(|passed| passed.time).sum();
        while let Some(first) = self.passed.front()
            && time.saturating_sub(first.time) >= self.window
            && let Some(first) = self.passed.pop_front()
        {
            time -= first.time;
            for (key, spent) in first.counts {
                if let Some(now) = self.keys.get_mut(&key) {
                    now.take_away(&spent);
                    if now.is_nothing() {
                        self.keys.remove(&key);
                    }
                }
            }
        }
    }

    fn let_threads_go(&mut self) {
        if self.threads.len() > MAX_THREADS {
            let recent = &self.recent.threads;
            self.threads.retain(|index, _| recent.contains_key(index));
            let threads = &self.threads;
            self.ever
                .put_together(|index| !threads.contains_key(&index));
        }
    }

    fn load(&mut self, passed: &Passed) {
        let (load, time) = &mut self.load;
        for (key, spent) in &passed.counts {
            let times = Times::new(&key.status, spent);
            load.running += times.of(Mode::Cpu) as f64;
            load.holds_gil += times.of(Mode::Gil) as f64;
        }
        *time += passed.time;
        if *time >= LOAD_PERIOD {
            let time = *time as f64;
            self.loads.push_back(Load {
                running: load.running / time,
                holds_gil: load.holds_gil / time,
            });
            self.load = (Load::default(), 0);
            if self.loads.len() > MAX_LOADS {
                self.loads.pop_front();
            }
        }
    }

    /// How things stood when the last slice was handed on.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Processes that were seen, the latest last.
    pub fn processes(&self) -> impl DoubleEndedIterator<Item = &ProfileProcess> {
        self.processes.values()
    }

    /// The numbers of the processes that were seen, by their indices.
    pub fn pids(&self) -> BTreeMap<u32, u32> {
        let pids = self.processes.iter();
        pids.map(|(index, process)| (*index, process.pid)).collect()
    }

    /// What processes have turned to, the latest last.
    pub fn turns(&self) -> impl DoubleEndedIterator<Item = &Turn> {
        self.turns.iter()
    }

    /// The program that process `pid`, which was a Python, runs now, where no Python has been found
    /// in it.
    pub fn becoming(&self, pid: u32) -> Option<&[String]> {
        self.becoming.get(&pid).map(Vec::as_slice)
    }

    /// A process by its index.
    pub fn process(&self, index: u32) -> Option<&ProfileProcess> {
        self.processes.get(&index)
    }

    /// A thread by its index.
    pub fn thread(&self, index: u32) -> Option<&ProfileThread> {
        self.threads.get(&index)
    }

    /// The last seconds as a whole.
    pub fn overview(&self) -> Overview {
        let mut overview = Overview::default();
        for passed in &self.passed {
            overview.ticks += passed.ticks;
            overview.time += passed.time;
            overview.own_time += passed.own_time;
        }
        for thread in self.recent.threads.values() {
            overview.threads.add(thread);
        }
        let mut ever = self.ever.threads.values();
        overview.tells_waiting = ever.any(|thread| thread.waits_for_gil > 0);
        overview.samples = self.samples;
        overview.accounted = self.accounted;
        overview
    }

    /// What all threads did since the start.
    pub fn ever(&self) -> ThreadTimes {
        let mut all = ThreadTimes::default();
        for thread in self.ever.threads.values() {
            all.add(thread);
        }
        all
    }

    /// The load of each second, the latest last.
    pub fn loads(&self) -> impl ExactSizeIterator<Item = Load> {
        self.loads.iter().copied()
    }

    /// Functions that were seen, of one thread or of all.
    pub fn functions(&self, thread: Option<u32>) -> Vec<PlaceShare> {
        let shares = merged(thread, &self.recent.functions, &self.ever.functions);
        let share = |(number, (recent, ever))| PlaceShare {
            function: Arc::clone(self.tables.function(number)),
            line: None,
            recent,
            ever,
        };
        shares.into_iter().map(share).collect()
    }

    /// Lines that were seen, of one thread or of all.
    pub fn lines(&self, thread: Option<u32>) -> Vec<PlaceShare> {
        let shares = merged(thread, &self.recent.places, &self.ever.places);
        let share = |(number, (recent, ever))| {
            let place = self.tables.place(number);
            PlaceShare {
                function: Arc::clone(self.tables.function(place.function)),
                line: Some(place.line),
                recent,
                ever,
            }
        };
        shares.into_iter().map(share).collect()
    }

    /// Threads that were seen.
    pub fn threads(&self) -> Vec<ThreadShare> {
        let mut at: FxHashMap<u32, (u32, u64)> = FxHashMap::default();
        for ((thread, place), count) in &self.recent.places {
            let own = count.own.of(Mode::Wall);
            let most = at.entry(*thread).or_default();
            // Of two alike always the same one.
            if (own, *place) > (most.1, most.0) {
                *most = (*place, own);
            }
        }
        let share = |(index, ever): (&u32, &ThreadTimes)| ThreadShare {
            index: *index,
            thread: self.threads.get(index).cloned(),
            recent: self.recent.threads.get(index).copied().unwrap_or_default(),
            ever: *ever,
            at: at.get(index).map(|(place, _)| {
                let place = self.tables.place(*place);
                (Arc::clone(self.tables.function(place.function)), place.line)
            }),
        };
        self.ever.threads.iter().map(share).collect()
    }

    /// Who called whom in the last seconds, of threads that count in `mode`: of one or of all.
    /// Each branch comes before those below it, of several the heaviest first.
    pub fn tree(&self, thread: Option<u32>, mode: Mode) -> Vec<Branch> {
        let mut tree = Tree::new(&self.tables);
        for (key, spent) in &self.keys {
            if let Some(stack) = key.stack
                && thread.is_none_or(|thread| thread == key.thread)
            {
                tree.add(stack, Times::new(&key.status, spent).of(mode));
            }
        }
        tree.branches()
    }
}

/// By function or place, the recent count and the one since the start, of one thread or of all.
fn merged(
    thread: Option<u32>,
    recent: &FxHashMap<(u32, u32), Count>,
    ever: &FxHashMap<(u32, u32), Count>,
) -> FxHashMap<u32, (Count, Count)> {
    let mut merged: FxHashMap<u32, (Count, Count)> = FxHashMap::default();
    let wanted = |of: u32| thread.is_none_or(|thread| thread == of);
    for ((_, number), count) in ever.iter().filter(|((of, _), _)| wanted(*of)) {
        merged.entry(*number).or_default().1.add(count);
    }
    for ((_, number), count) in recent.iter().filter(|((of, _), _)| wanted(*of)) {
        merged.entry(*number).or_default().0.add(count);
    }
    merged
}
