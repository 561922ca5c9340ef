//! Where the output of a script goes while it runs.

use crate::show::Output;

/// What a script printed, kept for JSON: up to a bound that is said when it is reached.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) stdout: Kept,
    pub(super) stderr: Kept,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Kept {
    const MAX: usize = 64 << 20;

    fn push(&mut self, bytes: &[u8]) {
        let room = Self::MAX - self.bytes.len();
        self.truncated |= bytes.len() > room;
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
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
