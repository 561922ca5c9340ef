//! Files that Invivo reads, made by whoever wants it to take too much: of a few bytes each, of
//! which as much as possible is made.
//!
//! Their forms are written here from `docs/recording-format.md` and from what an image looks like,
//! with none of the code that reads them.

pub mod images;
pub mod recordings;

/// A file that somebody sends.
#[derive(Clone, Debug)]
pub struct HostileFile {
    /// What makes it large.
    pub name: &'static str,
    /// What it holds.
    pub bytes: Vec<u8>,
}
