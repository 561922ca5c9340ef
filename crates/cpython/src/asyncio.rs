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
        .filter(|module| is_asyncio(module, location) || module.name == location.module)
        .partition(|module| is_asyncio(module, location));
    for module in own.into_iter().chain(interpreter) {
        match read(module, files) {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    unreadable.map_or(Ok(None), Err)
}

/// Whether the file is called like that of the extension module, and after no other version than
/// the interpreter's (`_asyncio.cpython-314-x86_64-linux-gnu.so`): a process may have several.
fn is_asyncio(module: &Module, location: &Location) -> bool {
    let name = module.file_name();
    if !name.starts_with(ASYNCIO_FILE) {
        return false;
    }
    let tag = name
        .windows(TAG.len())
        .position(|window| window == TAG)
        .and_then(|at| name.get(at + TAG.len()..));
    let (Some(tag), Some(version)) = (tag, location.version) else {
        return true;
    };
    let own = format!("{}{}", version.major, version.minor);
    tag.strip_prefix(own.as_bytes())
        .is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_digit))
}

/// What the version follows in the name of an extension module.
const TAG: &[u8] = b".cpython-";

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::Method;
    use invivo_model::{Address, Build, Version};

    fn is_of(name: &str, version: Option<Version>) -> bool {
        let module = Module {
            name: format!("/lib/{name}").into_bytes(),
            device: (0, 0),
            inode: 1,
            deleted: false,
            mappings: Vec::new(),
        };
        let location = Location {
            address: Address(0x1000),
            module: Vec::new(),
            method: Method::Section,
            version,
            build: Build::default(),
            layout: Err(Error::internal("none")),
        };
        is_asyncio(&module, &location)
    }

    #[test]
    fn the_extension_module_is_that_of_its_own_version() {
        let version = Some(Version::from_minor(3, 14));
        for own in [
            "_asyncio.cpython-314-x86_64-linux-gnu.so",
            "_asyncio.cpython-314t-x86_64-linux-gnu.so",
            "_asyncio.cpython-314d-x86_64-linux-gnu.so",
            "_asyncio.so",
        ] {
            assert!(is_of(own, version), "{own}");
        }
        for other in [
            "_asyncio.cpython-315-x86_64-linux-gnu.so",
            "_asyncio.cpython-31-x86_64-linux-gnu.so",
            "_asyncio.cpython-3140-x86_64-linux-gnu.so",
            "_bisect.cpython-314-x86_64-linux-gnu.so",
        ] {
            assert!(!is_of(other, version), "{other}");
        }
        assert!(is_of("_asyncio.cpython-315-x86_64-linux-gnu.so", None));
    }
}
