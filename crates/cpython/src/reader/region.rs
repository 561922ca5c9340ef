//! Pieces of a target's memory that are read again and again.

use invivo_model::Address;
use invivo_process::{Fault, Memory, ReadRequest};

use crate::pieces::View;

/// What is compared at a time: first much, then less where something differs.
const BLOCKS: [usize; 3] = [2048, 64, 1];

/// A piece of memory as it was the last time, and as it is now.
#[derive(Debug, Default)]
pub(super) struct Region {
    pub(super) start: Address,
    bytes: Vec<u8>,
    before: Vec<u8>,
    filled: usize,
    /// How many bytes from the start on are what they were when something was concluded from them.
    same: usize,
    /// Whether that was the last time.
    concluded: bool,
    /// In how many rounds it has not been needed.
    pub(super) idle: u32,
}

impl Region {
    /// So many bytes at `start`, of which nothing has been read.
    pub(super) fn new(start: Address, length: usize) -> Self {
        Self {
            start,
            bytes: vec![0; length],
            ..Self::default()
        }
    }

    /// Reads so many bytes at `start` from now on.
    pub(super) fn place(&mut self, start: Address, length: usize) {
        if self.start != start {
            self.start = start;
            self.filled = 0;
        }
        self.bytes.resize(length, 0);
        self.filled = self.filled.min(length);
    }

    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is something to read.
    pub(super) fn is_wanted(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Where it is to be read to. What has been read is what was, from now on.
    pub(super) fn refill(&mut self) -> &mut [u8] {
        std::mem::swap(&mut self.bytes, &mut self.before);
        self.bytes.resize(self.before.len(), 0);
        self.before.truncate(self.filled);
        &mut self.bytes
    }

    /// Notes how much has been read.
    pub(super) fn fill(&mut self, filled: usize) {
        self.filled = filled.min(self.bytes.len());
        let common = common(
            self.bytes.get(..self.filled).unwrap_or_default(),
            &self.before,
        );
        // What is the same as what was the same is, too.
        self.same = if self.concluded {
            common
        } else {
            common.min(self.same)
        };
        self.concluded = false;
    }

    /// Notes that something is concluded from what is here: what is read next is compared with it.
    pub(super) fn conclude(&mut self) {
        self.concluded = true;
    }

    pub(super) fn is_whole(&self) -> bool {
        self.filled == self.bytes.len()
    }

    /// Whether nothing has changed since something was concluded from it.
    pub(super) fn is_same(&self) -> bool {
        self.same == self.bytes.len()
    }

    /// Where the first byte lies that has changed since something was concluded.
    pub(super) fn changed_at(&self) -> Address {
        self.start.offset(self.same as u64).unwrap_or_default()
    }

    /// Whether the `length` bytes at `address` have been read here.
    pub(super) fn holds(&self, address: Address, length: usize) -> bool {
        let from = address.since(self.start);
        from.is_some_and(|from| from.saturating_add(length as u64) <= self.filled as u64)
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            start: self.start,
            bytes: self.bytes.get(..self.filled).unwrap_or_default(),
        }
    }

    /// The word it begins with.
    pub(super) fn word(&self) -> Option<u64> {
        self.view().word(self.start, 0)
    }
}

/// Reads all of these that there is something to read of, by one call.
pub(super) fn read_regions<'a>(
    memory: &impl Memory,
    regions: impl IntoIterator<Item = &'a mut Region>,
) -> Result<(), Fault> {
    let regions = regions.into_iter().filter(|region| region.is_wanted());
    let mut regions: Vec<_> = regions.collect();
    let requests = regions.iter_mut().map(|region| {
        let start = region.start;
        ReadRequest::new(start, region.refill())
    });
    let mut requests: Vec<_> = requests.collect();
    memory.read_many(&mut requests)?;
    let filled: Vec<_> = requests.iter().map(|request| request.filled).collect();
    for (region, filled) in regions.into_iter().zip(filled) {
        region.fill(filled);
    }
    Ok(())
}

/// How many bytes from the start on are the same.
fn common(one: &[u8], other: &[u8]) -> usize {
    if one == other {
        return one.len();
    }
    let mut known = 0;
    for step in BLOCKS {
        let (one, other) = (one.get(known..), other.get(known..));
        let (one, other) = one.zip(other).unwrap_or_default();
        let blocks = one.chunks_exact(step).zip(other.chunks_exact(step));
        known += step * blocks.take_while(|(one, other)| one == other).count();
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(region: &mut Region, bytes: &[u8]) {
        region.refill().copy_from_slice(bytes);
        region.fill(bytes.len());
    }

    fn conclude(region: &mut Region, bytes: &[u8]) {
        read(region, bytes);
        region.conclude();
    }

    #[test]
    fn what_has_not_changed_is_known() {
        let mut region = Region::new(Address(0x1000), 5000);
        let mut bytes = [7; 5000];
        conclude(&mut region, &bytes);
        assert!(region.is_whole() && !region.is_same());
        conclude(&mut region, &bytes);
        assert!(region.is_same());
        for at in [0, 63, 64, 130, 2047, 2048, 4999] {
            bytes[at] += 1;
            conclude(&mut region, &bytes);
            assert_eq!(region.changed_at(), Address(0x1000 + at as u64));
        }
        // Nothing is known of another place.
        region.place(Address(0x2000), 5000);
        read(&mut region, &bytes);
        assert_eq!(region.changed_at(), Address(0x2000));
    }

    #[test]
    fn what_was_read_and_not_used_does_not_count() {
        let mut region = Region::new(Address(0x1000), 100);
        conclude(&mut region, &[1; 100]);
        let mut other = [1; 100];
        other[50] = 2;
        read(&mut region, &other);
        read(&mut region, &other);
        assert_eq!(region.changed_at(), Address(0x1000 + 50));
        region.conclude();
        read(&mut region, &other);
        assert!(region.is_same());
    }

    #[test]
    fn one_that_grows_still_knows_its_beginning() {
        let mut region = Region::new(Address(0x1000), 100);
        conclude(&mut region, &[1; 100]);
        region.place(Address(0x1000), 150);
        read(&mut region, &[1; 150]);
        assert_eq!(region.changed_at(), Address(0x1000 + 100));
        // What comes short is no more than what came.
        region.refill();
        region.fill(60);
        assert_eq!(region.changed_at(), Address(0x1000 + 60));
        assert!(!region.is_whole());
        assert!(region.holds(Address(0x1020), 28) && !region.holds(Address(0x1020), 29));
    }
}
