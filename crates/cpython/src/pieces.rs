//! Pieces of a target's memory, read together.

use invivo_model::Address;
use invivo_process::{Fault, Memory, ReadRequest};

/// What is read without need is not read beyond the end of a page: the next one may not be there,
/// and each piece that comes short costs a call of its own. The least page size there is.
const PAGE: u64 = 4096;

/// A piece of memory as it was when it was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    pub(crate) start: Address,
    pub(crate) bytes: Vec<u8>,
}

impl Piece {
    /// The bytes, wherever they are.
    pub(crate) fn view(&self) -> View<'_> {
        View {
            start: self.start,
            bytes: &self.bytes,
        }
    }

    /// The `length` bytes at `address`, where the piece holds them all.
    pub(crate) fn get(&self, address: Address, length: usize) -> Option<&[u8]> {
        self.view().get(address, length)
    }

    /// The word `offset` bytes behind `address`.
    pub(crate) fn word(&self, address: Address, offset: u64) -> Option<u64> {
        self.view().word(address, offset)
    }

    /// The `int` `offset` bytes behind `address`.
    pub(crate) fn int(&self, address: Address, offset: u64) -> Option<i32> {
        self.view().int(address, offset)
    }

    /// The byte `offset` bytes behind `address`.
    pub(crate) fn byte(&self, address: Address, offset: u64) -> Option<u8> {
        self.view().byte(address, offset)
    }
}

/// Bytes of a target, and where they were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) start: Address,
    pub(crate) bytes: &'a [u8],
}

impl<'a> View<'a> {
    /// The `length` bytes at `address`, where all of them are here.
    #[inline]
    pub(crate) fn get(self, address: Address, length: usize) -> Option<&'a [u8]> {
        let from = usize::try_from(address.since(self.start)?).ok()?;
        self.bytes.get(from..from.checked_add(length)?)
    }

    /// The word `offset` bytes behind `address`.
    #[inline]
    pub(crate) fn word(self, address: Address, offset: u64) -> Option<u64> {
        let bytes = self.get(address.offset(offset)?, 8)?;
        bytes.first_chunk().map(|word| u64::from_le_bytes(*word))
    }

    /// The `int` `offset` bytes behind `address`.
    #[inline]
    pub(crate) fn int(self, address: Address, offset: u64) -> Option<i32> {
        let bytes = self.get(address.offset(offset)?, 4)?;
        bytes.first_chunk().map(|word| i32::from_le_bytes(*word))
    }

    /// The byte `offset` bytes behind `address`.
    #[inline]
    pub(crate) fn byte(self, address: Address, offset: u64) -> Option<u8> {
        self.get(address.offset(offset)?, 1)?.first().copied()
    }
}

/// Reads pieces, each given by where it begins and how long it is, by one call. Each is cut to
/// what came of it.
pub(crate) fn read_pieces(
    memory: &impl Memory,
    wanted: impl IntoIterator<Item = (Address, usize)>,
) -> Result<Vec<Piece>, Fault> {
    let wanted: Vec<(Address, usize)> = wanted.into_iter().collect();
    let lengths = wanted.iter().map(|(_, length)| *length);
    memory.ensure_room(lengths.fold(0, usize::saturating_add))?;
    let mut pieces: Vec<_> = wanted
        .into_iter()
        .map(|(start, length)| Piece {
            start,
            bytes: vec![0; length],
        })
        .collect();
    if pieces.is_empty() {
        return Ok(pieces);
    }
    let mut requests: Vec<_> = pieces
        .iter_mut()
        .map(|piece| ReadRequest::new(piece.start, &mut piece.bytes))
        .collect();
    memory.read_many(&mut requests)?;
    let filled: Vec<_> = requests.iter().map(|request| request.filled).collect();
    for (piece, filled) in pieces.iter_mut().zip(filled) {
        piece.bytes.truncate(filled);
    }
    Ok(pieces)
}

/// How much to read at `address`: `least` bytes, and as many of `wanted` as its page has.
pub(crate) fn within_page(address: Address, least: usize, wanted: usize) -> usize {
    let left = (PAGE - address.0 % PAGE) as usize;
    wanted.min(left).max(least)
}

/// Where the page begins that `address` lies in.
pub(crate) fn page_of(address: Address) -> Address {
    Address(address.0 - address.0 % PAGE)
}

/// An offset or a size of a layout as a length.
pub(crate) fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
