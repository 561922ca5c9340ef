//! The order of time, in no more stretches than a page or a viewer can hold.

use std::collections::HashMap;

use invivo_model::Result;

use crate::counts::{Key, add};
use crate::source::{Checked, Seen};
use crate::summary;

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
        profile.budget.take_list::<Run>(2 * most)?;
        let (mut end, mut runs) = (0, Some(Vec::new()));
        for_each_run(profile, &mut |run| {
            end = end.max(run.end(profile));
            if let Some(kept) = &mut runs {
                kept.push(run);
            }
            if runs.as_ref().is_some_and(|runs| runs.len() > most) {
                runs = None;
            }
            Ok(())
        })?;
        if let Some(runs) = runs {
            return Ok(Self { runs, slice: None });
        }
        let threads = profile.tables.threads.len();
        let slices = (most / threads.max(1)).max(1) as u64;
        let slice = (end / slices + 1).max(profile.nanoseconds(1));
        Ok(Self {
            runs: sliced(profile, slice)?,
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

    fn end(&self, profile: &Checked<'_>) -> u64 {
        self.from.saturating_add(profile.nanoseconds(self.ticks))
    }
}

/// Calls `each` with what threads did, where that follows and is alike as one; those of a thread in
/// the order of time.
fn for_each_run(profile: &Checked<'_>, each: &mut dyn FnMut(Run) -> Result<()>) -> Result<()> {
    let mut joined = Joined::new(profile)?;
    profile.for_each_sample(&mut |seen| joined.add(Run::of(seen)).map_or(Ok(()), &mut *each))?;
    joined.open.into_iter().flatten().try_for_each(each)
}

/// Runs, with those that follow one another and are alike made one.
struct Joined<'a> {
    profile: &'a Checked<'a>,
    /// The last run of each thread.
    open: Vec<Option<Run>>,
}

impl<'a> Joined<'a> {
    fn new(profile: &'a Checked<'a>) -> Result<Self> {
        let threads = profile.tables.threads.len();
        profile.budget.take_list::<Option<Run>>(threads)?;
        Ok(Self {
            profile,
            open: vec![None; threads],
        })
    }

    /// The run of the thread that this one ends, if it does.
    fn add(&mut self, run: Run) -> Option<Run> {
        let open = &mut self.open[run.key.thread as usize];
        if let Some(open) = open {
            let apart = run.from.saturating_sub(open.end(self.profile));
            if open.key == run.key && apart < self.profile.nanoseconds(1) {
                open.ticks += run.ticks;
                return None;
            }
        }
        open.replace(run)
    }
}

/// Runs that a viewer can hold. Where there are more, one of every so many ticks of a thread counts,
/// for all of them: shares are those of fewer samples, and what is long stays about as long as it is.
/// Which one is left to chance, as a program may have a period too.
pub(crate) struct Thinned<'a> {
    profile: &'a Checked<'a>,
    /// All of the profile's ticks.
    pub(crate) ticks: u64,
    every: u64,
}

impl<'a> Thinned<'a> {
    /// No more than `most` runs and a few.
    pub(crate) fn new(profile: &'a Checked<'a>, most: u64) -> Result<Self> {
        // How many runs there are of 2ⁿ ticks and more, up to the next n, and their ticks.
        let mut lengths = [(0_u64, 0_u64); 64];
        for_each_run(profile, &mut |run| {
            if let Some(power) = run.ticks.checked_ilog2() {
                let (runs, ticks) = &mut lengths[power as usize];
                *runs += 1;
                *ticks += run.ticks;
            }
            Ok(())
        })?;
        let left = |power: usize| -> u64 {
            let (short, long) = lengths.split_at(power);
            let short: u64 = short.iter().map(|(_, ticks)| ticks).sum();
            let long: u64 = long.iter().map(|(runs, _)| runs).sum();
            (short >> power) + long
        };
        let power = (0..lengths.len()).find(|power| left(*power) <= most);
        Ok(Self {
            profile,
            ticks: lengths.iter().map(|(_, ticks)| ticks).sum(),
            every: 1 << power.unwrap_or(lengths.len() - 1),
        })
    }

    /// Calls `each` with the runs, those of a thread in the order of time.
    pub(crate) fn for_each(&self, each: &mut dyn FnMut(Run) -> Result<()>) -> Result<()> {
        let threads = self.profile.tables.threads.len();
        self.profile.budget.take_list::<u64>(threads)?;
        let mut passed = vec![0_u64; threads];
        for_each_run(self.profile, &mut |run| {
            let passed = &mut passed[run.key.thread as usize];
            let before = self.chosen(*passed);
            *passed += run.ticks;
            let ticks = (self.chosen(*passed) - before) * self.every;
            if ticks == 0 {
                return Ok(());
            }
            each(Run { ticks, ..run })
        })
    }

    /// How many of a thread's first ticks count.
    fn chosen(&self, ticks: u64) -> u64 {
        let (whole, rest) = (ticks / self.every, ticks % self.every);
        // Any number that looks like chance, but is the same each time: splitmix64's.
        let mut chance = whole.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        chance = (chance ^ chance >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        chance = (chance ^ chance >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        whole + u64::from(rest > (chance ^ chance >> 31) % self.every)
    }

    /// How the profile was sampled and what is missing, from it and from these runs of it.
    pub(crate) fn facts(&self) -> Vec<String> {
        let mut facts = summary::facts(self.profile, self.ticks);
        if self.every > 1 {
            facts.push(format!(
                "thinned for this format: 1 of {} samples, each as long as {}",
                self.every, self.every
            ));
        }
        facts
    }
}

/// Of each slice of a thread, what it was seen in most, for as long as it was seen at all.
fn sliced(profile: &Checked<'_>, slice: u64) -> Result<Vec<Run>> {
    let (mut joined, mut runs) = (Joined::new(profile)?, Vec::new());
    let threads = profile.tables.threads.len();
    profile
        .budget
        .take_list::<(u64, HashMap<Key, u64>, Run)>(threads)?;
    let mut open: Vec<(u64, HashMap<Key, u64>)> = vec![Default::default(); threads];
    let mut close = |number: u64, seen: &mut HashMap<Key, u64>| {
        let ticks = seen.values().sum();
        let most = seen.drain().max_by_key(|(key, ticks)| (*ticks, key.stack));
        if let Some((key, _)) = most {
            runs.extend(joined.add(Run {
                key,
                from: number * slice,
                ticks,
            }));
        }
    };
    profile.for_each_sample(&mut |seen| {
        let (number, of_slice) = &mut open[seen.thread as usize];
        let now = seen.sample.time / slice;
        if now != *number {
            close(*number, of_slice);
            *number = now;
        }
        add(of_slice, Key::of(seen), seen.sample.ticks, profile)
    })?;
    for (number, mut seen) in open {
        close(number, &mut seen);
    }
    runs.extend(joined.open.into_iter().flatten());
    Ok(runs)
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
    fn shares_survive_thinning_and_what_is_long_is_whole() {
        let mut profile = profile(200_000);
        profile.samples[199_999].ticks = 100_000;
        let checked = Checked::new(&profile).unwrap();
        let whole = Thinned::new(&checked, 200_000).unwrap();
        assert_eq!((whole.ticks, whole.every), (299_999, 1));
        assert_eq!(whole.facts().len(), 5);
        let thin = Thinned::new(&checked, 20_000).unwrap();
        assert_eq!((thin.ticks, thin.every), (299_999, 16));
        assert!(thin.facts()[5].contains("1 of 16 samples"));
        let (mut runs, mut of_stack) = (0, [0_u64; 3]);
        thin.for_each(&mut |run| {
            runs += 1;
            of_stack[run.key.stack as usize] += run.ticks;
            Ok(())
        })
        .unwrap();
        assert!(runs <= 20_000);
        for (ticks, truth) in of_stack.into_iter().zip([100_000_u64, 80_000, 119_999]) {
            assert!(ticks.abs_diff(truth) <= 3_000, "{of_stack:?}");
        }
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
