//! On which processor a thread of ours runs.

use rustix::process::Pid;
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The processors that a thread of ours may run on, to be narrowed to a single one for a while.
/// When this is dropped, the thread may run where it might before.
#[derive(Debug)]
pub struct Affinity {
    thread: Pid,
    before: CpuSet,
    now: Confined,
}

/// What a thread was confined to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confined {
    Not,
    To(u32),
    /// To all others.
    Off(u32),
}

impl Affinity {
    /// That of the calling thread. `None` where the kernel does not tell it.
    pub fn of_this_thread() -> Option<Self> {
        let thread = gettid();
        let before = sched_getaffinity(Some(thread)).ok()?;
        Some(Self {
            thread,
            before,
            now: Confined::Not,
        })
    }

    /// Whether the thread might run on this processor before it was pinned to one.
    pub fn allows(&self, processor: u32) -> bool {
        index(processor).is_some_and(|index| self.before.is_set(index))
    }

    /// The processor that the thread is pinned to.
    pub fn pinned(&self) -> Option<u32> {
        match self.now {
            Confined::To(processor) => Some(processor),
            Confined::Not | Confined::Off(_) => None,
        }
    }

    /// Has the thread run on this processor and no other from now on: when this returns, it does.
    /// `false` where the kernel refuses it, as it does for what its cpuset does not contain; then
    /// all is as it was.
    pub fn pin(&mut self, processor: u32) -> bool {
        let Some(index) = index(processor) else {
            return false;
        };
        let mut only = CpuSet::new();
        only.set(index);
        self.confine(Confined::To(processor), &only)
    }

    /// Has the thread run on any processor that it might before except this one. `false` where
    /// there is no other; then all is as it was.
    pub fn avoid(&mut self, processor: u32) -> bool {
        let mut others = self.before;
        if let Some(index) = index(processor) {
            others.unset(index);
        }
        self.confine(Confined::Off(processor), &others)
    }

    fn confine(&mut self, to: Confined, processors: &CpuSet) -> bool {
        if self.now != to {
            if sched_setaffinity(Some(self.thread), processors).is_err() {
                return false;
            }
            self.now = to;
        }
        true
    }

    /// Lets the thread run where it might before.
    pub fn release(&mut self) {
        if self.now != Confined::Not {
            // Where it is refused, a cpuset has changed, and the kernel has chosen for us.
            let _ = sched_setaffinity(Some(self.thread), &self.before);
            self.now = Confined::Not;
        }
    }
}

impl Drop for Affinity {
    fn drop(&mut self) {
        self.release();
    }
}

/// Where in a set of processors this one is, where there can be such a one.
fn index(processor: u32) -> Option<usize> {
    let index = usize::try_from(processor).ok()?;
    (index < CpuSet::MAX_CPU).then_some(index)
}

/// The processor that the calling thread runs on at this moment.
pub fn own_processor() -> u32 {
    u32::try_from(sched_getcpu()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says of the calling thread.
    fn allowed() -> CpuSet {
        sched_getaffinity(None).expect("our own affinity")
    }

    #[test]
    fn a_thread_is_where_it_is_pinned_until_it_is_let_go() {
        let before = allowed();
        let mut affinity = Affinity::of_this_thread().expect("our own affinity");
        let all = u32::try_from(CpuSet::MAX_CPU).expect("a small number");
        let processors: Vec<u32> = (0..all).filter(|one| affinity.allows(*one)).collect();
        assert!(!processors.is_empty());
        for processor in processors {
            assert!(affinity.pin(processor));
            assert_eq!(affinity.pinned(), Some(processor));
            assert_eq!(own_processor(), processor);
            assert_eq!(allowed().count(), 1);
        }
        drop(affinity);
        assert_eq!(allowed(), before);
    }

    #[test]
    fn what_is_no_processor_is_refused_and_nothing_changes() {
        let before = allowed();
        let mut affinity = Affinity::of_this_thread().expect("our own affinity");
        for processor in [u32::MAX, 1023] {
            if !affinity.allows(processor) {
                assert!(!affinity.pin(processor), "{processor}");
                assert_eq!(affinity.pinned(), None);
            }
        }
        assert_eq!(allowed(), before);
    }

    #[test]
    fn threads_that_were_not_pinned_are_left_alone() {
        let before = allowed();
        let mut affinity = Affinity::of_this_thread().expect("our own affinity");
        assert!(affinity.pin(own_processor()));
        let other = std::thread::spawn(|| allowed().count());
        // What a pinned thread starts is pinned with it.
        assert_eq!(other.join().expect("its end"), 1);
        affinity.release();
        let other = std::thread::spawn(allowed);
        assert_eq!(other.join().expect("its end"), before);
    }
}
