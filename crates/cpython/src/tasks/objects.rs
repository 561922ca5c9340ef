//! The few kinds of objects that tasks hold.

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
#[derive(Default)]
pub(super) struct Members {
    pub(super) items: Vec<Address>,
    /// Whether it changed while it was read, every time: some may be missing, and some no more.
    pub(super) torn: bool,
}

/// What a set says of its table.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SetHeader {
    used: u64,
    mask: u64,
    table: Address,
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
        let mut best = Members::default();
        let mut before = self.set_header(set, &mut [])?;
        for _ in 0..ATTEMPTS {
            if before.mask >= MAX_ENTRIES || !(before.mask + 1).is_power_of_two() {
                return Err(format!("the set at {set} can't be right"));
            }
            let (items, after) = self.entries(set, &before, most)?;
            let whole = items.len() as u64 == before.used || items.len() > most;
            if whole && before == after {
                return Ok(Members { items, torn: false });
            }
            if items.len() >= best.items.len() {
                best.items = items;
            }
            before = after;
        }
        best.torn = true;
        Ok(best)
    }

    /// Reads the table of a set, and its header again.
    fn entries(
        &self,
        set: Address,
        header: &SetHeader,
        most: usize,
    ) -> Result<(Vec<Address>, SetHeader), String> {
        let mut items = Vec::new();
        let mut start = 0;
        let mut after = *header;
        while start <= header.mask && items.len() <= most {
            let count = ENTRIES_AT_ONCE.min(header.mask + 1 - start);
            let mut bytes = vec![0; length(count) * ENTRY];
            let at = header.table.offset(start * ENTRY as u64);
            let at = at.ok_or_else(|| format!("the set at {set} reaches out of memory"))?;
            after = self.set_header(set, &mut [ReadRequest::new(at, &mut bytes)])?;
            let (words, _) = bytes.as_chunks();
            let entries = words.as_chunks::<2>().0.iter();
            let keys = entries
                .map(|[key, hash]| (u64::from_le_bytes(*key), u64::from_le_bytes(*hash)))
                .filter(|(key, hash)| *key != 0 && *hash != NO_HASH);
            items.extend(keys.map(|(key, _)| Address(key)));
            start += count;
        }
        Ok((items, after))
    }

    /// What a set says of its table, read behind another piece by the same call: as it is now, not
    /// as it was when the page was kept.
    fn set_header(&self, set: Address, first: &mut [ReadRequest<'_>]) -> Result<SetHeader, String> {
        let layout = &self.layout().builtin;
        let mut words = [[0; 8]; 3];
        let [used, mask, table] = &mut words;
        let at = |offset| set.offset(offset).unwrap_or_default();
        let mut requests: Vec<_> = first
            .iter_mut()
            .map(|piece| ReadRequest::new(piece.address, piece.buffer))
            .collect();
        requests.push(ReadRequest::new(at(layout.set_used), used));
        requests.push(ReadRequest::new(at(layout.set_mask), mask));
        requests.push(ReadRequest::new(at(layout.set_table), table));
        let read = self.fresh.memory.read_many(&mut requests);
        read.map_err(|met| met.to_string())?;
        if !requests.iter().all(ReadRequest::is_complete) {
            return Err(format!("the set at {set} can't be read"));
        }
        let [used, mask, table] = words.map(u64::from_le_bytes);
        Ok(SetHeader {
            used,
            mask,
            table: Address(table),
        })
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
