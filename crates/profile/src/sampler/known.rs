//! The threads that have been seen.

use std::collections::HashSet;

use invivo_model::{Gil, ProfileThread, Result, SampleStatus, Text, ThreadState};
use invivo_process::{Target, ThreadPlace, ThreadWatch, native_ids};
use rustc_hash::FxHashMap;

use super::accounts::Standing;
use super::{Options, Round};
use crate::sink::Sink;

/// Which thread of all there have been: where its state lies and what else tells it from others
/// that have lain there.
pub(super) type Key = (i64, u64, u64);

/// The threads of a process that have been seen.
#[derive(Debug, Default)]
pub(super) struct KnownThreads {
    threads: FxHashMap<Key, Known>,
    /// By the numbers that threads know themselves by, those that we know them by.
    tids: FxHashMap<u64, u32>,
}

/// A thread that has been seen before.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) index: u32,
    /// Its number as its thread state or else the C library has it; 0 where that is not known. In a
    /// child that C code forked, the state has the parent's.
    native_id: u64,
    /// Its number as we know it; 0 where that can't be told.
    pub(super) tid: u32,
    name: Option<Text>,
    watch: Option<ThreadWatch>,
    /// Whether the thread has ended, and another has all that told it from others; or it is to be
    /// asked again which thread it is.
    replaced: bool,
    /// Ticks in which it was not known which thread it is.
    unknown: u32,
    /// The tick at which it was seen last.
    pub(super) tick: u64,
    /// For each frame it is in, from the outermost on, the stack up to there.
    pub(super) stacks: Vec<u32>,
    /// The outermost end of its stack where that is too deep to be looked at whole, and the tick
    /// at which it was looked at.
    pub(super) outer: Option<(u64, Option<u32>)>,
}

/// What is to be told of a thread that is new.
pub(super) struct Described<'a> {
    pub(super) process: u32,
    pub(super) state: &'a ThreadState,
    pub(super) name: Option<&'a Text>,
    pub(super) interpreter: i64,
    pub(super) is_main: bool,
}

impl KnownThreads {
    /// The thread of this key, if it has been seen. Another one may have got the memory of one that
    /// has ended.
    pub(super) fn get(&mut self, key: Key, native_id: u64) -> Option<&mut Known> {
        let known = self.threads.get_mut(&key)?;
        let same = known.native_id == native_id || known.native_id == 0 || native_id == 0;
        (same && !known.replaced).then_some(known)
    }

    /// Notes a thread that has not been seen, and gives it.
    pub(super) fn meet(
        &mut self,
        key: Key,
        thread: &Described<'_>,
        target: &Target,
        round: &mut Round<'_>,
    ) -> Result<&mut Known> {
        let mut native_id = thread.state.native_id;
        let before = self.threads.get(&key);
        let replaced = before.is_some_and(|known| known.replaced);
        let unknown = before.map_or(0, |known| known.unknown);
        let asked_again = before.filter(|known| known.tid == 0);
        let asked_again = asked_again.map(|known| (known.index, known.name.clone()));
        if replaced || !self.tids.contains_key(&native_id) {
            let threads = target.threads().unwrap_or_default();
            let numbers = threads.iter().map(|thread| (thread.native_id, thread.tid));
            self.tids.clear();
            self.tids.extend(numbers);
        }
        let mut tid = self.tids.get(&native_id).copied();
        if tid.is_none() {
            // The version does not say it, or it is the parent's, as in a child that C code forked.
            let said = self.said_by_c_library(key, thread.state, target);
            tid = said.and_then(|said| self.tids.get(&said).copied());
            if native_id == 0 {
                native_id = said.unwrap_or(0);
            }
        }
        let described = ProfileThread {
            process: thread.process,
            tid: tid.unwrap_or(0),
            name: thread.name.cloned(),
            interpreter: thread.interpreter,
            is_main: thread.is_main,
        };
        let (index, name) = match asked_again.filter(|_| described.tid == 0) {
            Some(told) => told,
            None => {
                let index = round.interner.thread(&described, round.sink)?;
                (index, described.name)
            }
        };
        let known = Known {
            index,
            native_id,
            tid: described.tid,
            name,
            watch: None,
            replaced: false,
            unknown,
            tick: 0,
            stacks: Vec::new(),
            outer: None,
        };
        Ok(self.threads.entry(key).insert_entry(known).into_mut())
    }

    /// The number of a living thread that the C library knows by what a thread state says of its
    /// own. Where the state also has a number of the kernel's, and that is no thread's, its thread
    /// may have ended, and another may have got the memory: that one has a newer state, which is
    /// met before.
    fn said_by_c_library(&self, key: Key, state: &ThreadState, target: &Target) -> Option<u64> {
        let living: HashSet<u64> = self.tids.keys().copied().collect();
        let found = native_ids(&target.memory(), &[state.thread_id], &living);
        let said = found.into_iter().flatten().next()?;
        let tid = self.tids.get(&said)?;
        let mut others = self.threads.iter().filter(|(other, _)| **other != key);
        let taken = state.native_id != 0
            && others.any(|(other, known)| other.0 == key.0 && known.tid == *tid);
        (!taken).then_some(said)
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
        if self.tid == 0 {
            // A child that has only been forked has no number yet. It is asked ever more rarely.
            self.unknown = self.unknown.saturating_add(1);
            self.replaced = self.unknown.is_power_of_two();
        }
        let runs = self.watch(target)?.runs();
        if runs.is_none() {
            // It may have been met as one that had ended before it began.
            self.replaced = !target.has_thread(self.tid);
        }
        runs
    }
}
