//! Reading no longer, and no more, than was agreed.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::{Address, Fault, Memory, ReadRequest};

/// Memory that is read until a deadline and up to so many bytes, whatever the target makes its
/// reader believe: a walk that reads on every step ends.
#[derive(Clone, Debug)]
pub struct Bounded<M> {
    memory: M,
    until: Option<Instant>,
    /// That may still be asked for.
    bytes: Cell<u64>,
    met: Cell<Option<Fault>>,
}

impl<M> Bounded<M> {
    /// Lets `memory` be read for `time` from now on, and `bytes` of it at most. A time that no
    /// clock reaches is no bound.
    pub fn new(memory: M, time: Duration, bytes: u64) -> Self {
        Self {
            memory,
            until: Instant::now().checked_add(time),
            bytes: Cell::new(bytes),
            met: Cell::new(None),
        }
    }

    /// Which of its bounds kept something from being read, if one did: the last.
    pub fn met(&self) -> Option<Fault> {
        self.met.get()
    }

    fn refuse(&self, bound: Fault) -> Result<(), Fault> {
        self.met.set(Some(bound));
        Err(bound)
    }
}

impl<M: Memory> Memory for Bounded<M> {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return self.refuse(Fault::TimedOut);
        }
        self.count_kept(requests.iter().map(|request| request.buffer.len()).sum())?;
        self.memory.read_many(requests)
    }

    fn ensure_room(&self, bytes: usize) -> Result<(), Fault> {
        match self.bytes.get().checked_sub(bytes as u64) {
            Some(_) => Ok(()),
            None => self.refuse(Fault::Exhausted),
        }
    }

    fn count_kept(&self, bytes: usize) -> Result<(), Fault> {
        match self.bytes.get().checked_sub(bytes as u64) {
            Some(left) => {
                self.bytes.set(left);
                Ok(())
            }
            None => self.refuse(Fault::Exhausted),
        }
    }

    fn look_again(&self) {
        self.memory.look_again();
    }

    fn has_changed(&self, address: Address, size: usize) -> bool {
        self.memory.has_changed(address, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Image;

    fn eight_bytes() -> Image {
        let mut image = Image::new();
        image.insert(Address(0x1000), &[1; 8]);
        image
    }

    #[test]
    fn no_more_is_read_than_agreed() {
        let memory = Bounded::new(eight_bytes(), Duration::MAX, 12);
        assert!(memory.read_u64(Address(0x1000)).is_ok());
        assert_eq!(memory.met(), None);
        assert_eq!(memory.read_u64(Address(0x1000)), Err(Fault::Exhausted));
        // What still fits is still read.
        assert!(memory.read_u32(Address(0x1000)).is_ok());
        assert_eq!(memory.read_u32(Address(0x1000)), Err(Fault::Exhausted));
        assert_eq!(memory.met(), Some(Fault::Exhausted));
    }

    #[test]
    fn what_is_kept_counts_as_read() {
        let memory = Bounded::new(eight_bytes(), Duration::MAX, 12);
        assert_eq!((&&memory).ensure_room(12), Ok(()));
        assert_eq!((&&memory).count_kept(8), Ok(()));
        assert_eq!(memory.met(), None);
        assert_eq!(memory.ensure_room(5), Err(Fault::Exhausted));
        assert_eq!(memory.met(), Some(Fault::Exhausted));
        assert_eq!(memory.read_u64(Address(0x1000)), Err(Fault::Exhausted));
        assert!(memory.read_u32(Address(0x1000)).is_ok());
        assert_eq!(memory.count_kept(1), Err(Fault::Exhausted));
    }

    #[test]
    fn nothing_is_read_when_the_time_is_up() {
        let memory = Bounded::new(eight_bytes(), Duration::ZERO, u64::MAX);
        assert_eq!(memory.read_u64(Address(0x1000)), Err(Fault::TimedOut));
        assert_eq!(memory.met(), Some(Fault::TimedOut));
    }
}
