//! From which processor threads are read.
//!
//! While we run on a processor, the thread that ran there does not: its memory stands still, and
//! nothing had to be stopped for it. Where we sleep on that processor, our timer interrupts the
//! thread, at moments that have nothing to do with what it does.

use invivo_model::Looks;
use invivo_process::{Affinity, own_processor};

/// From where threads are read that run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleFrom {
    /// From their own processor where we may be there, else from another one. The affinity that we
    /// were started with says where we may be.
    #[default]
    Auto,
    /// The same, whatever affinity we were started with.
    OwnProcessor,
    /// From another processor where there is one.
    Elsewhere,
}

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

    /// Says whether what is read from now on stands still. When it does no more, we go where we
    /// should be the next time.
    pub(crate) fn stand_still(&mut self, stopped: bool) {
        self.stopped = stopped;
        if !stopped && let Some(next) = self.next.take() {
            self.go(next);
        }
    }

    /// Notes how a thread was read that runs on `processor`, and goes where such a thread is read
    /// best. `true` where we have gone to its processor for that, and it is to be read again.
    pub(crate) fn look(&mut self, processor: u32, may_hop: bool) -> bool {
        if self.stopped {
            self.looks.stopped += 1;
            self.next = Some(processor);
            return false;
        }
        let here = own_processor() == processor;
        let comes = self.go(processor) && !here;
        if comes && may_hop {
            return true;
        }
        match here {
            true => self.looks.own_processor += 1,
            false => self.looks.elsewhere += 1,
        }
        false
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
