//! Strings, in whichever of their forms.

use std::collections::BTreeSet;

use invivo_model::surrogate::character;
use invivo_model::{Address, Error, Result, Text};
use invivo_process::{Fault, Memory};

use super::steps::{Step, Want, finish, half, read_all, word};
use crate::fields::{corrupt, fault, read_fields};
use crate::layout::common::STRING_FLAG;
use crate::pieces::{length, within_page};
use crate::runtime::Runtime;

const READING: &str = "cannot read a string";
/// How many bytes of characters are read with a string's header: most names are shorter.
const WITH_HEADER: usize = 128;
/// Characters that are read of the name of a thread or a task, of which there may be thousands.
pub(crate) const NAME: usize = 1024;
/// Bytes of a `wchar_t`.
const WIDE: usize = 4;

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
        let mut one = self.strings(&[address]).into_iter();
        one.next()
            .unwrap_or_else(|| Err(Error::internal("a string has become none")))
    }

    /// The name of a thread or task at `address`: no more than anybody reads.
    pub(crate) fn name(&self, address: Address) -> Result<Text> {
        let one = self.strings_up_to(&[address], NAME);
        let one = one.map_err(|met| fault(READING, met))?.pop();
        one.unwrap_or_else(|| Err(Error::internal("a name has become none")))
    }

    /// The strings at `addresses`, each as [`Runtime::string`]: in two calls for any number of
    /// them, and a third one where some are long.
    pub(crate) fn strings(&self, addresses: &[Address]) -> Vec<Result<Text>> {
        self.strings_up_to(addresses, self.limits.string_characters)
            .unwrap_or_else(|met| vec![Err(fault(READING, met)); addresses.len()])
    }

    /// The same of at most so many characters of each.
    pub(crate) fn strings_up_to(
        &self,
        addresses: &[Address],
        characters: usize,
    ) -> Result<Vec<Result<Text>>, Fault> {
        let wanted = addresses.iter().map(|address| self.string_head(*address));
        let heads = read_all(&self.memory, wanted)?;
        let class_of = |head: &Vec<u8>| word(head, self.layout.object.type_of).map(Address);
        let classes: BTreeSet<_> = heads.iter().filter_map(class_of).collect();
        let flags_at = self.layout.object.type_flags;
        let wanted = classes.iter().map(|class| Want::at(*class, flags_at, 8));
        let flags = read_all(&self.memory, wanted)?;
        let is_string = |flags: &[u8]| word(flags, 0).is_some_and(|flags| flags & STRING_FLAG != 0);
        let classes: BTreeSet<_> = classes
            .into_iter()
            .zip(flags.iter())
            .filter(|(_, flags)| is_string(flags))
            .map(|(class, _)| class)
            .collect();
        let texts =
            addresses
                .iter()
                .zip(heads.iter())
                .map(|(address, head)| match class_of(head) {
                    Some(class) if classes.contains(&class) => {
                        self.string_text(*address, head, characters)
                    }
                    Some(_) => Step::Done(Err(corrupt(
                        READING,
                        format!("the object at {address} is none"),
                    ))),
                    None => Step::Done(Err(fault(READING, Fault::Unmapped(*address)))),
                });
        finish(&self.memory, texts)
    }

    /// The first bytes of a string: its header, and what is likely to be all of its characters.
    pub(crate) fn string_head(&self, address: Address) -> Want {
        let header = length(self.layout.unicode.compact_data) + 8;
        let size = within_page(address, header, header + WITH_HEADER);
        // The hash in the header stands for all characters.
        let telling = (self.layout.object.type_of, self.layout.unicode.ascii_data);
        Want::new(address, size).telling(telling.0, telling.1)
    }

    /// The first characters of the string at `address`, whose first bytes are `head`.
    pub(crate) fn string_text(
        &self,
        address: Address,
        head: &[u8],
        characters: usize,
    ) -> Step<'_, Result<Text>> {
        let header = match self.string_header(address, head) {
            Ok(header) => header,
            Err(error) => return Step::Done(Err(error)),
        };
        let wanted = usize::try_from(header.length).unwrap_or(usize::MAX);
        let characters = wanted.min(characters);
        let size = characters.saturating_mul(header.width);
        let understand = move |data: &[u8]| Text {
            text: decode(data, header.width),
            truncated: characters < wanted,
        };
        let start = header
            .data
            .since(address)
            .and_then(|start| usize::try_from(start).ok());
        if let Some(data) = start.and_then(|start| head.get(start..start.checked_add(size)?)) {
            return Step::Done(Ok(understand(data)));
        }
        Step::read(Want::new(header.data, size), move |data| {
            Step::Done(if data.len() == size {
                Ok(understand(data))
            } else {
                Err(fault(READING, Fault::Unmapped(header.data)))
            })
        })
    }

    /// Whether the object at `address` is a string (or of a class derived from it).
    pub(crate) fn is_string(&self, address: Address) -> Result<bool> {
        Ok(self.type_flags(address, READING)? & STRING_FLAG != 0)
    }

    /// Whether the compact ASCII string that begins with `bytes` is `name`.
    pub(super) fn is_name(&self, address: Address, bytes: &[u8], name: &str) -> bool {
        let Ok(header) = self.string_header(address, bytes) else {
            return false;
        };
        let here = Some(header.data) == address.offset(self.layout.unicode.ascii_data);
        let data = length(self.layout.unicode.ascii_data);
        here && header.length == name.len() as u64 && bytes.get(data..) == Some(name.as_bytes())
    }

    /// Understands a string's header. `bytes` begins with the object.
    pub(crate) fn string_header(&self, address: Address, bytes: &[u8]) -> Result<StringHeader> {
        self.header_of(address, bytes)
            .ok_or_else(|| corrupt(READING, format!("the string at {address} can't be right")))
    }

    fn header_of(&self, address: Address, bytes: &[u8]) -> Option<StringHeader> {
        let layout = &self.layout.unicode;
        let state = half(bytes, layout.state)?;
        let is_set = |bit: u32| state >> bit & 1 == 1;
        let kind = state >> layout.bits.kind_shift & 0b111;
        let compact = is_set(layout.bits.compact_bit);
        let (length, width, data) = match (kind, compact, layout.not_ready) {
            (1 | 2 | 4, true, _) => {
                let data = if is_set(layout.bits.ascii_bit) {
                    layout.ascii_data
                } else {
                    layout.compact_data
                };
                (layout.length, kind as usize, address.offset(data)?)
            }
            (1 | 2 | 4, false, _) => {
                let data = word(bytes, layout.compact_data).map(Address)?;
                (layout.length, kind as usize, data)
            }
            (0, false, Some(wide)) => {
                let data = word(bytes, wide.characters).map(Address)?;
                (wide.length, WIDE, data)
            }
            _ => return None,
        };
        let length = word(bytes, length)?;
        i64::try_from(length).ok()?;
        Some(StringHeader {
            length,
            width,
            data,
        })
    }

    /// The flags of the class of the object at `address`.
    pub(crate) fn type_flags(&self, address: Address, what: &str) -> Result<u64> {
        let layout = &self.layout.object;
        let read = |base, offset| {
            read_fields(&self.memory, base, [(offset, 8)]).map_err(|met| fault(what, met))
        };
        let [class] = read(address, layout.type_of)?;
        let [flags] = read(Address(class), layout.type_flags)?;
        Ok(flags)
    }
}

/// Characters of `width` bytes each.
pub(crate) fn decode(data: &[u8], width: usize) -> String {
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
