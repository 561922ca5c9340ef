//! The few kinds of objects that tasks hold.

use std::collections::HashSet;

use invivo_model::Address;
use invivo_process::{Memory, ReadRequest};

use super::Look;
use crate::fields::read_fields;
use crate::layout::IntSize;
use crate::layout::common::{LIST_FLAG, TUPLE_FLAG};
use crate::pieces::length;

/// A set that changes while it is read is read again this often.
const ATTEMPTS: usize = 8;
/// Entries of a set that are read at a time.
const ENTRIES_AT_ONCE: u64 = 2048;
/// Entries that the table of a set has at most: what 65,536 members take when many others have
/// come and gone, and four times as much.
const MAX_ENTRIES: u64 = 1 << 20;
/// Bytes of a key and its hash.
const ENTRY: usize = 16;
/// The hash of no object: the entry's key has been taken out.
const NO_HASH: u64 = u64::MAX;
/// Digits of an integer of at most 64 bits, and bits of each.
const DIGITS: u64 = 3;
const DIGIT_BITS: u32 = 30;

/// The members of a set.
pub(super) struct Members {
    pub(super) items: Vec<Address>,
    /// Whether it changed every time while it was read: these are all that were seen, some may be
    /// missing and some no more.
    pub(super) torn: bool,
}

/// What a set says of its table.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SetHeader {
    used: u64,
    mask: u64,
    table: Address,
}

impl SetHeader {
    fn is_where(&self, other: &Self) -> bool {
        (self.mask, self.table) == (other.mask, other.table)
    }
}

impl<M: Memory> Look<'_, M> {
    /// Bytes that tell most of a small object: a string's header and its first characters, or
    /// what another points to.
    pub(super) fn object_size(&self) -> usize {
        96
    }

    /// The attribute `name` of an instance; `None` where it is `None` as well.
    pub(super) fn attribute(&self, object: Address, name: &str) -> Option<Address> {
        self.attributes(&[object], name).pop().flatten()
    }

    /// The same of each of these.
    pub(super) fn attributes(&self, objects: &[Address], name: &str) -> Vec<Option<Address>> {
        let found = self.runtime.instance_attributes(objects, name);
        let mut found = found.unwrap_or_default();
        found.resize(objects.len(), None);
        let is_none = |object: Address| self.class_of(object).is_some_and(|class| class.is_none());
        for object in &mut found {
            *object = object.filter(|object| !is_none(*object));
        }
        found
    }

    /// The members of the set at `set`, and what is wrong with them if it changes too fast; why
    /// not, where it can't be right.
    pub(super) fn set_items(&self, set: Address, most: usize) -> Result<Members, String> {
        let is_set = |name| {
            self.class_of(set)
                .is_some_and(|class| class.is_builtin(name))
        };
        if !is_set("set") && !is_set("frozenset") {
            return Err(format!("no set at {set}"));
        }
        let mut all = HashSet::new();
        let mut header = self.set_header(set)?;
        for _ in 0..ATTEMPTS {
            if header.mask >= MAX_ENTRIES || !(header.mask + 1).is_power_of_two() {
                return Err(format!("the set at {set} can't be right"));
            }
            let (items, after) = self.entries(set, &header, most)?;
            let whole = items.len() as u64 == header.used || items.len() > most;
            if whole && after == [header; 2] {
                return Ok(Members { items, torn: false });
            }
            all.extend(items);
            [_, header] = after;
        }
        Ok(Members {
            items: all.into_iter().collect(),
            torn: true,
        })
    }

    /// What a set says of its table now, whatever it said when its page was kept.
    fn set_header(&self, set: Address) -> Result<SetHeader, String> {
        self.set_headers(set, &mut []).map(|[header, _]| header)
    }

    /// Reads the table of a set, and its header before and after it.
    fn entries(
        &self,
        set: Address,
        header: &SetHeader,
        most: usize,
    ) -> Result<(Vec<Address>, [SetHeader; 2]), String> {
        let mut items = Vec::new();
        let mut start = 0;
        let mut around = [*header; 2];
        while start <= header.mask && items.len() <= most {
            let count = ENTRIES_AT_ONCE.min(header.mask + 1 - start);
            let mut bytes = vec![0; length(count) * ENTRY];
            let at = header.table.offset(start * ENTRY as u64);
            let at = at.ok_or_else(|| format!("the set at {set} reaches out of memory"))?;
            around = self.set_headers(set, &mut [ReadRequest::new(at, &mut bytes)])?;
            // Otherwise it was not, or not for long, the table that was read.
            if !around.iter().all(|now| now.is_where(header)) {
                break;
            }
            let (words, _) = bytes.as_chunks();
            let entries = words.as_chunks::<2>().0.iter();
            let keys = entries
                .map(|[key, hash]| (u64::from_le_bytes(*key), u64::from_le_bytes(*hash)))
                .filter(|(key, hash)| *key != 0 && *hash != NO_HASH);
            items.extend(keys.map(|(key, _)| Address(key)));
            start += count;
        }
        Ok((items, around))
    }

    /// What a set says of its table before and after other pieces, all read by one call.
    fn set_headers(
        &self,
        set: Address,
        pieces: &mut [ReadRequest<'_>],
    ) -> Result<[SetHeader; 2], String> {
        let layout = &self.layout().builtin;
        let fields = [layout.set_used, layout.set_mask, layout.set_table];
        let [mut before, mut after] = [[[0; 8]; 3]; 2];
        let requests = |words| {
            let each = fields.into_iter().zip(words);
            each.map(|(offset, word): (_, &mut [u8; 8])| {
                ReadRequest::new(set.offset(offset).unwrap_or_default(), word)
            })
        };
        let pieces = pieces
            .iter_mut()
            .map(|piece| ReadRequest::new(piece.address, piece.buffer));
        let mut all: Vec<_> = requests(before.iter_mut())
            .chain(pieces)
            .chain(requests(after.iter_mut()))
            .collect();
        let read = self.fresh.memory.read_many(&mut all);
        read.map_err(|met| met.to_string())?;
        if !all.iter().all(ReadRequest::is_complete) {
            return Err(format!("the set at {set} can't be read"));
        }
        Ok([before, after].map(|words| {
            let [used, mask, table] = words.map(u64::from_le_bytes);
            SetHeader {
                used,
                mask,
                table: Address(table),
            }
        }))
    }

    /// The integer at `object`, if it is one that is not negative and fits in 64 bits.
    pub(super) fn integer(&self, object: Address) -> Option<u64> {
        if !self.class_of(object)?.is_int() {
            return None;
        }
        let layout = &self.layout().builtin;
        let (IntSize::Signed(at) | IntSize::Tagged { at, .. }) = layout.int_size;
        let [size] = read_fields(self.memory(), object, [(at, 8)]).ok()?;
        let count = match layout.int_size {
            IntSize::Signed(_) => size,
            // Its two lowest bits: 0 for a positive integer, 1 for zero.
            IntSize::Tagged { shift, .. } => match size & 0b11 {
                0 => size >> shift,
                1 => 0,
                _ => return None,
            },
        };
        let mut value: u64 = 0;
        for index in 0..Some(count).filter(|count| *count <= DIGITS)? {
            let [digit] =
                read_fields(self.memory(), object, [(layout.int_digits + index * 4, 4)]).ok()?;
            let shift = DIGIT_BITS * u32::try_from(index).ok()?;
            let part = digit
                .checked_shl(shift)
                .filter(|part| part >> shift == digit)?;
            value |= part;
        }
        Some(value)
    }

    /// The first items of the list or tuple at `object`: `most` of them.
    pub(super) fn items(&self, object: Address, most: usize) -> Vec<Address> {
        let items = || {
            let class = self.class_of(object)?;
            if class.flags & (LIST_FLAG | TUPLE_FLAG) == 0 {
                return None;
            }
            let layout = self.layout();
            let [size] = read_fields(self.memory(), object, [(layout.object.var_size, 8)]).ok()?;
            let start = if class.flags & TUPLE_FLAG != 0 {
                object.offset(layout.builtin.tuple_items)?
            } else {
                let at = object.offset(layout.builtin.list_items)?;
                self.memory().read_pointer(at).ok()?
            };
            let count = length(size).min(most);
            let mut bytes = vec![0; count * 8];
            self.memory().read(start, &mut bytes).ok()?;
            let (words, _) = bytes.as_chunks();
            let words = words.iter().map(|word| Address(u64::from_le_bytes(*word)));
            Some(words.collect())
        };
        items().unwrap_or_default()
    }
}
