//! Rust source cut into lines of code, without comments, and with tests marked.

/// One line of a source file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The code with its strings, without comments.
    pub(super) code: String,
    /// The code with its strings emptied.
    pub(super) bare: String,
    /// Within an item marked `#[cfg(test)]`, or in a file of tests.
    pub(super) test: bool,
}

/// Cuts a source text into lines.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let mut cutter = Cutter {
        rest: text,
        lines: vec![Line::default()],
    };
    while cutter.step() {}
    let mut lines = cutter.lines;
    mark_tests(&mut lines);
    lines
}

struct Cutter<'a> {
    rest: &'a str,
    lines: Vec<Line>,
}

impl Cutter<'_> {
    /// Takes the next token, as far as it matters; `false` at the end.
    fn step(&mut self) -> bool {
        let rest = self.rest;
        let Some(first) = rest.chars().next() else {
            return false;
        };
        if rest.starts_with("//") {
            self.drop(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.drop(block_comment(rest));
        } else if let Some(length) = raw_string(rest) {
            self.string(length);
        } else if first == '"' {
            self.string(quoted(rest, '"'));
        } else if let Some(length) = character(rest) {
            self.string(length);
        } else {
            // A word is taken whole, so that no `r` at its end seems to begin a raw string.
            let word = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            self.keep(word.max(first.len_utf8()));
        }
        true
    }

    fn take(&mut self, length: usize) -> &str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn keep(&mut self, length: usize) {
        let taken = self.take(length).to_owned();
        self.push(&taken, true, true);
    }

    fn string(&mut self, length: usize) {
        let taken = self.take(length).to_owned();
        self.push(&taken, true, false);
    }

    fn drop(&mut self, length: usize) {
        let taken = self.take(length).to_owned();
        self.push(&taken, false, false);
    }

    fn push(&mut self, text: &str, code: bool, bare: bool) {
        for (n, part) in text.split('\n').enumerate() {
            if n > 0 {
                self.lines.push(Line::default());
            }
            let Some(line) = self.lines.last_mut() else {
                return;
            };
            if code {
                line.code.push_str(part);
            }
            if bare {
                line.bare.push_str(part);
            } else if code {
                line.bare.push_str("\"\"");
            }
        }
    }
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a raw string such as `br#"…"#` at the start.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - body.len();
    Some(
        body.find(&end)
            .map_or(text.len(), |at| start + at + end.len()),
    )
}

/// The length of a quoted text that may escape its quote.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// The length of a character literal; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    let mut chars = inner.chars();
    let first = chars.next()?;
    (first == '\\' || chars.next() == Some('\'')).then(|| quoted(text, '\''))
}

/// Marks the items that follow `#[cfg(test)]`, to the end of their braces or to a semicolon.
fn mark_tests(lines: &mut [Line]) {
    let mut at = 0;
    while at < lines.len() {
        if !lines[at].bare.contains("#[cfg(test)]") {
            at += 1;
            continue;
        }
        let mut depth = 0_usize;
        'item: while at < lines.len() {
            lines[at].test = true;
            let bare = lines[at].bare.replace("#[cfg(test)]", "");
            at += 1;
            for c in bare.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth <= 1 => break 'item,
                    '}' => depth -= 1,
                    ';' if depth == 0 => break 'item,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<String> {
        lines(text).into_iter().map(|line| line.code).collect()
    }

    #[test]
    fn drops_comments_and_keeps_strings() {
        assert_eq!(
            codes("a // b\n/* c /* d */\ne */ f \"// g\""),
            ["a ", "", " f \"// g\""]
        );
        assert_eq!(codes("/// doc\nx"), ["", "x"]);
    }

    #[test]
    fn empties_strings_in_bare_code() {
        let bare = |text: &str| {
            lines(text)
                .into_iter()
                .map(|line| line.bare)
                .collect::<Vec<_>>()
        };
        assert_eq!(bare(r#"f("a\"b") g"#), ["f(\"\") g"]);
        assert_eq!(bare("f(r##\"a\"# b\nc\"##) g"), ["f(\"\"", "\"\") g"]);
        assert_eq!(
            bare("let c = '\"'; let d = '\\''; fn e<'a>()"),
            ["let c = \"\"; let d = \"\"; fn e<'a>()"]
        );
        assert_eq!(bare("for\"x\""), ["for\"\""]);
    }

    #[test]
    fn marks_tests() {
        let text =
            "a\n#[cfg(test)]\nmod tests {\n  fn b() { \"}\" }\n}\nc\n#[cfg(test)]\nmod d;\ne";
        let marks: Vec<bool> = lines(text).iter().map(|line| line.test).collect();
        assert_eq!(
            marks,
            [false, true, true, true, true, false, true, true, false]
        );
    }
}
