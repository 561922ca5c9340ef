//! The threads that have been seen.

use std::collections::HashSet;

use invivo_cpython::{Runner, Runtime};
use invivo_model::{Address, Gil, ProfileThread, Result, SampleStatus, Text, ThreadState};
use invivo_process::{Memory, Target, ThreadPlace, ThreadWatch, native_ids};
use rustc_hash::FxHashMap;

use super::accounts::Standing;
use super::runners::{Runners, Runs, Trace};
use super::{Options, Round};
use crate::sink::Sink;

/// Which thread of all there have been: where its state lies and what else tells it from others
/// that have lain there.
pub(super) type Key = (i64, u64, u64);

/// Threads that a thread state has been run by, as far as that is remembered.
const MAX_TOLD: usize = 64;

/// The threads of a process that have been seen.
#[derive(Debug, Default)]
pub(super) struct KnownThreads {
    threads: FxHashMap<Key, Known>,
    /// By the numbers that threads know themselves by, those that we know them by.
    tids: FxHashMap<u64, u32>,
    runners: Runners,
    /// How many thread states name each thread, by what `threading` knows it by, where it matters.
    makers: FxHashMap<u64, u32>,
    tick: u64,
}

/// A thread that has been seen before.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) index: u32,
    /// Its number as its thread state has it; 0 where that does not say.
    native_id: u64,
    /// The number of the thread that runs it, as we know it; 0 where that can't be told.
    pub(super) tid: u32,
    /// What `threading` knows that thread by, where that can be told.
    pub(super) ident: Option<u64>,
    /// Whether it is proven that this thread runs it.
    proven: bool,
    /// The outermost frame that it was in when that was asked last.
    outermost: Option<Address>,
    name: Option<Text>,
    watch: Option<ThreadWatch>,
    /// Whether the thread has ended, and another has all that told it from others.
    replaced: bool,
    /// Ticks in which it was to be asked which thread runs it.
    doubts: u32,
    /// The tick at which it was seen last.
    pub(super) tick: u64,
    /// For each frame it is in, from the outermost on, the stack up to there.
    pub(super) stacks: Vec<u32>,
    /// The outermost end of its stack where that is too deep to be looked at whole, and the tick
    /// at which it was looked at.
    pub(super) outer: Option<(u64, Option<u32>)>,
    /// What it was told as before, run by other threads: their numbers, each with its index and
    /// name.
    told: Vec<(u32, u32, Option<Text>)>,
}

/// What is to be told of a thread that is new.
pub(super) struct Described<'a> {
    pub(super) process: u32,
    pub(super) state: &'a ThreadState,
    /// Who runs it, and by what trace that may be known again.
    pub(super) runs: Option<Runs>,
    pub(super) trace: Trace,
    pub(super) name: Option<&'a Text>,
    pub(super) interpreter: i64,
    /// What `threading` knows the thread by that Python was initialized in.
    pub(super) main_ident: Option<u64>,
}

impl KnownThreads {
    pub(super) fn begin(&mut self, tick: u64) {
        self.tick = tick;
        self.runners.begin();
    }

    /// The thread of this key, if it has been seen. Another one may have got the memory of one that
    /// has ended.
    pub(super) fn find(&mut self, key: Key, native_id: u64) -> Option<&mut Known> {
        let known = self.threads.get_mut(&key)?;
        let same = known.native_id == native_id || known.native_id == 0 || native_id == 0;
        (same && !known.replaced).then_some(known)
    }

    /// Whether it is to be asked who runs this thread state. Where no stack is told that would show
    /// it, that is to be done now and `then`.
    pub(super) fn doubts(
        &mut self,
        key: Key,
        state: &ThreadState,
        trace: Trace,
        then: bool,
    ) -> bool {
        let runners = std::mem::take(&mut self.runners);
        let known = self.find(key, state.native_id);
        let doubts = known.is_none_or(|known| known.is_doubted(&runners, trace, then));
        self.runners = runners;
        doubts
    }

    /// Finds out who runs which of these thread states, which are all, if that may be asked now.
    pub(super) fn ask<'a>(
        &mut self,
        states: impl Iterator<Item = &'a ThreadState>,
        runtime: &Runtime<impl Memory>,
        target: &Target,
    ) {
        self.makers.clear();
        for state in states {
            *self.makers.entry(state.thread_id).or_default() += 1;
        }
        self.runners.ask(runtime, target);
    }

    /// The thread of this key, if it has been seen and is run by whom it was.
    pub(super) fn get(
        &mut self,
        key: Key,
        state: &ThreadState,
        trace: Trace,
    ) -> Option<&mut Known> {
        let runners = std::mem::take(&mut self.runners);
        let known = self.find(key, state.native_id);
        let stays = known.is_some_and(|known| known.stays(&runners, state.address, trace));
        self.runners = runners;
        self.find(key, state.native_id).filter(|_| stays)
    }

    /// Who runs a thread state that is not known, or is not run by whom it was. Where that could
    /// not be found out yet, a new one is believed what it says of itself, if nothing speaks against
    /// it.
    pub(super) fn pair(
        &mut self,
        key: Key,
        state: &ThreadState,
        trace: Trace,
        target: &Target,
    ) -> Option<Runs> {
        let found = self.runners.of(state.address, trace, target);
        if let Some(runs) = found {
            let ident = runs.ident.or(Runners::named(state));
            return Some(Runs { ident, ..runs });
        }
        if let Some(known) = self.find(key, state.native_id) {
            // Who has left the stack on which it was found may be anybody's.
            let claims = known.tid != 0 && !known.proven;
            return claims.then_some(Runs {
                tid: known.tid,
                ident: known.ident,
                proven: false,
            });
        }
        let tid = self.claimed(key, state, target)?;
        Some(Runs {
            tid,
            ident: Runners::named(state),
            proven: false,
        })
    }

    /// Notes a thread that has not been seen, and gives it.
    pub(super) fn meet(
        &mut self,
        key: Key,
        thread: &Described<'_>,
        round: &mut Round<'_>,
    ) -> Result<&mut Known> {
        let tid = thread.runs.map_or(0, |runs| runs.tid);
        let ident = thread.runs.and_then(|runs| runs.ident);
        let before = self.threads.remove(&key);
        let proven = thread.runs.is_some_and(|runs| runs.proven);
        let doubts = before.as_ref().map_or(0, |known| known.doubts);
        let mut told = before.map_or_else(Vec::new, Known::into_told);
        let (index, name) = match told.iter().position(|(before, ..)| *before == tid) {
            Some(at) => {
                let (_, index, name) = told.swap_remove(at);
                (index, name)
            }
            None => {
                let described = ProfileThread {
                    process: thread.process,
                    tid,
                    name: thread.name.cloned(),
                    interpreter: thread.interpreter,
                    is_main: ident.is_some() && ident == thread.main_ident,
                };
                let index = round.interner.thread(&described, round.sink)?;
                (index, described.name)
            }
        };
        let known = Known {
            index,
            native_id: thread.state.native_id,
            tid,
            ident,
            proven,
            outermost: thread.trace.outermost,
            name,
            watch: None,
            replaced: false,
            doubts: if proven { 0 } else { doubts },
            tick: 0,
            stacks: Vec::new(),
            outer: None,
            told,
        };
        Ok(self.threads.entry(key).insert_entry(known).into_mut())
    }

    /// The number of a living thread that a thread state says made it, where that made no other and
    /// is not known to run another.
    fn claimed(&mut self, key: Key, state: &ThreadState, target: &Target) -> Option<u32> {
        if self
            .makers
            .get(&state.thread_id)
            .is_some_and(|made| *made > 1)
        {
            return None;
        }
        let replaced = self.threads.get(&key).is_some_and(|known| known.replaced);
        if replaced || !self.tids.contains_key(&state.native_id) {
            let threads = target.threads().unwrap_or_default();
            let numbers = threads.iter().map(|thread| (thread.native_id, thread.tid));
            self.tids.clear();
            self.tids.extend(numbers);
        }
        let tid = match self.tids.get(&state.native_id) {
            Some(tid) => *tid,
            // The version does not say it, or it is the parent's, as in a child that C code forked.
            None => self.said_by_c_library(state, target)?,
        };
        let (last, of_it) = (self.tick.saturating_sub(1), |known: &Known| {
            known.tid == tid
        });
        let mut others = self.threads.iter().filter(|(other, _)| **other != key);
        (!others.any(|(_, known)| known.tick >= last && of_it(known))).then_some(tid)
    }

    /// The number of a living thread that the C library knows by what a thread state says of its
    /// own.
    fn said_by_c_library(&self, state: &ThreadState, target: &Target) -> Option<u32> {
        let living: HashSet<u64> = self.tids.keys().copied().collect();
        let found = native_ids(&target.memory(), &[state.thread_id], &living);
        let said = found.into_iter().flatten().next()?;
        self.tids.get(&said).copied()
    }

    /// Threads that are there no more: what is kept of them goes, some ticks after.
    pub(super) fn forget_ended(&mut self, ticks: u64) {
        const EVERY: u64 = 256;
        if ticks.is_multiple_of(EVERY) {
            let since = ticks - EVERY;
            self.threads.retain(|_, known| known.tick > since);
        }
    }
}

impl Known {
    /// Whether it is to be asked who runs it; see [`KnownThreads::doubts`].
    fn is_doubted(&mut self, runners: &Runners, trace: Trace, then: bool) -> bool {
        let doubted = match (self.proven, trace.c_stack, trace.outermost) {
            (true, Some(place), _) => return !runners.is_on_stack_of(self.tid, place),
            (true, None, outermost) => {
                return outermost.is_some() && (then || outermost != self.outermost);
            }
            // It is its maker's, and does nothing that would prove it.
            (false, None, None) => self.tid == 0,
            (false, ..) => true,
        };
        // What can't be found out is asked ever more rarely.
        self.doubts = self.doubts.saturating_add(u32::from(doubted));
        doubted && self.doubts.is_power_of_two()
    }

    /// Whether it is run by whom it was, by what is known now; notes what is.
    fn stays(&mut self, runners: &Runners, state: Address, trace: Trace) -> bool {
        let has_left = trace.c_stack.is_some_and(|place| match self.proven {
            true => !runners.is_on_stack_of(self.tid, place),
            false => runners.owner(place).is_some_and(|tid| tid != self.tid),
        });
        match runners.found(state) {
            Some(Runner::Proven(tid)) => {
                let stays = self.tid == *tid;
                self.proven |= stays;
                self.outermost = trace.outermost;
                stays
            }
            // It has come to rest.
            Some(Runner::Maker(tid)) => self.tid == *tid || self.proven && !has_left,
            Some(Runner::Unknown(_)) => {
                let same = trace.c_stack.is_some() || trace.outermost == self.outermost;
                self.tid == 0 || !has_left && (same || !self.proven)
            }
            None => !has_left,
        }
    }

    /// What it has been told as, to be told so again where the same threads run it.
    fn into_told(mut self) -> Vec<(u32, u32, Option<Text>)> {
        if self.replaced {
            self.told.clear();
        }
        if !self.replaced || self.tid == 0 {
            self.told.push((self.tid, self.index, self.name));
        }
        if self.told.len() > MAX_TOLD {
            self.told.remove(0);
        }
        self.told
    }

    pub(super) fn rename(&mut self, name: Option<&Text>, sink: &mut dyn Sink) {
        if let Some(name) = name
            && self.name.as_ref() != Some(name)
        {
            sink.rename(self.index, name);
            self.name = Some(name.clone());
        }
    }

    /// What it does beside running its frames. `standing` says what it has to do with a processor.
    pub(super) fn status(
        standing: Standing,
        gil: Gil,
        handles_exception: Option<bool>,
    ) -> SampleStatus {
        let (on_cpu, waits_for_cpu) = standing;
        SampleStatus {
            on_cpu,
            waits_for_cpu,
            holds_gil: (gil != Gil::Unknown).then_some(gil == Gil::Holds),
            waits_for_gil: match gil {
                Gil::Waits => Some(true),
                Gil::Holds => Some(false),
                // Some versions do not say whether it waits.
                Gil::Without | Gil::Unknown => None,
            },
            handles_exception,
        }
    }

    /// Where the thread is, where that can be told.
    pub(super) fn place(&mut self, target: &Target) -> Option<ThreadPlace> {
        self.watch(target)?.place()
    }

    fn watch(&mut self, target: &Target) -> Option<&ThreadWatch> {
        if self.watch.is_none() && self.tid != 0 {
            self.watch = target.watch(self.tid).ok();
        }
        self.watch.as_ref()
    }

    /// Whether the thread is runnable, where that is asked for and can be told.
    pub(super) fn runnable(&mut self, target: &Target, options: &Options) -> Option<bool> {
        if !options.asks_for_activity() {
            return None;
        }
        let runs = self.watch(target)?.runs();
        if runs.is_none() {
            // It may have been met as one that had ended before it began.
            self.replaced = !target.has_thread(self.tid);
        }
        runs
    }
}
