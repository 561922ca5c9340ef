//! How many file descriptors a process may still open, and how long its files may be.

use super::Target;
use super::proc;

/// The longest `limits` file that is read; a kernel's has about 1300 bytes.
const LIMITS_MAX: u64 = 1 << 14;

/// How many file descriptors a process may have, and has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// How many it may have: each has a number below this (`RLIMIT_NOFILE`).
    pub limit: u64,
    /// How many of these numbers are not in use.
    pub free: u64,
}

impl Target {
    /// How many file descriptors it may have, and how many more it could open. `None` where that
    /// can't be read, or it has very many.
    pub fn descriptors(&self) -> Option<Descriptors> {
        let text = self.process.read("limits", LIMITS_MAX).ok()?;
        let limit = proc::parse_limit(&text, "Max open files")?;
        let open = self.process.descriptor_numbers().ok()?;
        // What was opened before the limit was lowered may lie above it.
        let below = open.iter().filter(|number| u64::from(**number) < limit);
        let free = limit.saturating_sub(u64::try_from(below.count()).ok()?);
        Some(Descriptors { limit, free })
    }

    /// How many bytes a file may have that it writes to (`RLIMIT_FSIZE`): a longer one fails, and
    /// ends it by SIGXFSZ where that has its default action. `None` where there is no such limit, or
    /// it can't be read.
    pub fn file_size_limit(&self) -> Option<u64> {
        let text = self.process.read("limits", LIMITS_MAX).ok()?;
        proc::parse_limit(&text, "Max file size").filter(|limit| *limit != u64::MAX)
    }
}
