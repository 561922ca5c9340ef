//! Whether a result gets to where it is to go.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use invivo::exec::Cancel;
use invivo::{Error, ErrorKind, Result, standard_output, write_patiently};

/// The one way to stdout. A write to it never fails: what goes wrong is kept, the rest is dropped,
/// and `main` asks at the end ([`Output::ensure_written`](super::Output::ensure_written)), so that
/// no command can forget to.
#[derive(Debug)]
pub(super) struct Stdout {
    file: Option<File>,
    is_terminal: bool,
    pub(super) fate: Fate,
    pub(super) patience: Patience,
}

/// How long writes wait for whoever reads what they write. By default for ever, as those of other
/// programs do: then a signal ends Invivo.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience(Option<(Instant, Cancel)>);

impl Patience {
    pub(super) fn new(until: Instant, cancel: Cancel) -> Self {
        Self(Some((until, cancel)))
    }

    /// Writes all of `bytes`.
    pub(super) fn write(&self, mut to: &File, bytes: &[u8]) -> io::Result<()> {
        match &self.0 {
            None => to.write_all(bytes),
            Some((until, cancel)) => {
                write_patiently(to, bytes, || !cancel.is_set() && Instant::now() < *until)
            }
        }
    }
}

/// What has become of what was written.
#[derive(Debug, Default)]
pub(super) enum Fate {
    /// All of it is where it was to go.
    #[default]
    Whole,
    /// It went wrong, and nobody has been told yet.
    Lost(Error),
    /// Nothing more is written: its reader has gone, or it went wrong and that was told.
    Over,
}

impl Fate {
    /// Takes note of how a write to `stream` went. A reader that has gone (`invivo … | head`) is no
    /// error.
    pub(super) fn note(&mut self, stream: &str, outcome: io::Result<()>) {
        let Err(error) = outcome else { return };
        *self = match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Over,
            io::ErrorKind::TimedOut => Self::Lost(unread(stream)),
            _ => Self::Lost(unwritten(stream, &error)),
        };
    }

    /// What went wrong, told once.
    pub(super) fn tell(&mut self) -> Result<()> {
        match std::mem::replace(self, Self::Over) {
            Self::Lost(error) => Err(error),
            fate => {
                *self = fate;
                Ok(())
            }
        }
    }
}

impl Stdout {
    pub(super) fn new() -> Self {
        let (mut fate, mut file) = (Fate::default(), None);
        fate.note(STDOUT, standard_output().map(|opened| file = Some(opened)));
        Self {
            is_terminal: io::stdout().is_terminal(),
            file,
            fate,
            patience: Patience::default(),
        }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let (Fate::Whole, Some(file)) = (&self.fate, &mut self.file) {
            let outcome = self.patience.write(file, bytes);
            self.fate.note(STDOUT, outcome);
        }
        Ok(bytes.len())
    }

    /// Nothing is kept back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const STDOUT: &str = "stdout";

/// Whether a file could not be made for want of room, and not since it was badly named.
pub(crate) fn lacks_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull, WriteZero};
    matches!(
        error.kind(),
        FileTooLarge | QuotaExceeded | StorageFull | WriteZero
    )
}

/// What could not be written to where, and why.
pub(crate) fn unwritten(place: &str, error: &io::Error) -> Error {
    Error::new(
        ErrorKind::Unwritten,
        format!("the result, or a part of it, could not be written to {place}"),
        error.to_string(),
        "make room where it should go, or let it go elsewhere",
    )
}

/// What could not be written in time since nobody read what was written before.
fn unread(place: &str) -> Error {
    Error::new(
        ErrorKind::TimedOut,
        format!("the result, or a part of it, could not be written to {place} in time"),
        "whoever is to read it did not",
        "let it be read, or written to a file; allow more with --timeout",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_is_told_once_and_a_reader_that_has_gone_never() {
        let mut fate = Fate::default();
        fate.note("a", Ok(()));
        assert!(fate.tell().is_ok() && matches!(fate, Fate::Whole));
        fate.note("a", Err(io::ErrorKind::StorageFull.into()));
        let error = fate.tell().expect_err("it is told");
        assert_eq!(error.kind, ErrorKind::Unwritten);
        assert!(fate.tell().is_ok() && matches!(fate, Fate::Over));
        let mut fate = Fate::default();
        fate.note("a", Err(io::ErrorKind::BrokenPipe.into()));
        assert!(fate.tell().is_ok() && matches!(fate, Fate::Over));
    }
}
