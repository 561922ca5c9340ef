//! Which file system a mapping is of.

use std::collections::HashMap;

use rustix::fs::{MemfdFlags, fstat, major, memfd_create, minor};

use super::aside::Suspect;
use crate::{Address, Mapping};

/// A device as `maps` and `mountinfo` give it.
type Device = (u32, u32);

/// File systems by their device, and whether one is served by a process that need not be root's.
pub(super) struct Mounts(HashMap<Device, bool>);

impl Mounts {
    /// Parses `mountinfo`. `ours` says that it is that of our own mount namespace, where it can be
    /// told who has mounted something.
    pub(super) fn parse(text: &[u8], ours: bool) -> Self {
        let lines = text.split(|byte| *byte == b'\n');
        Self(lines.filter_map(|line| parse_line(line, ours)).collect())
    }
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &[u8], ours: bool) -> Option<(Device, bool)> {
    // Paths may be of any bytes; what is looked at is plain.
    let line = String::from_utf8_lossy(line);
    let (before, behind) = line.split_once(" - ")?;
    let (major, minor) = before.split(' ').nth(2)?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let kind = behind.split(' ').next()?;
    let is_fuse = kind == "fuse" || kind.starts_with("fuse.") || kind == "fuseblk";
    let options = behind.rsplit(' ').next()?;
    let by_root = ours && options.split(',').any(|option| option == "user_id=0");
    Some((device, is_fuse && !by_root))
}

/// The device of the kernel's own file system for memory that is shared (`memfd_create`, shared
/// anonymous mappings): it is mounted nowhere either.
pub(super) fn internal() -> Option<Device> {
    let file = memfd_create("invivo", MemfdFlags::CLOEXEC).ok()?;
    let device = fstat(file).ok()?.st_dev;
    Some((major(device), minor(device)))
}

/// Why a mapping is read aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Of a file system that a user serves.
    Served,
    /// Of a file system that is mounted nowhere that we see.
    Unknown,
}

/// What is to be doubted of a file system with this device.
pub(super) fn doubt(
    device: Device,
    own: &Mounts,
    theirs: &Mounts,
    internal: Option<Device>,
) -> Option<Doubt> {
    // Those with a disk have its number, and root has mounted them.
    if device.0 != 0 || Some(device) == internal {
        return None;
    }
    match own.0.get(&device).or_else(|| theirs.0.get(&device)) {
        Some(true) => Some(Doubt::Served),
        Some(false) => None,
        None => Some(Doubt::Unknown),
    }
}

/// Those of `mappings` that are to be read aside.
pub(super) fn suspects(
    mappings: &[Mapping],
    doubt: impl Fn(Device) -> Option<Doubt>,
) -> Vec<Suspect> {
    let files = mappings.iter().filter(|mapping| mapping.inode != 0);
    files
        .filter_map(|mapping| {
            let doubt = doubt(mapping.device)?;
            let why = match doubt {
                Doubt::Served => "on a file system that a user serves (FUSE)",
                Doubt::Unknown => "on a file system that is mounted nowhere",
            };
            let Address(start) = mapping.range.start;
            let name = String::from_utf8_lossy(&mapping.name);
            Some(Suspect {
                range: mapping.range.clone(),
                name: format!("{name} at {start:#x}, {why}"),
                is_served: doubt == Doubt::Served,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_serves_what() {
        let text = b"36 35 254:0 / / rw - ext4 /dev/vda rw\n\
            37 36 0:40 / /a rw,nosuid - fuse.sshfs x rw,user_id=1000,group_id=0\n\
            38 36 0:41 / /b\\040c rw shared:1 master:2 - fuse y rw,user_id=0,group_id=0,allow_other\n\
            39 36 0:42 / /d rw - tmpfs tmpfs rw\nnonsense\n\n";
        let own = Mounts::parse(text, true);
        let theirs = Mounts::parse(
            b"40 36 0:50 / /e rw - fuse z rw,user_id=0,group_id=0\n41 36 0:51 / /f rw - overlay o rw\n",
            false,
        );
        let doubt = |minor| doubt((0, minor), &own, &theirs, Some((0, 1)));
        assert_eq!(doubt(40), Some(Doubt::Served));
        assert_eq!([doubt(41), doubt(42), doubt(51), doubt(1)], [None; 4]);
        assert_eq!(doubt(50), Some(Doubt::Served));
        assert_eq!(doubt(60), Some(Doubt::Unknown));
        assert_eq!(super::doubt((254, 0), &own, &theirs, None), None);
    }
}
