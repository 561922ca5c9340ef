//! Private directories inside a target's root.
//!
//! The target controls its root: every path here is resolved by the kernel within it
//! (`RESOLVE_IN_ROOT`), and everything is done with the [`Identity`] of the target, so that a link
//! or a swapped directory can at worst lead us to what it could have written itself.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, FileType, FlockOperation, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::channel::{Connection, Listener};
use super::{Identity, TargetRoot};

/// The longest path a Unix socket's address holds on Linux, without the terminating NUL
/// (`sockaddr_un.sun_path`).
const SOCKET_PATH_MAX: usize = 107;

/// A directory of mode 0700 that belongs to the target's user and lies inside its root.
pub struct PrivateDirectory {
    parent: OwnedFd,
    directory: OwnedFd,
    name: String,
    path: PathBuf,
    owner: Identity,
}

impl fmt::Debug for PrivateDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateDirectory")
            .field("path", &self.path)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl TargetRoot {
    /// Makes the directory `name` in `parent` (an absolute path as the target sees it), for
    /// `owner` alone.
    ///
    /// # Errors
    /// Whatever keeps it from being made there: no such directory, read-only, no permission, a
    /// path that the target itself would not reach.
    pub fn create_private_directory(
        &self,
        parent: &Path,
        name: &str,
        owner: &Identity,
    ) -> io::Result<PrivateDirectory> {
        owner.act(|| {
            let parent_fd = self.open_directory(parent)?;
            rustix::fs::mkdirat(&parent_fd, name, Mode::RWXU)?;
            let made = self.adopt(parent_fd, parent, name, owner);
            if made.is_err()
                && let Ok(parent_fd) = self.open_directory(parent)
            {
                // Nothing is in it yet; an empty directory is all there could be to take back.
                let _ = rustix::fs::unlinkat(&parent_fd, name, AtFlags::REMOVEDIR);
            }
            made
        })
    }

    /// Opens the directory `name` in `parent` that an earlier run made for `owner`.
    ///
    /// # Errors
    /// When it is gone, or is not a private directory of `owner`.
    pub fn open_private_directory(
        &self,
        parent: &Path,
        name: &str,
        owner: &Identity,
    ) -> io::Result<PrivateDirectory> {
        owner.act(|| self.adopt(self.open_directory(parent)?, parent, name, owner))
    }

    /// The names in `parent` that begin with `prefix`, as `owner` can list them: of the first
    /// `entries` entries, so that a crowded directory costs no more than that.
    ///
    /// # Errors
    /// When the directory can't be opened or listed.
    pub fn names_with_prefix(
        &self,
        parent: &Path,
        prefix: &str,
        owner: &Identity,
        entries: usize,
    ) -> io::Result<Vec<String>> {
        owner.act(|| {
            let path = self.open_directory(parent)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(&path, ".", flags, Mode::empty())?;
            let mut buffer = vec![MaybeUninit::uninit(); 16 * 1024];
            let mut listing = RawDir::new(directory, &mut buffer);
            let mut names = Vec::new();
            for _ in 0..entries {
                let Some(entry) = listing.next() else { break };
                if let Ok(name) = entry?.file_name().to_str()
                    && name.starts_with(prefix)
                {
                    names.push(name.to_owned());
                }
            }
            Ok(names)
        })
    }

    /// Whether `owner` could make an entry in `parent`, by the permissions and flags that the
    /// kernel would apply. Changes nothing.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn check_writable_directory(&self, parent: &Path, owner: &Identity) -> io::Result<()> {
        owner.act(|| {
            let fd = self.open_directory(parent)?;
            // EACCESS asks for the effective (here: file-system) identity instead of the real one.
            rustix::fs::accessat(
                &fd,
                ".",
                Access::WRITE_OK | Access::EXEC_OK,
                AtFlags::EACCESS,
            )?;
            Ok(())
        })
    }

    fn open_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let open = || rustix::fs::openat2(self.dir(), path, flags, Mode::empty(), resolve);
        // EAGAIN: a rename raced with the resolution. Whoever keeps that up gets the error.
        let mut result = open();
        for _ in 0..16 {
            if !matches!(result, Err(Errno::AGAIN)) {
                break;
            }
            result = open();
        }
        Ok(result?)
    }

    fn adopt(
        &self,
        parent: OwnedFd,
        parent_path: &Path,
        name: &str,
        owner: &Identity,
    ) -> io::Result<PrivateDirectory> {
        let directory = rustix::fs::openat2(
            &parent,
            name,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )?;
        let found = rustix::fs::fstat(&directory)?;
        if found.st_uid != owner.uid {
            return Err(io::Error::other(format!(
                "it belongs to user {}",
                found.st_uid
            )));
        }
        if Mode::from_raw_mode(found.st_mode) != Mode::RWXU {
            rustix::fs::fchmod(&directory, Mode::RWXU)?;
        }
        let path = parent_path.join(name);
        // As the target will look it up: the whole path again, through its root.
        let seen = rustix::fs::fstat(self.open_directory(&path)?)?;
        if (seen.st_dev, seen.st_ino) != (found.st_dev, found.st_ino) {
            return Err(io::Error::other(
                "the target sees another directory at this path",
            ));
        }
        Ok(PrivateDirectory {
            parent,
            directory,
            name: name.to_owned(),
            path,
            owner: owner.clone(),
        })
    }
}

impl PrivateDirectory {
    /// Its absolute path as the target sees it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a new file of mode 0600 that did not exist before.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.create_file(name)?.write_all(bytes)
    }

    /// Writes a new file, as [`Self::write_file`], and locks it for as long as what is returned
    /// lives: who opens it can tell by that whether we do.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_locked_file(&self, name: &str, bytes: &[u8]) -> io::Result<File> {
        let file = self.create_file(name)?;
        (&file).write_all(bytes)?;
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    /// Whether there is an entry `name`.
    pub fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// The text of the symbolic link `name`; `None` where there is none.
    pub fn link_text(&self, name: &str) -> Option<Vec<u8>> {
        let text = rustix::fs::readlinkat(&self.directory, name, Vec::new()).ok()?;
        Some(text.into_bytes())
    }

    /// Removes one file; `false` where there is none.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove_file(&self, name: &str) -> io::Result<bool> {
        let removed = || rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
        match self.owner.act(|| Ok(removed()))? {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What the target writes into the file `name`, as it comes.
    ///
    /// # Errors
    /// When there is no such file, or it is not the owner's.
    pub fn follow(&self, name: &str) -> io::Result<Connection> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let open = || rustix::fs::openat2(&self.directory, name, flags, Mode::empty(), resolve);
        let file = self.owner.act(|| Ok(open()?))?;
        let found = rustix::fs::fstat(&file)?;
        let regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        if !regular || found.st_uid != self.owner.uid {
            return Err(io::Error::other("it is no file of the target's"));
        }
        Ok(Connection::of_file(file.into()))
    }

    fn create_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let open = || rustix::fs::openat(&self.directory, name, flags | OFlags::CLOEXEC, mode);
        Ok(self.owner.act(|| Ok(open()?))?.into())
    }

    /// Opens a Unix stream socket `name` that only the owner can connect to.
    ///
    /// # Errors
    /// When the path as the target sees it is longer than a socket's address takes, or the file system
    /// holds no sockets.
    pub fn listen(&self, name: &str) -> io::Result<Listener> {
        if self.path.join(name).as_os_str().as_bytes().len() > SOCKET_PATH_MAX {
            return Err(io::Error::other(format!(
                "the path is longer than the {SOCKET_PATH_MAX} bytes of a socket's address"
            )));
        }
        self.owner.act(|| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            // There is no bindat(2); our own descriptor's magic link is as good.
            let here = format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd());
            rustix::net::bind(&socket, &SocketAddrUnix::new(here)?)?;
            let mode = Mode::RUSR | Mode::WUSR;
            rustix::fs::chmodat(&self.directory, name, mode, AtFlags::empty())?;
            // Whoever finds no room in the queue is turned away at once, our script too.
            rustix::net::listen(&socket, 128)?;
            Ok(Listener::new(socket.into(), self.owner.uid))
        })
    }

    /// Takes the directory's lock, which its maker holds as long as it lives. `false` where
    /// another process holds it.
    ///
    /// # Errors
    /// When the file system has no locks.
    pub fn try_lock(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes `files` from it, then the directory itself. What is gone already does not matter:
    /// the target removes what it no longer needs.
    ///
    /// # Errors
    /// The first thing that could not be removed.
    pub fn remove(&self, files: &[&str]) -> io::Result<()> {
        self.owner.act(|| {
            let gone = |result: rustix::io::Result<()>| match result {
                Err(Errno::NOENT) => Ok(()),
                other => other,
            };
            for file in files {
                gone(rustix::fs::unlinkat(
                    &self.directory,
                    *file,
                    AtFlags::empty(),
                ))?;
            }
            gone(rustix::fs::unlinkat(
                &self.parent,
                &self.name,
                AtFlags::REMOVEDIR,
            ))?;
            Ok(())
        })
    }
}
