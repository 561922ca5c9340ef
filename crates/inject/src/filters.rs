//! Filters of system calls (seccomp) that a target's threads have.
//!
//! What a script calls, or what a thread that was stopped calls again, may be what its filter ends
//! the process for; and the rules can't be read like a file.

use invivo_model::{Error, ErrorKind, Result};
use invivo_process::{Target, Thread};

/// The modes that the kernel has (`Seccomp:` in `/proc/PID/status`).
const STRICT: u32 = 1;

/// Makes sure that no filter ends the target for what thread `tid` is to run, as far as that can be
/// known; `accepted` says that the caller knows the rules of its filters.
///
/// # Errors
/// `Unsupported` where a thread has a filter, and nobody has said that it allows what is needed;
/// always where this thread may do nothing but read and write.
pub(crate) fn check(target: &Target, tid: u32, accepted: bool) -> Result<()> {
    let threads = target.threads()?;
    let filtered = |thread: &&Thread| thread.seccomp.is_some_and(|mode| mode != 0);
    let own = threads.iter().filter(|thread| thread.tid == tid);
    let others = threads.iter().filter(|thread| thread.tid != tid);
    let Some(thread) = own.chain(others).find(filtered) else {
        return Ok(());
    };
    if thread.tid == tid && thread.seccomp == Some(STRICT) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("a script would end process {}", target.pid()),
            format!("thread {tid} is in seccomp's strict mode: it may only read, write and end"),
            "choose another thread with --thread; what only looks is possible: invivo dump, record",
        ));
    }
    if accepted {
        return Ok(());
    }
    let makes = if thread.tid == tid {
        "a script makes some"
    } else {
        "a thread that was stopped makes the one again that it waited in (restart_syscall)"
    };
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("a script might end process {}", target.pid()),
        format!(
            "thread {} has a seccomp filter, whose rules can't be read: it may kill for a system call \
             that it does not allow, and {makes}",
            thread.tid
        ),
        "find out what the filter does (systemd's SystemCallFilter= kills, a container's answers \
         with an error), and which calls there are with --dry-run --accept-seccomp; where it allows \
         them, or does not kill: --accept-seccomp",
    ))
}
