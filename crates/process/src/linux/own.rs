//! What we are ourselves, and what the kernel gives us.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use invivo_model::{Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::sys;

/// The name of a file that has these bytes.
pub fn file_name(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}

/// The pid namespace in which we number processes, by its inode: what tells our numbers from
/// those of an Invivo in another container.
///
/// # Errors
/// `Refused` where `/proc` does not show it.
pub fn own_pid_namespace() -> Result<u64> {
    rustix::fs::stat("/proc/self/ns/pid")
        .map(|stat| stat.st_ino)
        .map_err(|errno| {
            Error::new(
                ErrorKind::Refused,
                "our own pid namespace can't be told",
                format!("/proc/self/ns/pid: {errno}"),
                "mount the proc file system: mount -t proc proc /proc",
            )
        })
}

/// Whether we ignore this signal, as those who started us may have wanted it (`nohup`). Not so
/// where that can't be told.
pub fn is_ignored(signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return false;
    };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = u32::try_from(signal).ok().and_then(|n| n.checked_sub(1));
    let bit = bit.and_then(|n| 1_u64.checked_shl(n));
    mask.zip(bit).is_some_and(|(mask, bit)| mask & bit != 0)
}

/// Our standard output as a file that hides nothing: std's own takes a write that failed since
/// nobody may write there for one that went well.
///
/// # Errors
/// Where there is none, or no room for another descriptor.
pub fn standard_output() -> io::Result<File> {
    let copy = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 0)?;
    Ok(File::from(copy))
}

/// Our standard error in the same way.
///
/// # Errors
/// As [`standard_output`].
pub fn standard_error() -> io::Result<File> {
    let copy = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 0)?;
    Ok(File::from(copy))
}

/// Writes all of `bytes` to what may be a pipe or a terminal, and waits for whoever reads it no
/// longer than `patient` says, which is asked often.
///
/// # Errors
/// `TimedOut` where nobody reads and `patient` says no; else as any write.
pub fn write_patiently(
    to: impl AsFd,
    mut bytes: &[u8],
    patient: impl Fn() -> bool,
) -> io::Result<()> {
    /// A pipe that is ready takes so much without waiting (`PIPE_BUF`).
    const PIECE: usize = 4096;
    const AT_ONCE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    const A_WHILE: Timespec = Timespec {
        tv_nsec: 20_000_000,
        ..AT_ONCE
    };
    while !bytes.is_empty() {
        let waits = patient();
        let mut ready = [PollFd::new(&to, PollFlags::OUT)];
        let ready = match poll(&mut ready, Some(if waits { &A_WHILE } else { &AT_ONCE })) {
            Err(Errno::INTR) => Ok(0),
            ready => ready,
        }?;
        let piece = bytes.get(..PIECE).unwrap_or(bytes);
        let written = if ready == 0 {
            Err(Errno::AGAIN)
        } else {
            rustix::io::write(&to, piece)
        };
        match written {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::AGAIN | Errno::INTR) if waits => {}
            Err(Errno::AGAIN | Errno::INTR) => return Err(io::ErrorKind::TimedOut.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Does something while every signal that comes to this thread waits: it is delivered afterwards. So
/// does one to the whole process, as long as it has no other thread. For installing handlers: one
/// that came halfway would be nobody's.
pub fn with_signals_held<R>(act: impl FnOnce() -> R) -> R {
    struct Held(sys::SignalMask);

    impl Drop for Held {
        fn drop(&mut self) {
            sys::set_signal_mask(&self.0);
        }
    }

    let _held = Held(sys::block_all_signals());
    act()
}

/// The real user that we run as.
pub fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// The user who has logged in, whatever users they became since (`sudo`, `su`). `None` where
/// nobody has, or the kernel does not keep it.
pub fn login_uid() -> Option<u32> {
    let text = std::fs::read_to_string("/proc/self/loginuid").ok()?;
    text.trim().parse().ok().filter(|uid| *uid != u32::MAX)
}

/// Random bytes that nobody can guess.
///
/// # Errors
/// `Refused` where the kernel gives none.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    // Up to 256 bytes come whole or not at all (`man 2 getrandom`).
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(count) if count == N => Ok(bytes),
        outcome => Err(Error::new(
            ErrorKind::Refused,
            "no random bytes for a one-time token",
            format!("getrandom says: {outcome:?}"),
            "check that the system's random source works",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals() {
        // What Rust programs ignore from their start on, and what they don't.
        assert!(is_ignored(libc::SIGPIPE));
        assert!(!is_ignored(libc::SIGSEGV));
        assert!(!is_ignored(0) && !is_ignored(-1) && !is_ignored(1000));
    }
}
