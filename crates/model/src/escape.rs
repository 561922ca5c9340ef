//! What came from a target must not drive whoever reads it: control characters, and characters that
//! reorder or hide text, are shown as escapes. So are lone surrogates, as Python's `repr` does.

use std::borrow::Cow;
use std::fmt::Write;

use crate::surrogate::{self, surrogate};

/// `text` for one line: controls, bidirectional marks and invisible characters as escapes.
pub fn shown(text: &str) -> Cow<'_, str> {
    shown_without(text, |_| false)
}

/// The same, with further characters as escapes: those that mean something where the text goes.
pub fn shown_without(text: &str, banned: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_good = |character| is_plain(character) && !banned(character);
    if text.chars().all(is_good) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_good(character) {
            safe.push(character);
        } else {
            push_escape(&mut safe, character);
        }
    }
    Cow::Owned(safe)
}

/// The same for bytes that may not be UTF-8: those that aren't become `\xNN`.
pub fn shown_bytes(bytes: &[u8]) -> String {
    let mut safe = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk
            .valid()
            .chars()
            .for_each(|character| push(&mut safe, character));
        push_invalid(&mut safe, chunk.invalid());
    }
    safe
}

/// The same for text of many lines: line feeds and tabs stay as they are.
pub fn shown_lines(bytes: &[u8]) -> String {
    let mut safe = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' | '\t' => safe.push(character),
                other => push(&mut safe, other),
            }
        }
        push_invalid(&mut safe, chunk.invalid());
    }
    safe
}

fn push_invalid(safe: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String can't fail.
        let _ = write!(safe, "\\x{byte:02x}");
    }
}

fn push(safe: &mut String, character: char) {
    if is_plain(character) {
        safe.push(character);
    } else {
        push_escape(safe, character);
    }
}

fn push_escape(safe: &mut String, character: char) {
    if let Some(lone) = surrogate(character) {
        return surrogate::push_escape(safe, lone);
    }
    match character {
        '\n' => safe.push_str("\\n"),
        '\r' => safe.push_str("\\r"),
        '\t' => safe.push_str("\\t"),
        other => {
            let code = u32::from(other);
            let _ = match code {
                0..=0xFF => write!(safe, "\\x{code:02x}"),
                0x100..=0xFFFF => write!(safe, "\\u{code:04x}"),
                _ => write!(safe, "\\U{code:08x}"),
            };
        }
    }
}

/// `text`, which is JSON in one line, with all that is not plain as `\u` escapes: to who reads it as
/// JSON it says the same, and a terminal it does not drive.
pub fn shown_json(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_plain(character) {
            safe.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a String can't fail.
            let _ = write!(safe, "\\u{unit:04x}");
        }
    }
    Cow::Owned(safe)
}

/// Whether it may be shown as it is: neither a control (Cc), nor a format character (Cf:
/// bidirectional marks, zero width, tags), nor one that is not seen
/// (`Default_Ignorable_Code_Point`: fillers, variation selectors), nor a line or paragraph
/// separator. The ranges are those of Unicode 16.
pub fn is_plain(character: char) -> bool {
    !(character.is_control()
        || surrogate(character).is_some()
        || matches!(u32::from(character),
            0xAD
            | 0x34F
            | 0x600..=0x605
            | 0x61C
            | 0x6DD
            | 0x70F
            | 0x890..=0x891
            | 0x8E2
            | 0x115F..=0x1160
            | 0x17B4..=0x17B5
            | 0x180B..=0x180F
            | 0x200B..=0x200F
            | 0x2028..=0x202E
            | 0x2060..=0x206F
            | 0x3164
            | 0xFE00..=0xFE0F
            | 0xFEFF
            | 0xFFA0
            | 0xFFF0..=0xFFFB
            | 0x110BD
            | 0x110CD
            | 0x13430..=0x1345F
            | 0x1BCA0..=0x1BCA3
            | 0x1D173..=0x1D17A
            | 0xE0000..=0xE0FFF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_not_copied_and_more_can_be_banned() {
        assert!(matches!(shown("größe 数 🐍"), Cow::Borrowed(_)));
        assert_eq!(
            shown_without("a;b", |character| character == ';'),
            "a\\x3bb"
        );
    }

    #[test]
    fn controls_and_bidirectional_marks_become_escapes() {
        assert_eq!(shown("a\x1b]0;x\x07b"), "a\\x1b]0;x\\x07b");
        assert_eq!(
            shown("one\ntwo\ttab\r\u{9b}31m"),
            "one\\ntwo\\ttab\\r\\x9b31m"
        );
        assert_eq!(
            shown("x\u{202e}y\u{200b}z\u{e0041}"),
            "x\\u202ey\\u200bz\\U000e0041"
        );
    }

    /// All of `Default_Ignorable_Code_Point`, as DerivedCoreProperties.txt of Unicode 16 lists it.
    #[test]
    fn what_is_not_seen_becomes_an_escape() {
        const IGNORABLE: [(u32, u32); 17] = [
            (0xAD, 0xAD),
            (0x34F, 0x34F),
            (0x61C, 0x61C),
            (0x115F, 0x1160),
            (0x17B4, 0x17B5),
            (0x180B, 0x180F),
            (0x200B, 0x200F),
            (0x202A, 0x202E),
            (0x2060, 0x206F),
            (0x3164, 0x3164),
            (0xFE00, 0xFE0F),
            (0xFEFF, 0xFEFF),
            (0xFFA0, 0xFFA0),
            (0xFFF0, 0xFFF8),
            (0x1BCA0, 0x1BCA3),
            (0x1D173, 0x1D17A),
            (0xE0000, 0xE0FFF),
        ];
        for (first, last) in IGNORABLE {
            for character in (first..=last).filter_map(char::from_u32) {
                assert!(!is_plain(character), "{:#x}", u32::from(character));
            }
        }
        assert_eq!(shown("a\u{3164}b\u{fe0f}"), "a\\u3164b\\ufe0f");
    }

    #[test]
    fn json_says_the_same_in_plain_characters() {
        assert!(matches!(
            shown_json("{\"a\":\"größe 🐍\"}"),
            Cow::Borrowed(_)
        ));
        assert_eq!(
            shown_json("\"\u{9b}31m\u{7f}\u{202e}\u{e0041}\""),
            "\"\\u009b31m\\u007f\\u202e\\udb40\\udc41\""
        );
    }

    #[test]
    fn lone_surrogates_are_shown_as_python_does() {
        let name = surrogate::decode(b"/data/\xff.csv");
        assert_eq!(shown(&name), "/data/\\udcff.csv");
    }

    #[test]
    fn invalid_utf8_is_shown_as_bytes() {
        assert_eq!(shown_bytes(b"ok\xff\xfe\n"), "ok\\xff\\xfe\\n");
    }

    #[test]
    fn many_lines_keep_their_line_feeds_and_nothing_else() {
        assert_eq!(shown_lines(b"a\n\tb\x1b[2J\r\n"), "a\n\tb\\x1b[2J\\r\n");
    }
}
