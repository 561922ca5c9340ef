//! Objects that hold others in a row or by keys.

use invivo_model::{Address, Result};
use invivo_process::{Fault, Memory};

use crate::fields::{corrupt, fault};
use crate::objects::{Step, Want, pointers, word};
use crate::runtime::Runtime;

const READING: &str = "cannot read a container";
/// More items than memory has room for.
const MAX_LENGTH: u64 = 1 << 48;

/// The first items of a container, and how many it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Items {
    pub(crate) items: Vec<Address>,
    pub(crate) length: u64,
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

    /// The first `limit` of `length` items that lie in a row.
    pub(crate) fn row(&self, start: Address, length: u64, limit: usize) -> Step<'_, Result<Items>> {
        if length > MAX_LENGTH {
            return Step::Done(Err(corrupt(READING, format!("its length is {length}"))));
        }
        let count = usize::try_from(length).unwrap_or(usize::MAX).min(limit);
        let piece = Want::new(start, count.saturating_mul(8));
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
}
