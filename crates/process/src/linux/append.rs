//! A file that records are added to, by several processes at a time.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

/// A file of ours that is only ever added to.
#[derive(Debug)]
pub struct AppendFile(File);

impl AppendFile {
    /// Opens the file at `path`; makes one that only its user may read, where there is none.
    ///
    /// # Errors
    /// Where it can't be opened for adding to it, or is no regular file: a link might lead
    /// somewhere else than its name says, and a pipe keeps nothing.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
        // Neither a pipe without a reader nor a terminal may hold us up or become ours.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file =
            openat(CWD, path, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| match errno {
                rustix::io::Errno::LOOP => io::Error::other("it is a symbolic link"),
                rustix::io::Errno::NXIO => io::Error::other("it is no regular file"),
                errno => errno.into(),
            })?;
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(Self(File::from(file)))
    }

    /// Adds `record` in one system call, so that those of several processes don't mingle.
    ///
    /// # Errors
    /// Where it could not be written, or only a part of it.
    pub fn append(&self, record: &[u8]) -> io::Result<()> {
        let written = loop {
            match (&self.0).write(record) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        if written == record.len() {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "only {written} of {} bytes could be written",
            record.len()
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn records_are_added_and_nobody_else_may_read_them() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("log");
        AppendFile::open(&path)
            .and_then(|file| file.append(b"one\n"))
            .expect("the first");
        let mode = fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // What is there stays as it is.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("its mode");
        AppendFile::open(&path)
            .and_then(|file| file.append(b"two\n"))
            .expect("the second");
        assert_eq!(fs::read(&path).expect("its text"), b"one\ntwo\n");
        let mode = fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn only_a_regular_file_is_taken() {
        let place = tempfile::tempdir().expect("a directory");
        let path = |name: &str| place.path().join(name);
        fs::write(path("file"), "").expect("a file");
        symlink("file", path("link")).expect("a link");
        symlink("nowhere", path("dangling")).expect("a link");
        rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
        let why = |path: &Path| {
            AppendFile::open(path)
                .expect_err("it is refused")
                .to_string()
        };
        assert_eq!(why(&path("link")), "it is a symbolic link");
        assert_eq!(why(&path("dangling")), "it is a symbolic link");
        assert_eq!(why(&path("fifo")), "it is no regular file");
        assert_eq!(why(Path::new("/dev/null")), "it is no regular file");
        assert!(why(place.path()).contains("directory"));
        assert!(!path("nowhere").exists());
    }
}
