//! Sampling a running Python: when to look, what to read each time, what was missed; and the
//! recording, a file that keeps what was seen.
//!
//! A sampler looks at a process and says what its threads were doing to a [`Sink`]: a
//! [`recording`] on disk, a profile in memory, or what shows it live. Nothing here injects or
//! prints.

#![forbid(unsafe_code)]

mod follow;
mod intern;
pub mod live;
mod prefetch;
pub mod recording;
mod sampler;
mod schedule;
mod session;
mod sink;
mod whereabouts;

pub use follow::{Follower, Subject};
pub use intern::Interner;
pub use recording::{Recording, Writer};
pub use sampler::{Options, Sampler};
pub use schedule::{Jitter, Schedule};
pub use session::{Plan, Session, Step};
pub use sink::{Charge, Collect, Seen, Sink, Turn};
pub use whereabouts::{SampleFrom, Whereabouts};
