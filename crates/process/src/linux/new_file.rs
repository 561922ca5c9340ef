//! Files that the caller has us make: found by one resolution, made beside their name, and given it
//! when they are whole.
//!
//! The directory of a name is opened once, as `cat >FILE` would find it, and all that follows is
//! done within it: nobody who moves directories or puts links in their place meanwhile leads us
//! elsewhere. What stands under the name is replaced only if it could be written to as well, and
//! what replaces it has its owner and its mode. The last part of a name is never followed as a link
//! to a file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchmod, fchown, fstat,
    linkat, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::own::random;

/// Whoever may read and write it.
const ACCESS: u32 = 0o777;

/// The sticky bit.
const STICKY: u32 = 0o1000;

/// How many names are tried for a file that has none yet.
const TRIES: usize = 16;

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Who may read those that the caller makes by other means (`umask`), or what it replaces.
    Usual,
    /// Its user alone.
    OwnerOnly,
}

/// A file that is being made, beside the name that it is to have. It is removed when it is dropped.
#[derive(Debug)]
pub struct NewFile {
    directory: OwnedFd,
    /// The same as the caller names it, for showing.
    directory_path: PathBuf,
    /// The name that it is to have, and the one it has until then.
    name: OsString,
    temporary: OsString,
    file: File,
    readers: Readers,
    is_kept: bool,
}

impl NewFile {
    /// Makes one for `path`, under a name that begins like that and ends in `ending`.
    ///
    /// # Errors
    /// What keeps it from being made, or from replacing what is there.
    pub fn beside(path: &Path, ending: &str, readers: Readers) -> io::Result<Self> {
        let (directory, name) = locate(path)?;
        let mode = match (ensure_replaceable(&directory, name)?, readers) {
            (None, Readers::Usual) => 0o666,
            // What is secret now is so all along.
            (Some(stat), Readers::Usual) => stat.st_mode & 0o666 | 0o600,
            (_, Readers::OwnerOnly) => 0o600,
        };
        Self::in_directory(directory, path, name, (ending, mode, readers))
    }

    /// The same for what is to have a name that is free ([`NewFile::name_if_free`]), whatever has
    /// this one.
    ///
    /// # Errors
    /// What keeps it from being made.
    pub fn among(path: &Path, ending: &str, readers: Readers) -> io::Result<Self> {
        let (directory, name) = locate(path)?;
        let mode = match readers {
            Readers::Usual => 0o666,
            Readers::OwnerOnly => 0o600,
        };
        Self::in_directory(directory, path, name, (ending, mode, readers))
    }

    fn in_directory(
        directory: OwnedFd,
        path: &Path,
        name: &OsStr,
        (ending, mode, readers): (&str, u32, Readers),
    ) -> io::Result<Self> {
        let (file, temporary) = create(&directory, name, ending, Mode::from_raw_mode(mode))?;
        Ok(Self {
            directory,
            directory_path: directory_of(path).to_owned(),
            name: name.to_owned(),
            temporary,
            file,
            readers,
            is_kept: false,
        })
    }

    /// Whether one could be made for `path` and have its name.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn check(path: &Path) -> io::Result<()> {
        let (directory, name) = locate(path)?;
        ensure_replaceable(&directory, name).map(drop)
    }

    /// The file, to write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it lies until it has its name.
    pub fn path(&self) -> PathBuf {
        self.directory_path.join(&self.temporary)
    }

    /// Another handle to it, with a position of its own.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reopen(&self) -> io::Result<File> {
        // By the handle and not by the name, which others may have given to something else.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        Ok(File::from(openat(CWD, path, flags, Mode::empty())?))
    }

    /// Gives it its name, in the place of what has it, whose owner and mode it takes on.
    ///
    /// # Errors
    /// Why what is there is not replaced, with the file as it is.
    pub fn replace(mut self) -> Result<(), (io::Error, Self)> {
        let renamed = self.take_on_standing().and_then(|()| {
            renameat(
                &self.directory,
                &self.temporary,
                &self.directory,
                &self.name,
            )
            .map_err(io::Error::from)
        });
        match renamed {
            Ok(()) => {
                self.is_kept = true;
                Ok(())
            }
            Err(error) => Err((error, self)),
        }
    }

    /// Gives it a name, its own or another in the same directory, unless something has it.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the kernel says, with the file as it is.
    pub fn name_if_free(mut self, name: &OsStr) -> Result<(), (io::Error, Self)> {
        let (directory, temporary) = (&self.directory, &self.temporary);
        let flags = RenameFlags::NOREPLACE;
        let mut named = renameat_with(directory, temporary, directory, name, flags);
        // Not every file system has it.
        if matches!(named, Err(Errno::INVAL | Errno::NOSYS | Errno::PERM)) {
            named = linkat(directory, temporary, directory, name, AtFlags::empty());
            self.is_kept = false;
        } else {
            self.is_kept = named.is_ok();
        }
        named.map_err(|errno| (errno.into(), self))
    }

    /// Leaves it where it is, and says where that is.
    pub fn leave(mut self) -> PathBuf {
        self.is_kept = true;
        self.path()
    }

    fn take_on_standing(&self) -> io::Result<()> {
        let Some(standing) = ensure_replaceable(&self.directory, &self.name)? else {
            return Ok(());
        };
        let own = fstat(&self.file)?;
        let ids = |stat: &Stat| (stat.st_uid, stat.st_gid);
        if ids(&own) != ids(&standing) {
            let refused = |why: &str| {
                Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!(
                        "what is there belongs to user {} and group {}, {why}",
                        standing.st_uid, standing.st_gid
                    ),
                ))
            };
            if self.readers == Readers::OwnerOnly && own.st_uid != standing.st_uid {
                return refused("and what is written is for us alone");
            }
            let uid = Some(Uid::from_raw(standing.st_uid));
            let gid = Some(Gid::from_raw(standing.st_gid));
            if fchown(&self.file, uid, gid).is_err() {
                return refused("to whom what replaces it can't be given");
            }
        }
        let mode = match self.readers {
            Readers::Usual => standing.st_mode & ACCESS,
            Readers::OwnerOnly => standing.st_mode & 0o600,
        };
        Ok(fchmod(&self.file, Mode::from_raw_mode(mode))?)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // Where this fails, nothing else would help.
            let _ = unlinkat(&self.directory, &self.temporary, AtFlags::empty());
        }
    }
}

/// The directory of `path`, opened for nothing but finding what is in it, and the name in it.
pub(super) fn locate(path: &Path) -> io::Result<(OwnedFd, &OsStr)> {
    let name = path
        .file_name()
        .filter(|_| !path.as_os_str().as_encoded_bytes().ends_with(b"/"))
        .ok_or_else(|| io::Error::other("it is a directory"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = directory_of(path);
    let opened = openat(CWD, directory, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no directory {}", directory.display()),
        ),
        errno => errno.into(),
    })?;
    Ok((opened, name))
}

/// The directory that `path` names a file in.
fn directory_of(path: &Path) -> &Path {
    let directory = path.parent();
    directory
        .filter(|directory| !directory.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Makes a file under a name that nobody can foresee.
fn create(
    directory: &OwnedFd,
    name: &OsStr,
    ending: &str,
    mode: Mode,
) -> io::Result<(File, OsString)> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..TRIES {
        let letters = random::<6>().map_err(|error| io::Error::other(error.why))?;
        let letters = letters
            .map(|byte| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(byte % 32)]));
        let mut temporary = name.to_owned();
        temporary.push(format!(".{}{ending}", String::from_iter(letters)));
        match openat(directory, &temporary, flags, mode) {
            Ok(file) => return Ok((File::from(file), temporary)),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::EXIST.into())
}

/// What stands under `name`, if anything does: a file that we could write to, where nobody else has
/// put it for us.
fn ensure_replaceable(directory: &OwnedFd, name: &OsStr) -> io::Result<Option<Stat>> {
    let standing = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let no = |why: &str| Err(io::Error::other(why.to_owned()));
    match FileType::from_raw_mode(standing.st_mode) {
        FileType::RegularFile => {}
        FileType::Symlink => {
            return no(
                "it is a symbolic link, which is neither followed nor replaced: name the file it leads to",
            );
        }
        FileType::Directory => return no("it is a directory"),
        _ => return no("it is no regular file"),
    }
    ensure_not_planted(directory, &standing)?;
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = openat(directory, name, flags, Mode::empty())?;
    // That very file, whatever has its name by now.
    Ok(Some(fstat(opened)?))
}

/// Makes sure that nobody else has put it where everyone may make files, for us to write to: what
/// the kernel's `fs.protected_regular`, `protected_fifos` and `protected_symlinks` refuse, whether
/// they are on or not.
pub(super) fn ensure_not_planted(directory: impl AsFd, standing: &Stat) -> io::Result<()> {
    let around = fstat(directory)?;
    let open_to_others = around.st_mode & 0o022 != 0 && around.st_mode & STICKY != 0;
    let own = rustix::process::geteuid().as_raw();
    let trusted = [own, around.st_uid].contains(&standing.st_uid);
    if !open_to_others || trusted {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "user {} has put it there, in a directory where everyone may",
            standing.st_uid
        ),
    ))
}
