//! An exception that a script raised inside a target, as plain data.

mod render;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// The bootstrap tells of at most so many exceptions: with their number, depth is bounded too.
const EXCEPTIONS_MAX: usize = 64;
/// Of so many notes of each.
const NOTES_MAX: usize = 100;
/// Of so many frames of them all.
const FRAMES_MAX: usize = 400;

/// An exception, with what it came from and what it holds.
///
/// It is what the target says: every text in it may hold anything, and whoever prints it escapes
/// it. All of it is bounded by what the bootstrap sends and the decoder takes (8 MiB).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RemoteException {
    /// The type's qualified name, without the module if that is `builtins` or `__main__`.
    pub kind: String,
    /// Its `str()`, or a note in angle brackets where that raises.
    pub text: String,
    /// What was added with `add_note`.
    pub notes: Vec<String>,
    /// Where it was raised, the innermost frame last. Only the script's frames and what it called.
    pub frames: Vec<RemoteFrame>,
    /// How many frames in the middle of a long traceback are not in `frames`.
    pub frames_left_out: u64,
    /// The exception named in `raise … from`.
    pub cause: Option<Box<Self>>,
    /// The exception that was being handled when this one was raised.
    pub context: Option<Box<Self>>,
    /// Whether Python's own traceback would leave `context` out.
    pub suppress_context: bool,
    /// The exceptions in it, if it is a group.
    pub members: Option<Vec<Self>>,
    /// How many more it holds.
    pub members_left_out: u64,
    /// Where the error is, if it is a syntax error.
    pub syntax: Option<Box<SyntaxDetails>>,
}

/// A frame of a traceback.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RemoteFrame {
    /// The code's file name, or something in angle brackets.
    pub file: String,
    /// The function's name.
    pub name: String,
    /// The function's qualified name where the version knows it, else its name.
    pub qualified_name: String,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The last line of the expression.
    pub end_line: Option<u32>,
    /// Where in `line` the expression begins, in bytes of UTF-8 from 0.
    pub column: Option<u32>,
    /// Where in `end_line` it ends.
    pub end_column: Option<u32>,
    /// How many times in a row the traceback has this very frame: deep recursion is folded.
    pub times: u64,
}

/// What a `SyntaxError` says beyond its text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct SyntaxDetails {
    /// What is wrong.
    pub message: Option<String>,
    /// The file name given to the compiler.
    pub file: Option<String>,
    /// The line of source text.
    pub text: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The character in the line, from 1.
    pub column: Option<u32>,
    /// The last line.
    pub end_line: Option<u32>,
    /// The character after the last in the last line, from 1.
    pub end_column: Option<u32>,
}

/// An exception as the bootstrap sends it: it names others by their place in the list.
#[derive(Deserialize)]
struct Record {
    kind: String,
    text: String,
    #[serde(default)]
    notes: AtMost<NOTES_MAX, String>,
    frames: AtMost<FRAMES_MAX, FrameRecord>,
    left_out: u64,
    cause: Option<usize>,
    context: Option<usize>,
    suppress: bool,
    members: Option<AtMost<EXCEPTIONS_MAX, usize>>,
    #[serde(default)]
    members_left_out: u64,
    syntax: Option<Box<SyntaxDetails>>,
}

/// A frame as the bootstrap sends it: file, name, qualified name, line, end line, column, end
/// column, times.
#[derive(Deserialize)]
struct FrameRecord(
    String,
    String,
    String,
    Option<u32>,
    Option<u32>,
    Option<u32>,
    Option<u32>,
    u64,
);

/// A list that is refused at its first item too many, before there is room for it.
struct AtMost<const MAX: usize, T>(Vec<T>);

impl<const MAX: usize, T> Default for AtMost<MAX, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, const MAX: usize, T: Deserialize<'de>> Deserialize<'de> for AtMost<MAX, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_seq(Items::<MAX, T>(PhantomData))
            .map(Self)
    }
}

struct Items<const MAX: usize, T>(PhantomData<T>);

impl<'de, const MAX: usize, T: Deserialize<'de>> Visitor<'de> for Items<MAX, T> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a list of at most {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            if items.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            items.push(item);
        }
        Ok(items)
    }
}

impl RemoteException {
    /// From what the bootstrap sends. `None` if it is not that.
    pub(crate) fn from_json(json: &[u8]) -> Option<Self> {
        let records: AtMost<EXCEPTIONS_MAX, Record> = serde_json::from_slice(json).ok()?;
        let records = records.0;
        if records
            .iter()
            .map(|record| record.frames.0.len())
            .sum::<usize>()
            > FRAMES_MAX
        {
            return None;
        }
        // Every record names only later ones, and each is taken once: so this is a tree.
        let mut built: Vec<Option<Self>> = Vec::new();
        built.resize_with(records.len(), || None);
        for (place, record) in records.into_iter().enumerate().rev() {
            let exception = {
                let mut take = |other: usize| {
                    (other > place)
                        .then(|| built.get_mut(other)?.take())
                        .flatten()
                };
                record.build(&mut take)?
            };
            *built.get_mut(place)? = Some(exception);
        }
        let root = built.first_mut()?.take();
        root.filter(|_| built.iter().all(Option::is_none))
    }

    /// The text that Python itself would print: `line_of` gives a line of a file, where there is one.
    /// Nothing is escaped.
    pub fn render(&self, line_of: &mut dyn FnMut(&str, u32) -> Option<String>) -> String {
        render::Renderer::new(line_of).whole(self)
    }
}

impl Record {
    fn build(
        self,
        take: &mut impl FnMut(usize) -> Option<RemoteException>,
    ) -> Option<RemoteException> {
        let mut one = |place: Option<usize>| match place {
            Some(place) => take(place).map(|other| Some(Box::new(other))),
            None => Some(None),
        };
        let (cause, context) = (one(self.cause)?, one(self.context)?);
        let members = match self.members {
            Some(places) => Some(places.0.into_iter().map(take).collect::<Option<Vec<_>>>()?),
            None => None,
        };
        Some(RemoteException {
            kind: self.kind,
            text: self.text,
            notes: self.notes.0,
            frames: self.frames.0.into_iter().map(RemoteFrame::from).collect(),
            frames_left_out: self.left_out,
            cause,
            context,
            suppress_context: self.suppress,
            members,
            members_left_out: self.members_left_out,
            syntax: self.syntax,
        })
    }
}

impl From<FrameRecord> for RemoteFrame {
    fn from(record: FrameRecord) -> Self {
        let FrameRecord(file, name, qualified_name, line, end_line, column, end_column, times) =
            record;
        Self {
            file,
            name,
            qualified_name,
            line,
            end_line,
            column,
            end_column,
            times,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(links: &str) -> String {
        format!(r#"{{"kind":"K","text":"","frames":[],"left_out":0,"suppress":false,{links}}}"#)
    }

    fn decode(records: &[String]) -> Option<RemoteException> {
        RemoteException::from_json(format!("[{}]", records.join(",")).as_bytes())
    }

    #[test]
    fn only_trees_are_taken() {
        let leaf = record(r#""cause":null"#);
        assert!(decode(std::slice::from_ref(&leaf)).is_some());
        assert!(
            decode(&[record(r#""cause":1"#), leaf.clone()]).is_some_and(|it| it.cause.is_some())
        );
        for wrong in [
            vec![],
            vec![record(r#""cause":0"#)],
            vec![record(r#""cause":1"#)],
            vec![record(r#""cause":1,"context":1"#), leaf.clone()],
            vec![record(r#""members":[1,1]"#), leaf.clone()],
            vec![record(r#""cause":1"#), record(r#""cause":0"#)],
            vec![leaf.clone(), leaf.clone()],
            vec![record(r#""cause":-1"#)],
        ] {
            assert_eq!(decode(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn depth_is_bounded_by_number() {
        let chain = |length: usize| {
            let mut records: Vec<_> = (1..length)
                .map(|next| record(&format!(r#""cause":{next}"#)))
                .collect();
            records.push(record(r#""cause":null"#));
            decode(&records)
        };
        assert!(chain(EXCEPTIONS_MAX).is_some());
        assert!(chain(EXCEPTIONS_MAX + 1).is_none());
    }

    #[test]
    fn lists_are_refused_at_their_first_item_too_many() {
        let notes = |count| {
            let notes = vec![r#""""#; count].join(",");
            decode(&[record(&format!(r#""notes":[{notes}]"#))])
        };
        assert_eq!(notes(NOTES_MAX).map(|it| it.notes.len()), Some(NOTES_MAX));
        assert_eq!(notes(NOTES_MAX + 1), None);
        let frames = |count| {
            let frames = vec![r#"["f","n","n",1,1,0,1,1]"#; count].join(",");
            record(r#""cause":null"#).replace("[]", &format!("[{frames}]"))
        };
        assert!(decode(&[frames(FRAMES_MAX)]).is_some());
        assert_eq!(decode(&[frames(FRAMES_MAX + 1)]), None);
        // Of all exceptions together.
        let with_cause = frames(1).replace(r#""cause":null"#, r#""cause":1"#);
        assert!(decode(&[with_cause.clone(), frames(FRAMES_MAX - 1)]).is_some());
        assert_eq!(decode(&[with_cause, frames(FRAMES_MAX)]), None);
    }
}
