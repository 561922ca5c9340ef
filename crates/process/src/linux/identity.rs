//! Whose rights count when a file is touched that somebody else has named.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::thread;

use invivo_model::Result;
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::process::{Gid, getegid, geteuid, getgroups};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities, set_thread_groups};

use super::target::Process;
use super::{Target, sys};

/// A group that nobody is in: for one of whom no group is known.
const NO_GROUP: u32 = 65534;

/// Where a process reads whether a user of another user namespace has a number in its own.
pub const USER_MAP_FILES: [&str; 2] = ["/proc/self/uid_map", "/proc/sys/kernel/overflowuid"];

/// The rights with which somebody touches files: a user, groups, and what overrides permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The file-system user id, as we see it.
    pub uid: u32,
    /// The file-system group id, as we see it.
    pub gid: u32,
    /// The supplementary groups, without that one.
    groups: BTreeSet<u32>,
    /// The capabilities in force in our user namespace, as the kernel's bit mask.
    capabilities: u64,
}

impl Target {
    /// What the target knows itself by: its number in its own pid namespace. `None` where the kernel
    /// does not say.
    ///
    /// # Errors
    /// `Refused` or `Gone`.
    pub fn innermost_pid(&self) -> Result<Option<u32>> {
        let what = || {
            format!(
                "the number of process {} in its own namespace can't be told",
                self.pid()
            )
        };
        let status = self.process.status();
        let status = status.map_err(|errno| self.process.failed(what(), errno))?;
        Ok(status.innermost_pid())
    }

    /// The identity with which the target touches files now.
    ///
    /// # Errors
    /// `Refused` or `Gone`.
    pub fn identity(&self) -> Result<Identity> {
        let what = || format!("the user of process {} can't be told", self.pid());
        Identity::of(&self.process).map_err(|errno| self.process.failed(what(), errno))
    }
}

impl Identity {
    pub(super) fn of(process: &Process) -> Result<Self, Errno> {
        let status = process.status()?;
        let (Some([.., uid]), Some([.., gid])) = (status.uid, status.gid) else {
            return Err(Errno::IO);
        };
        // In another user namespace, what it may do there it may not do here.
        let capabilities = match status.effective_capabilities {
            Some(mask) if mask != 0 && is_in_our_user_namespace(process) => mask,
            _ => 0,
        };
        Ok(Self {
            uid,
            gid,
            groups: others(gid, status.groups),
            capabilities,
        })
    }

    /// Our own.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn own() -> io::Result<Self> {
        let gid = getegid().as_raw();
        Ok(Self {
            uid: geteuid().as_raw(),
            gid,
            groups: others(gid, getgroups()?.into_iter().map(Gid::as_raw)),
            capabilities: capabilities(None)?.effective.bits(),
        })
    }

    /// With whose rights files are to be touched that a file names which the caller gave us: its
    /// maker's, where we may take on those of others, and our own else.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of_maker(file: &File) -> io::Result<Self> {
        let (own, maker) = (Self::own()?, fstat(file)?.st_uid);
        let may_more = own.uid == 0 || own.capabilities != 0;
        Ok(if may_more && own.uid != maker {
            Self::of_user(maker)
        } else {
            own
        })
    }

    /// The rights that every user has, or our own where these are a user's only.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of_everybody() -> io::Result<Self> {
        let own = Self::own()?;
        let is_user = own.uid != 0 && own.capabilities == 0;
        Ok(if is_user {
            own
        } else {
            Self::of_user(NO_GROUP)
        })
    }

    /// Of a user of whom nothing else is known: in no group, and with nothing that overrides
    /// permissions.
    fn of_user(uid: u32) -> Self {
        Self {
            uid,
            gid: NO_GROUP,
            groups: BTreeSet::new(),
            capabilities: 0,
        }
    }

    /// Whether `self` may touch nothing that `other` may not.
    fn is_within(&self, other: &Self) -> bool {
        let in_group = |gid: &u32| *gid == other.gid || other.groups.contains(gid);
        self.uid == other.uid
            && in_group(&self.gid)
            && self.groups.iter().all(in_group)
            && self.capabilities & !other.capabilities == 0
    }

    /// Does `deed` with no more rights than this identity's and no more than our own: in a thread
    /// of its own, which ends with the deed, where that takes a change.
    ///
    /// # Errors
    /// That of the deed; `PermissionDenied`, before it is begun, where we may not take the identity
    /// on.
    pub(super) fn act<T: Send>(
        &self,
        deed: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let own = Self::own()?;
        if own == *self {
            return deed();
        }
        thread::scope(|scope| {
            let acting = thread::Builder::new().spawn_scoped(scope, || {
                self.take_on(&own)?;
                deed()
            })?;
            let failed = |_| Err(io::Error::other("the thread that was to do it has failed"));
            acting.join().unwrap_or_else(failed)
        })
    }

    /// Gives the calling *thread* this identity for files, less what is not our `own` either. There
    /// is no way back: the thread is to end.
    pub(super) fn take_on(&self, own: &Self) -> io::Result<()> {
        let groups: Vec<Gid> = self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        // By the raw system call, which is the thread's alone; the C library's is the process's.
        let grouped = own.groups == self.groups || set_thread_groups(&groups).is_ok();
        let ids = (self.uid, self.gid);
        let known = (own.uid, own.gid) == ids || {
            sys::set_fs_ids(self.uid, self.gid);
            // The call does not say whether it worked, but what was in force before: once more.
            sys::set_fs_ids(self.uid, self.gid) == ids
        };
        // What overrides permissions goes with user 0 as a rule, but not always.
        let mut sets = capabilities(None)?;
        let both = sets.effective & CapabilitySet::from_bits_retain(self.capabilities);
        if sets.effective != both {
            sets.effective = both;
            set_capabilities(None, sets)?;
        }
        let as_ourselves = || {
            let own = Self {
                capabilities: 0,
                ..own.clone()
            };
            own.is_within(self)
        };
        if grouped && known || as_ourselves() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "it would take the rights of user {} and its groups, which we may not take on",
                self.uid
            ),
        ))
    }
}

/// All of `groups` but `gid`, which it does not matter whether they name too.
fn others(gid: u32, groups: impl IntoIterator<Item = u32>) -> BTreeSet<u32> {
    groups.into_iter().filter(|group| *group != gid).collect()
}

fn is_in_our_user_namespace(process: &Process) -> bool {
    let own = openat(
        CWD,
        "/proc/self/ns/user",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let theirs = process.open_file("ns/user", OFlags::RDONLY);
    match (own.and_then(fstat), theirs.and_then(fstat)) {
        (Ok(own), Ok(theirs)) => (own.st_dev, own.st_ino) == (theirs.st_dev, theirs.st_ino),
        // Kernels without user namespaces.
        (Err(Errno::NOENT), Err(Errno::NOENT)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_touch_less() {
        let user = |groups: &[u32], capabilities| Identity {
            uid: 1000,
            gid: 1000,
            groups: groups.iter().copied().collect(),
            capabilities,
        };
        assert!(user(&[], 0).is_within(&user(&[4], 0)));
        assert!(user(&[1000, 4], 0).is_within(&user(&[4], 0)));
        assert!(!user(&[4], 0).is_within(&user(&[], 0)));
        assert!(!user(&[], 2).is_within(&user(&[], 1)));
        assert!(user(&[], 2).is_within(&user(&[], 3)));
        assert!(!Identity::of_user(1).is_within(&Identity::of_user(2)));
    }

    #[test]
    fn as_ourselves_nothing_changes() {
        let own = Identity::own().expect("our own");
        let seen = own.act(Identity::own).expect("it is ours");
        assert_eq!(seen, own);
        assert!(own.act(|| Err::<(), _>(io::Error::other("no"))).is_err());
    }
}
