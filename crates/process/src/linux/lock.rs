//! One of us at a time on one target.

use invivo_model::Result;
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::Target;

/// Held while we act on a target; released when it is dropped, or by the kernel if we die.
///
/// The lock lies on `/proc/PID/mem`: no file of ours is needed, and it can be opened only by those
/// whom the kernel lets attach to the target, Yama's rules included (other files there need less),
/// so nobody else can keep us out. Instances that see
/// the target through another procfs (in another container) are not excluded: for them stands the
/// request's own flag in the target.
#[derive(Debug)]
pub struct TargetLock {
    _file: OwnedFd,
}

impl Target {
    /// Takes the lock; `None` while another Invivo acts on this target.
    ///
    /// # Errors
    /// `Refused` when the target may not be attached to.
    pub fn try_lock(&self) -> Result<Option<TargetLock>> {
        let what = || format!("process {} can't be locked", self.pid());
        let file = self
            .process
            .open_file("mem", OFlags::RDONLY)
            .map_err(|errno| self.process.failed(what(), errno))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(TargetLock { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(self.process.failed(what(), errno)),
        }
    }
}
