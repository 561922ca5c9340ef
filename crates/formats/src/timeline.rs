//! The order of time, in no more stretches than a page can hold.

use std::collections::HashMap;

use invivo_model::Result;

use crate::counts::Key;
use crate::source::{Checked, Seen};

/// What threads did, one stretch after the other.
pub(crate) struct Timeline {
    /// In the order of time, by thread.
    pub(crate) runs: Vec<Run>,
    /// Where there were too many: of each such slice of time, in nanoseconds, a thread has only
    /// what it was seen in most.
    pub(crate) slice: Option<u64>,
}

/// A stretch of time in which nothing changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) key: Key,
    /// When it began, in nanoseconds.
    pub(crate) from: u64,
    pub(crate) ticks: u64,
}

impl Timeline {
    pub(crate) fn new(profile: &Checked<'_>, most: usize) -> Result<Self> {
        let mut end = 0;
        let mut joined = Joined::new(profile, most);
        profile.for_each_sample(&mut |seen| {
            joined.add(Run::of(seen));
            let length = profile.nanoseconds(seen.sample.ticks.into());
            end = end.max(seen.sample.time.saturating_add(length));
            Ok(())
        })?;
        if let Some(runs) = joined.runs {
            return Ok(Self { runs, slice: None });
        }
        let threads = profile.tables.threads.len();
        let slices = (most / threads.max(1)).max(1) as u64;
        let slice = (end / slices + 1).max(profile.nanoseconds(1));
        Ok(Self {
            runs: thinned(profile, slice)?,
            slice: Some(slice),
        })
    }
}

impl Run {
    fn of(seen: &Seen) -> Self {
        Self {
            key: Key::of(seen),
            from: seen.sample.time,
            ticks: seen.sample.ticks.into(),
        }
    }
}

/// Runs, with those that follow one another and are alike made one.
struct Joined<'a> {
    profile: &'a Checked<'a>,
    /// `None` once there were more than `most`.
    runs: Option<Vec<Run>>,
    most: usize,
    /// The last run of each thread.
    last: Vec<Option<usize>>,
}

impl<'a> Joined<'a> {
    fn new(profile: &'a Checked<'a>, most: usize) -> Self {
        Self {
            profile,
            runs: Some(Vec::new()),
            most,
            last: vec![None; profile.tables.threads.len()],
        }
    }

    fn add(&mut self, run: Run) {
        let Some(runs) = &mut self.runs else { return };
        let last = &mut self.last[run.key.thread as usize];
        if let Some(before) = last.map(|last| &mut runs[last]) {
            let end = before
                .from
                .saturating_add(self.profile.nanoseconds(before.ticks));
            let apart = run.from.saturating_sub(end);
            if before.key == run.key && apart < self.profile.nanoseconds(1) {
                before.ticks += run.ticks;
                return;
            }
        }
        *last = Some(runs.len());
        runs.push(run);
        if runs.len() > self.most {
            self.runs = None;
        }
    }
}

/// Of each slice of a thread, what it was seen in most, for as long as it was seen at all.
fn thinned(profile: &Checked<'_>, slice: u64) -> Result<Vec<Run>> {
    let mut joined = Joined::new(profile, usize::MAX);
    let mut open: Vec<(u64, HashMap<Key, u64>)> =
        vec![Default::default(); profile.tables.threads.len()];
    let mut close = |number: u64, seen: &mut HashMap<Key, u64>| {
        let ticks = seen.values().sum();
        let most = seen.drain().max_by_key(|(key, ticks)| (*ticks, key.stack));
        if let Some((key, _)) = most {
            joined.add(Run {
                key,
                from: number * slice,
                ticks,
            });
        }
    };
    profile.for_each_sample(&mut |seen| {
        let (number, of_slice) = &mut open[seen.thread as usize];
        let now = seen.sample.time / slice;
        if now != *number {
            close(*number, of_slice);
            *number = now;
        }
        *of_slice.entry(Key::of(seen)).or_default() += u64::from(seen.sample.ticks);
        Ok(())
    })?;
    for (number, mut seen) in open {
        close(number, &mut seen);
    }
    Ok(joined.runs.unwrap_or_default())
}
