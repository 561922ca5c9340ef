//! The exit codes: stable, documented in `--help`, the man page and `docs/exit-codes.md`.

use std::process::ExitCode;

use invivo::ErrorKind;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Done.
    Done = 0,
    /// The script run inside raised; its traceback is on stderr.
    Raised = 1,
    /// Wrong usage. (clap exits with the same code by itself.)
    Usage = 2,
    /// No such process, or not a Python process.
    NoProcess = 3,
    /// The OS refused: the message names the rule and the remedy.
    Refused = 4,
    /// This target can't do that: version, build, state, or the operator opted out.
    Unsupported = 5,
    /// Timed out.
    TimedOut = 6,
    /// The target went away meanwhile.
    Gone = 7,
    /// A defect in Invivo.
    Defect = 70,
    /// The result could not be written to where it was to go. What was done is done all the same.
    Unwritten = 74,
    /// Stopped by Ctrl-C or SIGTERM.
    Interrupted = 130,
}

impl From<ErrorKind> for Status {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Usage => Self::Usage,
            ErrorKind::NoSuchProcess | ErrorKind::NotPython => Self::NoProcess,
            ErrorKind::Refused => Self::Refused,
            ErrorKind::Unsupported | ErrorKind::Corrupt => Self::Unsupported,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::Gone => Self::Gone,
            ErrorKind::Interrupted => Self::Interrupted,
            ErrorKind::Unwritten => Self::Unwritten,
            ErrorKind::Internal => Self::Defect,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// The table as it stands in `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
   0  done
   1  the script run inside raised; its traceback is on stderr
   2  wrong usage
   3  no such process, or not a Python process
   4  the OS refused: the message names the rule and the remedy
   5  this target can't do that: version, build, state, or the operator opted out
   6  timed out; nothing was left pending in the target
   7  the target went away meanwhile
  70  a defect in Invivo: please report
  74  the result could not be written (a full disk); what was done is done all the same
 130  stopped by Ctrl-C or SIGTERM; nothing was left pending in the target";
