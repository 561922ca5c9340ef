//! From data to what a person reads: the one door to the terminal.

mod delivery;
mod excerpt;
mod plain;
mod table;
mod value;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Instant;

pub(crate) use invivo::escape::{shown, shown_bytes, shown_lines};
use invivo::exec::Cancel;
use invivo::{Error, Halt, Result, standard_error};
use serde::Serialize;

use crate::arguments::Color;
use delivery::{Fate, Patience, Stdout};
pub(crate) use delivery::{lacks_room, unwritten};
pub(crate) use excerpt::{Excerpt, cut, cut_path};
pub(crate) use table::Table;
pub(crate) use value::{grouped, value_text, value_within};

/// How a piece of text looks on a terminal with colour.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    /// Bold.
    Strong,
    /// Faint.
    Dim,
    /// Green.
    Good,
    /// Red.
    Bad,
    /// Yellow.
    Doubtful,
    /// Cyan: a command that can be copied, or a name.
    Command,
    /// Bold and underlined: where in its line something is.
    Marked,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Strong => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Doubtful => "33",
            Self::Command => "36",
            Self::Marked => "1;4",
        }
    }
}

/// Where a command writes: results to stdout, diagnostics to stderr.
///
/// A result that can't be written is told of at the end ([`Output::ensure_written`]). What can't be
/// said on stderr can't be said at all; only what a script printed there is a result as well. A
/// reader that has gone (`invivo … | head`) is no error: what follows is dropped.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: Stdout,
    /// `None` where there is none.
    stderr: Option<File>,
    script_stderr: Fate,
    stdout_color: bool,
    stderr_color: bool,
    verbose: bool,
}

impl Output {
    pub(crate) fn new(color: Color, verbose: bool) -> Self {
        let wanted = |terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
                terminal && !refused && !dumb
            }
        };
        let stdout = Stdout::new();
        Self {
            stdout_color: wanted(stdout.is_terminal()),
            stderr_color: wanted(io::stderr().is_terminal()),
            verbose,
            stdout,
            stderr: standard_error().ok(),
            script_stderr: Fate::default(),
        }
    }

    /// Says whether all that was printed so far is where it was to go. An error is told once.
    ///
    /// `main` asks this of every command. One asks it itself that goes on to something else, or
    /// records how it ended.
    pub(crate) fn ensure_written(&mut self) -> Result<()> {
        self.stdout.fate.tell()?;
        self.script_stderr.tell()
    }

    /// From now on writes wait for whoever reads them until then, or until this is set, and not for
    /// ever. What is not written then is lost, which is told of at the end.
    pub(crate) fn wait_until(&mut self, until: Instant, cancel: Cancel) {
        self.stdout.patience = Patience::new(until, cancel);
    }

    /// Whether more than the usual was asked for.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// How many columns the terminal on stdout has; `None` where stdout is no terminal.
    pub(crate) fn columns(&self) -> Option<usize> {
        self.is_terminal()
            .then(terminal_size::terminal_size)?
            .map(|(width, _)| width.0.into())
    }

    /// Whether results go to a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.stdout.is_terminal()
    }

    /// Whether results and diagnostics go to a terminal, which shows them as one stream.
    pub(crate) fn shares_terminal(&self) -> bool {
        self.is_terminal() && io::stderr().is_terminal()
    }

    /// Whether what goes to stdout has colour.
    pub(crate) fn has_color(&self) -> bool {
        self.stdout_color
    }

    /// `text` in `style` for stdout, or as it is where stdout has no colour.
    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        styled(self.stdout_color, style, text)
    }

    /// A line of the result. What came from a target must have been through [`shown`].
    pub(crate) fn line(&mut self, text: &str) {
        self.text(&format!("{text}\n"));
    }

    /// Lines of the result. What came from a target must have been through [`shown`]; what was not
    /// is escaped here, whatever that does to the columns.
    pub(crate) fn text(&mut self, text: &str) {
        let safe = plain::lines(text);
        debug_assert!(matches!(safe, Cow::Borrowed(_)), "not escaped: {text:?}");
        self.raw(safe.as_bytes());
    }

    /// The result as one line of JSON, written as it is made: it may have many megabytes.
    pub(crate) fn document(&mut self, report: &impl Serialize) {
        let mut out = BufWriter::with_capacity(1 << 16, &mut self.stdout);
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, plain::Json);
        let outcome = report
            .serialize(&mut serializer)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush());
        drop(out);
        // Stdout takes all: what fails is the report itself.
        self.stdout.fate.note("JSON", outcome);
    }

    /// Bytes of the result, as they are: of our own making alone.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        let outcome = self.stdout.write_all(bytes);
        debug_assert!(outcome.is_ok(), "stdout keeps its errors for the end");
    }

    /// Where the result goes, to write it as it is made. On a terminal, what would drive it is
    /// escaped.
    pub(crate) fn writer(&mut self) -> impl Write {
        BufWriter::new(Escaped(self))
    }

    /// What a script in the target printed: bytes as they are for a file or pipe, escaped for a
    /// terminal.
    pub(crate) fn script_stdout(&mut self, bytes: &[u8]) {
        if self.is_terminal() {
            self.raw(shown_lines(bytes).as_bytes());
        } else {
            self.raw(bytes);
        }
    }

    /// The same for what it printed to its stderr.
    pub(crate) fn script_stderr(&mut self, bytes: &[u8]) {
        if !matches!(self.script_stderr, Fate::Whole) {
            return;
        }
        let outcome = if io::stderr().is_terminal() {
            self.write_to_stderr(shown_lines(bytes).as_bytes())
        } else {
            self.write_to_stderr(bytes)
        };
        self.script_stderr.note("stderr", outcome);
    }

    /// What clap answers to a command line that asks for help, or is wrong.
    pub(crate) fn answer(&mut self, answer: &clap::Error) {
        let text = answer.render();
        // It repeats the words of the command line, which may come from anywhere.
        let plain = |word: &OsString| word.to_str().is_some_and(|word| shown(word) == word);
        if !std::env::args_os().all(|word| plain(&word)) {
            let text = shown_lines(text.to_string().as_bytes());
            if answer.use_stderr() {
                self.diagnostic(&text);
            } else {
                self.text(&text);
            }
            return;
        }
        match (answer.use_stderr(), self.stdout_color, self.stderr_color) {
            (false, false, _) => self.raw(text.to_string().as_bytes()),
            (false, true, _) => self.raw(text.ansi().to_string().as_bytes()),
            (true, _, false) => self.diagnostic(&text.to_string()),
            (true, _, true) => self.diagnostic(&text.ansi().to_string()),
        }
    }

    /// Text for stderr, as it is.
    pub(crate) fn diagnostic(&mut self, text: &str) {
        let _ = self.write_to_stderr(text.as_bytes());
    }

    fn write_to_stderr(&self, bytes: &[u8]) -> io::Result<()> {
        match &self.stderr {
            Some(stderr) => self.stdout.patience.write(stderr, bytes),
            None => io::stderr().write_all(bytes),
        }
    }

    /// A line that `--verbose` asks for; escaped, since it may hold what a target said.
    pub(crate) fn detail(&mut self, text: &str) {
        if self.verbose {
            let line = styled(
                self.stderr_color,
                Style::Dim,
                &format!("invivo: {}", shown(text)),
            );
            self.diagnostic(&format!("{line}\n"));
        }
    }

    /// A line on stderr that is always of interest; escaped.
    pub(crate) fn note(&mut self, text: &str) {
        self.diagnostic(&format!("invivo: {}\n", shown(text)));
    }

    /// Says of a process which mapping did not give what it holds, if one did not.
    pub(crate) fn silence(&mut self, pid: u32, mapping: Option<String>) {
        if let Some(mapping) = mapping {
            self.note(&format!(
                "process {pid}: a part of its memory does not answer, and was left out: {mapping}"
            ));
        }
    }

    /// A line that takes the place of the one before it, if stderr is a terminal; none where it is
    /// empty. It must have been through [`shown`].
    pub(crate) fn progress(&mut self, text: &str) {
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        if dumb || !io::stderr().is_terminal() {
            return;
        }
        let width = terminal_size::terminal_size_of(io::stderr());
        let width = width.map_or(80, |(width, _)| usize::from(width.0));
        let line = cut(text, width.saturating_sub(1));
        self.diagnostic(&format!("\r{line}\x1b[K"));
    }

    /// The three lines of an error.
    pub(crate) fn error(&mut self, error: &Error) {
        let label = |style, text| styled(self.stderr_color, style, text);
        let text = format!(
            "{} {}\n{} {}\n{} {}\n",
            label(Style::Bad, "error:"),
            shown(&error.what),
            label(Style::Doubtful, "  why:"),
            shown(&error.why),
            label(Style::Command, "  try:"),
            shown(&error.remedy),
        );
        self.diagnostic(&text);
    }
}

/// That a process stands still, and what lets it go on.
pub(crate) fn halted(halt: Halt, pid: u32) -> String {
    format!("it is {halt}: {}", halt.remedy(pid))
}

/// [`Halt`] in JSON, as every command has it.
pub(crate) fn halt_json(halt: Option<Halt>) -> Option<serde_json::Value> {
    let halt = halt?;
    let (by, tracer) = match halt {
        Halt::Signal(_) => ("signal", None),
        Halt::Tracer(tracer) => ("tracer", Some(tracer)),
    };
    let signal = halt.signal_name();
    Some(serde_json::json!({ "by": by, "signal": signal, "tracer": tracer }))
}

/// Stdout for bytes that may be anything.
struct Escaped<'a>(&'a mut Output);

impl Write for Escaped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.script_stdout(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn styled(color: bool, style: Style, text: &str) -> String {
    if color && !text.is_empty() {
        format!("\x1b[{}m{text}\x1b[0m", style.code())
    } else {
        text.to_owned()
    }
}
