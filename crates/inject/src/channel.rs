//! What goes between Invivo and its bootstrap in a target: the text that the target runs, the
//! task it is given, and the events it sends back.
//!
//! Nothing here does I/O. The target connects to the Unix socket `s` in the staging directory and
//! says hello with the one-time token of its [`Parameters`]; Invivo answers with [`go`]; whatever
//! comes back goes through a [`Decoder`].
//!
//! A frame is a byte for its kind, the length of its body as a `u32` in network order, and the
//! body.

mod decoder;
mod json;
#[cfg(test)]
mod live;
mod script;

pub(crate) use decoder::{Decoder, Event};
pub use decoder::{Ending, Exit, Value};
pub(crate) use script::script;

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
    /// The task, if the target is not to call back: its output and its result are dropped.
    pub(crate) payload: Option<Payload>,
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
}

impl Payload {
    /// The task as the bootstrap reads it: a byte for the mode, a byte for the namespace, then
    /// file name, source and arguments, each with its length before it.
    fn encode(&self) -> Vec<u8> {
        let mut task = vec![
            if self.evaluate { b'e' } else { b'x' },
            if self.main_namespace { b'm' } else { b'f' },
        ];
        for field in [&self.name, &self.source]
            .into_iter()
            .chain(&self.arguments)
        {
            put_length(&mut task, field.len());
            task.extend_from_slice(field.as_bytes());
        }
        task
    }
}

/// The answer to a hello: proof of who we are, and the task.
pub(crate) fn go(reply: &[u8; 16], payload: &Payload) -> Vec<u8> {
    let task = payload.encode();
    let mut frame = vec![b'G'];
    put_length(&mut frame, reply.len() + task.len());
    frame.extend_from_slice(reply);
    frame.extend_from_slice(&task);
    frame
}

/// Appends a length. Nobody has a script of 4 GiB; were there one, the bootstrap would wait for
/// the rest and do nothing.
fn put_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}
