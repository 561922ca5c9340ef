use std::fmt;

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What class of failure this is. Closed: it decides the exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller asked for something that makes no sense, whatever the target is.
    Usage,
    /// There is no such process.
    NoSuchProcess,
    /// The process is there but holds no CPython interpreter that we can find.
    NotPython,
    /// The operating system refused, or something we need from it is missing.
    Refused,
    /// This target can't do that: its version, its build, its state, or the operator opted out.
    Unsupported,
    /// The deadline passed. Nothing was left pending in the target unless the message says so.
    TimedOut,
    /// The caller asked to stop. Nothing was left pending in the target unless the message says so.
    Interrupted,
    /// The target went away meanwhile.
    Gone,
    /// The result could not be written to where it was to go.
    Unwritten,
    /// What was read from the target is not what a CPython of its version holds, or a view of it
    /// could not be had: corrupted or hostile.
    Corrupt,
    /// A defect in Invivo.
    Internal,
}

/// Why something could not be done, in the three parts that every message has.
///
/// The parts may hold text that came from a target: whoever prints them escapes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The class of failure.
    pub kind: ErrorKind,
    /// What was tried and did not work, one sentence without a full stop.
    pub what: String,
    /// The fact that decided it.
    pub why: String,
    /// What the reader can do next.
    pub remedy: String,
}

impl Error {
    /// An error of `kind`, in its three parts.
    pub fn new(
        kind: ErrorKind,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            what: what.into(),
            why: why.into(),
            remedy: remedy.into(),
        }
    }

    /// The target `pid` ended while we worked on it.
    pub fn gone(pid: u32) -> Self {
        Self::new(
            ErrorKind::Gone,
            format!("process {pid} went away"),
            "it ended, or another process has its number now",
            "look for its successor with: invivo ps",
        )
    }

    /// Something that can't happen did: a defect in Invivo.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(
            ErrorKind::Internal,
            what,
            "this is a defect in Invivo",
            "please report it with the command and this message",
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl std::error::Error for Error {}
