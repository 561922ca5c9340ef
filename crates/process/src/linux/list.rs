//! Which processes there are.

use invivo_model::{Error, ErrorKind, Result};
use rustix::fs::{CWD, Dir, Mode, OFlags, openat};

/// The numbers of all processes that our `/proc` shows, kernel threads included, in its order,
/// which is ascending. They may start and end meanwhile.
///
/// # Errors
/// `Refused` where `/proc` can't be read.
pub fn pids() -> Result<Vec<u32>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let unreadable = |errno: rustix::io::Errno| {
        Error::new(
            ErrorKind::Refused,
            "the processes can't be listed",
            format!("/proc can't be read: {errno}"),
            "mount the proc file system: mount -t proc proc /proc",
        )
    };
    let directory = openat(CWD, "/proc", flags, Mode::empty())
        .and_then(Dir::new)
        .map_err(unreadable)?;
    let mut pids = Vec::new();
    for entry in directory {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_str().unwrap_or_default();
        pids.extend(name.parse::<u32>());
    }
    if pids.is_empty() {
        return Err(Error::new(
            ErrorKind::Refused,
            "the processes can't be listed",
            "/proc shows none: it is not the proc file system",
            "mount the proc file system: mount -t proc proc /proc",
        ));
    }
    Ok(pids)
}
