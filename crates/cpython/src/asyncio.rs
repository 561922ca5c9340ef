//! Finding what a target's `_asyncio` says of where it keeps its tasks.

use invivo_image::Elf;
use invivo_model::{Error, Result};
use invivo_process::{Module, ModuleFiles};

use crate::layout::asyncio::{ASYNCIO_FILE, ASYNCIO_SECTION, AsyncioDebug};
use crate::locate::Location;

/// Finds what `_asyncio` says of where it keeps its tasks, in the file of the extension module, or
/// in that of the interpreter where the module is built into it. `None` where neither has it: the
/// target has not loaded asyncio, or is of a version that does not say.
///
/// # Errors
///
/// Why the file that has it can't be read, or what it says can't be.
pub fn locate_asyncio(
    location: &Location,
    modules: &[Module],
    files: &impl ModuleFiles,
) -> Result<Option<AsyncioDebug>> {
    let mut unreadable: Option<Error> = None;
    let (own, interpreter): (Vec<_>, Vec<_>) = modules
        .iter()
        .filter(|module| module.is_code())
        .filter(|module| is_asyncio(module) || module.name == location.module)
        .partition(|module| is_asyncio(module));
    for module in own.into_iter().chain(interpreter) {
        match read(module, files) {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    unreadable.map_or(Ok(None), Err)
}

/// Whether the file is called like that of the extension module.
fn is_asyncio(module: &Module) -> bool {
    module.file_name().starts_with(ASYNCIO_FILE)
}

fn read(module: &Module, files: &impl ModuleFiles) -> Result<Option<AsyncioDebug>> {
    let mut elf = Elf::parse(files.open_module(module)?)?;
    let Some(address) = elf.section_address(ASYNCIO_SECTION)? else {
        return Ok(None);
    };
    let mut bytes = [0; AsyncioDebug::SIZE];
    // A file that ends before what it promises says nothing.
    elf.content(address, &mut bytes).unwrap_or_default();
    AsyncioDebug::parse(&bytes).map(Some)
}
