//! Functions that an interpreter's own file exports.

use invivo_image::{Elf, MappedElf, Symbol};
use invivo_model::{Address, Result};
use invivo_process::{Mapping, Memory, Module, ModuleFiles};

use crate::runtime::Runtime;

/// A function that the interpreter's own file exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export {
    /// Where it begins.
    pub address: Address,
    /// How many bytes of code it takes; `None` where the file does not say, or says what can't be.
    /// A compiler may have put more of it elsewhere.
    pub size: Option<u64>,
}

impl<M: Memory> Runtime<M> {
    /// Where the functions called `names` are that the program or library exports which holds this
    /// very interpreter; `None` for each that it does not export. By its dynamic symbols in
    /// memory, or by the file where memory has none. What lies in no code of the file is not
    /// believed to be a function of it.
    pub fn exports<const N: usize>(
        &self,
        modules: &[Module],
        files: &impl ModuleFiles,
        names: [&[u8]; N],
    ) -> [Option<Export>; N] {
        let at = self.address();
        let own = modules.iter().find(|module| {
            let mut ranges = module.mappings.iter().map(|mapping| &mapping.range);
            ranges.any(|range| range.contains(&at))
        });
        let Some(own) = own else {
            return [None; N];
        };
        let symbols = self.mapped_symbols(own, names);
        let symbols = symbols.or_else(|| file_symbols(own, at, files, names).ok().flatten());
        let symbols = symbols.unwrap_or([None; N]);
        symbols.map(|symbol| in_code(own, symbol?))
    }

    /// As the image in memory has them.
    fn mapped_symbols<const N: usize>(
        &self,
        module: &Module,
        names: [&[u8]; N],
    ) -> Option<[Option<Symbol>; N]> {
        let base = copy_of(module, self.address(), |mapping| {
            (mapping.offset == 0).then_some(mapping.range.start.0)
        })?;
        let read = |at, buffer: &mut [u8]| self.memory.read(Address(at), buffer).is_ok();
        MappedElf::parse(base, read).ok()?.dynamic_symbols(names)
    }
}

/// As the file has them, moved to where the copy is that holds the runtime state at `runtime`.
fn file_symbols<const N: usize>(
    module: &Module,
    runtime: Address,
    files: &impl ModuleFiles,
    names: [&[u8]; N],
) -> Result<Option<[Option<Symbol>; N]>> {
    let mut elf = Elf::parse(files.open_module(module)?)?;
    let load = elf.first_load();
    let bias = copy_of(module, runtime, |mapping| {
        load?.bias(mapping.range.start.0, mapping.offset)
    });
    let (Some(bias), Some(symbols)) = (bias, elf.dynamic_symbols(names)) else {
        return Ok(None);
    };
    let moved = |symbol: Symbol| Symbol {
        address: symbol.address.wrapping_add(bias),
        ..symbol
    };
    Ok(Some(symbols.map(|symbol| symbol.map(moved))))
}

/// What `of` says of the copy of a file that holds the runtime state at `runtime`: one file may be
/// mapped as a whole several times. It is the last that begins before it.
fn copy_of(module: &Module, runtime: Address, of: impl Fn(&Mapping) -> Option<u64>) -> Option<u64> {
    let of_file = module.mappings.iter().filter(|mapping| mapping.inode != 0);
    let before = of_file.filter(|mapping| mapping.range.start <= runtime);
    before.filter_map(of).next_back()
}

/// The function that a symbol stands for, if it lies in code of the file.
fn in_code(module: &Module, symbol: Symbol) -> Option<Export> {
    let address = Address(symbol.address);
    let mut code = module
        .mappings
        .iter()
        .filter(|mapping| mapping.executable && mapping.inode != 0);
    let mapping = code.find(|mapping| mapping.range.contains(&address))?;
    let room = mapping.range.end.since(address)?;
    let size = Some(symbol.size).filter(|size| (1..=room).contains(size));
    Some(Export { address, size })
}
