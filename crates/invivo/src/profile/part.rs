use std::fmt;
use std::ops::Range;

use invivo_formats::Source;
use invivo_model::{About, Budget, ProfileThread, Result, Sample, Tables};

/// Which part of a profile is wanted: what is in all that are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of this process.
    pub process: Option<u32>,
    /// Of this thread, by its number.
    pub thread: Option<u32>,
    /// In this time, in nanoseconds since the start.
    pub time: Option<Range<u64>>,
}

/// A part of a profile, as a profile of its own.
///
/// Missed ticks and torn stacks are counted for all of it, and stay so.
pub struct Part<'a> {
    source: &'a dyn Source,
    about: About,
    tables: Tables,
    /// The index in the part of each thread of the whole that is in it.
    threads: Vec<Option<u32>>,
    time: Range<u64>,
    /// What it takes comes back with it.
    budget: Budget,
}

impl<'a> Part<'a> {
    /// What is `wanted` of `source`.
    ///
    /// # Errors
    /// `Corrupt` where the source's budget is exceeded.
    pub fn new(source: &'a dyn Source, wanted: &Wanted) -> Result<Self> {
        let all = source.tables();
        let budget = source.budget().part();
        budget.take(all.size())?;
        let mut tables = Tables {
            threads: Vec::new(),
            processes: Vec::new(),
            ..all.clone()
        };
        let mut processes = vec![None; all.processes.len()];
        for (process, index) in all.processes.iter().zip(&mut processes) {
            if wanted.process.is_none_or(|pid| pid == process.pid) {
                *index = u32::try_from(tables.processes.len()).ok();
                tables.processes.push(process.clone());
            }
        }
        let mut threads = vec![None; all.threads.len()];
        for (thread, index) in all.threads.iter().zip(&mut threads) {
            let process = processes.get(thread.process as usize).copied().flatten();
            let is_wanted = wanted.thread.is_none_or(|tid| tid == thread.tid);
            if let Some(process) = process.filter(|_| is_wanted) {
                *index = u32::try_from(tables.threads.len()).ok();
                tables.threads.push(ProfileThread {
                    process,
                    ..thread.clone()
                });
            }
        }
        let mut about = source.about().clone();
        let time = wanted.time.clone().unwrap_or(0..u64::MAX);
        let end = time.end.min(about.duration);
        about.started = about.started.saturating_add(time.start);
        about.duration = end.saturating_sub(time.start);
        Ok(Self {
            source,
            about,
            tables,
            threads,
            time,
            budget,
        })
    }

    /// The part of `sample` that is wanted.
    fn cut(&self, sample: &Sample) -> Option<Sample> {
        let thread = self.threads.get(sample.thread as usize).copied().flatten();
        let interval = self.about.interval.max(1);
        // The nth of its ticks is reckoned to have been n intervals after its first.
        let before = |moment: u64| moment.saturating_sub(sample.time).div_ceil(interval);
        let ticks = u64::from(sample.ticks);
        let first = before(self.time.start).min(ticks);
        let last = before(self.time.end).min(ticks);
        let ticks = u32::try_from(last.saturating_sub(first)).ok()?;
        let time = sample.time.saturating_add(first.saturating_mul(interval));
        let wanted = Sample {
            time: time.saturating_sub(self.time.start),
            thread: thread?,
            ticks,
            ..*sample
        };
        (ticks > 0).then_some(wanted)
    }
}

impl Source for Part<'_> {
    fn about(&self) -> &About {
        &self.about
    }

    fn tables(&self) -> &Tables {
        &self.tables
    }

    fn for_each_sample(&self, each: &mut dyn FnMut(&Sample) -> Result<()>) -> Result<()> {
        self.source
            .for_each_sample(&mut |sample| self.cut(sample).as_ref().map_or(Ok(()), &mut *each))
    }

    fn budget(&self) -> Budget {
        self.budget.clone()
    }
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("about", &self.about)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use invivo_model::{Profile, ProfileProcess, SampleStatus, Trust};

    use super::*;

    fn profile() -> Profile {
        let mut profile = Profile::default();
        profile.about.interval = 10;
        profile.about.duration = 1000;
        for pid in [1, 2] {
            profile.tables.processes.push(ProfileProcess {
                pid,
                parent: None,
                command: Vec::new(),
                version: String::new(),
            });
        }
        for (process, tid) in [(0, 1), (1, 2), (1, 3)] {
            profile.tables.threads.push(ProfileThread {
                process,
                tid,
                name: None,
                interpreter: 0,
                is_main: false,
            });
        }
        for (thread, time, ticks) in [(0, 0, 10), (1, 50, 2), (2, 95, 5)] {
            profile.samples.push(Sample {
                time,
                thread,
                stack: None,
                status: SampleStatus::default(),
                trust: Trust::Whole,
                ticks,
            });
        }
        profile
    }

    /// Thread, time and ticks of each sample.
    fn samples(wanted: &Wanted) -> Vec<(u32, u64, u32)> {
        let (profile, mut found) = (profile(), Vec::new());
        let part = Part::new(&profile, wanted).expect("it is small");
        part.for_each_sample(&mut |sample| {
            let thread = &part.tables().threads[sample.thread as usize];
            assert!((thread.process as usize) < part.tables().processes.len());
            found.push((thread.tid, sample.time, sample.ticks));
            Ok(())
        })
        .expect("nothing fails");
        found
    }

    #[test]
    fn all_of_it() {
        let all = [(1, 0, 10), (2, 50, 2), (3, 95, 5)];
        assert_eq!(samples(&Wanted::default()), all);
    }

    #[test]
    fn a_process_or_thread() {
        let process = Some(2);
        let of_process = Wanted {
            process,
            ..Wanted::default()
        };
        assert_eq!(samples(&of_process), [(2, 50, 2), (3, 95, 5)]);
        let thread = Some(3);
        assert_eq!(
            samples(&Wanted {
                thread,
                ..of_process
            }),
            [(3, 95, 5)]
        );
        let process = Some(1);
        assert_eq!(
            samples(&Wanted {
                process,
                thread,
                time: None
            }),
            []
        );
    }

    #[test]
    fn a_stretch_of_time() {
        let time = |time| Wanted {
            time: Some(time),
            ..Wanted::default()
        };
        assert_eq!(samples(&time(55..100)), [(1, 5, 4), (2, 5, 1), (3, 40, 1)]);
        assert_eq!(samples(&time(0..u64::MAX)), samples(&Wanted::default()));
        assert_eq!(samples(&time(500..u64::MAX)), []);
        let (profile, wanted) = (profile(), time(55..100));
        assert_eq!(
            Part::new(&profile, &wanted)
                .expect("it is small")
                .about()
                .duration,
            45
        );
    }
}
