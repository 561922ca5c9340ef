//! What we are ourselves, and what the kernel gives us.

use invivo_model::{Error, ErrorKind, Result};
use rustix::rand::{GetRandomFlags, getrandom};

/// The pid namespace in which we number processes, by its inode: what tells our numbers from
/// those of an Invivo in another container.
///
/// # Errors
/// `Refused` where `/proc` does not show it.
pub fn own_pid_namespace() -> Result<u64> {
    rustix::fs::stat("/proc/self/ns/pid")
        .map(|stat| stat.st_ino)
        .map_err(|errno| {
            Error::new(
                ErrorKind::Refused,
                "our own pid namespace can't be told",
                format!("/proc/self/ns/pid: {errno}"),
                "mount the proc file system: mount -t proc proc /proc",
            )
        })
}

/// Random bytes that nobody can guess.
///
/// # Errors
/// `Refused` where the kernel gives none.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    // Up to 256 bytes come whole or not at all (`man 2 getrandom`).
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(count) if count == N => Ok(bytes),
        outcome => Err(Error::new(
            ErrorKind::Refused,
            "no random bytes for a one-time token",
            format!("getrandom says: {outcome:?}"),
            "check that the system's random source works",
        )),
    }
}
