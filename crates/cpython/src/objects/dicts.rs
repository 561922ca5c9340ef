//! Dictionaries: whole ones, and values of instances whose keys their class keeps.

use invivo_model::{Address, Result};
use invivo_process::{Fault, Memory};

use super::steps::{Step, Want, byte, finish, pointers, word};
use crate::fields::{corrupt, fault};
use crate::layout::common::{DICT_FLAG, DICT_KEYS_GENERAL, DICT_KEYS_SPLIT, DICT_KEYS_UNICODE};
use crate::layout::{IndexBytes, ValuesOrder};
use crate::pieces::length;
use crate::runtime::Runtime;

const READING: &str = "cannot read a dictionary";
/// How many keys of a dictionary are compared at a time.
const KEYS_AT_ONCE: usize = 512;
/// More bytes than the indices of any dictionary take, as a logarithm.
const MAX_LOG2_INDEX_BYTES: u64 = 40;
/// Entries that are passed over because they were deleted, before the rest is given up.
const MAX_DELETED: usize = 4096;
/// Bytes before or behind the values of an instance that say in which order they were set: classes
/// keep fewer keys for their instances.
const MAX_ORDER: usize = 256;

/// What a dictionary holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DictItems {
    /// Keys and values.
    pub items: Vec<(Address, Address)>,
    /// Whether there are more than [`Limits`](crate::Limits) allows.
    pub truncated: bool,
}

/// The first keys and values of a dictionary, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pairs {
    pub(crate) items: Vec<(Address, Address)>,
    /// Whether there are more.
    pub(crate) truncated: bool,
    /// How many there are in all.
    pub(crate) length: u64,
}

/// The entries of a dictionary's keys.
#[derive(Clone, Copy, Debug)]
struct Entries {
    start: Address,
    count: usize,
    /// Words that each takes, and which of them is the key; the value follows it.
    words: usize,
    key: usize,
}

impl Entries {
    fn piece(&self, from: usize, count: usize) -> Want {
        let size = self.words * 8;
        Want::at(self.start, (from * size) as u64, count * size)
    }

    fn pairs(&self, bytes: &[u8]) -> impl Iterator<Item = (Address, Address)> {
        let words: Vec<_> = pointers(bytes).collect();
        let (size, key) = (self.words, self.key);
        (0..words.len() / size).map(move |entry| {
            let word = |at: usize| words.get(entry * size + at).copied().unwrap_or_default();
            (word(key), word(key + 1))
        })
    }
}

impl<M: Memory> Runtime<M> {
    /// The keys and values of the dictionary at `address`, in order.
    ///
    /// # Errors
    ///
    /// `Corrupt` where there is no dictionary or one that changes meanwhile, `Gone` or `Refused`
    /// where memory can't be read at all.
    pub fn dict_items(&self, address: Address) -> Result<DictItems> {
        if self.type_flags(address, READING)? & DICT_FLAG == 0 {
            return Err(corrupt(READING, format!("the object at {address} is none")));
        }
        let step = self.dict(address, self.limits.dict_entries);
        let pairs = finish(&self.memory, [step]).map_err(|met| fault(READING, met))?;
        let pairs = pairs.into_iter().next().transpose()?.unwrap_or_default();
        Ok(DictItems {
            items: pairs.items,
            truncated: pairs.truncated,
        })
    }

    /// The value that a dictionary has for a key of ASCII characters.
    pub(crate) fn dict_value(&self, dict: Address, name: &str) -> Result<Option<Address>> {
        let items = self.dict_items(dict)?.items;
        let found = finish(&self.memory, [self.find_key(items, name)]);
        let found = found.map_err(|met| fault(READING, met))?;
        Ok(found.into_iter().next().flatten())
    }

    /// The value in `items` whose key is `name`, of ASCII characters.
    pub(crate) fn find_key<'a>(
        &'a self,
        mut items: Vec<(Address, Address)>,
        name: &'a str,
    ) -> Step<'a, Option<Address>> {
        let rest = items.split_off(items.len().min(KEYS_AT_ONCE));
        let data = length(self.layout.unicode.ascii_data);
        let type_of = self.layout.object.type_of;
        let keys = items
            .iter()
            .map(|(key, _)| Want::new(*key, data + name.len()).telling(type_of, u64::MAX));
        Step::Read(
            keys.collect(),
            Box::new(move |came| {
                let mut keys = items.iter().zip(came);
                match keys.find(|((key, _), bytes)| self.is_name(*key, bytes, name)) {
                    Some(((_, value), _)) => Step::Done(Some(*value)),
                    None if rest.is_empty() => Step::Done(None),
                    None => self.find_key(rest, name),
                }
            }),
        )
    }

    /// The first `limit` keys and values of the dictionary at `address`, which is one.
    pub(crate) fn dict(&self, address: Address, limit: usize) -> Step<'_, Result<Pairs>> {
        let layout = &self.layout.dict;
        let end = layout.used.max(layout.keys).max(layout.values) + 8;
        let size = length(end);
        let want = Want::new(address, size).telling(self.layout.object.type_of, end);
        Step::read(want, move |bytes| {
            let field = |offset| word(bytes, offset);
            let fields = (field(layout.used), field(layout.keys), field(layout.values));
            let (Some(used), Some(keys), Some(values)) = fields else {
                return Step::Done(Err(fault(READING, Fault::Unmapped(address))));
            };
            let values = Some(Address(values)).filter(|values| !values.is_null());
            self.keyed(Address(keys), values, limit).then(move |pairs| {
                // A dictionary has no more items than entries.
                Step::Done(pairs.map(|pairs| Pairs {
                    length: used.min(pairs.length),
                    ..pairs
                }))
            })
        })
    }

    /// The first `limit` keys of the keys at `keys` and their values: those at `values`, or what
    /// stands beside them. `length` then is how many entries there are, or values in `values`.
    pub(crate) fn keyed(
        &self,
        keys: Address,
        values: Option<Address>,
        limit: usize,
    ) -> Step<'_, Result<Pairs>> {
        let size = length(self.layout.dict.in_keys.indices);
        // They begin with a count of references.
        let want = Want::new(keys, size).telling(8, u64::MAX);
        Step::read(want, move |header| {
            let Some(entries) = self.entries(keys, header) else {
                return Step::Done(Err(corrupt(
                    READING,
                    format!("its keys at {keys} can't be right"),
                )));
            };
            match values {
                Some(values) => self.split(entries, values, limit),
                None => self.combined(entries, 0, Vec::new(), limit),
            }
        })
    }

    /// Understands the header of a dictionary's keys.
    fn entries(&self, keys: Address, header: &[u8]) -> Option<Entries> {
        let layout = &self.layout.dict.in_keys;
        let count = word(header, layout.entry_count)?;
        let (indices, index_bytes) = match layout.index_bytes {
            IndexBytes::Logarithm(at) => {
                let logarithm = u64::from(byte(header, at)?);
                let bytes = 1_u64.checked_shl(u32::try_from(logarithm).ok()?)?;
                (bytes, bytes)
            }
            IndexBytes::Count(at) => {
                let indices = word(header, at)?;
                let width = match indices {
                    0..=0xff => 1,
                    0x100..=0xffff => 2,
                    0x1_0000..=0xffff_ffff => 4,
                    _ => 8,
                };
                (indices, indices.checked_mul(width)?)
            }
        };
        // Every entry has an index of a byte at least.
        if index_bytes > 1 << MAX_LOG2_INDEX_BYTES || count > indices {
            return None;
        }
        let kind = match layout.kind {
            Some(at) => u64::from(byte(header, at)?),
            None => DICT_KEYS_GENERAL,
        };
        let (words, key) = match kind {
            DICT_KEYS_GENERAL => (3, 1),
            DICT_KEYS_UNICODE | DICT_KEYS_SPLIT => (2, 0),
            _ => return None,
        };
        Some(Entries {
            start: keys.offset(layout.indices + index_bytes)?,
            count: usize::try_from(count).ok()?,
            words,
            key,
        })
    }

    /// The items among the entries from `from` on, behind those already found.
    fn combined(
        &self,
        entries: Entries,
        from: usize,
        mut found: Vec<(Address, Address)>,
        limit: usize,
    ) -> Step<'_, Result<Pairs>> {
        let left = entries.count.saturating_sub(from);
        let missing = limit.saturating_sub(found.len());
        let allowed = limit.saturating_add(MAX_DELETED).saturating_sub(from);
        // Some may have been deleted.
        let next = left.min(missing.saturating_add(32)).min(allowed);
        if next == 0 || missing == 0 {
            return Step::Done(Ok(Pairs {
                items: found,
                truncated: left > 0,
                length: entries.count as u64,
            }));
        }
        let piece = entries.piece(from, next);
        Step::read(piece, move |bytes| {
            if bytes.len() < piece.size {
                return Step::Done(Err(fault(READING, Fault::Unmapped(piece.address))));
            }
            let mut passed = 0;
            for (key, value) in entries.pairs(bytes) {
                if found.len() == limit {
                    break;
                }
                passed += 1;
                if !key.is_null() && !value.is_null() {
                    found.push((key, value));
                }
            }
            self.combined(entries, from + passed, found, limit)
        })
    }

    /// The items whose keys are in `entries`, with values of their own.
    fn split(&self, entries: Entries, values: Address, limit: usize) -> Step<'_, Result<Pairs>> {
        let layout = &self.layout.dict;
        let count = entries.count.min(self.limits.dict_entries);
        let keys = entries.piece(0, count);
        let values_at = Want::at(values, layout.in_values, count * 8);
        let order = match layout.order {
            ValuesOrder::OfKeys => Want::new(values, 0),
            ValuesOrder::Before => {
                let start = values.0.saturating_sub(MAX_ORDER as u64);
                let end = MAX_ORDER as u64;
                Want::new(Address(start), MAX_ORDER).telling(end - 8, end)
            }
            ValuesOrder::Behind { .. } => {
                let header = length(layout.in_values);
                Want::new(values, header + MAX_ORDER * 9).telling(0, layout.in_values)
            }
        };
        let then = move |came: &[&[u8]]| {
            let [found_keys, found_values, order] = came else {
                return Step::Done(Err(fault(READING, Fault::Unmapped(values))));
            };
            if found_keys.len() < keys.size || found_values.len() < values_at.size {
                return Step::Done(Err(fault(READING, Fault::Unmapped(values))));
            }
            let found: Vec<_> = entries
                .pairs(found_keys)
                .zip(pointers(found_values))
                .map(|((key, _), value)| (key, value))
                .collect();
            let mut items = in_order(found, self.set_order(order));
            let length = items.len();
            items.truncate(limit);
            Step::Done(Ok(Pairs {
                truncated: items.len() < length || count < entries.count,
                items,
                length: length as u64,
            }))
        };
        Step::Read(vec![keys, values_at, order], Box::new(then))
    }

    /// The indices of values in the order in which they were set, from what lies around them.
    fn set_order<'b>(&self, around: &'b [u8]) -> Box<dyn Iterator<Item = u8> + 'b> {
        let layout = &self.layout.dict;
        match layout.order {
            ValuesOrder::OfKeys => Box::new(std::iter::empty()),
            // The last byte is how many bytes there are here, the one before how many are set.
            ValuesOrder::Before => {
                let mut backwards = around.iter().rev().skip(1).copied();
                let set = backwards.next().unwrap_or(0);
                Box::new(backwards.take(usize::from(set)))
            }
            ValuesOrder::Behind { capacity, set, .. } => {
                let capacity = byte(around, capacity).unwrap_or(0);
                let set = byte(around, set).unwrap_or(0);
                let start = layout.in_values + u64::from(capacity) * 8;
                let behind = super::steps::at(around, start).unwrap_or_default();
                Box::new(behind.iter().copied().take(usize::from(set)))
            }
        }
    }
}

/// Those items that have a value: first as `order` names them, then those that it doesn't name.
fn in_order(
    mut items: Vec<(Address, Address)>,
    order: impl Iterator<Item = u8>,
) -> Vec<(Address, Address)> {
    let mut sorted = Vec::with_capacity(items.len());
    for index in order {
        if let Some(item) = items.get_mut(usize::from(index)) {
            sorted.push(std::mem::take(item));
        }
    }
    sorted.append(&mut items);
    sorted.retain(|(key, value)| !key.is_null() && !value.is_null());
    sorted
}
