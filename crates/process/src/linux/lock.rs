//! One of us at a time on one target.

use std::time::{Duration, Instant};

use invivo_model::{Error, ErrorKind, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::Target;

/// Held while we act on a target; released when it is dropped, or by the kernel if we die.
///
/// The lock lies on `/proc/PID/environ`: no file of ours is needed, and it can be opened only by
/// those whom the kernel lets read the target, so nobody else can keep us out. Instances that see
/// the target through another procfs (in another container) are not excluded: for them stands the
/// request's own flag in the target.
#[derive(Debug)]
pub struct TargetLock {
    _file: OwnedFd,
}

impl Target {
    /// Waits until no other Invivo acts on this target.
    ///
    /// # Errors
    /// `TimedOut` when another one still does at `until`; `Refused` when the target may not be
    /// read.
    pub fn lock(&self, until: Instant) -> Result<TargetLock> {
        let file = self
            .process
            .open_file("environ", OFlags::RDONLY)
            .map_err(|errno| {
                self.process
                    .failed(format!("process {} can't be locked", self.pid()), errno)
            })?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(TargetLock { _file: file }),
                Err(Errno::WOULDBLOCK) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(Error::new(
                        ErrorKind::TimedOut,
                        format!("process {} is in use by another invivo", self.pid()),
                        "it held the lock on the target until our time was up",
                        "wait for it to end, or allow more time with --timeout",
                    ));
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    return Err(Error::new(
                        ErrorKind::Refused,
                        format!("could not lock process {}", self.pid()),
                        format!("flock on /proc/{}/environ: {error}", self.pid()),
                        "check that /proc is the kernel's own procfs",
                    ));
                }
            }
        }
    }
}
