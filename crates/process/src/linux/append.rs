//! A file that records are added to, by several processes at a time.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;

use super::files::{ensure_holds_files, ensure_regular};

/// A file of ours that is only ever added to.
#[derive(Debug)]
pub struct AppendFile(File);

impl AppendFile {
    /// Opens the file at `path`; makes one that only its user may read, where there is none.
    ///
    /// # Errors
    /// Where it can't be opened for adding to it, or is no regular file of a file system that holds
    /// files, or where a link stands anywhere in its path: it might lead somewhere else than its
    /// name says, and a pipe keeps nothing.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
        // Neither a pipe without a reader nor a terminal may hold us up or become ours.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = match openat2(CWD, path, flags, mode, ResolveFlags::NO_SYMLINKS) {
            // Linux before 5.6, or a container's filter.
            Err(Errno::NOSYS | Errno::PERM) => open_step_by_step(path, flags, mode),
            outcome => outcome,
        };
        let file = file.map_err(|errno| match errno {
            Errno::LOOP => io::Error::other("it, or a directory in its path, is a symbolic link"),
            Errno::NXIO => io::Error::other("it is no regular file"),
            errno => errno.into(),
        })?;
        let refused = |why| move |_| io::Error::other(why);
        ensure_regular(&file).map_err(refused("it is no regular file"))?;
        ensure_holds_files(&file).map_err(refused("its file system keeps no files"))?;
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

/// Opens `path` through no link, one directory after the other.
fn open_step_by_step(path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let start = if path.has_root() { "/" } else { "." };
    let mut directory = openat(CWD, start, step, Mode::empty())?;
    let name = path.file_name().ok_or(Errno::ISDIR)?;
    let parents = path.parent().into_iter().flat_map(Path::components);
    for part in parents.filter(|part| !matches!(part, Component::RootDir)) {
        directory = match openat(&directory, part.as_os_str(), step, Mode::empty()) {
            // What is no directory may be a link to one.
            Err(Errno::NOTDIR) => {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                let found = statat(&directory, part.as_os_str(), flags)?;
                let kind = FileType::from_raw_mode(found.st_mode);
                return Err(if kind == FileType::Symlink {
                    Errno::LOOP
                } else {
                    Errno::NOTDIR
                });
            }
            outcome => outcome?,
        };
    }
    openat(&directory, name, flags, mode)
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
        fs::create_dir(path("directory")).expect("a directory");
        symlink("directory", path("way")).expect("a link");
        let comm = format!("/proc/{}/comm", std::process::id());
        let link = "it, or a directory in its path, is a symbolic link";
        for name in ["link", "dangling", "way/new"] {
            assert_eq!(why(&path(name)), link);
        }
        assert!(!path("directory/new").exists());
        assert_eq!(why(Path::new(&comm)), "its file system keeps no files");
        assert_eq!(why(&path("fifo")), "it is no regular file");
        assert_eq!(why(Path::new("/dev/null")), "it is no regular file");
        assert!(why(place.path()).contains("directory"));
        assert!(!path("nowhere").exists());
    }

    /// What serves where the kernel does not resolve by itself finds the same.
    #[test]
    fn links_are_found_step_by_step_too() {
        let place = tempfile::tempdir().expect("a directory");
        let path = |name: &str| place.path().join(name);
        fs::create_dir(path("directory")).expect("a directory");
        fs::write(path("file"), "").expect("a file");
        symlink("directory", path("way")).expect("a link");
        symlink("file", path("link")).expect("a link");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |name: &str| open_step_by_step(&path(name), flags, Mode::RUSR).map(drop);
        for (name, outcome) in [
            ("file", Ok(())),
            ("directory/new", Ok(())),
            ("directory/../directory/new", Ok(())),
            ("way/other", Err(Errno::LOOP)),
            ("link", Err(Errno::LOOP)),
            ("file/new", Err(Errno::NOTDIR)),
            ("nowhere/new", Err(Errno::NOENT)),
        ] {
            assert_eq!(open(name), outcome, "{name}");
        }
        assert!(!path("directory/other").exists());
    }
}
