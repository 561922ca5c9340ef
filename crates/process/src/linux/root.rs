//! Files as the target sees them, opened so that it can't lead us astray.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use invivo_model::{Error, ErrorKind, Result};
use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, major, minor, openat, openat2,
};
use rustix::io::Errno;

use super::maps::DELETED;
use super::target::{Process, Target};
use crate::{Module, ModuleFiles};

/// How often a path is walked again because a directory was moved meanwhile.
const WALKS: usize = 32;

/// The root directory of a process.
///
/// Paths are resolved under it as the process would resolve them, but nothing leads out: `..`
/// stops at it, absolute links begin at it, and the links of a `/proc` that is mounted there are
/// not followed.
#[derive(Debug)]
pub struct TargetRoot {
    process: Arc<Process>,
    dir: OwnedFd,
    /// Where it lies as seen from our own root; `/` where it is ours, or the top of its mounts.
    seen_as: PathBuf,
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
            dir,
            seen_as,
        })
    }

    /// Opens a file by the path under which the process knows it, to read from it. It is a regular
    /// file of at most `max_bytes` (but may grow: bound what you read).
    ///
    /// # Errors
    /// `Refused`, with what was found there instead.
    pub fn open_file(&self, path: &Path, max_bytes: u64) -> Result<File> {
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let (file, stat) = open_regular(&self.dir, path, flags)
            .map_err(|why| self.not_opened(path, why.to_string()))?;
        match u64::try_from(stat.st_size) {
            Ok(size) if size <= max_bytes => Ok(file),
            _ => Err(self.not_opened(path, format!("it has more than {max_bytes} bytes"))),
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

    fn not_opened(&self, path: &Path, why: String) -> Error {
        Error::new(
            ErrorKind::Refused,
            format!(
                "{} of process {} can't be opened",
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
        let mut likely = None;
        let mut why = NotOpened::Nameless;
        for (directory, path) in candidates(&root, module) {
            // The kernel's names hold no symbolic link: one that is there now was put there since.
            let flags = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let opened = match directory {
                Some(root) => open_regular(root, &path, flags | ResolveFlags::IN_ROOT),
                None => open_regular(CWD, &path, flags),
            };
            match opened {
                Ok((_, stat)) if stat.st_ino != module.inode => why = NotOpened::Replaced,
                Ok((file, stat)) if device(&stat) == module.device => return Ok(file),
                Ok((file, _)) => likely = likely.or(Some(file)),
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

/// Why a path gave no file.
#[derive(Debug)]
enum NotOpened {
    /// There is no path.
    Nameless,
    /// The kernel says this of the way to it.
    Walk(Errno),
    /// It is no regular file.
    Kind(FileType),
    /// It is another file.
    Replaced,
}

impl NotOpened {
    /// Whether nothing was there: then what another path gives tells more.
    fn is_empty(&self) -> bool {
        matches!(self, Self::Nameless | Self::Walk(Errno::NOENT))
    }
}

impl fmt::Display for NotOpened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Nameless => return f.write_str("it is no file with a name"),
            Self::Replaced => return f.write_str("another file has its name now"),
            Self::Walk(Errno::NOENT) => return f.write_str("there is no such file"),
            Self::Walk(Errno::LOOP) => {
                return f.write_str("a link on the way to it may not be followed");
            }
            Self::Walk(errno) => return write!(f, "the kernel says: {errno}"),
            Self::Kind(FileType::Directory) => "a directory",
            Self::Kind(FileType::Fifo) => "a FIFO",
            Self::Kind(FileType::Socket) => "a socket",
            Self::Kind(FileType::CharacterDevice | FileType::BlockDevice) => "a device",
            Self::Kind(_) => "something else",
        };
        write!(f, "there is {kind} where a regular file should be")
    }
}

impl From<Errno> for NotOpened {
    fn from(errno: Errno) -> Self {
        Self::Walk(errno)
    }
}

/// Opens a regular file for reading, and nothing else: opening a device can do things, and a FIFO
/// can make us wait. So the path is walked once, to a handle that can't do either; what is behind
/// it is looked at, and that very thing is opened.
fn open_regular(
    root: impl AsFd,
    path: &Path,
    resolve: ResolveFlags,
) -> Result<(File, Stat), NotOpened> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut walks = 0;
    let handle = loop {
        walks += 1;
        match openat2(&root, path, flags, Mode::empty(), resolve) {
            // A directory was moved while `..` was resolved.
            Err(Errno::AGAIN | Errno::INTR) if walks < WALKS => {}
            outcome => break outcome?,
        }
    };
    ensure_regular(&handle)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = openat(
        CWD,
        format!("/proc/self/fd/{}", handle.as_raw_fd()),
        flags,
        Mode::empty(),
    )?;
    let stat = ensure_regular(&file)?;
    Ok((File::from(file), stat))
}

fn ensure_regular(file: impl AsFd) -> Result<Stat, NotOpened> {
    let stat = fstat(file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(stat),
        kind => Err(NotOpened::Kind(kind)),
    }
}

/// The device a file lies on, as `maps` gives it.
fn device(stat: &Stat) -> (u32, u32) {
    (major(stat.st_dev), minor(stat.st_dev))
}
