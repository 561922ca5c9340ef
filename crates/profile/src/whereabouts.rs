//! From which processor threads are read.
//!
//! While we run on a processor, the thread that ran there does not: its memory stands still, and
//! nothing had to be stopped for it. Where we sleep on that processor, our timer interrupts the
//! thread, at moments that have nothing to do with what it does.

use invivo_model::Looks;
use invivo_process::{Affinity, ThreadPlace, own_processor};

/// From where threads are read that run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleFrom {
    /// From their own processor where we may be there, else from another one. The affinity that we
    /// were started with says where we may be; and where sampling would take more than a tenth of
    /// that processor, as at high rates, it goes elsewhere.
    #[default]
    Auto,
    /// The same, whatever affinity we were started with.
    OwnProcessor,
    /// From another processor where there is one.
    Elsewhere,
}

/// The part of a processor that sampling may take from what is sampled.
const MOST_TAKEN: f64 = 0.1;
/// How often a tick goes after threads that run elsewhere by now.
pub(crate) const HOPS: usize = 2;

/// Where the thread that samples runs.
#[derive(Debug)]
pub struct Whereabouts {
    from: SampleFrom,
    /// Of the thread that samples. It may be another than the one that made this.
    affinity: Option<Affinity>,
    is_asked: bool,
    /// Whether all stands still that is read now.
    stopped: bool,
    /// Where to go when it does not any more.
    next: Option<u32>,
    looks: Looks,
}

impl Whereabouts {
    /// Somewhere, until a thread that runs is looked at. Belongs to the thread that looks.
    pub fn new(from: SampleFrom) -> Self {
        Self {
            from,
            affinity: None,
            is_asked: false,
            stopped: false,
            next: None,
            looks: Looks::default(),
        }
    }

    /// How threads that run were read so far.
    pub(crate) fn looks(&self) -> Looks {
        self.looks
    }

    /// The processor that we are pinned to.
    pub(crate) fn pinned(&self) -> Option<u32> {
        self.affinity.as_ref()?.pinned()
    }

    /// Says whether what is read from now on stands still. When it does no more, we go where we
    /// should be the next time.
    pub(crate) fn stand_still(&mut self, stopped: bool) {
        self.stopped = stopped;
        if !stopped && let Some(next) = self.next.take() {
            self.go(next);
        }
    }

    /// Notes how threads were read that run at these places, and goes where such threads are read
    /// best. `true` where we have gone to the processor of one for that: they are to be read again,
    /// and nothing is noted yet.
    pub(crate) fn look(&mut self, places: &[ThreadPlace], may_hop: bool) -> bool {
        let Some(first) = places.first() else {
            return false;
        };
        let count = places.len() as u64;
        if self.stopped {
            self.looks.stopped += count;
            self.next = Some(first.processor);
            return false;
        }
        let own = own_processor();
        let here = places.iter().filter(|place| place.processor == own).count() as u64;
        let aim = if here > 0 { own } else { first.processor };
        let comes = self.go(aim) && here == 0;
        if comes && may_hop {
            return true;
        }
        self.looks.own_processor += here;
        self.looks.elsewhere += count - here;
        false
    }

    /// Whether all stands still that is read now.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Notes how a thread was read, where each is read by itself.
    pub(crate) fn note(&mut self, was_here: bool) {
        match was_here {
            true => self.looks.own_processor += 1,
            false => self.looks.elsewhere += 1,
        }
    }

    /// Whether threads that run on `processor` are read from there from now on.
    pub(crate) fn come(&mut self, processor: u32) -> bool {
        self.go(processor)
    }

    /// Says what part of a processor sampling has taken lately. Where it is too much to take from
    /// what is sampled, threads are read from elsewhere from now on, unless that was ruled out.
    pub(crate) fn bound(&mut self, taken: f64) {
        if self.from == SampleFrom::Auto && taken > MOST_TAKEN && self.looks.own_processor > 0 {
            self.from = SampleFrom::Elsewhere;
            if let Some(affinity) = &mut self.affinity {
                affinity.release();
            }
        }
    }

    /// Goes to where a thread on `processor` is to be read from. Whether that is its processor.
    fn go(&mut self, processor: u32) -> bool {
        if !std::mem::replace(&mut self.is_asked, true) {
            self.affinity = Affinity::of_this_thread();
        }
        let Some(affinity) = &mut self.affinity else {
            return false;
        };
        match self.from {
            SampleFrom::Auto if !affinity.allows(processor) => {
                affinity.release();
                false
            }
            SampleFrom::Auto | SampleFrom::OwnProcessor => affinity.pin(processor),
            SampleFrom::Elsewhere => {
                affinity.avoid(processor);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_takes_too_much_it_goes_elsewhere_unless_that_is_ruled_out() {
        for from in [SampleFrom::Auto, SampleFrom::OwnProcessor] {
            let mut whereabouts = Whereabouts::new(from);
            let place = ThreadPlace {
                processor: own_processor(),
                runs: true,
                stopped: false,
            };
            // The second time we are there for certain.
            whereabouts.look(&[place], false);
            assert!(!whereabouts.look(&[place], true));
            assert_eq!(own_processor(), place.processor);
            whereabouts.bound(MOST_TAKEN / 2.0);
            assert_eq!(whereabouts.from, from);
            whereabouts.bound(MOST_TAKEN * 2.0);
            assert_eq!(
                whereabouts.from == SampleFrom::Elsewhere,
                from == SampleFrom::Auto
            );
            assert!(!whereabouts.look(&[place], true));
            let affinity = Affinity::of_this_thread().expect("our own affinity");
            let others = (0..1024).any(|one| one != place.processor && affinity.allows(one));
            if from == SampleFrom::Auto && others {
                assert_ne!(own_processor(), place.processor);
            }
            let looks = whereabouts.looks();
            assert_eq!(looks.all(), 3);
            assert!(looks.own_processor >= 1);
        }
    }
}
