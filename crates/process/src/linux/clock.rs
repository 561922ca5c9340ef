//! The clock that sampling goes by.

use std::num::NonZeroU64;

use rustix::io::Errno;
use rustix::thread::{clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::{ClockId, Timespec, clock_gettime};

const SECOND: u64 = 1_000_000_000;

/// Nanoseconds on a clock that only goes forward, evenly, from some moment before now.
pub fn monotonic() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Nanoseconds since the machine started, those it slept included.
pub(super) fn since_boot() -> u64 {
    nanoseconds(clock_gettime(ClockId::Boottime))
}

/// Nanoseconds of processor time that all threads of our own process have taken so far.
pub fn own_processor_time() -> u64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime))
}

/// Nanoseconds of processor time that the calling thread has taken so far.
pub fn thread_processor_time() -> u64 {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

/// Sleeps until `deadline`, a moment of [`monotonic`], in one system call. `false` where a signal
/// woke us before.
pub fn sleep_until(deadline: u64) -> bool {
    let deadline = Timespec {
        tv_sec: i64::try_from(deadline / SECOND).unwrap_or(i64::MAX),
        // Below a second's worth.
        tv_nsec: (deadline % SECOND).cast_signed(),
    };
    clock_nanosleep_absolute(ClockId::Monotonic, &deadline) != Err(Errno::INTR)
}

/// Has the kernel wake the calling thread from its sleeps when they are over, and not with
/// others' some 50 µs later. Where it does not do that, sleeps are less exact.
pub fn sleep_exactly() {
    let _ = set_current_timer_slack(NonZeroU64::new(1));
}

/// Neither clock goes below zero.
fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let rest = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(SECOND).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_when_its_deadline_has_come() {
        let before = monotonic();
        let deadline = before + 3_000_000;
        assert!(sleep_until(deadline));
        assert!(monotonic() >= deadline);
        // One that is past is not waited for.
        assert!(sleep_until(before));
        assert!(sleep_until(0));
    }

    #[test]
    fn processor_time_is_what_was_worked_and_not_what_was_slept() {
        let before = own_processor_time();
        let mut worked = 0_u64;
        while own_processor_time() < before + 2_000_000 {
            worked = worked.wrapping_add(1);
        }
        assert!(worked > 0);
    }
}
