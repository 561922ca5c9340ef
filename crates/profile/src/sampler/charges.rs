//! Who is charged for the processor time of a thread: the stacks that it was seen in while it had
//! it.
//!
//! A look at a thread tells that it is runnable, not whether it is on a processor; and what the
//! kernel accounts comes in pieces, of a thread that runs on at each tick of the scheduler. So what
//! a look has seen waits until the account grows, and is charged then: all that was accounted, and
//! to nobody twice. What is charged to a thread is what the kernel says, therefore, whatever was
//! missed; only which of its stacks pays is a matter of sampling.

use std::collections::VecDeque;

use invivo_model::ProcessorTime;

use crate::sink::Seen;

/// Looks that may wait to be charged.
const MAX_PENDING: usize = 512;
/// Thread states of one thread that are told apart.
const MAX_STATES: usize = 4;
/// Charges that may wait to become samples.
const MAX_WAITING: usize = 1024;
/// How many ticks' worth of time may wait for a look that sees the thread run.
const MAX_UNPLACED: u64 = 5;

/// What a thread was seen in since its account grew last.
#[derive(Debug, Default)]
pub(super) struct Pending {
    looks: VecDeque<(u64, Seen)>,
    /// The index of the thread state that was last seen to run: with the GIL, or in another stack
    /// than before.
    holder: Option<u32>,
    /// The stacks that its thread states were last seen in, by their indices.
    stacks: VecDeque<(u32, Option<u32>)>,
    /// Time that came without any look at which the thread was runnable.
    unplaced: u64,
}

impl Pending {
    /// The thread was runnable at this tick. An OS thread can have several thread states: the one
    /// with the GIL is the one that runs, or that which had it last, or has moved since;
    /// else that of the newer interpreter, which is looked at first: the older one's called it.
    pub(super) fn look(&mut self, tick: u64, seen: Seen) {
        let holds = seen.status.holds_gil == Some(true);
        if holds || self.has_moved(&seen) {
            self.holder = Some(seen.thread);
        }
        if let Some((last, before)) = self.looks.back_mut()
            && *last == tick
        {
            let runs = holds || self.holder == Some(seen.thread);
            if runs && before.status.holds_gil != Some(true) {
                *before = seen;
            }
            return;
        }
        if self.looks.len() == MAX_PENDING {
            self.looks.pop_front();
        }
        self.looks.push_back((tick, seen));
    }

    /// Whether a thread state is in another stack than the last time.
    fn has_moved(&mut self, seen: &Seen) -> bool {
        let mut known = self.stacks.iter_mut();
        match known.find(|(thread, _)| *thread == seen.thread) {
            Some((_, stack)) => std::mem::replace(stack, seen.stack) != seen.stack,
            None => {
                if self.stacks.len() == MAX_STATES {
                    self.stacks.pop_front();
                }
                self.stacks.push_back((seen.thread, seen.stack));
                false
            }
        }
    }

    /// So much has been accounted since the last time, where a tick takes `tick`: charges it to
    /// the latest looks, a tick's worth each. Where there are none it waits for one, up to a bound;
    /// what is beyond that is returned: the thread is never seen while it runs.
    #[must_use]
    pub(super) fn settle(
        &mut self,
        time: u64,
        tick: u64,
        mut charge: impl FnMut(&Seen, u64),
    ) -> u64 {
        if time == 0 {
            return 0;
        }
        let time = std::mem::take(&mut self.unplaced).saturating_add(time);
        if self.looks.is_empty() {
            if time > tick.saturating_mul(MAX_UNPLACED) {
                return time;
            }
            self.unplaced = time;
            return 0;
        }
        let ticks = time.saturating_add(tick / 2) / tick.max(1);
        let count = usize::try_from(ticks).unwrap_or(usize::MAX);
        let count = count.clamp(1, self.looks.len());
        let mut left = time;
        let latest = self.looks.iter().skip(self.looks.len() - count);
        for ((_, seen), others) in latest.zip((1..=count as u64).rev()) {
            let part = left / others;
            left -= part;
            charge(seen, part);
        }
        self.looks.clear();
        0
    }
}

/// Charges of a thread on their way to become samples, each of which stands for a tick.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// All that was charged so far, in nanoseconds, and the samples that have come of it.
    charged: u64,
    given: u64,
    waiting: VecDeque<(Seen, u64)>,
    /// The one that is becoming samples, and how much of it is left; below zero where it gave more.
    current: Option<(Seen, i64)>,
}

impl Owed {
    pub(super) fn add(&mut self, seen: &Seen, time: u64) {
        self.charged = self.charged.saturating_add(time);
        let full = self.waiting.len() >= MAX_WAITING;
        match self.waiting.back_mut() {
            // What can't wait is charged to the last that does: the sum stays.
            Some((last, sum)) if last == seen || full => *sum = sum.saturating_add(time),
            _ => self.waiting.push_back((*seen, time)),
        }
    }

    /// The sample of this tick, if there is to be one: as many samples come as the ticks that the
    /// charges are worth, where a tick takes `tick`.
    pub(super) fn sample(&mut self, tick: u64) -> Option<Seen> {
        let tick = tick.max(1);
        let due = self.charged.saturating_add(tick / 2) / tick;
        if due <= self.given {
            return None;
        }
        self.given += 1;
        let tick = i64::try_from(tick).unwrap_or(i64::MAX);
        // Half a tick's worth and more gives a sample; what was given too much the next one lacks.
        while self
            .current
            .as_ref()
            .is_none_or(|(_, left)| left.saturating_mul(2) < tick)
        {
            let Some((seen, time)) = self.waiting.pop_front() else {
                break;
            };
            let left = self.current.map_or(0, |(_, left)| left);
            let time = i64::try_from(time).unwrap_or(i64::MAX);
            self.current = Some((seen, left.saturating_add(time)));
        }
        let (seen, left) = self.current.as_mut()?;
        *left = left.saturating_sub(tick);
        Some(*seen)
    }
}

/// How much of the time that it is runnable a thread gets a processor, of late.
#[derive(Debug, Default)]
pub(super) struct Turns {
    on: f64,
    waiting: f64,
    /// What share of a look is still to be called *on a processor*.
    due: f64,
}

impl Turns {
    /// How far back it goes, in nanoseconds, mostly.
    const MEMORY: f64 = 200e6;

    /// What came in so much time.
    pub(super) fn add(&mut self, came: ProcessorTime, elapsed: u64) {
        let kept = Self::MEMORY / (Self::MEMORY + elapsed as f64);
        self.on = self.on * kept + came.on as f64;
        self.waiting = self.waiting * kept + came.waiting as f64;
    }

    /// Whether a thread that is runnable is to be called on a processor, and not waiting for one: so
    /// often as is its share.
    pub(super) fn is_on(&mut self) -> bool {
        let all = self.on + self.waiting;
        self.due += if all > 0.0 { self.on / all } else { 1.0 };
        let on = self.due >= 0.5;
        if on {
            self.due -= 1.0;
        }
        on
    }
}

#[cfg(test)]
mod tests {
    use invivo_model::{SampleStatus, Trust};

    use super::*;

    const TICK: u64 = 1_000_000;

    fn seen(stack: u32) -> Seen {
        Seen {
            thread: 0,
            stack: Some(stack),
            status: SampleStatus::default(),
            trust: Trust::Whole,
        }
    }

    /// What a piece is charged to, by stacks.
    fn settle(pending: &mut Pending, time: u64) -> (Vec<(u32, u64)>, u64) {
        let mut charges = Vec::new();
        let unseen = pending.settle(time, TICK, |seen, time| {
            charges.push((seen.stack.unwrap(), time));
        });
        (charges, unseen)
    }

    #[test]
    fn a_piece_is_charged_to_the_latest_looks_and_only_once() {
        let mut pending = Pending::default();
        for tick in 0..6 {
            pending.look(tick, seen(tick as u32));
        }
        assert_eq!(settle(&mut pending, 0), (vec![], 0));
        // Three ticks' worth and a little: the last three looks saw it.
        let (charges, _) = settle(&mut pending, 3 * TICK + 2);
        assert_eq!(charges, [(3, TICK), (4, TICK + 1), (5, TICK + 1)]);
        // They have paid.
        pending.look(6, seen(6));
        assert_eq!(settle(&mut pending, 8 * TICK).0, [(6, 8 * TICK)]);
    }

    #[test]
    fn time_without_a_look_waits_for_one_or_is_called_unseen() {
        let mut pending = Pending::default();
        assert_eq!(settle(&mut pending, 2 * TICK), (vec![], 0));
        pending.look(1, seen(1));
        assert_eq!(settle(&mut pending, TICK), (vec![(1, 3 * TICK)], 0));
        assert_eq!(settle(&mut pending, 5 * TICK), (vec![], 0));
        assert_eq!(settle(&mut pending, 1), (vec![], 5 * TICK + 1));
        assert_eq!(settle(&mut pending, TICK), (vec![], 0));
    }

    #[test]
    fn of_two_states_of_one_thread_that_with_the_gil_pays() {
        let mut pending = Pending::default();
        let mut holder = seen(1);
        holder.status.holds_gil = Some(true);
        for order in [[holder, seen(2)], [seen(2), holder]] {
            order.into_iter().for_each(|seen| pending.look(7, seen));
            assert_eq!(settle(&mut pending, TICK).0, [(1, TICK)]);
        }
    }

    #[test]
    fn of_two_states_without_the_gil_that_which_had_it_last_pays() {
        let mut pending = Pending::default();
        let of = |thread, stack, gil| {
            let mut one = Seen {
                thread,
                ..seen(stack)
            };
            one.status.holds_gil = Some(gil);
            one
        };
        pending.look(1, of(7, 1, true));
        assert_eq!(settle(&mut pending, TICK).0, [(1, TICK)]);
        let (inner, outer) = (of(7, 2, false), of(8, 3, false));
        pending.look(1, outer);
        assert_eq!(settle(&mut pending, TICK).0, [(3, TICK)]);
        // It has moved.
        for order in [[inner, outer], [outer, inner]] {
            order.into_iter().for_each(|seen| pending.look(2, seen));
            assert_eq!(settle(&mut pending, TICK).0, [(2, TICK)]);
        }
    }

    #[test]
    fn looks_without_end_are_bounded() {
        let mut pending = Pending::default();
        for tick in 0..100_000 {
            pending.look(tick, seen(tick as u32));
        }
        let (charges, _) = settle(&mut pending, 100_000 * TICK);
        assert_eq!(charges.len(), MAX_PENDING);
        let all: u64 = charges.iter().map(|(_, time)| time).sum();
        assert_eq!(all, 100_000 * TICK);

        let mut owed = Owed::default();
        (0..10_000).for_each(|stack| owed.add(&seen(stack), TICK));
        assert!(owed.waiting.len() <= MAX_WAITING);
        let given = std::iter::from_fn(|| owed.sample(TICK)).count();
        assert_eq!(given, 10_000);
    }

    #[test]
    fn there_are_as_many_samples_as_the_charges_are_worth() {
        let mut owed = Owed::default();
        let mut given = [0_u64; 3];
        // A third of a tick to one stack, a half to another, at each tick; the third all of it now
        // and then.
        let mut charged = [0_u64; 3];
        for tick in 0..30_000_u64 {
            let parts = match tick % 10 {
                0 => [(2, TICK), (2, 0)],
                _ => [(0, TICK / 3), (1, TICK / 2)],
            };
            for (stack, time) in parts {
                charged[stack as usize] += time;
                owed.add(&seen(stack), time);
            }
            if let Some(seen) = owed.sample(TICK) {
                given[seen.stack.unwrap() as usize] += 1;
            }
        }
        for (given, charged) in given.iter().zip(charged) {
            let worth = charged / TICK;
            assert!(given.abs_diff(worth) <= worth / 50 + 2, "{given} {worth}");
        }
        let all: u64 = charged.iter().sum();
        assert!(given.iter().sum::<u64>().abs_diff(all / TICK) <= 1);
    }

    #[test]
    fn a_thread_gets_turns_by_its_share() {
        let mut turns = Turns::default();
        // It is on a processor, as far as is known.
        assert!((0..10).all(|_| turns.is_on()));
        let mut on = 0;
        for _ in 0..1000 {
            // It has 4 ms, and waits for 8.
            let (on_cpu, waiting) = (4_000_000, 8_000_000);
            let time = |on, waiting| ProcessorTime { on, waiting };
            turns.add(time(on_cpu, 0), on_cpu);
            on += (0..4).filter(|_| turns.is_on()).count();
            turns.add(time(0, waiting), waiting);
            on += (0..8).filter(|_| turns.is_on()).count();
        }
        assert!((3_900..=4_200).contains(&on), "{on} of 12,000");
    }
}
