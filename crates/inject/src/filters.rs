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
    let own = threads.iter().filter(|thread| thread.tid == tid);
    let others = threads.iter().filter(|thread| thread.tid != tid);
    match own.chain(others).find(|thread| is_filtered(thread)) {
        Some(thread) => judge(target, tid, thread, accepted),
        None => Ok(()),
    }
}

/// The same while all threads stand still, when [`check`] has been asked before they were stopped:
/// of the thread alone that is to run something. To ask each of thousands would take long. A filter
/// that another thread has got since either holds for this one too, and is seen here, or matters
/// only for going on after the stop, which can't be undone.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_stopped(target: &Target, tid: u32, accepted: bool) -> Result<()> {
    let thread = target.thread(tid)?;
    if is_filtered(&thread) {
        judge(target, tid, &thread, accepted)
    } else {
        Ok(())
    }
}

fn is_filtered(thread: &Thread) -> bool {
    thread.seccomp.is_some_and(|mode| mode != 0)
}

/// What it means for thread `tid` that `thread` has a filter.
fn judge(target: &Target, tid: u32, thread: &Thread, accepted: bool) -> Result<()> {
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
