//! What came from a target must not drive whoever reads it: control characters, and characters that
//! reorder or hide text, are shown as escapes.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` for one line: controls, bidirectional marks and invisible characters as escapes.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// The same, where `;` must not stand either: it separates frames.
pub(crate) fn plain_frame(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character == ';')
}

/// `text` within HTML or SVG, in text and in quoted attributes.
pub(crate) fn markup(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 16);
    for character in plain(text).chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Neither is a character that XML may hold.
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

fn escaped(text: &str, bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    let good = |character| is_plain(character) && !bad(character);
    if text.chars().all(good) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if good(character) {
            safe.push(character);
        } else {
            push_escape(&mut safe, character);
        }
    }
    Cow::Owned(safe)
}

fn push_escape(safe: &mut String, character: char) {
    match character {
        '\n' => safe.push_str("\\n"),
        '\r' => safe.push_str("\\r"),
        '\t' => safe.push_str("\\t"),
        other => {
            let code = u32::from(other);
            // Writing to a String can't fail.
            let _ = match code {
                0..=0xFF => write!(safe, "\\x{code:02x}"),
                0x100..=0xFFFF => write!(safe, "\\u{code:04x}"),
                _ => write!(safe, "\\U{code:08x}"),
            };
        }
    }
}

/// Neither a control (Cc), nor a format character (Cf: bidirectional marks, zero width, tags), nor
/// a line or paragraph separator. The ranges are those of Unicode 16.
fn is_plain(character: char) -> bool {
    !(character.is_control()
        || matches!(u32::from(character),
            0xAD
            | 0x600..=0x605
            | 0x61C
            | 0x6DD
            | 0x70F
            | 0x890..=0x891
            | 0x8E2
            | 0x180E
            | 0x200B..=0x200F
            | 0x2028..=0x202E
            | 0x2060..=0x206F
            | 0xFEFF
            | 0xFFF9..=0xFFFB
            | 0x110BD
            | 0x110CD
            | 0x13430..=0x1345F
            | 0x1BCA0..=0x1BCA3
            | 0x1D173..=0x1D17A
            | 0xE0000..=0xE007F))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_not_copied() {
        assert!(matches!(plain("größe 数 🐍"), Cow::Borrowed(_)));
    }

    #[test]
    fn controls_and_bidirectional_marks_become_escapes() {
        assert_eq!(plain("a\x1b]0;x\n"), "a\\x1b]0;x\\n");
        assert_eq!(plain("x\u{202e}y\u{e0041}"), "x\\u202ey\\U000e0041");
        assert_eq!(plain_frame("a;b"), "a\\x3bb");
    }

    #[test]
    fn markup_is_no_markup() {
        assert_eq!(
            markup("<a href='\"&\u{ffff}\0"),
            "&lt;a href=&#39;&quot;&amp;\u{fffd}\\x00"
        );
    }
}
