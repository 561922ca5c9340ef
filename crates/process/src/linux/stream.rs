//! Pipes and devices that the caller has us write to: never waiting for ever.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, stat, statat};
use rustix::io::Errno;

use super::new_file::{ensure_not_planted, locate};

/// How long a FIFO may have no reader.
const OPENED_WITHIN: Duration = Duration::from_secs(5);

/// How long a reader may take nothing.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// How often it is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether `path` names a pipe, a device or a socket, by links too, and no file.
pub fn is_stream(path: &Path) -> bool {
    stat(path).is_ok_and(|found| {
        !matches!(
            FileType::from_raw_mode(found.st_mode),
            FileType::RegularFile | FileType::Directory
        )
    })
}

/// A pipe or a device, opened for writing.
#[derive(Debug)]
pub struct Stream(File);

impl Stream {
    /// Opens it. A FIFO that nobody reads is waited for for 5 seconds.
    ///
    /// # Errors
    /// What the kernel says; `TimedOut`; or that it is a disk, or was put there by somebody else.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (directory, name) = locate(path)?;
        let standing = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        ensure_not_planted(&directory, &standing)?;
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let by = Instant::now() + OPENED_WITHIN;
        let is_fifo = || {
            stat(path).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo)
        };
        let opened = loop {
            match openat(CWD, path, flags, Mode::empty()) {
                Err(Errno::NXIO) if is_fifo() && Instant::now() < by => thread::sleep(PAUSE),
                Err(Errno::NXIO) if is_fifo() => {
                    let seconds = OPENED_WITHIN.as_secs();
                    return Err(silent(format!("nobody has read from it for {seconds} s")));
                }
                outcome => break outcome?,
            }
        };
        match FileType::from_raw_mode(fstat(&opened)?.st_mode) {
            FileType::Fifo | FileType::CharacterDevice => Ok(Self(File::from(opened))),
            _ => Err(io::Error::other(
                "it is neither a pipe nor a device that takes text",
            )),
        }
    }

    fn wait(&self) -> io::Result<()> {
        let by = Instant::now() + TAKEN_WITHIN;
        loop {
            let left = by.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(
                &mut [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::OUT)],
                Some(&left),
            ) {
                Ok(0) => {
                    let seconds = TAKEN_WITHIN.as_secs();
                    return Err(silent(format!(
                        "its reader has taken nothing for {seconds} s"
                    )));
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                outcome => return outcome,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn silent(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}
