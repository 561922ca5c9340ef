//! Files as the target sees them, opened so that it can't lead us astray.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use invivo_model::{Error, ErrorKind, Result};
use rustix::fs::{CWD, OFlags, ResolveFlags, Stat, fstat, major, minor};

use super::Identity;
use super::files::{NotOpened, find, find_through_links, open_found, read_found};
use super::maps::DELETED;
use super::target::{Process, Target};
use crate::{Module, ModuleFiles};

/// How long a file system may take to give a file.
const ANSWER: Duration = Duration::from_secs(2);

/// The root directory of a process.
///
/// Paths are resolved under it as the process would resolve them, but nothing leads out: `..`
/// stops at it, absolute links begin at it, and the links of a `/proc` that is mounted there are
/// not followed. What is read is read with the process's rights, or ours where these are less.
#[derive(Debug)]
pub struct TargetRoot {
    process: Arc<Process>,
    dir: Arc<OwnedFd>,
    /// Where it lies as seen from our own root; `/` where it is ours, or the top of its mounts.
    seen_as: PathBuf,
    /// With whose rights files are read.
    identity: Identity,
    /// Whether that is another's than the process's.
    is_named_by_another: bool,
    /// A file system has not answered: none is asked again.
    stalled: AtomicBool,
}

impl TargetRoot {
    pub(super) fn open(process: &Arc<Process>) -> Result<Self> {
        let failed = |errno| {
            let what = format!(
                "the root directory of process {} can't be opened",
                process.pid
            );
            process.failed(what, errno)
        };
        let dir = process
            .open_file("root", OFlags::PATH | OFlags::DIRECTORY)
            .map_err(failed)?;
        let seen_as = process.read_link("root").map_err(failed)?;
        Ok(Self {
            process: Arc::clone(process),
            dir: Arc::new(dir),
            seen_as,
            identity: Identity::of(process).map_err(failed)?,
            is_named_by_another: false,
            stalled: AtomicBool::new(false),
        })
    }

    /// The same for files that not the process has named, but somebody with this identity.
    #[must_use]
    pub fn named_by(self, identity: Identity) -> Self {
        Self {
            identity,
            is_named_by_another: true,
            ..self
        }
    }

    /// Sees anew which root the process has, and which rights: it may have given some up. Of one
    /// that has ended, what was seen last holds.
    pub fn refresh(&mut self) {
        if self.is_named_by_another {
            return;
        }
        if let Ok(identity) = Identity::of(&self.process) {
            self.identity = identity;
        }
        if let Ok(new) = Self::open(&self.process) {
            (self.dir, self.seen_as) = (new.dir, new.seen_as);
        }
    }

    /// Reads a file by the path under which the process knows it: a regular file of at most
    /// `max_bytes`, on a file system that holds files.
    ///
    /// Neither a link that leads out of the root is followed, nor one at the path's end that belongs
    /// to others than root and the process's user.
    ///
    /// # Errors
    /// `Refused`, with what was found there instead, or that its file system does not answer.
    pub fn read_file(&self, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        let silent = || {
            let why = "its file system does not answer";
            self.not_read(path, why.to_owned())
        };
        if self.stalled.load(Ordering::Relaxed) {
            return Err(silent());
        }
        let (sender, receiver) = mpsc::channel();
        let (dir, identity) = (Arc::clone(&self.dir), self.identity.clone());
        let name = path.to_owned();
        // It is left behind where the file system holds it up.
        let reading = thread::Builder::new().spawn(move || {
            let _ = sender.send(read_as(&identity, &dir, &name, max_bytes));
        });
        reading.map_err(|error| self.not_read(path, error.to_string()))?;
        match receiver.recv_timeout(ANSWER) {
            Ok(outcome) => outcome.map_err(|why| self.not_read(path, why.to_string())),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                self.stalled.store(true, Ordering::Relaxed);
                Err(silent())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(Error::internal(
                "the thread that was to read a file has failed",
            )),
        }
    }

    /// The process's working directory, as a path under this root; `None` where it lies outside or
    /// can't be told.
    pub fn working_directory(&self) -> Option<PathBuf> {
        let seen = self.process.read_link("cwd").ok()?;
        let inside = seen.strip_prefix(&self.seen_as).ok()?;
        Some(Path::new("/").join(inside))
    }

    /// Its directory, opened for nothing but finding what is in it.
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    fn not_read(&self, path: &Path, why: String) -> Error {
        Error::new(
            ErrorKind::Refused,
            format!(
                "{} of process {} can't be read",
                path.display(),
                self.process.pid
            ),
            why,
            format!("look at it under /proc/{}/root", self.process.pid),
        )
    }
}

impl ModuleFiles for Target {
    type File = File;

    /// Opens the file that is mapped, under the target's root or our own.
    ///
    /// Its inode is the module's. Where the device is another (overlayfs and btrfs show one device
    /// in `maps` and another to `fstat`), that may be chance: it is taken where nothing better is
    /// found, and the reader has to hold it against what the target has in memory.
    fn open_module(&self, module: &Module) -> Result<File> {
        let root = self.root()?;
        if self.memory().is_served(module.base()) {
            return Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "the file {} that process {} has mapped is not read",
                    String::from_utf8_lossy(&module.name),
                    self.pid()
                ),
                "it lies on a file system that a user serves (FUSE), who may never answer",
                "what it holds may still be found in memory",
            ));
        }
        let mut likely = None;
        let mut why = NotOpened::Nameless;
        for (directory, path) in candidates(&root, module) {
            match open_mapped(directory, &path, module, &root.identity) {
                Ok((file, true)) => return Ok(file),
                Ok((file, false)) => likely = likely.or(Some(file)),
                Err(found) if why.is_empty() => why = found,
                Err(_) => {}
            }
        }
        likely.ok_or_else(|| {
            Error::new(
                ErrorKind::Refused,
                format!(
                    "the file {} that process {} has mapped can't be read",
                    String::from_utf8_lossy(&module.name),
                    self.pid()
                ),
                why.to_string(),
                "what it holds may still be found in memory",
            )
        })
    }
}

/// Reads a file in the calling thread, which is to end then.
fn read_as(
    identity: &Identity,
    dir: &OwnedFd,
    path: &Path,
    max_bytes: u64,
) -> Result<Vec<u8>, NotOpened> {
    let own = Identity::own()?;
    if own != *identity {
        identity.take_on(&own)?;
    }
    let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    read_found(&find_through_links(dir, path, flags, identity)?, max_bytes)
}

/// Opens the file of a module by a path, and says whether it is surely that file.
///
/// If so, the target has it open, by its mapping, and it does not matter who may walk to it. If
/// not, it is opened with the target's rights.
fn open_mapped(
    directory: Option<BorrowedFd<'_>>,
    path: &Path,
    module: &Module,
    identity: &Identity,
) -> Result<(File, bool), NotOpened> {
    // The kernel's names hold no symbolic link: one that is there now was put there since.
    let flags = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let walk = || match directory {
        Some(root) => find(root, path, flags | ResolveFlags::IN_ROOT),
        None => find(CWD, path, flags),
    };
    let checked = |(file, stat): (File, Stat)| {
        if stat.st_ino == module.inode {
            Ok((file, device(&stat) == module.device))
        } else {
            Err(NotOpened::Replaced)
        }
    };
    let handle = walk()?;
    let stat = fstat(&handle)?;
    if (stat.st_ino, device(&stat)) == (module.inode, module.device) {
        return open_found(&handle).and_then(checked);
    }
    let open = || Ok(walk().and_then(|handle| open_found(&handle)));
    identity.act(open)?.and_then(checked)
}

/// Where a module's file may be: under the target's root (`Some`) or under ours.
///
/// The kernel gives names as seen from *our* root, where that can be; from the top of the
/// target's own mounts otherwise. So in a mount namespace with a root of its own they hold under
/// the target's root; in a plain `chroot` they begin with the path of that root; and what was
/// mapped before a `chroot` lies outside it.
fn candidates<'a>(root: &'a TargetRoot, module: &Module) -> Vec<(Option<BorrowedFd<'a>>, PathBuf)> {
    let mut names = vec![module.name.clone()];
    if module.deleted {
        // A file may really have that at the end of its name.
        names.push([&module.name, DELETED].concat());
    }
    let mut found = Vec::new();
    for name in &names {
        let path = Path::new(OsStr::from_bytes(name));
        if !path.is_absolute() {
            continue;
        }
        found.push((Some(root.dir()), path.to_owned()));
        if let Ok(inside) = path.strip_prefix(&root.seen_as)
            && root.seen_as != Path::new("/")
        {
            found.push((Some(root.dir()), inside.to_owned()));
        }
        found.push((None, path.to_owned()));
    }
    found
}

/// The device a file lies on, as `maps` gives it.
fn device(stat: &Stat) -> (u32, u32) {
    (major(stat.st_dev), minor(stat.st_dev))
}
