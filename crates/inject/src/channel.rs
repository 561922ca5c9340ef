//! What goes between Invivo and its bootstrap in a target: the text that the target runs, the
//! task it is given, and the events it sends back.
//!
//! Nothing here does I/O. The target connects to the Unix socket `s` in the staging directory and
//! says hello with the one-time token of its [`Parameters`]; Invivo answers with the [`task`];
//! whatever comes back goes through a [`Decoder`].
//!
//! What the target sends are frames: a byte for the kind, the length of the body as a `u32` in
//! network order, and the body.

use std::time::Duration;

mod decoder;
mod json;
#[cfg(test)]
mod live;
mod script;

pub(crate) use decoder::{Decoder, Event};
pub use decoder::{Ending, Exit, Value};
pub(crate) use script::{literal, script, task};

/// What a staged script has to know.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    /// Random bytes with which the target proves that it runs what was staged for it.
    pub(crate) token: [u8; 16],
    /// Random bytes with which Invivo proves that it is who staged the script.
    pub(crate) reply: [u8; 16],
    /// The staging directory as the target sees it.
    pub(crate) directory: Vec<u8>,
    /// The name of the script's own file in that directory.
    pub(crate) script: Vec<u8>,
    /// When the script is no longer to do anything, in milliseconds since 1970.
    pub(crate) deadline: u64,
    /// What the target is to do.
    pub(crate) payload: Payload,
    /// Whether the target calls back for the rest of it. If not, it finds all in the script, and
    /// its output and its result are dropped.
    pub(crate) attended: bool,
    /// Whether the script tells audit hooks of itself, since the target does not.
    pub(crate) announce: bool,
    /// What the target knows itself by: no child of it that was forked meanwhile is to run the script.
    /// `None` where the kernel does not say.
    pub(crate) pid: Option<u32>,
}

/// What the target is to do.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    /// Whether `source` is one expression, whose value comes back.
    pub(crate) evaluate: bool,
    /// The text.
    pub(crate) source: String,
    /// The file name that tracebacks show, and `__file__` of a fresh namespace.
    pub(crate) name: String,
    /// All of `sys.argv`, with the program's name.
    pub(crate) arguments: Vec<String>,
    /// Whether its names live in the dictionary of `__main__` and not in one of its own.
    pub(crate) main_namespace: bool,
    /// Whether the value shall come as JSON too.
    pub(crate) wants_json: bool,
    /// When an exception in its own frames is to end it, from its beginning.
    pub(crate) stop_after: Option<Duration>,
}
