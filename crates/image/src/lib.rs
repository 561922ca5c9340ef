//! A binary file's bytes: sections, symbols, load bias, unwinding rules.
//!
//! Reads ELF files as they lie on disk ([`Elf`]) and as they are mapped in a process
//! ([`MappedElf`]). Their content is hostile: every count and size is bounded before anything is
//! allocated, and only as much is read as the question needs. The `object` crate gives the
//! structures and constants; walking them is done here, because `object` trusts its input.
//!
//! Its unwinding rules ([`UnwindTable`]) tell who called a function, for x86-64 only.
//!
//! 64-bit little-endian x86-64 and AArch64 only; anything else is an error that says so.

#![forbid(unsafe_code)]

mod dynamic;
mod elf;
mod header;
mod instructions;
mod mapped;
mod source;
mod unwind;

pub use dynamic::Symbol;
pub use elf::Elf;
pub use header::FirstLoad;
pub use instructions::{Called, called, jumps};
pub use mapped::MappedElf;
pub use unwind::{Registers, Step, UnwindTable};
