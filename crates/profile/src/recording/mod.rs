//! The recording: a file that keeps what was sampled, written as it comes.
//!
//! `docs/recording-format.md` describes it. It goes to the file at least once a second, in blocks
//! that each have a checksum: whatever kills the one who writes, all blocks written until then can
//! be read. Who reads takes nothing in it for granted.

mod block;
mod bytes;
mod code;
mod reader;
mod samples;
mod writer;

pub use reader::Recording;
pub use writer::Writer;

/// The version of the format. One that changes what there is gets another number.
const FORMAT: u64 = 2;
/// The oldest that can be read.
const OLDEST_FORMAT: u64 = 1;

/// What an entry of the tables begins with.
mod entry {
    pub(super) const START: u8 = 1;
    pub(super) const FUNCTION: u8 = 2;
    pub(super) const FRAME: u8 = 3;
    pub(super) const STACK: u8 = 4;
    pub(super) const PROCESS: u8 = 5;
    pub(super) const THREAD: u8 = 6;
    pub(super) const RENAME: u8 = 7;
    pub(super) const LOOKS: u8 = 8;
}

/// Nanoseconds in the unit that the begin of a block is written in.
const MICROSECOND: u64 = 1000;

/// Nanoseconds in the unit that says how far a tick was off its time: a part of the interval, so
/// that a byte is enough for nearly all of them.
fn unit(interval: u64) -> u64 {
    (interval / 64).clamp(MICROSECOND, 100 * MICROSECOND)
}

/// Bytes of a name or a file that are kept.
const MAX_TEXT: usize = 16 << 10;
/// Arguments of a command that are kept.
const MAX_ARGUMENTS: usize = 64;
