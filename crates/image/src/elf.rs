//! An ELF file as it lies on disk.

use std::io::{Read, Seek};

use invivo_model::Result;
use object::LittleEndian as LE;
use object::elf::SectionHeader64;

use crate::dynamic::{DynamicSymbols, Symbol};
use crate::header::{FirstLoad, Header, SectionTable, Segment, malformed};
use crate::source::{FileSource, Source};

/// Real programs have about forty; the table is read at once, 64 bytes each.
const MAX_SECTIONS: u16 = 2048;
/// Bytes of all sections' names together; real ones have about 500.
const MAX_SECTION_NAMES: u64 = 128 << 10;

/// An ELF file. Only its headers are read at once; the rest on demand.
#[derive(Debug)]
pub struct Elf<R> {
    source: FileSource<R>,
    header: Header,
}

impl<R: Read + Seek> Elf<R> {
    /// Reads the file header and the program headers.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the file is not a 64-bit little-endian ELF program or library for
    /// x86-64 or AArch64; `Corrupt` where its headers can't be read.
    pub fn parse(reader: R) -> Result<Self> {
        let mut source = FileSource(reader);
        let header = Header::parse(&mut source, 0)?;
        Ok(Self { source, header })
    }

    /// The address that the file gives to the section `name` (`None` where it has none).
    ///
    /// # Errors
    ///
    /// `Corrupt` where the table of sections can't be read or is absurdly large.
    pub fn section_address(&mut self, name: &[u8]) -> Result<Option<u64>> {
        let Some(table) = self.header.sections else {
            return Ok(None);
        };
        let (sections, names) = self
            .sections(table)
            .ok_or_else(|| malformed("its section headers can't be read or are too many"))?;
        let section = sections.iter().find(|section| {
            let start = usize::try_from(section.sh_name.get(LE)).unwrap_or(usize::MAX);
            names.get(start..).is_some_and(|rest| {
                rest.strip_prefix(name)
                    .is_some_and(|rest| rest.first() == Some(&0))
            })
        });
        Ok(section
            .map(|section| section.sh_addr.get(LE))
            .filter(|address| *address != 0))
    }

    /// Whether the file still has its table of sections: where it has, a missing section means
    /// that there never was one.
    pub fn has_sections(&self) -> bool {
        self.header.sections.is_some()
    }

    /// The file's dynamic symbols called `names`, each `None` where there is no such symbol
    /// defined; `None` for all where there are no readable dynamic symbols at all.
    pub fn dynamic_symbols<const N: usize>(
        &mut self,
        names: [&[u8]; N],
    ) -> Option<[Option<Symbol>; N]> {
        let (at, size) = self.header.dynamic?;
        let mut view = FileByAddress {
            source: &mut self.source,
            segments: &self.header.segments,
        };
        let symbols = DynamicSymbols::parse(&mut view, at, size, |pointer| pointer)?;
        Some(names.map(|name| symbols.symbol(&mut view, name)))
    }

    /// Fills `buffer` with the file's content at an address, as the file would be mapped; `None`
    /// where the file has not that much there.
    pub fn content(&mut self, address: u64, buffer: &mut [u8]) -> Option<()> {
        FileByAddress {
            source: &mut self.source,
            segments: &self.header.segments,
        }
        .fill(address, buffer)
    }

    /// Where its first mapped segment wants to lie; `None` where none is mapped.
    pub fn first_load(&self) -> Option<FirstLoad> {
        self.header.first_load()
    }

    fn sections(&mut self, table: SectionTable) -> Option<(Vec<SectionHeader64<LE>>, Vec<u8>)> {
        if table.count > MAX_SECTIONS {
            return None;
        }
        let sections: Vec<SectionHeader64<LE>> = self
            .source
            .structures(table.offset, usize::from(table.count))?;
        let names = sections.get(usize::from(table.names))?;
        let size = names.sh_size.get(LE);
        if size > MAX_SECTION_NAMES {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        self.source.fill(names.sh_offset.get(LE), &mut bytes)?;
        Some((sections, bytes))
    }
}

/// The file's content at the addresses its segments give it.
struct FileByAddress<'a, R> {
    source: &'a mut FileSource<R>,
    segments: &'a [Segment],
}

impl<R: Read + Seek> Source for FileByAddress<'_, R> {
    fn fill(&mut self, at: u64, buffer: &mut [u8]) -> Option<()> {
        let length = u64::try_from(buffer.len()).ok()?;
        let offset = self.segments.iter().find_map(|segment| {
            let into = at.checked_sub(segment.vaddr)?;
            let fits = into.checked_add(length)? <= segment.file_size;
            if fits {
                segment.offset.checked_add(into)
            } else {
                None
            }
        })?;
        self.source.fill(offset, buffer)
    }
}
