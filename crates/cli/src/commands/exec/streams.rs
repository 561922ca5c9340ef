//! Where the output of a script goes while it runs.

use std::borrow::Cow;

use crate::show::Output;

/// What a script printed, kept for JSON: up to a bound that is said when it is reached.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) stdout: Kept,
    pub(super) stderr: Kept,
}

/// Bytes of one stream as text, each as soon as it has come: what is no UTF-8 takes more room as
/// text than it did before.
#[derive(Debug, Default)]
pub(super) struct Kept {
    text: String,
    /// The beginning of a character.
    begun: Vec<u8>,
    truncated: bool,
}

impl Kept {
    /// Of text, in each stream.
    const MAX: usize = 32 << 20;

    fn push(&mut self, bytes: &[u8]) {
        let mut bytes = Cow::Borrowed(bytes);
        if !self.begun.is_empty() {
            bytes = Cow::Owned([&self.begun, &*bytes].concat());
            self.begun.clear();
        }
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.add(chunk.valid());
            let rest = chunk.invalid();
            let cut = std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none());
            if cut && chunks.peek().is_none() {
                self.begun.extend_from_slice(rest);
            } else if !rest.is_empty() {
                self.add("\u{fffd}");
            }
        }
    }

    fn add(&mut self, text: &str) {
        if self.truncated {
            return;
        }
        let room = Self::MAX - self.text.len();
        self.truncated = text.len() > room;
        let kept = text.get(..text.floor_char_boundary(room));
        self.text.push_str(kept.unwrap_or_default());
    }

    pub(super) fn text(&self) -> String {
        let begun = String::from_utf8_lossy(&self.begun);
        let begun = if self.truncated { "" } else { &begun };
        [self.text.as_str(), begun].concat()
    }
}

impl Collected {
    pub(super) fn truncated(&self) -> bool {
        self.stdout.truncated || self.stderr.truncated
    }
}

/// The streams of one thread: passed on as they come, or kept for JSON.
#[derive(Debug)]
pub(super) struct Streams<'a> {
    pub(super) output: &'a mut Output,
    pub(super) collected: Collected,
    json: bool,
    /// What is to stand above the first that comes on stderr.
    heading: Option<String>,
    /// What came last on stdout ended no line.
    open_line: bool,
}

impl<'a> Streams<'a> {
    pub(super) fn new(output: &'a mut Output, json: bool) -> Self {
        Self {
            output,
            collected: Collected::default(),
            json,
            heading: None,
            open_line: false,
        }
    }

    /// The same below a line that says of which thread they are. It must have been escaped.
    pub(super) fn below(output: &'a mut Output, json: bool, heading: String) -> Self {
        let mut heading = Some(heading);
        if !json {
            // Where both are one terminal it stands there once.
            if output.shares_terminal() {
                output.line(&heading.take().unwrap_or_default());
            } else if let Some(heading) = &heading {
                output.line(heading);
            }
        }
        Self {
            heading,
            ..Self::new(output, json)
        }
    }

    pub(super) fn stdout(&mut self, bytes: &[u8]) {
        if self.json {
            self.collected.stdout.push(bytes);
            return;
        }
        self.open_line = bytes.last().is_some_and(|byte| *byte != b'\n');
        self.output.script_stdout(bytes);
    }

    pub(super) fn stderr(&mut self, bytes: &[u8]) {
        if self.json {
            self.collected.stderr.push(bytes);
            return;
        }
        self.head_stderr();
        self.output.script_stderr(bytes);
    }

    /// Says on stderr whose it is what follows, if that has not been said.
    pub(super) fn head_stderr(&mut self) {
        if let Some(heading) = self.heading.take() {
            self.output.diagnostic(&format!("{heading}\n"));
        }
    }

    /// Has what follows on stdout begin on a line of its own.
    pub(super) fn end_line(&mut self) {
        if std::mem::take(&mut self.open_line) {
            self.output.line("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_together_wherever_it_was_cut() {
        let bytes = b"a\xe6\x95\xb0\xff\xf0\x9f\x90\x8d\xe6\x95z\xf0\x9f";
        for step in 1..=bytes.len() {
            let mut kept = Kept::default();
            bytes.chunks(step).for_each(|piece| kept.push(piece));
            assert_eq!(kept.text(), String::from_utf8_lossy(bytes), "{step}");
            assert!(!kept.truncated);
        }
    }

    #[test]
    fn no_more_text_is_kept_than_is_said() {
        let mut kept = Kept::default();
        for _ in 0..Kept::MAX / 3000 + 1 {
            kept.push(&[0xff; 1000]);
        }
        assert_eq!(kept.text.len(), Kept::MAX / 3 * 3);
        kept.push(b"x");
        assert_eq!(kept.text().len(), Kept::MAX / 3 * 3);
        assert!(kept.truncated);
    }
}
