//! Strings and dictionaries.

use invivo_model::{Address, Result, Text};
use invivo_process::{Memory, ReadRequest};

use crate::fields::{corrupt, fault, read_fields};
use crate::layout::IndexBytes;
use crate::layout::common::{
    DICT_FLAG, DICT_KEYS_GENERAL, DICT_KEYS_SPLIT, DICT_KEYS_UNICODE, STRING_FLAG,
};
use crate::runtime::Runtime;

const READING_STRING: &str = "cannot read a string";
const READING_DICT: &str = "cannot read a dictionary";
/// How many bytes of characters are read with a string's header: most names are shorter.
const WITH_HEADER: usize = 128;
/// How many keys of a dictionary are compared at a time.
const KEYS_AT_ONCE: usize = 512;
/// More bytes than the indices of any dictionary take.
const MAX_INDEX_BYTES: u64 = 1 << 40;

/// What a dictionary holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DictItems {
    /// Keys and values.
    pub items: Vec<(Address, Address)>,
    /// Whether there are more than [`Limits`](crate::Limits) allows.
    pub truncated: bool,
}

/// What the header of a string says.
pub(crate) struct StringHeader {
    pub(crate) length: u64,
    /// Bytes a character.
    pub(crate) width: usize,
    /// Where the characters are.
    pub(crate) data: Address,
}

impl<M: Memory> Runtime<M> {
    /// The string at `address`, whichever of CPython's forms it has.
    ///
    /// # Errors
    ///
    /// `Corrupt` where there is no string, `Gone` or `Refused` where memory can't be read at all.
    pub fn string(&self, address: Address) -> Result<Text> {
        if !self.is_string(address)? {
            return Err(corrupt(
                READING_STRING,
                format!("the object at {address} is none"),
            ));
        }
        let header_size = usize::try_from(self.layout.unicode.compact_data + 8).unwrap_or(0);
        let mut bytes = vec![0; header_size + WITH_HEADER];
        let mut request = [ReadRequest::new(address, &mut bytes)];
        self.memory
            .read_many(&mut request)
            .map_err(|met| fault(READING_STRING, met))?;
        let [request] = &request;
        let filled = request.filled;
        bytes.truncate(filled);
        let header = self.string_header(address, &bytes)?;
        let wanted = usize::try_from(header.length).unwrap_or(usize::MAX);
        let characters = wanted.min(self.limits.string_characters);
        let size = characters.saturating_mul(header.width);
        let start = header
            .data
            .since(address)
            .and_then(|start| usize::try_from(start).ok());
        let at_hand = start.and_then(|start| bytes.get(start..start.checked_add(size)?));
        let text = match at_hand {
            Some(data) => decode(data, header.width),
            None => {
                let mut data = vec![0; size];
                self.memory
                    .read(header.data, &mut data)
                    .map_err(|met| fault(READING_STRING, met))?;
                decode(&data, header.width)
            }
        };
        Ok(Text {
            text,
            truncated: characters < wanted,
        })
    }

    /// Whether the object at `address` is a string (or of a class derived from it).
    pub(crate) fn is_string(&self, address: Address) -> Result<bool> {
        Ok(self.type_flags(address, READING_STRING)? & STRING_FLAG != 0)
    }

    /// The keys and values of the dictionary at `address`, in order.
    ///
    /// # Errors
    ///
    /// `Corrupt` where there is no dictionary or one that changes meanwhile, `Gone` or `Refused`
    /// where memory can't be read at all.
    pub fn dict_items(&self, address: Address) -> Result<DictItems> {
        if self.type_flags(address, READING_DICT)? & DICT_FLAG == 0 {
            return Err(corrupt(
                READING_DICT,
                format!("the object at {address} is none"),
            ));
        }
        let layout = &self.layout.dict;
        let [keys, values] = read_fields(
            &self.memory,
            address,
            [(layout.keys, 8), (layout.values, 8)],
        )
        .map_err(|met| fault(READING_DICT, met))?;
        let (index_at, index_width) = match layout.in_keys.index_bytes {
            IndexBytes::Logarithm(at) => (at, 1),
            IndexBytes::Count(at) => (at, 8),
        };
        let fields = [
            (index_at, index_width),
            (layout.in_keys.kind.unwrap_or(index_at), 1),
            (layout.in_keys.entry_count, 8),
        ];
        let [indices, kind, count] = read_fields(&self.memory, Address(keys), fields)
            .map_err(|met| fault(READING_DICT, met))?;
        let kind = layout.in_keys.kind.map_or(DICT_KEYS_GENERAL, |_| kind);
        let index_bytes = match layout.in_keys.index_bytes {
            IndexBytes::Logarithm(_) => 1_u64.checked_shl(u32::try_from(indices).unwrap_or(64)),
            IndexBytes::Count(_) => indices.checked_mul(index_width_of(indices)),
        };
        // Every entry has an index of a byte at least.
        let index_bytes = index_bytes.filter(|bytes| count <= *bytes && *bytes <= MAX_INDEX_BYTES);
        let index_bytes = index_bytes.ok_or_else(|| {
            corrupt(
                READING_DICT,
                format!("its keys at {keys:#x} can't be right"),
            )
        })?;
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        let count = wanted.min(self.limits.dict_entries);
        let entries = Address(keys)
            .offset(layout.in_keys.indices + index_bytes)
            .ok_or_else(|| corrupt(READING_DICT, "its keys reach out of memory"))?;
        let split = if values == 0 {
            None
        } else {
            Some(Address(values))
        };
        let mut items = self.entries(entries, kind, count, split)?;
        items.retain(|(key, value)| !key.is_null() && !value.is_null());
        Ok(DictItems {
            items,
            truncated: count < wanted,
        })
    }

    /// The first `count` entries of a dictionary's keys; NULL for those that were deleted.
    fn entries(
        &self,
        start: Address,
        kind: u64,
        count: usize,
        split: Option<Address>,
    ) -> Result<Vec<(Address, Address)>> {
        let (words, key_at) = match kind {
            DICT_KEYS_GENERAL => (3, 1),
            DICT_KEYS_UNICODE | DICT_KEYS_SPLIT => (2, 0),
            _ => {
                return Err(corrupt(
                    READING_DICT,
                    format!("its keys are of kind {kind}"),
                ));
            }
        };
        let entries = self.words(start, count * words)?;
        let pairs = entries.chunks_exact(words).map(|entry| {
            let word = |at: usize| Address(entry.get(at).copied().unwrap_or_default());
            (word(key_at), word(key_at + 1))
        });
        let Some(values) = split else {
            return Ok(pairs.collect());
        };
        let values = values
            .offset(self.layout.dict.in_values)
            .ok_or_else(|| corrupt(READING_DICT, "its values reach out of memory"))?;
        let values = self.words(values, count)?;
        Ok(pairs
            .zip(values)
            .map(|((key, _), value)| (key, Address(value)))
            .collect())
    }

    /// The value that a dictionary has for a key of ASCII characters.
    pub(crate) fn dict_value(&self, dict: Address, name: &str) -> Result<Option<Address>> {
        let items = self.dict_items(dict)?.items;
        let data = usize::try_from(self.layout.unicode.ascii_data).unwrap_or(0);
        let mut keys = vec![0; (data + name.len()) * KEYS_AT_ONCE];
        for chunk in items.chunks(KEYS_AT_ONCE) {
            let buffers = keys.chunks_exact_mut(data + name.len());
            let mut requests: Vec<_> = chunk
                .iter()
                .zip(buffers)
                .map(|((key, _), buffer)| ReadRequest::new(*key, buffer))
                .collect();
            self.memory
                .read_many(&mut requests)
                .map_err(|met| fault(READING_DICT, met))?;
            let found = chunk.iter().zip(&requests).find(|((key, _), request)| {
                request.is_complete() && self.is_name(*key, request.buffer, name)
            });
            if let Some(((_, value), _)) = found {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }

    /// Whether the compact ASCII string that begins with `bytes` is `name`.
    fn is_name(&self, address: Address, bytes: &[u8], name: &str) -> bool {
        let Ok(header) = self.string_header(address, bytes) else {
            return false;
        };
        let here = Some(header.data) == address.offset(self.layout.unicode.ascii_data);
        here && header.length == name.len() as u64 && bytes.ends_with(name.as_bytes())
    }

    /// Understands a string's header. `bytes` begins with the object.
    pub(crate) fn string_header(&self, address: Address, bytes: &[u8]) -> Result<StringHeader> {
        let layout = &self.layout.unicode;
        let wrong = || {
            corrupt(
                READING_STRING,
                format!("the string at {address} can't be right"),
            )
        };
        let length = word(bytes, layout.length).ok_or_else(wrong)?;
        let state = at(bytes, layout.state).and_then(|rest| rest.first_chunk().copied());
        let state = u32::from_le_bytes(state.ok_or_else(wrong)?);
        let is_set = |bit: u32| state >> bit & 1 == 1;
        let width = match state >> layout.bits.kind_shift & 0b111 {
            width @ (1 | 2 | 4) => width as usize,
            _ => return Err(wrong()),
        };
        let data = match (
            is_set(layout.bits.compact_bit),
            is_set(layout.bits.ascii_bit),
        ) {
            (true, true) => address.offset(layout.ascii_data),
            (true, false) => address.offset(layout.compact_data),
            (false, _) => word(bytes, layout.compact_data).map(Address),
        };
        let signed = i64::try_from(length).is_ok();
        let data = data.filter(|_| signed).ok_or_else(wrong)?;
        Ok(StringHeader {
            length,
            width,
            data,
        })
    }

    /// The flags of the class of the object at `address`.
    fn type_flags(&self, address: Address, what: &str) -> Result<u64> {
        let layout = &self.layout.object;
        let read = |base, offset| {
            read_fields(&self.memory, base, [(offset, 8)]).map_err(|met| fault(what, met))
        };
        let [class] = read(address, layout.type_of)?;
        let [flags] = read(Address(class), layout.type_flags)?;
        Ok(flags)
    }

    fn words(&self, start: Address, count: usize) -> Result<Vec<u64>> {
        let mut bytes = vec![0; count * 8];
        self.memory
            .read(start, &mut bytes)
            .map_err(|met| fault(READING_DICT, met))?;
        let (words, _) = bytes.as_chunks();
        Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }
}

/// Bytes that each of so many indices takes.
fn index_width_of(count: u64) -> u64 {
    match count {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

fn at(bytes: &[u8], offset: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(offset).ok()?..)
}

fn word(bytes: &[u8], offset: u64) -> Option<u64> {
    at(bytes, offset)?
        .first_chunk()
        .map(|word| u64::from_le_bytes(*word))
}

/// Characters of `width` bytes each.
pub(crate) fn decode(data: &[u8], width: usize) -> String {
    let character = |code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    match width {
        2 => {
            let (units, _) = data.as_chunks();
            units
                .iter()
                .map(|unit| character(u16::from_le_bytes(*unit).into()))
                .collect()
        }
        4 => {
            let (units, _) = data.as_chunks();
            units
                .iter()
                .map(|unit| character(u32::from_le_bytes(*unit)))
                .collect()
        }
        _ => data.iter().map(|byte| char::from(*byte)).collect(),
    }
}
