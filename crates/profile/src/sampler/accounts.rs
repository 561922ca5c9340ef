//! The accounts of a process's threads, and samples that go by them.
//!
//! Where the kernel keeps no accounts, a thread that is runnable is taken for one on a processor.

use std::collections::HashSet;

use invivo_model::{Mode, ProcessorTime, ProfileThread, Result, SampleStatus, Text, Trust};
use invivo_process::{Account, Target, clock, is_processor_time_accounted};
use rustc_hash::FxHashMap;

use super::charges::{Owed, Pending, Turns};
use super::entries::{Entries, Mark};
use super::known::Known;
use super::rest::Rest;
use super::{Options, Round};
use crate::sink::{Charge, Seen};

/// Accounts that are held open; others are opened for each look, which takes three system calls.
const MAX_HELD: usize = 256;
/// How often threads without Python are looked at.
const NATIVES: u64 = 50_000_000;
/// What a thread without Python must have had to be told of.
const WORTH: u64 = 1_000_000;
/// What a tick takes before that is known.
const SOME_TICK: u64 = 10_000_000;

/// The accounts of a process's threads.
#[derive(Debug)]
pub(super) struct Accounts {
    /// Whether there are any: it is asked for, and the kernel keeps them.
    kept: bool,
    /// By the numbers that we know threads by.
    threads: FxHashMap<u32, Entry>,
    ticks: Ticks,
    held: usize,
    /// When threads without Python were looked at last, and at which tick.
    natives: (u64, u64),
    rest: Rest,
}

/// What is known of an OS thread.
#[derive(Debug, Default)]
struct Entry {
    account: Option<Account>,
    last: ProcessorTime,
    /// What has come with this tick's look, and has not been charged.
    fresh: ProcessorTime,
    /// The tick and time of the last look.
    looked: (u64, u64),
    runnable: bool,
    pending: Pending,
    turns: Turns,
    owed: Owed,
    /// Its index as a thread with Python, while it is one.
    python: Option<u32>,
    /// Its index as a thread without Python, if it ever was one that counts.
    native: Option<u32>,
}

/// How long a tick takes, on average.
#[derive(Debug, Default)]
struct Ticks {
    first: u64,
    now: u64,
    count: u64,
}

impl Ticks {
    fn begin(&mut self) {
        self.now = clock::monotonic();
        if self.count == 0 {
            self.first = self.now;
        }
        self.count += 1;
    }

    fn length(&self) -> u64 {
        let passed = self.now.saturating_sub(self.first);
        passed.checked_div(self.count - 1).unwrap_or(SOME_TICK)
    }
}

/// Whether a thread is on a processor, and whether it waits for one.
pub(super) type Standing = (Option<bool>, Option<bool>);

impl Accounts {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            kept: options.asks_for_activity() && is_processor_time_accounted(),
            threads: FxHashMap::default(),
            ticks: Ticks::default(),
            held: 0,
            natives: (0, 0),
            rest: Rest::default(),
        }
    }

    /// A tick begins.
    pub(super) fn begin(&mut self, target: &Target) {
        if !self.kept {
            return;
        }
        self.ticks.begin();
        if self.ticks.count == 1 {
            self.rest.begin(target);
            // What they had before does not count; what those that begin later have does.
            for tid in target.thread_numbers().unwrap_or_default() {
                let time = target.processor_time(tid).unwrap_or_default();
                self.threads.entry(tid).or_default().last = time;
            }
        }
    }

    /// Looks at the account of a thread with Python that is, or is not, runnable.
    pub(super) fn look(
        &mut self,
        target: &Target,
        known: &Known,
        runnable: Option<bool>,
    ) -> Standing {
        let tid = known.tid;
        if !self.kept || tid == 0 {
            return (runnable, None);
        }
        let Some(runnable) = runnable else {
            return (None, None);
        };
        let entry = self.threads.entry(tid).or_default();
        if entry.looked.0 < self.ticks.count {
            entry.read(target, tid, &self.ticks, &mut self.held);
            entry.runnable = runnable;
            entry.python = Some(known.index);
        }
        let on = entry.runnable && entry.turns.is_on();
        (Some(on), Some(entry.runnable && !on))
    }

    /// Takes what was seen of a thread that was just looked at; says whether that is a sample by
    /// itself. In [`Mode::Cpu`] what is charged makes the samples.
    pub(super) fn take(&mut self, tid: u32, seen: Seen, options: &Options) -> bool {
        let entry = self.threads.get_mut(&tid).filter(|_| self.kept);
        let Some(entry) = entry else {
            return true;
        };
        if entry.runnable {
            entry.pending.look(self.ticks.count, seen);
        }
        options.mode != Mode::Cpu
    }

    /// A tick ends: what was accounted is charged, and made samples of where those go by it.
    pub(super) fn end(
        &mut self,
        target: &Target,
        process: u32,
        options: &Options,
        entries: &mut Entries,
        round: &mut Round<'_>,
    ) -> Result<()> {
        if !self.kept {
            return Ok(());
        }
        let natives = self.ticks.now >= self.natives.0.saturating_add(NATIVES);
        if natives {
            self.look_at_natives(target, process, round)?;
            self.natives = (self.ticks.now, self.ticks.count);
        }
        let length = self.ticks.length();
        for entry in self.threads.values_mut() {
            entry.settle(length, entries, round)?;
            self.rest.counted(std::mem::take(&mut entry.fresh).on);
            if options.mode == Mode::Cpu {
                round.seen.extend(entry.owed.sample(length));
            } else if let Some(thread) = entry.without_python().filter(|_| options.natives) {
                round.seen.push(Seen {
                    thread,
                    stack: None,
                    status: SampleStatus::default(),
                    trust: Trust::Whole,
                });
            }
        }
        if natives {
            // All threads that there are have just been looked at.
            self.rest
                .look(target, self.ticks.now, process, entries, round)?;
        }
        if options.mode == Mode::Cpu {
            self.rest.samples(length, round);
        }
        Ok(())
    }

    /// Looks at threads that no thread state belongs to.
    fn look_at_natives(
        &mut self,
        target: &Target,
        process: u32,
        round: &mut Round<'_>,
    ) -> Result<()> {
        let Ok(tids) = target.thread_numbers() else {
            return Ok(());
        };
        let alive: HashSet<u32> = tids.iter().copied().collect();
        self.threads.retain(|tid, entry| {
            let stays = alive.contains(tid);
            self.held -= usize::from(!stays && entry.account.is_some());
            stays
        });
        for tid in tids {
            let entry = self.threads.entry(tid).or_default();
            if entry.looked.0 > self.natives.1 {
                continue;
            }
            let before = (entry.last, entry.looked);
            entry.read(target, tid, &self.ticks, &mut self.held);
            if entry.native.is_none() && entry.fresh.on < WORTH {
                // It may be about to become one with Python: that gets it then.
                (entry.last, entry.looked) = before;
                entry.fresh = ProcessorTime::default();
                continue;
            }
            if entry.native.is_none() {
                let name = target.thread(tid).map(|thread| thread.name);
                let name = name.unwrap_or_default();
                let described = ProfileThread {
                    process,
                    tid,
                    name: (!name.is_empty()).then(|| Text {
                        text: String::from_utf8_lossy(&name).into_owned(),
                        truncated: false,
                    }),
                    interpreter: ProfileThread::WITHOUT_PYTHON,
                    is_main: false,
                };
                entry.native = Some(round.interner.thread(&described, round.sink)?);
            }
            entry.python = None;
        }
        Ok(())
    }
}

impl Entry {
    /// Its index, if it is a thread without Python now.
    fn without_python(&self) -> Option<u32> {
        self.native.filter(|_| self.python.is_none())
    }

    fn read(&mut self, target: &Target, tid: u32, ticks: &Ticks, held: &mut usize) {
        let elapsed = ticks.now.saturating_sub(self.looked.1);
        self.looked = (ticks.count, ticks.now);
        if self.account.is_none() && *held < MAX_HELD {
            self.account = target.account(tid).ok();
            *held += usize::from(self.account.is_some());
        }
        let time = match &self.account {
            Some(account) => account.read(),
            None => target.processor_time(tid),
        };
        // Of one that ends now nothing more is known.
        let Some(time) = time else { return };
        self.fresh = time.since(self.last);
        self.last = time;
        self.turns.add(self.fresh, elapsed);
    }

    /// Charges what is fresh.
    fn settle(&mut self, tick: u64, entries: &mut Entries, round: &mut Round<'_>) -> Result<()> {
        let fresh = self.fresh;
        let Some(thread) = self.python.or(self.native) else {
            return Ok(());
        };
        let mut charges = Vec::new();
        let mark = if self.python.is_some() {
            let charge = |seen: &Seen, on: u64| charges.push((*seen, on));
            let unseen = self.pending.settle(fresh.on, tick, charge);
            (Mark::Unseen, unseen)
        } else {
            (Mark::WithoutPython, fresh.on)
        };
        if mark.1 > 0 {
            charges.push((entries.marked(thread, mark.0, round)?, mark.1));
        }
        for (mut seen, on) in charges {
            seen.status.on_cpu = Some(true);
            seen.status.waits_for_cpu = Some(false);
            self.owed.add(&seen, on);
            round.sink.charge(&Charge::of(&seen, on));
        }
        if fresh.waiting > 0 {
            round.sink.charge(&Charge::waiting(thread, fresh.waiting));
        }
        Ok(())
    }
}
