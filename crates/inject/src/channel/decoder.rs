//! From the bytes that a target sends to events. Every byte is hostile.

use invivo_model::{Error, ErrorKind, Result};

use super::json;
use crate::exception::RemoteException;

/// The longest body of each kind of frame that the bootstrap sends, in bytes.
mod limit {
    pub(super) const HELLO: usize = 32;
    pub(super) const OUTPUT: usize = 64 << 10;
    pub(super) const VALUE: usize = 64 << 20;
    pub(super) const EXCEPTION: usize = 16 << 20;
    pub(super) const EXIT: usize = 1 << 20;
    pub(super) const DENIED: usize = 64 << 10;
}

/// The bytes of a kind and a length.
const HEADER: usize = 5;

/// Something that a target told.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    /// It is there. Always the first event.
    Hello(Hello),
    /// The script wrote this to its standard output: text as UTF-8, or any bytes.
    Stdout(Vec<u8>),
    /// The script wrote this to its standard error.
    Stderr(Vec<u8>),
    /// All is told, and nothing is left in the target. Always the last event.
    Ended(Ending),
}

/// Who called back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The token that was staged, if it is the right one.
    pub(crate) token: [u8; 16],
    /// Its process id, as it sees it itself.
    pub(crate) pid: u64,
    /// The native id of the thread that runs the script, as it sees it itself.
    pub(crate) native_thread: u64,
}

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ran to its end; with its value if it was an expression.
    Returned(Option<Value>),
    /// It raised, or could not be compiled.
    Raised(RemoteException),
    /// It raised `SystemExit`.
    Exited(Exit),
}

/// The value of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its `repr()`.
    pub repr: String,
    /// Whether `repr` was cut, after 16 MiB.
    pub truncated: bool,
    /// The value as JSON text, if it can be told as such: nothing but exact `None`, `bool`, `int`,
    /// finite `float`, `str`, `list`, `tuple` and `dict` with `str` keys, and not too large.
    pub json: Option<String>,
}

/// What a script that called `sys.exit` wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Whether a process would have ended with status 0.
    pub success: bool,
    /// The text of the code, unless it is `None`.
    pub code: Option<String>,
}

/// What may still come.
#[derive(Debug)]
enum Stage {
    Hello,
    Running,
    /// The result is known and only the end is to be told.
    Result(Result<Ending>),
    Done,
    Broken,
}

/// Turns a stream of bytes into [`Event`]s. It holds no more than one frame and what was pushed
/// since the last event was taken out.
#[derive(Debug)]
pub(crate) struct Decoder {
    buffer: Vec<u8>,
    /// How much of `buffer` has been taken out already.
    taken: usize,
    stage: Stage,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            stage: Stage::Hello,
        }
    }

    /// Takes what was received.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken.min(self.buffer.len()));
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next event, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the bytes are not what the bootstrap sends, now and from then on.
    /// [`ErrorKind::Refused`] in place of the end if the target did not let the script run.
    pub(crate) fn next(&mut self) -> Result<Option<Event>> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((&[kind, ref length @ ..], rest)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if !self.admits(kind, length) {
            return Err(self.broken("it sends a frame of a kind or a length that can't come here"));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let Some(frame) = parse(kind, body) else {
            return Err(self.broken("it sends a frame that makes no sense"));
        };
        self.taken += HEADER + length;
        match frame {
            Frame::Event(event) => {
                self.stage = Stage::Running;
                Ok(Some(event))
            }
            Frame::Result(result) => {
                self.stage = Stage::Result(result);
                self.next()
            }
            Frame::Done => match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Result(result) => result.map(|ending| Some(Event::Ended(ending))),
                _ => Ok(Some(Event::Ended(Ending::Returned(None)))),
            },
        }
    }

    /// Whether a frame of this kind can come now, and may be so long.
    fn admits(&self, kind: u8, length: usize) -> bool {
        let limit = match (&self.stage, kind) {
            (Stage::Hello, b'H') => limit::HELLO,
            (Stage::Running, b'O' | b'E') => limit::OUTPUT,
            (Stage::Running, b'V') => limit::VALUE,
            (Stage::Running, b'X') => limit::EXCEPTION,
            (Stage::Running, b'Q') => limit::EXIT,
            (Stage::Running, b'R') => limit::DENIED,
            (Stage::Running | Stage::Result(_), b'D') => 0,
            _ => return false,
        };
        length <= limit
    }

    fn broken(&mut self, why: &str) -> Error {
        self.stage = Stage::Broken;
        Error::new(
            ErrorKind::Corrupt,
            "the script's answer makes no sense",
            why,
            "something in the target interferes with the result channel",
        )
    }
}

/// A whole frame, understood.
enum Frame {
    Event(Event),
    Result(Result<Ending>),
    Done,
}

fn parse(kind: u8, body: &[u8]) -> Option<Frame> {
    Some(match kind {
        b'H' => Frame::Event(Event::Hello(parse_hello(body)?)),
        b'O' => Frame::Event(Event::Stdout(body.to_vec())),
        b'E' => Frame::Event(Event::Stderr(body.to_vec())),
        b'V' => Frame::Result(Ok(Ending::Returned(Some(parse_value(body)?)))),
        b'X' => Frame::Result(Ok(Ending::Raised(RemoteException::from_json(body)?))),
        b'Q' => {
            let (success, code) = serde_json::from_slice(body).ok()?;
            Frame::Result(Ok(Ending::Exited(Exit { success, code })))
        }
        b'R' => Frame::Result(Err(denied(std::str::from_utf8(body).ok()?))),
        b'D' => Frame::Done,
        _ => return None,
    })
}

fn parse_hello(body: &[u8]) -> Option<Hello> {
    let (token, rest) = body.split_first_chunk()?;
    let (pid, rest) = rest.split_first_chunk()?;
    let native_thread = rest.try_into().ok()?;
    Some(Hello {
        token: *token,
        pid: u64::from_be_bytes(*pid),
        native_thread: u64::from_be_bytes(native_thread),
    })
}

/// A byte that tells whether the representation was cut, its length, itself, and the JSON text.
fn parse_value(body: &[u8]) -> Option<Value> {
    let (&truncated, rest) = body.split_first()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (repr, json) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
    Some(Value {
        repr: String::from_utf8(repr.to_vec()).ok()?,
        truncated: truncated != 0,
        json: if json.is_empty() {
            None
        } else {
            Some(json::checked(json)?)
        },
    })
}

fn denied(exception: &str) -> Error {
    Error::new(
        ErrorKind::Refused,
        "the target did not let the script run",
        format!("an audit hook in it raised {exception}"),
        "ask whoever set the hook to allow it; nothing of the script ran",
    )
}
