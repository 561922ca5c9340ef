//! The first bytes of an object, and which of them have told something.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use invivo_model::Address;

use crate::objects::{at, word};
use crate::pieces::Piece;

/// Bytes before an object that may tell of its attributes.
pub(super) const BEFORE: usize = 32;
/// Bytes of an object that are read at first.
pub(super) const HEAD: usize = 192;
/// As many of them are read wherever the object lies in its page.
pub(super) const LEAST_HEAD: usize = 96;

/// The first bytes of an object, and those before it. It remembers which of them have been looked
/// at: what was read beside them belongs to others, or changes all the time as a count of
/// references does.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) address: Address,
    bytes: Vec<u8>,
    /// Empty where nothing can be read there.
    before: Vec<u8>,
    /// The words that have been looked at: a bit each, from the first one before the object on.
    told: Rc<Cell<u32>>,
}

impl Head {
    /// What was read of the object at `address`, and before it.
    pub(super) fn new(address: Address, bytes: &[u8], before: &[u8]) -> Self {
        Self {
            address,
            bytes: bytes.to_vec(),
            before: before.to_vec(),
            told: Rc::default(),
        }
    }

    /// The word at `offset`, if it was read.
    pub(crate) fn word(&self, offset: u64) -> Option<u64> {
        let found = word(&self.bytes, offset)?;
        self.note(offset, 8);
        Some(found)
    }

    /// The byte at `offset`, if it was read.
    pub(super) fn byte(&self, offset: u64) -> Option<u8> {
        let found = at(&self.bytes, offset)?.first().copied()?;
        self.note(offset, 1);
        Some(found)
    }

    /// The word so many bytes before the object.
    pub(super) fn word_before(&self, bytes: u64) -> Option<u64> {
        let offset = (BEFORE as u64).checked_sub(bytes)?;
        let found = word(&self.before, offset)?;
        self.told.set(self.told.get() | 1 << (offset / 8));
        Some(found)
    }

    /// The `size` bytes from `offset` on, if they were read.
    pub(super) fn slice(&self, offset: u64, size: usize) -> Option<&[u8]> {
        let found = at(&self.bytes, offset)?.get(..size)?;
        self.note(offset, size as u64);
        Some(found)
    }

    /// All that was read from where the object begins; what it tells are the bytes at `telling`.
    pub(super) fn bytes(&self, telling: Range<u64>) -> &[u8] {
        self.note(telling.start, telling.end.saturating_sub(telling.start));
        &self.bytes
    }

    fn note(&self, offset: u64, size: u64) {
        let first = (offset + BEFORE as u64) / 8;
        let end = (offset + size + BEFORE as u64).div_ceil(8);
        for bit in first..end.min(u32::BITS.into()) {
            self.told.set(self.told.get() | 1 << bit);
        }
    }

    /// The words that have told something, as they were; those that lie in a row together.
    pub(super) fn evidence(&self) -> Vec<Piece> {
        let words = (0..u32::BITS).filter(|bit| self.told.get() >> bit & 1 == 1);
        let mut pieces: Vec<Piece> = Vec::new();
        for bit in words {
            let offset = bit as usize * 8;
            let (from, bytes) = match offset.checked_sub(BEFORE) {
                Some(inside) => (inside, &self.bytes),
                None => (offset, &self.before),
            };
            let rest = bytes.get(from..).unwrap_or_default();
            let word = rest.get(..8).unwrap_or(rest);
            let start = (self.address.0 + offset as u64).saturating_sub(BEFORE as u64);
            match pieces.last_mut() {
                Some(last) if last.start.0 + last.bytes.len() as u64 == start => {
                    last.bytes.extend_from_slice(word);
                }
                _ if word.is_empty() => {}
                _ => pieces.push(Piece {
                    start: Address(start),
                    bytes: word.to_vec(),
                }),
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_what_was_looked_at() {
        let bytes: Vec<u8> = (0..192).collect();
        let head = Head::new(Address(0x1000), &bytes, &[7; BEFORE]);
        assert!(head.evidence().is_empty());
        let _ = (head.word(8), head.slice(16, 3), head.clone().byte(100));
        let _ = (head.word_before(8), head.word(190));
        let found: Vec<_> = head
            .evidence()
            .into_iter()
            .map(|piece| (piece.start.0, piece.bytes))
            .collect();
        let expected = [
            (0xff8, vec![7; 8]),
            (0x1008, (8..24).collect()),
            (0x1060, (96..104).collect()),
        ];
        assert_eq!(found, expected);
    }
}
