//! The file header and the segments, which a file and its image in memory both begin with.

use invivo_model::{Error, ErrorKind, Result};
use object::LittleEndian as LE;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_AARCH64, EM_X86_64, ET_DYN, ET_EXEC, FileHeader64,
    PT_DYNAMIC, PT_GNU_EH_FRAME, PT_LOAD, ProgramHeader64,
};

use crate::source::Source;

/// Real programs have about a dozen.
const MAX_SEGMENTS: u16 = 128;

/// The largest page any of the machines has.
const MAX_PAGE: u64 = 64 << 10;

/// A segment that is mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// Where the file wants it.
    pub(crate) vaddr: u64,
    /// Its size in memory.
    pub(crate) memory_size: u64,
    /// Where it lies in the file.
    pub(crate) offset: u64,
    /// Its size in the file; the rest is zeros.
    pub(crate) file_size: u64,
}

/// Where the table of sections lies in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SectionTable {
    pub(crate) offset: u64,
    pub(crate) count: u16,
    /// Which section holds the sections' names.
    pub(crate) names: u16,
}

/// What the file header and the program headers say.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    /// The mapped segments, in the file's order.
    pub(crate) segments: Vec<Segment>,
    /// Address and size of the dynamic section.
    pub(crate) dynamic: Option<(u64, u64)>,
    /// Address and size of the index of unwinding rules.
    pub(crate) unwinding: Option<(u64, u64)>,
    /// `None` where the sections' headers have been stripped.
    pub(crate) sections: Option<SectionTable>,
}

/// Where the first mapped segment wants to lie: enough to tell where a file was mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstLoad {
    /// Its address by the file.
    pub vaddr: u64,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
}

impl FirstLoad {
    /// How far the file's addresses were moved, if the mapping that begins at `start` shows the
    /// file from `file_offset` on and belongs to this segment.
    ///
    /// A loader maps whole pages, whatever their size is: it moves address and offset down by the
    /// same amount, so their difference stays. `None` where the mapping can't be this segment's.
    pub fn bias(self, start: u64, file_offset: u64) -> Option<u64> {
        let into_page = self.offset.checked_sub(file_offset)?;
        if into_page >= MAX_PAGE {
            return None;
        }
        start.checked_sub(self.vaddr.checked_sub(into_page)?)
    }
}

impl Header {
    /// Reads the headers that begin at `base`: 0 in a file, an address in memory.
    pub(crate) fn parse(source: &mut impl Source, base: u64) -> Result<Self> {
        let file: FileHeader64<LE> = source
            .structure(base)
            .ok_or_else(|| malformed("its header can't be read"))?;
        check_kind(&file)?;
        let count = file.e_phnum.get(LE);
        if count > MAX_SEGMENTS || usize::from(file.e_phentsize.get(LE)) != PROGRAM_HEADER_SIZE {
            return Err(malformed(
                "its program headers have an absurd number or size",
            ));
        }
        let headers: Vec<ProgramHeader64<LE>> = base
            .checked_add(file.e_phoff.get(LE))
            .and_then(|at| source.structures(at, usize::from(count)))
            .ok_or_else(|| malformed("its program headers can't be read"))?;
        let segments = headers
            .iter()
            .filter(|header| header.p_type.get(LE) == PT_LOAD);
        let place = |kind| {
            let header = headers.iter().find(|header| header.p_type.get(LE) == kind);
            header.map(|header| (header.p_vaddr.get(LE), header.p_memsz.get(LE)))
        };
        Ok(Self {
            segments: segments.map(segment).collect(),
            dynamic: place(PT_DYNAMIC),
            unwinding: place(PT_GNU_EH_FRAME),
            sections: section_table(&file),
        })
    }

    /// The first mapped segment.
    pub(crate) fn first_load(&self) -> Option<FirstLoad> {
        let first = self.segments.first()?;
        Some(FirstLoad {
            vaddr: first.vaddr,
            offset: first.offset,
        })
    }
}

const PROGRAM_HEADER_SIZE: usize = size_of::<ProgramHeader64<LE>>();

fn segment(header: &ProgramHeader64<LE>) -> Segment {
    Segment {
        vaddr: header.p_vaddr.get(LE),
        memory_size: header.p_memsz.get(LE),
        offset: header.p_offset.get(LE),
        file_size: header.p_filesz.get(LE),
    }
}

fn section_table(file: &FileHeader64<LE>) -> Option<SectionTable> {
    let table = SectionTable {
        offset: file.e_shoff.get(LE),
        count: file.e_shnum.get(LE),
        names: file.e_shstrndx.get(LE),
    };
    (table.offset != 0 && table.count != 0 && table.names < table.count).then_some(table)
}

fn check_kind(file: &FileHeader64<LE>) -> Result<()> {
    if file.e_ident.magic != ELFMAG {
        return Err(unsupported("it is not an ELF file"));
    }
    if file.e_ident.class != ELFCLASS64 || file.e_ident.data != ELFDATA2LSB {
        return Err(unsupported("it is not 64-bit little-endian"));
    }
    if !matches!(file.e_machine.get(LE), EM_X86_64 | EM_AARCH64) {
        return Err(unsupported(
            "it is for a machine other than x86-64 and AArch64",
        ));
    }
    if !matches!(file.e_type.get(LE), ET_EXEC | ET_DYN) {
        return Err(unsupported("it is neither a program nor a shared library"));
    }
    Ok(())
}

fn unsupported(why: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "cannot read the binary",
        why,
        "look into 64-bit x86-64 or AArch64 processes",
    )
}

pub(crate) fn malformed(why: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "cannot read the binary",
        why,
        "check that the file is whole, for example with: readelf -lS",
    )
}
