//! What is mapped where, and from which file.

use std::io::{Read, Seek};
use std::ops::Range;

use invivo_model::{Address, Result};

/// One mapping of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The addresses it covers.
    pub range: Range<Address>,
    /// May be read.
    pub readable: bool,
    /// May be written.
    pub writable: bool,
    /// May be executed.
    pub executable: bool,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// The file's device as `(major, minor)`; zeros for anonymous memory.
    pub device: (u32, u32),
    /// The file's inode; 0 for anonymous memory.
    pub inode: u64,
    /// The name the kernel shows: a path as seen from *our* root, `[heap]` and the like, or empty.
    /// Bytes, since a file name may be any. Unescaped, without ` (deleted)`.
    pub name: Vec<u8>,
    /// The file has been unlinked or replaced since it was mapped.
    pub deleted: bool,
}

/// A file that is mapped, with all its mappings: an executable, a shared library, or data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The name of its first mapping; see [`Mapping::name`].
    pub name: Vec<u8>,
    /// Its device and inode: what tells it from a file of the same name.
    pub device: (u32, u32),
    /// See `device`.
    pub inode: u64,
    /// Unlinked or replaced since it was mapped.
    pub deleted: bool,
    /// Its mappings in address order, and behind them the anonymous ones that directly follow (a
    /// library's `.bss`), marked by inode 0.
    pub mappings: Vec<Mapping>,
}

impl Module {
    /// Where its first byte is mapped: the load bias is this less the address at which the file
    /// says it wants to be (`Elf::load_bias` of `invivo-image`).
    pub fn base(&self) -> Address {
        self.mappings
            .first()
            .map_or(Address::NULL, |mapping| mapping.range.start)
    }

    /// Whether any of its mappings may be executed, as those of a program or library may.
    pub fn is_code(&self) -> bool {
        self.mappings
            .iter()
            .any(|mapping| mapping.executable && mapping.inode != 0)
    }

    /// The last part of its name.
    pub fn file_name(&self) -> &[u8] {
        self.name
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default()
    }
}

impl Module {
    /// Whether it is a part of glibc called `stem`, by its file name: `libc.so.6`, or `libc-2.31.so`
    /// as older ones have it.
    pub fn is_part_of_glibc(&self, stem: &str) -> bool {
        let rest = self.file_name().strip_prefix(stem.as_bytes());
        rest.is_some_and(|rest| {
            rest.starts_with(b".so") || (rest.starts_with(b"-2.") && rest.ends_with(b".so"))
        })
    }

    /// Whether it is musl, by its file name.
    pub fn is_musl(&self) -> bool {
        self.file_name().starts_with(b"ld-musl-")
    }

    /// Whether it holds the C library's system calls.
    pub fn is_c_library(&self) -> bool {
        ["libc", "libpthread"]
            .iter()
            .any(|stem| self.is_part_of_glibc(stem))
            || self.is_musl()
    }
}

/// Opens the files behind modules, whichever root they lie under.
pub trait ModuleFiles {
    /// An open file.
    type File: Read + Seek;

    /// Opens the very file that is mapped: a regular file whose inode is the module's, or an error
    /// that says why there is none (gone, replaced, refused).
    fn open_module(&self, module: &Module) -> Result<Self::File>;
}
