//! Reads that depend on each other, made for many objects at once.

use invivo_model::Address;
use invivo_process::{Fault, Memory};

use crate::pieces::{Piece, length, read_pieces};

/// A piece of memory that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) address: Address,
    pub(crate) size: usize,
    /// Where what tells something begins and ends in it: the rest belongs to others, or changes
    /// all the time as a count of references does.
    telling: (usize, usize),
}

impl Want {
    pub(crate) fn new(address: Address, size: usize) -> Self {
        let telling = (0, size);
        Self {
            address,
            size,
            telling,
        }
    }

    /// The same piece, of which the bytes from `from` to `to` alone are looked at.
    pub(crate) fn telling(self, from: u64, to: u64) -> Self {
        let telling = (length(from).min(self.size), length(to).min(self.size));
        Self { telling, ..self }
    }

    /// What tells something of what came of it.
    fn evidence(&self, came: &Piece) -> Piece {
        let (from, to) = self.telling;
        let to = to.min(came.bytes.len());
        Piece {
            start: self.address.offset(from as u64).unwrap_or_default(),
            bytes: came.bytes.get(from..to).unwrap_or_default().to_vec(),
        }
    }

    /// `size` bytes from `offset` behind `base` on. Where that would be behind the end of the
    /// address space, a piece that nothing comes of.
    pub(crate) fn at(base: Address, offset: u64, size: usize) -> Self {
        match base.offset(offset) {
            Some(address) => Self::new(address, size),
            None => Self::new(base, 0),
        }
    }
}

/// What comes of each piece, read by one call: as much as is readable.
pub(crate) fn read_all(
    memory: &impl Memory,
    wanted: impl IntoIterator<Item = Want>,
) -> Result<Vec<Vec<u8>>, Fault> {
    let wanted = wanted.into_iter().map(|want| (want.address, want.size));
    let pieces = read_pieces(memory, wanted)?;
    Ok(pieces.into_iter().map(|piece| piece.bytes).collect())
}

type Then<'a, T> = Box<dyn FnOnce(&[&[u8]]) -> Step<'a, T> + 'a>;

/// A `T` that takes reads to come by, or is there already. Each step is of bounded size and leads
/// to a bounded number of further ones.
pub(crate) enum Step<'a, T> {
    Done(T),
    Read(Vec<Want>, Then<'a, T>),
}

impl<'a, T: 'a> Step<'a, T> {
    /// Goes on with what comes of one piece.
    pub(crate) fn read(want: Want, then: impl FnOnce(&[u8]) -> Self + 'a) -> Self {
        Self::Read(
            vec![want],
            Box::new(|came| then(came.first().copied().unwrap_or_default())),
        )
    }

    /// Goes on with the `T`, once it is there.
    pub(crate) fn then<U: 'a>(self, next: impl FnOnce(T) -> Step<'a, U> + 'a) -> Step<'a, U> {
        match self {
            Self::Done(value) => next(value),
            Self::Read(pieces, then) => {
                Step::Read(pieces, Box::new(move |came| then(came).then(next)))
            }
        }
    }
}

impl<'a, T: 'a, E: 'a> Step<'a, Result<T, E>> {
    /// Goes on with the `T`, if there is one.
    pub(crate) fn and_then<U: 'a>(
        self,
        next: impl FnOnce(T) -> Step<'a, Result<U, E>> + 'a,
    ) -> Step<'a, Result<U, E>> {
        self.then(|result| match result {
            Ok(value) => next(value),
            Err(error) => Step::Done(Err(error)),
        })
    }
}

/// Takes all steps to their end, together: each round of reads is one call.
pub(crate) fn finish<'a, T>(
    memory: &impl Memory,
    steps: impl IntoIterator<Item = Step<'a, T>>,
) -> Result<Vec<T>, Fault> {
    take_to_end(memory, steps, |_, _, _| ())
}

/// The same, each with the pieces it was made of as they came.
pub(crate) fn finish_with_pieces<'a, T>(
    memory: &impl Memory,
    steps: impl IntoIterator<Item = Step<'a, T>>,
) -> Result<Vec<(T, Vec<Piece>)>, Fault> {
    let mut all: Vec<Vec<Piece>> = Vec::new();
    let done = take_to_end(memory, steps, |index, wanted, came| {
        if all.len() <= index {
            all.resize_with(index + 1, Vec::new);
        }
        if let Some(own) = all.get_mut(index) {
            let pieces = wanted.iter().zip(came);
            own.extend(pieces.map(|(want, piece)| want.evidence(piece)));
        }
    })?;
    all.resize_with(done.len(), Vec::new);
    Ok(done.into_iter().zip(all).collect())
}

/// Takes all steps to their end, and tells `note` what came of the wants of each.
fn take_to_end<'a, T>(
    memory: &impl Memory,
    steps: impl IntoIterator<Item = Step<'a, T>>,
    mut note: impl FnMut(usize, &[Want], &[Piece]),
) -> Result<Vec<T>, Fault> {
    let mut done = Vec::new();
    let mut waiting = Vec::new();
    for (index, step) in steps.into_iter().enumerate() {
        done.push(None);
        advance(index, step, &mut done, &mut waiting);
    }
    while !waiting.is_empty() {
        let wanted = waiting
            .iter()
            .flat_map(|(_, pieces, _): &(usize, Vec<Want>, Then<'a, T>)| pieces)
            .map(|want| (want.address, want.size));
        let pieces = read_pieces(memory, wanted)?;
        let mut rest = pieces.as_slice();
        for (index, wanted, then) in std::mem::take(&mut waiting) {
            let (own, others) = rest.split_at_checked(wanted.len()).unwrap_or_default();
            rest = others;
            note(index, &wanted, own);
            let came: Vec<&[u8]> = own.iter().map(|piece| piece.bytes.as_slice()).collect();
            advance(index, then(&came), &mut done, &mut waiting);
        }
    }
    Ok(done.into_iter().flatten().collect())
}

fn advance<'a, T>(
    index: usize,
    step: Step<'a, T>,
    done: &mut [Option<T>],
    waiting: &mut Vec<(usize, Vec<Want>, Then<'a, T>)>,
) {
    match step {
        Step::Done(value) => {
            if let Some(place) = done.get_mut(index) {
                *place = Some(value);
            }
        }
        Step::Read(pieces, then) => waiting.push((index, pieces, then)),
    }
}

/// What begins at `offset`.
pub(crate) fn at(bytes: &[u8], offset: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(offset).ok()?..)
}

/// The eight bytes at `offset`.
pub(crate) fn word(bytes: &[u8], offset: u64) -> Option<u64> {
    at(bytes, offset)?
        .first_chunk()
        .map(|word| u64::from_le_bytes(*word))
}

/// The four bytes at `offset`.
pub(crate) fn half(bytes: &[u8], offset: u64) -> Option<u32> {
    at(bytes, offset)?
        .first_chunk()
        .map(|half| u32::from_le_bytes(*half))
}

/// The byte at `offset`.
pub(crate) fn byte(bytes: &[u8], offset: u64) -> Option<u8> {
    at(bytes, offset)?.first().copied()
}

/// The pointers that `bytes` holds, whole ones only.
pub(crate) fn pointers(bytes: &[u8]) -> impl Iterator<Item = Address> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| Address(u64::from_le_bytes(*word)))
}
