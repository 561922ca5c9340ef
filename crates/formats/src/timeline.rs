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

#[cfg(test)]
mod tests {
    use invivo_model::{
        Profile, ProfileFrame, ProfileFunction, ProfileProcess, ProfileThread, Sample,
        SampleStatus, StackNode, Text, Trust,
    };

    use super::*;

    /// One thread, whose stack is another one at each tick but every tenth.
    fn profile(ticks: u64) -> Profile {
        let mut profile = Profile::default();
        profile.about.interval = 10;
        let tables = &mut profile.tables;
        tables.processes.push(ProfileProcess {
            pid: 1,
            parent: None,
            command: Vec::new(),
            version: String::new(),
        });
        tables.threads.push(ProfileThread {
            process: 0,
            tid: 1,
            name: None,
            interpreter: 0,
            is_main: true,
        });
        tables.functions.push(ProfileFunction {
            name: Text::default(),
            file: Text::default(),
            first_line: 1,
            kind: invivo_model::FunctionKind::Python,
        });
        for line in 0..3 {
            tables.frames.push(ProfileFrame {
                function: 0,
                line,
                columns: None,
                opcode: None,
            });
            tables.stacks.push(StackNode {
                caller: None,
                frame: line,
            });
        }
        let samples = (0..ticks).map(|n| Sample {
            time: n * 10,
            thread: 0,
            stack: Some(if n % 10 == 9 { 2 } else { n as u32 % 2 }),
            status: SampleStatus::default(),
            trust: Trust::Whole,
            ticks: 1,
        });
        profile.samples = samples.collect();
        profile
    }

    fn ticks(timeline: &Timeline) -> u64 {
        timeline.runs.iter().map(|run| run.ticks).sum()
    }

    #[test]
    fn what_follows_and_is_alike_is_one() {
        let mut profile = profile(4);
        for (sample, stack) in profile.samples.iter_mut().zip([0, 0, 1, 1]) {
            sample.stack = Some(stack);
        }
        // A tick that came late, and one after a gap.
        profile.samples[1].time += 5;
        profile.samples[3].time += 10;
        let timeline = Timeline::new(&Checked::new(&profile).unwrap(), 10).unwrap();
        let runs: Vec<_> = timeline
            .runs
            .iter()
            .map(|run| (run.from, run.ticks))
            .collect();
        assert_eq!(runs, [(0, 2), (20, 1), (40, 1)]);
        assert_eq!(timeline.slice, None);
    }

    #[test]
    fn too_many_are_thinned_and_none_is_lost() {
        let profile = profile(10_000);
        let checked = Checked::new(&profile).unwrap();
        let whole = Timeline::new(&checked, 10_000).unwrap();
        assert_eq!((whole.slice, ticks(&whole)), (None, 10_000));
        let thin = Timeline::new(&checked, 100).unwrap();
        assert_eq!(thin.slice, Some(1_001));
        assert!(thin.runs.len() <= 100);
        assert_eq!(ticks(&thin), 10_000);
        // What is rare is not what was seen most.
        assert!(thin.runs.iter().all(|run| run.key.stack < 2));
    }
}
