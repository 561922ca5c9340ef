//! What a file says about the interpreter in it, read without touching a process.

use std::io::{Read, Seek};

use invivo_image::{Elf, FirstLoad};
use invivo_model::{Build, Result, Version};

use crate::layout::Preamble;
use crate::layout::common::{DEBUG_SYMBOL, RUNTIME_SECTION, RUNTIME_SYMBOL, VERSION_SYMBOL};
use crate::locate::Method;

/// What a mapped file says about the interpreter in it. The same for every process that maps it,
/// so it can be kept by device and inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// Where the file wants to be mapped.
    pub(crate) load: Option<FirstLoad>,
    /// The runtime state's address by the file, and how it was found.
    pub(crate) runtime: Option<(u64, Method)>,
    /// The address of `Py_Version` by the file.
    pub(crate) version_address: Option<u64>,
    pub(crate) version: Option<Version>,
    pub(crate) build: Build,
    /// Whether nothing being found means that there is nothing.
    pub(crate) conclusive: bool,
}

impl FileFacts {
    /// Whether the file holds an interpreter.
    pub fn is_python(&self) -> bool {
        self.runtime.is_some()
    }

    /// The interpreter's version as the file has it, if it says.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// How it was built, as far as the file tells.
    pub fn build(&self) -> Build {
        self.build
    }
}

/// Looks for an interpreter in a file.
///
/// A few small reads: the headers, and the symbols that matter if there is an interpreter.
///
/// # Errors
///
/// `Unsupported` where the file is no 64-bit ELF for x86-64 or AArch64, `Corrupt` where its
/// headers can't be read.
pub fn examine<R: Read + Seek>(file: R) -> Result<FileFacts> {
    let mut elf = Elf::parse(file)?;
    let section = elf.section_address(RUNTIME_SECTION)?;
    let symbols = elf.dynamic_symbols([RUNTIME_SYMBOL, VERSION_SYMBOL, DEBUG_SYMBOL]);
    let addresses = symbols
        .unwrap_or_default()
        .map(|it| it.map(|symbol| symbol.address));
    let [runtime, version_address, debug] = addresses;
    let found = match (section, runtime) {
        (Some(address), _) => Some((address, Method::Section)),
        (None, Some(address)) => Some((address, Method::Symbol)),
        (None, None) => None,
    };
    let mut facts = FileFacts {
        load: elf.first_load(),
        runtime: found,
        version_address,
        conclusive: elf.has_sections(),
        ..FileFacts::default()
    };
    let Some((address, _)) = found else {
        return Ok(facts);
    };
    facts.build.debug = is_debug(runtime, debug);
    let mut start = [0; Preamble::SIZE];
    if elf.content(address, &mut start).is_some()
        && let Some(preamble) = Preamble::parse(&start)
    {
        facts.version = Some(preamble.version);
        facts.build.free_threaded = Some(preamble.free_threaded != 0);
    } else if let Some(at) = version_address {
        let mut hex = [0; 8];
        let read = elf.content(at, &mut hex);
        facts.version = read.and_then(|()| Version::from_hex(u64::from_le_bytes(hex)));
    }
    Ok(facts)
}

/// Whether symbols tell a debug build: they tell nothing where the interpreter's are not exported.
pub(crate) fn is_debug(runtime: Option<u64>, debug: Option<u64>) -> Option<bool> {
    match (runtime, debug) {
        (_, Some(_)) => Some(true),
        (Some(_), None) => Some(false),
        (None, None) => None,
    }
}
