//! Sampling a running Python: when to look, what to read each time, what was missed; and the
//! recording, a file that keeps what was seen.
//!
//! A sampler looks at a process and says what its threads were doing to a [`Sink`]: a
//! [`recording`] on disk, a profile in memory, or what shows it live. Nothing here injects or
//! prints.

#![forbid(unsafe_code)]

mod intern;
pub mod recording;
mod schedule;
mod sink;

pub use intern::Interner;
pub use recording::{Recording, Writer};
pub use schedule::{Jitter, Schedule};
pub use sink::{Collect, Seen, Sink};
