//! From the bytes that a target sends to events. Every byte is hostile.

use invivo_model::{Error, ErrorKind, Result};

use super::json;
use crate::exception::RemoteException;

/// The longest body of each kind of frame that the bootstrap sends, in bytes.
mod limit {
    pub(super) const HELLO: usize = 16;
    pub(super) const OUTPUT: usize = 64 << 10;
    pub(super) const VALUE: usize = 64 << 20;
    pub(super) const EXCEPTION: usize = 8 << 20;
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
    /// The value as JSON text, if it was asked for and can be told as such: nothing but exact
    /// `None`, `bool`, `int`, finite `float`, `str`, `list`, `tuple` and `dict` with `str` keys,
    /// and not too large.
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
    /// [`ErrorKind::Unsupported`] in place of the end if the target did not let the script run.
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
            (Stage::Running, b'V' | b'W') => limit::VALUE,
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
        b'H' => Frame::Event(Event::Hello(Hello {
            token: body.try_into().ok()?,
        })),
        b'O' => Frame::Event(Event::Stdout(body.to_vec())),
        b'E' => Frame::Event(Event::Stderr(body.to_vec())),
        b'V' => {
            let repr = String::from_utf8(body.to_vec()).ok()?;
            let value = Value {
                repr,
                truncated: false,
                json: None,
            };
            Frame::Result(Ok(Ending::Returned(Some(value))))
        }
        b'W' => Frame::Result(Ok(Ending::Returned(Some(parse_whole(body)?)))),
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

/// A byte that tells whether the representation was cut, its length, itself, and the JSON text.
fn parse_whole(body: &[u8]) -> Option<Value> {
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
        ErrorKind::Unsupported,
        "the target did not let the script run",
        format!("an audit hook, or a builtin that the program has replaced, raised {exception}"),
        "ask whoever set the hook, or replaced the builtin, to allow it; nothing of the script ran",
    )
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).expect("short");
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    fn hello() -> Vec<u8> {
        frame(b'H', &[7; 16])
    }

    fn value(repr: &str, json: &str) -> Vec<u8> {
        let length = u32::try_from(repr.len()).expect("short").to_be_bytes();
        frame(
            b'W',
            &[&[0], &length[..], repr.as_bytes(), json.as_bytes()].concat(),
        )
    }

    const EXCEPTION: &str = r#"[{"kind":"K","text":"t","frames":[["f","n","q",1,null,2,3,1]],
        "left_out":0,"cause":1,"context":null,"suppress":false,"members":[2,3],"members_left_out":1},
        {"kind":"C","text":"","frames":[],"left_out":0,"cause":null,"context":null,"suppress":true},
        {"kind":"M","text":"","frames":[],"left_out":0,"cause":null,"context":null,"suppress":true},
        {"kind":"S","text":"","frames":[],"left_out":9,"cause":null,"context":null,"suppress":true,
        "syntax":{"line":1,"message":"m"},"notes":["n"]}]"#;

    /// Everything that comes out, fed in pieces of `step` bytes; it must end.
    fn decode(bytes: &[u8], step: usize) -> Result<Vec<Event>> {
        let mut decoder = Decoder::new();
        let mut events = Vec::new();
        for piece in bytes.chunks(step) {
            decoder.push(piece);
            while let Some(event) = decoder.next()? {
                events.push(event);
            }
            assert!(decoder.buffer.len() <= bytes.len());
        }
        Ok(events)
    }

    fn streams() -> Vec<Vec<u8>> {
        let output = [frame(b'O', b"out"), frame(b'E', b"err"), frame(b'O', b"")].concat();
        let done = frame(b'D', b"");
        [
            Vec::new(),
            value("1", "1"),
            value("x", ""),
            frame(b'V', b"x"),
            frame(b'X', EXCEPTION.as_bytes()),
            frame(b'Q', b"[false,\"3\"]"),
            frame(b'R', b"PermissionError: no"),
        ]
        .into_iter()
        .map(|result| [hello(), output.clone(), result, done.clone()].concat())
        .collect()
    }

    #[test]
    fn whole_streams_decode_the_same_in_any_pieces() {
        for (place, stream) in streams().iter().enumerate() {
            let whole = decode(stream, stream.len());
            for step in 1..stream.len().min(40) {
                assert_eq!(decode(stream, step), whole);
            }
            if place == 6 {
                let error = whole.expect_err("denied");
                assert_eq!(error.kind, ErrorKind::Unsupported);
                continue;
            }
            let events = whole.expect("a proper stream");
            assert_eq!(events.len(), 5);
            let ending = events.last();
            match place {
                0 => assert_eq!(ending, Some(&Event::Ended(Ending::Returned(None)))),
                1..=3 => {
                    assert!(matches!(
                        ending,
                        Some(Event::Ended(Ending::Returned(Some(_))))
                    ));
                }
                4 => assert!(matches!(ending, Some(Event::Ended(Ending::Raised(_))))),
                _ => assert!(matches!(ending, Some(Event::Ended(Ending::Exited(_))))),
            }
        }
    }

    #[test]
    fn frames_out_of_place_or_too_long_are_refused_at_once() {
        let done = frame(b'D', b"");
        let with_hello = |rest: &[Vec<u8>]| [&[hello()], rest].concat().concat();
        for bytes in [
            frame(b'O', b"x"),
            frame(b'H', b"short"),
            frame(b'?', b""),
            with_hello(&[hello()]),
            with_hello(&[frame(b'D', b"x")]),
            with_hello(&[value("1", "1"), value("2", "2")]),
            with_hello(&[value("1", "1"), frame(b'O', b"late")]),
            with_hello(&[value("1", "{nonsense")]),
            with_hello(&[done.clone(), done.clone()]),
            with_hello(&[frame(b'W', b"\0\xff\xff\xff\xff1")]),
            with_hello(&[frame(b'V', b"\xff")]),
            with_hello(&[frame(b'X', b"[]")]),
            // Only the header of a frame that would be too long.
            with_hello(&[b"O\x00\x01\x00\x01".to_vec()]),
            with_hello(&[b"V\xff\xff\xff\xff".to_vec()]),
        ] {
            let error = decode(&bytes, bytes.len()).expect_err("refused");
            assert_eq!(error.kind, ErrorKind::Corrupt, "{bytes:?}");
        }
    }

    #[test]
    fn a_broken_stream_stays_broken() {
        let mut decoder = Decoder::new();
        decoder.push(b"?\0\0\0\0");
        assert!(decoder.next().is_err());
        decoder.push(&hello());
        assert!(decoder.next().is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..600), step in 1_usize..70) {
            let _ = decode(&bytes, step);
            let _ = decode(&[hello(), bytes].concat(), step);
        }

        #[test]
        fn any_body_is_survived(
            kind in prop::sample::select(b"HOEVWXQRD".to_vec()),
            body in vec(any::<u8>(), 0..200),
        ) {
            let _ = decode(&[hello(), frame(kind, &body)].concat(), 64);
        }

        #[test]
        fn mutated_streams_are_survived(
            place in 0_usize..7,
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
            step in 1_usize..200,
        ) {
            let mut bytes = streams().swap_remove(place);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let whole = decode(&bytes, bytes.len());
            prop_assert_eq!(&decode(&bytes, step), &whole);
            bytes.truncate(cut.index(bytes.len()) + 1);
            if let Ok(events) = decode(&bytes, step) {
                for event in events {
                    if let Event::Ended(Ending::Raised(exception)) = event {
                        exception.render(&mut |_, _| Some("\u{e9}text".to_owned()));
                    }
                }
            }
        }
    }
}
