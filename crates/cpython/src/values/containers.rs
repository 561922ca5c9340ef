//! Objects that hold others in a row.

use invivo_model::{Address, Result, SequenceForm};
use invivo_process::{Fault, Memory};

use super::head::Head;
use super::shapes::{Shape, Shaping};
use crate::fields::{corrupt, fault};
use crate::layout::common::DELETED_HASH;
use crate::objects::{Step, Want, pointers, word};
use crate::runtime::Runtime;

const READING: &str = "cannot read a container";
/// More items than memory has room for.
const MAX_LENGTH: u64 = 1 << 48;
/// Entries of a set that are empty and passed over, before the rest is given up.
const MAX_EMPTY: u64 = 4096;
/// Bytes of an entry of a set: the key, and its hash.
const SET_ENTRY: u64 = 16;

/// The first items of a container, and how many it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Items {
    pub(crate) items: Vec<Address>,
    pub(crate) length: u64,
}

/// The table of a set.
#[derive(Clone, Copy, Debug)]
struct Table {
    start: Address,
    entries: u64,
    /// Entries that hold something.
    used: u64,
}

/// A part of a deque.
#[derive(Clone, Copy, Debug)]
struct Block {
    start: Address,
    /// Where its first item is, among its items.
    index: u64,
}

impl<M: Memory> Runtime<M> {
    /// The first `limit` items of the tuple at `address`, which is one.
    pub(crate) fn tuple(&self, address: Address, limit: usize) -> Step<'_, Result<Items>> {
        let size = self.layout.object.var_size;
        Step::read(Want::at(address, size, 8), move |bytes| {
            let Some(length) = word(bytes, 0) else {
                return Step::Done(Err(fault(READING, Fault::Unmapped(address))));
            };
            let items = self.layout.builtin.tuple_items;
            self.row(Want::at(address, items, 0).address, length, limit)
        })
    }

    pub(super) fn list(&self, head: &Head, limit: usize) -> Shaping<'_> {
        let fields = [self.layout.object.var_size, self.layout.builtin.list_items];
        self.words(head, fields)
            .and_then(move |[length, items]| self.row(Address(items), length, limit))
            .and_then(|items| Step::Done(Ok(Shape::Row(SequenceForm::List, items))))
    }

    /// The first `limit` of `length` items that lie in a row.
    fn row(&self, start: Address, length: u64, limit: usize) -> Step<'_, Result<Items>> {
        if length > MAX_LENGTH {
            return Step::Done(Err(too_long(length)));
        }
        let count = usize::try_from(length).unwrap_or(usize::MAX).min(limit);
        let piece = Want::new(start, count.saturating_mul(8));
        if count == 0 {
            let items = Vec::new();
            return Step::Done(Ok(Items { items, length }));
        }
        Step::read(piece, move |bytes| {
            Step::Done(if bytes.len() < piece.size {
                Err(fault(READING, Fault::Unmapped(start)))
            } else {
                Ok(Items {
                    items: pointers(bytes).collect(),
                    length,
                })
            })
        })
    }

    /// A set or frozenset: the first items in the order of its table, as iterating gives them.
    pub(super) fn set(&self, head: &Head, form: SequenceForm, limit: usize) -> Shaping<'_> {
        let layout = &self.layout.builtin;
        self.words(head, [layout.set_used, layout.set_mask, layout.set_table])
            .and_then(move |[used, mask, table]| {
                if mask > MAX_LENGTH || used > mask {
                    return Step::Done(Err(too_long(mask)));
                }
                let table = Table {
                    start: Address(table),
                    entries: mask + 1,
                    used,
                };
                self.set_items(table, 0, Vec::new(), limit)
            })
            .and_then(move |items| Step::Done(Ok(Shape::Row(form, items))))
    }

    /// The items among the entries from `from` on, behind those already found.
    fn set_items(
        &self,
        table: Table,
        from: u64,
        mut items: Vec<Address>,
        limit: usize,
    ) -> Step<'_, Result<Items>> {
        let wanted = table.used.min(limit as u64);
        let missing = wanted.saturating_sub(items.len() as u64);
        let allowed = (limit as u64 * 4 + MAX_EMPTY).saturating_sub(from);
        // A third of a table is in use or more, unless items were deleted.
        let next = (table.entries - from).min(missing * 4 + 8).min(allowed);
        if missing == 0 || next == 0 {
            let length = table.used;
            return Step::Done(Ok(Items { items, length }));
        }
        let size = usize::try_from(next * SET_ENTRY).unwrap_or(0);
        let piece = Want::at(table.start, from * SET_ENTRY, size);
        Step::read(piece, move |bytes| {
            if bytes.len() < size {
                return Step::Done(Err(fault(READING, Fault::Unmapped(piece.address))));
            }
            let words: Vec<_> = pointers(bytes).collect();
            let (entries, _) = words.as_chunks();
            let found = entries
                .iter()
                .filter(|[key, hash]| !key.is_null() && hash.0 != DELETED_HASH)
                .map(|[key, _]| *key);
            let room = usize::try_from(missing).unwrap_or(0);
            items.extend(found.take(room));
            self.set_items(table, from + next, items, limit)
        })
    }

    pub(super) fn deque(&self, head: &Head, limit: usize) -> Shaping<'_> {
        let layout = self.layout.builtin.deque;
        let fields = [
            self.layout.object.var_size,
            layout.left_block,
            layout.left_index,
        ];
        self.words(head, fields)
            .and_then(move |[length, start, index]| {
                if length > MAX_LENGTH || index > layout.block_length {
                    return Step::Done(Err(too_long(length)));
                }
                let block = Block {
                    start: Address(start),
                    index,
                };
                self.deque_items(block, Vec::new(), length, limit)
            })
            .and_then(|items| Step::Done(Ok(Shape::Row(SequenceForm::Deque, items))))
    }

    /// The items in `block` and those that follow it, behind those already found.
    fn deque_items(
        &self,
        block: Block,
        mut items: Vec<Address>,
        length: u64,
        limit: usize,
    ) -> Step<'_, Result<Items>> {
        let layout = self.layout.builtin.deque;
        let missing = length.min(limit as u64) - items.len() as u64;
        if missing == 0 {
            return Step::Done(Ok(Items { items, length }));
        }
        let here = missing.min(layout.block_length.saturating_sub(block.index));
        let size = usize::try_from(here * 8).unwrap_or(0);
        let first = layout.block_items + block.index * 8;
        let wanted = vec![
            Want::at(block.start, first, size),
            Want::at(block.start, layout.block_right, 8),
        ];
        let then = move |came: &[&[u8]]| {
            let [found, next] = came else {
                return Step::Done(Err(fault(READING, Fault::Unmapped(block.start))));
            };
            let next = word(next, 0).filter(|_| found.len() == size);
            // Only the first block may hold nothing.
            let Some(next) = next.filter(|_| here > 0 || items.is_empty() && block.index > 0)
            else {
                return Step::Done(Err(fault(READING, Fault::Unmapped(block.start))));
            };
            items.extend(pointers(found));
            let block = Block {
                start: Address(next),
                index: 0,
            };
            self.deque_items(block, items, length, limit)
        };
        Step::Read(wanted, Box::new(then))
    }
}

fn too_long(length: u64) -> invivo_model::Error {
    corrupt(READING, format!("its length is {length}"))
}
