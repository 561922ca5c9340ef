//! When to look.

/// How moments of sampling keep from beating with what the target does at a period of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jitter {
    /// Not at all: each tick is one interval after the one before.
    None,
    /// Each interval has its tick at any moment in it, all as likely.
    #[default]
    Uniform,
    /// From tick to tick passes a time of exponential distribution, the interval on average. That
    /// sees the target as it is on average whatever it does, and many ticks come close together.
    Exponential,
}

/// Deadlines, each of them a moment that does not depend on how long anything took before. What is
/// late is left out and counted, and never made up for by more ticks.
///
/// Moments are nanoseconds on whatever clock the caller goes by.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: u64,
    interval: u64,
    jitter: Jitter,
    random: Random,
    /// The interval, counted from the start, that the next tick is in. Unused where ticks are at
    /// exponential distances.
    slot: u64,
    deadline: u64,
}

impl Schedule {
    /// Ticks from `start` on, `interval` apart on average. `seed` decides where jitter falls.
    pub fn new(start: u64, interval: u64, jitter: Jitter, seed: u64) -> Self {
        Self {
            start,
            interval: interval.max(1),
            jitter,
            random: Random(seed),
            slot: 0,
            // The first look is at once.
            deadline: start,
        }
    }

    /// When the next tick is due.
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Goes on to the next deadline after `now`, when the tick that was due has taken place. Says
    /// how many deadlines between the two had passed by then.
    pub fn advance(&mut self, now: u64) -> u64 {
        match self.jitter {
            Jitter::Exponential => self.advance_by_distance(now),
            Jitter::None | Jitter::Uniform => self.advance_by_slot(now),
        }
    }

    fn advance_by_slot(&mut self, now: u64) -> u64 {
        let last = self.slot;
        let current = now.saturating_sub(self.start) / self.interval;
        // Of the interval that it is now, the deadline may still lie ahead.
        self.slot = current.max(last.saturating_add(1));
        self.deadline = self.deadline_in_slot();
        if self.deadline <= now {
            self.slot = self.slot.saturating_add(1);
            self.deadline = self.deadline_in_slot();
        }
        self.slot.saturating_sub(last).saturating_sub(1)
    }

    fn deadline_in_slot(&mut self) -> u64 {
        let within = match self.jitter {
            Jitter::Uniform => (self.random.fraction() * self.interval as f64) as u64,
            Jitter::None | Jitter::Exponential => 0,
        };
        let slot = self
            .start
            .saturating_add(self.slot.saturating_mul(self.interval));
        slot.saturating_add(within.min(self.interval - 1))
    }

    fn advance_by_distance(&mut self, now: u64) -> u64 {
        /// Deadlines that are drawn one by one; of more that have passed, only how many is told.
        const DRAWN: u64 = 1000;
        let mut missed = 0;
        let late = now.saturating_sub(self.deadline) / self.interval;
        if late > DRAWN {
            missed = late;
            self.deadline = now;
        }
        loop {
            let distance = -(1.0 - self.random.fraction()).ln() * self.interval as f64;
            self.deadline = self.deadline.saturating_add((distance as u64).max(1));
            // No clock goes beyond that.
            if self.deadline > now || self.deadline == u64::MAX {
                return missed;
            }
            missed += 1;
        }
    }
}

/// Numbers that look random (SplitMix64 by Sebastiano Vigna). Nothing secret hangs on them.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// From 0 up to but not including 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: u64 = 1000;

    fn schedule(jitter: Jitter) -> Schedule {
        Schedule::new(50_000, INTERVAL, jitter, 7)
    }

    /// Deadlines of a sampler that always is in time.
    fn deadlines(schedule: &mut Schedule, count: usize) -> Vec<u64> {
        let mut all = Vec::new();
        for _ in 0..count {
            let now = schedule.deadline();
            all.push(now);
            assert_eq!(schedule.advance(now), 0);
        }
        all
    }

    #[test]
    fn without_jitter_ticks_are_on_a_grid() {
        let all = deadlines(&mut schedule(Jitter::None), 1000);
        let grid = (0..1000).map(|tick| 50_000 + tick * INTERVAL);
        assert!(all.into_iter().eq(grid));
    }

    #[test]
    fn with_uniform_jitter_each_interval_has_its_tick_anywhere_in_it() {
        let all = deadlines(&mut schedule(Jitter::Uniform), 10_000);
        let mut tenths = [0; 10];
        for (slot, at) in all.iter().enumerate().skip(1) {
            let start = 50_000 + slot as u64 * INTERVAL;
            assert!((start..start + INTERVAL).contains(at));
            tenths[((at - start) / 100) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (850..1150).contains(count)),
            "{tenths:?}"
        );
    }

    #[test]
    fn exponential_distances_are_as_long_as_the_interval_on_average() {
        // Distances shorter than a clock's step are left out as missed: none is that short here.
        let mut schedule = Schedule::new(0, 1 << 20, Jitter::Exponential, 7);
        let all = deadlines(&mut schedule, 20_000);
        let mean = all[all.len() - 1] as f64 / all.len() as f64 / f64::from(1 << 20);
        assert!((0.97..1.03).contains(&mean), "{mean}");
        // A share of 1/e is longer than the mean.
        let long = all
            .windows(2)
            .filter(|pair| pair[1] - pair[0] > 1 << 20)
            .count();
        assert!((7000..7700).contains(&long), "{long}");
    }

    #[test]
    fn what_is_late_is_left_out_and_counted() {
        for jitter in [Jitter::None, Jitter::Uniform] {
            let mut schedule = schedule(jitter);
            assert_eq!(schedule.advance(50_000), 0);
            // The tick in interval 1 ends somewhere in interval 4.
            let now = 54_500;
            let missed = schedule.advance(now);
            let next = schedule.deadline();
            assert!(next > now);
            let slot = (next - 50_000) / INTERVAL;
            assert_eq!(missed, slot - 2, "{jitter:?}");
            assert!((4..=5).contains(&slot), "{jitter:?}");
            // The next one is in the interval after that: none comes in a burst.
            assert_eq!(schedule.advance(next), 0);
            assert_eq!((schedule.deadline() - 50_000) / INTERVAL, slot + 1);
        }
    }

    #[test]
    fn a_long_time_off_costs_no_long_count() {
        for jitter in [Jitter::None, Jitter::Uniform, Jitter::Exponential] {
            let mut schedule = schedule(jitter);
            let missed = schedule.advance(50_000 + INTERVAL * 1_000_000_000);
            assert!(missed.abs_diff(1_000_000_000) < 2, "{jitter:?} {missed}");
            let missed = schedule.advance(u64::MAX);
            assert!(missed > 1 << 50, "{jitter:?} {missed}");
        }
    }
}
