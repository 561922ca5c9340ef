//! The processor time of threads that were never looked at: they began and ended in between.

use invivo_model::{ProfileThread, Result, Text};
use invivo_process::Target;

use super::Round;
use super::charges::Owed;
use super::entries::{Entries, Mark};
use crate::sink::Charge;

/// How often it is asked for.
const EVERY: u64 = 100_000_000;
/// By how much the accounts of threads and that of the process may differ: they are rounded, and of
/// threads on a processor right now a tick of the scheduler behind.
const SLACK: u64 = 50_000_000;
/// Samples of a tick at most.
const MAX_LANES: usize = 64;

/// What the process was accounted and none of its threads that were looked at.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// What the process had when it began; `None` where that can't be told.
    before: Option<u64>,
    /// What threads had that were looked at.
    counted: u64,
    /// What has been charged to nobody in particular.
    charged: u64,
    /// When it was asked for last.
    asked: u64,
    lanes: Vec<Lane>,
}

/// Stands for one thread after the other.
#[derive(Debug)]
struct Lane {
    thread: u32,
    owed: Owed,
}

impl Rest {
    pub(super) fn begin(&mut self, target: &Target) {
        self.before = target.processor_time_of_all();
    }

    /// A thread that was looked at was accounted so much.
    pub(super) fn counted(&mut self, on: u64) {
        self.counted = self.counted.saturating_add(on);
    }

    pub(super) fn look(
        &mut self,
        target: &Target,
        now: u64,
        process: u32,
        entries: &mut Entries,
        round: &mut Round<'_>,
    ) -> Result<()> {
        let passed = now.saturating_sub(self.asked);
        if passed < EVERY {
            return Ok(());
        }
        self.asked = now;
        let all = self.before.zip(target.processor_time_of_all());
        let all = all.map_or(0, |(before, now)| now.saturating_sub(before));
        let known = self.counted.saturating_add(self.charged);
        let rest = all.saturating_sub(known);
        if rest < SLACK {
            return Ok(());
        }
        self.charged = self.charged.saturating_add(rest);
        // As many as there must have been at once, at least.
        let lanes = usize::try_from(rest.div_ceil(passed)).unwrap_or(MAX_LANES);
        let lanes = lanes.clamp(1, MAX_LANES);
        while self.lanes.len() < lanes {
            let described = ProfileThread {
                process,
                tid: 0,
                name: Some(Text {
                    text: "short-lived threads".to_owned(),
                    truncated: false,
                }),
                interpreter: ProfileThread::WITHOUT_PYTHON,
                is_main: false,
            };
            self.lanes.push(Lane {
                thread: round.interner.thread(&described, round.sink)?,
                owed: Owed::default(),
            });
        }
        for lane in self.lanes.iter_mut().take(lanes) {
            let seen = entries.marked(lane.thread, Mark::ShortLived, round)?;
            let part = rest / lanes as u64;
            lane.owed.add(&seen, part);
            round.sink.charge(&Charge::of(&seen, part));
        }
        Ok(())
    }

    /// The samples of this tick.
    pub(super) fn samples(&mut self, tick: u64, round: &mut Round<'_>) {
        for lane in &mut self.lanes {
            round.seen.extend(lane.owed.sample(tick));
        }
    }
}
