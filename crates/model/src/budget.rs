use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Error, ErrorKind, Result};

/// Memory for what is made of data that may come from anywhere: a recording, an image.
///
/// Whatever keeps something that grows with the data takes the bytes for it first, and stops where
/// there are no more: a few bytes can say that there is much. Clones draw on the same bytes.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    whole: usize,
    left: AtomicUsize,
    /// The budget that this one is a part of.
    of: Option<Budget>,
}

/// What an allocation takes beside its bytes.
const ALLOCATION: usize = 16;

impl Budget {
    /// What a command may make of data from anywhere where nothing else is said: with what it needs
    /// for itself, that stays below 256 MiB.
    pub const USUAL: usize = 192 << 20;

    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Shared {
            whole: bytes,
            left: AtomicUsize::new(bytes),
            of: None,
        }))
    }

    /// For what is soon dropped again: what is taken of it comes back with its last clone.
    #[must_use]
    pub fn part(&self) -> Self {
        let left = self.0.left.load(Ordering::Relaxed);
        Self(Arc::new(Shared {
            whole: left,
            left: AtomicUsize::new(left),
            of: Some(self.clone()),
        }))
    }

    /// Takes so many bytes.
    ///
    /// # Errors
    ///
    /// `Corrupt` where there are not so many any more.
    pub fn take(&self, bytes: usize) -> Result<()> {
        if let Some(of) = &self.0.of {
            of.take(bytes)?;
        }
        let less = |left: usize| left.checked_sub(bytes);
        let order = Ordering::Relaxed;
        let taken = self.0.left.fetch_update(order, order, less);
        taken.map(drop).map_err(|_| self.exceeded())
    }

    /// Takes what a text takes that is kept in memory of its own.
    ///
    /// # Errors
    ///
    /// As [`Budget::take`].
    pub fn take_text(&self, text: &str) -> Result<()> {
        self.take(text.len() + size_of::<String>() + ALLOCATION)
    }

    /// Takes what a list of so many things takes.
    ///
    /// # Errors
    ///
    /// As [`Budget::take`].
    pub fn take_list<T>(&self, count: usize) -> Result<()> {
        self.take(count.saturating_mul(size_of::<T>()))
    }

    /// Takes what a hash table of so many things takes, that has room for some more, and has been
    /// copied to where it is.
    ///
    /// # Errors
    ///
    /// As [`Budget::take`].
    pub fn take_map<T>(&self, count: usize) -> Result<()> {
        self.take(map::<T>(count))
    }

    /// Makes room in a hash table for one thing more. While it grows, the old one is there as well.
    ///
    /// # Errors
    ///
    /// As [`Budget::take`].
    pub fn make_room<K, V, S>(&self, map: &mut HashMap<K, V, S>) -> Result<()>
    where
        K: Eq + Hash,
        S: BuildHasher,
    {
        let before = map.capacity();
        if map.len() < before {
            return Ok(());
        }
        map.reserve(1);
        let grown = map.capacity().saturating_sub(before);
        self.take_list::<(K, V, u8)>(grown + grown / 2)
    }

    /// Puts a thing into a list that may have to grow for it.
    ///
    /// # Errors
    ///
    /// As [`Budget::take`].
    pub fn push<T>(&self, list: &mut Vec<T>, thing: T) -> Result<()> {
        let before = list.capacity();
        list.reserve(1);
        self.take_list::<T>(list.capacity() - before)?;
        list.push(thing);
        Ok(())
    }

    fn exceeded(&self) -> Error {
        let whole = self.whole() >> 20;
        Error::new(
            ErrorKind::Corrupt,
            format!("more than {whole} MiB of memory would be taken for what it holds"),
            "so much is enough for what Invivo itself makes, and a few bytes can say that they are \
             any number of things",
            "if you trust who made it, allow more: --memory MIB",
        )
    }

    fn whole(&self) -> usize {
        self.0.of.as_ref().map_or(self.0.whole, Budget::whole)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Self::USUAL)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(of) = &self.of {
            let taken = self.whole - self.left.load(Ordering::Relaxed);
            of.0.left.fetch_add(taken, Ordering::Relaxed);
        }
    }
}

/// What a hash table of so many things takes.
fn map<T>(count: usize) -> usize {
    // It is seven eighths full at most, twice as large each time it grows, and has a byte for each.
    let places = count.saturating_mul(8).div_ceil(7);
    let places = places.checked_next_power_of_two().unwrap_or(usize::MAX);
    places.saturating_mul(size_of::<T>() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let budget = Budget::new(100);
        let same = budget.clone();
        assert!(budget.take(60).is_ok());
        assert!(same.take(41).is_err());
        assert!(same.take(40).is_ok());
        assert!(budget.take(1).is_err());
        assert!(budget.take_list::<u64>(usize::MAX).is_err());
        assert!(budget.take_map::<u64>(usize::MAX).is_err());
    }

    #[test]
    fn a_part_comes_back() {
        let budget = Budget::new(100);
        let part = budget.part();
        assert!(part.take(70).is_ok());
        assert!(budget.take(31).is_err());
        let error = part.take(31).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt);
        drop(part);
        assert!(budget.take(100).is_ok());
    }
}
