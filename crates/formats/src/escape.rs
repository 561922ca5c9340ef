//! What came from a target is text within markup too.

use invivo_model::escape::shown;

/// `text` within HTML or SVG, in text and in quoted attributes.
pub(crate) fn markup(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 16);
    for character in shown(text).chars() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_no_markup() {
        assert_eq!(
            markup("<a href='\"&\u{ffff}\0"),
            "&lt;a href=&#39;&quot;&amp;\u{fffd}\\x00"
        );
    }
}
