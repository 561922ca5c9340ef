//! What is printed drives no terminal, whatever was forgotten on the way.

use std::borrow::Cow;
use std::io::{self, Write};

use invivo::escape::{is_plain, shown, shown_json};
use serde_json::ser::Formatter;

const PIECE: usize = 1 << 14;

/// JSON in one line, in plain characters.
pub(super) struct Json;

impl Formatter for Json {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while !rest.is_empty() {
            // Escapes take six times the room: of a long text they are made piece by piece.
            let (piece, behind) = rest.split_at(rest.floor_char_boundary(PIECE));
            writer.write_all(shown_json(piece).as_bytes())?;
            rest = behind;
        }
        Ok(())
    }
}

/// Lines with nothing in them but plain characters, tabs and our own styles.
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    if first_fault(text).is_none() {
        return Cow::Borrowed(text);
    }
    let (mut safe, mut rest) = (String::with_capacity(text.len() + 16), text);
    while let Some(at) = first_fault(rest) {
        let (good, bad) = rest.split_at(at);
        let end = bad.chars().next().map_or(bad.len(), char::len_utf8);
        safe.push_str(good);
        safe.push_str(&shown(&bad[..end]));
        rest = &bad[end..];
    }
    safe.push_str(rest);
    Cow::Owned(safe)
}

/// Where the first character stands that is not to be printed.
fn first_fault(text: &str) -> Option<usize> {
    let faulty = |(at, character): &(usize, char)| match character {
        '\n' | '\t' => false,
        '\x1b' => !is_style(&text[*at..]),
        other => !is_plain(*other),
    };
    text.char_indices().find(faulty).map(|(at, _)| at)
}

/// Whether it begins with `ESC [ … m`, which colours and no more.
fn is_style(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("\x1b[") else {
        return false;
    };
    let end = rest.find(|character: char| !character.is_ascii_digit() && character != ';');
    end.is_some_and(|end| rest[end..].starts_with('m'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_pass_and_nothing_else_does() {
        let good = "\x1b[1;4mgröße\x1b[0m\tx\n";
        assert!(matches!(lines(good), Cow::Borrowed(_)));
        assert_eq!(
            lines("a\x1b[2Jb\x1b]0;x\x07\u{9b}31m\x1b[1m\u{3164}\x1b"),
            "a\\x1b[2Jb\\x1b]0;x\\x07\\x9b31m\x1b[1m\\u3164\\x1b"
        );
    }

    #[test]
    fn json_is_plain_and_says_the_same() {
        let mut bytes = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Json);
        let value = serde_json::json!({"a\u{9b}\u{202e}": "\x7f\u{3164}\n\"🐍"});
        serde::Serialize::serialize(&value, &mut serializer).expect("it takes all");
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert!(text.chars().all(is_plain), "{text:?}");
        let back: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(back, value);
    }
}
