//! An ELF file as it is mapped in a process: all that is left when the file is gone.

use std::fmt;

use invivo_model::Result;

use crate::dynamic::{DynamicSymbols, Symbol};
use crate::header::{Header, malformed};
use crate::source::MemorySource;
use crate::unwind::UnwindTable;

/// An ELF image in memory. Its sections' headers are not mapped, its dynamic symbols are.
pub struct MappedElf<F> {
    source: MemorySource<F>,
    header: Header,
    bias: u64,
}

impl<F> fmt::Debug for MappedElf<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedElf")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl<F: FnMut(u64, &mut [u8]) -> bool> MappedElf<F> {
    /// Reads the headers at `base`, where the file's first byte is mapped. `read` fills the whole
    /// buffer from an address or says `false`.
    ///
    /// # Errors
    ///
    /// As [`Elf::parse`](crate::Elf::parse).
    pub fn parse(base: u64, read: F) -> Result<Self> {
        let mut source = MemorySource(read);
        let header = Header::parse(&mut source, base)?;
        let bias = header
            .first_load()
            .and_then(|first| first.bias(base, 0))
            .ok_or_else(|| malformed("none of its segments can be what is mapped there"))?;
        Ok(Self {
            source,
            header,
            bias,
        })
    }

    /// The dynamic symbols called `names`, with their addresses in this process, each `None` where
    /// no such symbol is defined; `None` for all where there are no readable dynamic symbols at
    /// all.
    pub fn dynamic_symbols<const N: usize>(
        &mut self,
        names: [&[u8]; N],
    ) -> Option<[Option<Symbol>; N]> {
        let (at, size) = self.header.dynamic?;
        let bias = self.bias;
        let end = self.end();
        // glibc replaces the pointers in the dynamic section by addresses when it loads a file,
        // other loaders leave them as the file has them.
        let locate = |pointer: u64| {
            let is_address = end.is_some_and(|end| pointer >= bias && pointer < end);
            if is_address {
                pointer
            } else {
                bias.wrapping_add(pointer)
            }
        };
        let symbols = DynamicSymbols::parse(&mut self.source, bias.checked_add(at)?, size, locate)?;
        let source = &mut self.source;
        Some(names.map(|name| {
            let symbol = symbols.symbol(source, name)?;
            let address = symbol.address.checked_add(bias)?;
            Some(Symbol { address, ..symbol })
        }))
    }

    /// Which function each address belongs to, for unwinding; `None` where the image has no such
    /// index, or one of another form than linkers make.
    pub fn unwind_table(&mut self) -> Option<UnwindTable> {
        let (at, size) = self.header.unwinding?;
        UnwindTable::parse(&mut self.source, self.bias.checked_add(at)?, size)
    }

    /// Behind the last address that any segment covers.
    pub fn end(&self) -> Option<u64> {
        let ends = self.header.segments.iter().filter_map(|segment| {
            self.bias
                .checked_add(segment.vaddr)?
                .checked_add(segment.memory_size)
        });
        ends.max()
    }
}
