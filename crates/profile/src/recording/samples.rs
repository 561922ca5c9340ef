//! The samples of one block.

use invivo_model::{Sample, SampleStatus, Trust};

use super::bytes::Input;
use super::{MICROSECOND, code, unit};

/// The samples of a block, yet to be read.
pub(super) struct Samples<'a> {
    input: Input<'a>,
    /// How many ticks the block is about.
    ticks: u64,
    /// When the first one was, in microseconds.
    begun: u64,
}

/// What each thread does while a block is read. Kept from block to block, since it is large where
/// there are many threads.
#[derive(Debug, Default)]
pub(super) struct Seats {
    threads: Vec<Option<Open>>,
    /// Those that do something.
    taken: Vec<u32>,
}

impl Seats {
    /// The bytes that a thread takes here.
    pub(super) const SIZE: usize = size_of::<Option<Open>>() + size_of::<u32>();
}

/// Samples of a block, beside some for each thread: many times what fits into one that a writer
/// makes.
const MAX_SAMPLES: usize = 1 << 17;

/// What a thread does until something else is said of it.
#[derive(Clone, Copy, Debug)]
struct Open {
    tick: u64,
    time: u64,
    stack: Option<u32>,
    status: SampleStatus,
    trust: Trust,
}

impl<'a> Samples<'a> {
    pub(super) fn new(input: Input<'a>, ticks: u64, begun: u64) -> Self {
        Self {
            input,
            ticks,
            begun,
        }
    }

    /// Appends all samples to `found`, in no order. `None` where what is there is not of the right
    /// form, refers to more than `threads` threads, or is more than a writer puts into a block.
    pub(super) fn read(
        mut self,
        interval: u64,
        threads: usize,
        seats: &mut Seats,
        found: &mut Vec<Sample>,
    ) -> Option<()> {
        seats.threads.resize(threads, None);
        for thread in seats.taken.drain(..) {
            if let Some(seat) = seats.threads.get_mut(thread as usize) {
                *seat = None;
            }
        }
        let (mut tick, mut thread) = (0_u64, 0_u32);
        let mut time = self.begun.checked_mul(MICROSECOND)?;
        let most = MAX_SAMPLES + 4 * threads;
        while !self.input.is_empty() {
            if found.len() > most {
                return None;
            }
            let head = self.input.number()?;
            let gap = head >> 1;
            tick = tick.checked_add(gap)?;
            if tick >= self.ticks {
                return None;
            }
            let late = self.input.signed()?;
            let late = late.checked_mul(unit(interval).cast_signed())?;
            let expected = time.checked_add(gap.checked_mul(interval)?)?;
            time = expected.checked_add_signed(late)?;
            let mut moment = Moment {
                tick,
                time,
                seats: &mut *seats,
                found: &mut *found,
            };
            if head & 1 == 0 {
                moment.stack(thread, self.input.option()?)?;
                continue;
            }
            let count = self.input.number()?;
            if count > most as u64 {
                return None;
            }
            for _ in 0..count {
                let step = self.input.signed()?;
                thread = thread.checked_add_signed(i32::try_from(step.div_euclid(4)).ok()?)?;
                match step.rem_euclid(4) {
                    0 => moment.stack(thread, self.input.option()?)?,
                    1 => {
                        let (status, trust) = code::to_state(|| self.input.byte())?;
                        let stack = self.input.option()?;
                        moment.begin(thread, stack, status, trust)?;
                    }
                    2 => moment.stop(thread)?,
                    _ => return None,
                }
            }
        }
        let mut end = Moment {
            tick: self.ticks,
            time: 0,
            seats,
            found,
        };
        while let Some(thread) = end.seats.taken.pop() {
            end.close(thread)?;
        }
        Some(())
    }
}

/// A tick at which something changes.
struct Moment<'a> {
    tick: u64,
    time: u64,
    seats: &'a mut Seats,
    found: &'a mut Vec<Sample>,
}

impl Moment<'_> {
    /// The thread's stack has changed, and nothing else.
    fn stack(&mut self, thread: u32, stack: Option<u32>) -> Option<()> {
        let before = (*self.seats.threads.get(thread as usize)?)?;
        self.begin(thread, stack, before.status, before.trust)
    }

    /// The thread does something else.
    fn begin(
        &mut self,
        thread: u32,
        stack: Option<u32>,
        status: SampleStatus,
        trust: Trust,
    ) -> Option<()> {
        self.close(thread)?;
        let seat = self.seats.threads.get_mut(thread as usize)?;
        *seat = Some(Open {
            tick: self.tick,
            time: self.time,
            stack,
            status,
            trust,
        });
        self.seats.taken.push(thread);
        Some(())
    }

    /// The thread counts no more.
    fn stop(&mut self, thread: u32) -> Option<()> {
        self.seats.threads.get(thread as usize)?.as_ref()?;
        self.close(thread)
    }

    /// Ends what the thread did up to now, if it did anything.
    fn close(&mut self, thread: u32) -> Option<()> {
        let Some(open) = self.seats.threads.get_mut(thread as usize)?.take() else {
            return Some(());
        };
        let ticks = u32::try_from(self.tick.checked_sub(open.tick)?).ok()?;
        // Nothing lasts for no tick; two changes at the same one are not of the form.
        if ticks == 0 {
            return None;
        }
        self.found.push(Sample {
            time: open.time,
            thread,
            stack: open.stack,
            status: open.status,
            trust: open.trust,
            ticks,
        });
        Some(())
    }
}
