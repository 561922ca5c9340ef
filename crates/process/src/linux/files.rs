//! The one door to files that somebody else has named: a target, a recording, an image.
//!
//! Opening a device can do things, a FIFO can make us wait, and the files of `/proc` and its like
//! tell what is not their reader's. So a path is walked once, to a handle that can do none of that;
//! what is behind it is looked at, and that very thing is opened, if it is a regular file on a
//! file system that holds files.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, fstatfs, openat, openat2, readlinkat,
};
use rustix::io::Errno;

use super::Identity;

/// How often a path is walked again because a directory was moved meanwhile.
const WALKS: usize = 32;

/// How many links one after the other lead to a file. The kernel follows up to 40.
const LINKS: usize = 8;

/// The file systems that hold files, by `statfs`'s number (`include/uapi/linux/magic.h` and the
/// file systems' own sources). Not those that make up what is read (procfs, sysfs, cgroup and
/// some thirty others, and more with each kernel), so it is these that are listed.
const FILE_SYSTEMS: [u32; 45] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
    0x7371_7368, // SquashFS
    0xe0f5_e1e2, // EROFS
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0x3153_464a, // JFS
    0x5265_4973, // ReiserFS
    0x3434,      // NILFS
    0x4d44,      // FAT
    0x2011_bab0, // exFAT
    0x7366_746e, // NTFS (ntfs3)
    0x5346_544e, // NTFS
    0x9660,      // ISO 9660
    0x1501_3346, // UDF
    0x4244,      // HFS
    0x482b,      // HFS+
    0x28cd_3d45, // cramfs
    0x7275,      // romfs
    0x72b6,      // JFFS2
    0x2405_1905, // UBIFS
    0xf15f,      // eCryptfs
    0x6175_6673, // AUFS
    0x6573_5546, // FUSE, and by it many more
    0x0102_1997, // 9P
    0x6969,      // NFS
    0x517b,      // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x00c3_6400, // Ceph
    0x5346_414f, // AFS
    0x6b41_4653, // AFS (kAFS)
    0x7461_636f, // OCFS2
    0x0116_1970, // GFS2
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS
    0x2003_0528, // OrangeFS
    0x1983_0326, // BeeGFS
    0x786f_4256, // VirtualBox's shared folders
    0xbacb_acbc, // VMware's
];

/// Why a path gave no file.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// There is no path.
    Nameless,
    /// The kernel says this of the way to it.
    Walk(Errno),
    /// It is no regular file.
    Kind(FileType),
    /// It lies on a file system, of this number, that is not known to hold files.
    FileSystem(u32),
    /// It is another file.
    Replaced,
    /// It is longer than this.
    Long(u64),
    /// Whoever named it has rights that we can't keep to, or reading failed.
    Failed(io::Error),
}

impl NotOpened {
    /// Whether nothing was there: then what another path gives tells more.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Nameless | Self::Walk(Errno::NOENT))
    }
}

impl fmt::Display for NotOpened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Nameless => return f.write_str("it is no file with a name"),
            Self::Replaced => return f.write_str("another file has its name now"),
            Self::Walk(Errno::NOENT) => return f.write_str("there is no such file"),
            Self::Walk(Errno::LOOP) | Self::Kind(FileType::Symlink) => {
                return f.write_str("a link on the way to it may not be followed");
            }
            Self::Walk(errno) => return write!(f, "the kernel says: {errno}"),
            Self::FileSystem(number) => {
                return write!(
                    f,
                    "its file system (number {number:#x} of statfs) is none that is known to hold \
                     files"
                );
            }
            Self::Long(most) => return write!(f, "it has more than {most} bytes"),
            Self::Failed(error) => return write!(f, "{error}"),
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

impl From<io::Error> for NotOpened {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Walks to what `path` names under `root`, without touching it. A link at the end is what is
/// found.
pub(super) fn find(
    root: impl AsFd,
    path: &Path,
    resolve: ResolveFlags,
) -> Result<OwnedFd, NotOpened> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut walks = 0;
    loop {
        walks += 1;
        match openat2(&root, path, flags, Mode::empty(), resolve) {
            // A directory was moved while `..` was resolved.
            Err(Errno::AGAIN | Errno::INTR) if walks < WALKS => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// The same through links at the end that belong to root or to `whose` user: anybody else's may
/// stand there to have us show what the two may read and its maker may not.
pub(super) fn find_through_links(
    root: impl AsFd,
    path: &Path,
    resolve: ResolveFlags,
    whose: &Identity,
) -> Result<OwnedFd, NotOpened> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let handle = find(&root, &path, resolve)?;
        let stat = fstat(&handle)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(handle);
        }
        let trusted = stat.st_uid == 0 || stat.st_uid == whose.uid;
        if !trusted || ensure_holds_files(&handle).is_err() {
            break;
        }
        // Of the handle itself: what has its name by now does not matter.
        let text = readlinkat(&handle, "", Vec::new())?.into_bytes();
        let text = PathBuf::from(std::ffi::OsString::from_vec(text));
        path = path.parent().unwrap_or(Path::new("/")).join(text);
    }
    Err(NotOpened::Kind(FileType::Symlink))
}

/// Opens what was found, to read from it.
pub(super) fn open_found(handle: &OwnedFd) -> Result<(File, Stat), NotOpened> {
    ensure_regular(handle)?;
    ensure_holds_files(handle)?;
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

/// Reads all of it, unless it has more than `most` bytes.
pub(super) fn read_found(handle: &OwnedFd, most: u64) -> Result<Vec<u8>, NotOpened> {
    let (file, stat) = open_found(handle)?;
    let mut bytes = Vec::new();
    if u64::try_from(stat.st_size).is_ok_and(|size| size <= most) {
        // It may grow meanwhile.
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 <= most {
            return Ok(bytes);
        }
    }
    Err(NotOpened::Long(most))
}

pub(super) fn ensure_regular(file: impl AsFd) -> Result<Stat, NotOpened> {
    let stat = fstat(file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(stat),
        kind => Err(NotOpened::Kind(kind)),
    }
}

pub(super) fn ensure_holds_files(file: impl AsFd) -> Result<(), NotOpened> {
    // The numbers have 32 bits, whatever type the machine has for them.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let number = fstatfs(file)?.f_type as u32;
    if FILE_SYSTEMS.contains(&number) {
        Ok(())
    } else {
        Err(NotOpened::FileSystem(number))
    }
}
