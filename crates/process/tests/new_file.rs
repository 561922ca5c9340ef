//! Making files for the caller: nowhere else than named, and in nobody else's place.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use invivo_process::{NewFile, Readers, Stream, is_stream};

/// Writes `text` under the name `path`, as every command does.
fn write(path: &Path, text: &str, readers: Readers) -> io::Result<()> {
    let new = NewFile::beside(path, ".part", readers)?;
    new.file().write_all(text.as_bytes())?;
    new.replace().map_err(|(error, _)| error)
}

/// It is refused for that reason, early and late, and nothing is left of it.
#[track_caller]
fn assert_refused(path: &Path, why: &str) {
    let directory = path.parent().expect("it has one");
    let names = || fs::read_dir(directory).expect("it is there").count();
    let before = names();
    for error in [
        NewFile::check(path).expect_err("it must not be written"),
        write(path, "new", Readers::Usual).expect_err("it must not be written"),
    ] {
        assert!(error.to_string().contains(why), "{error}");
    }
    assert_eq!(names(), before);
}

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("it is there").success());
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn what_is_replaced_keeps_its_mode() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    write(&path, "one", Readers::Usual).expect("a new one");
    for kept in [0o600, 0o640, 0o666, 0o755] {
        set_mode(&path, kept);
        write(&path, "two", Readers::Usual).expect("written");
        assert_eq!(mode(&path), kept);
    }
    // What holds memory is never open to others.
    write(&path, "three", Readers::OwnerOnly).expect("written");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_to_string(&path).expect("ours"), "three");
    assert_eq!(fs::read_dir(directory.path()).expect("ours").count(), 1);
}

/// While it is made it is as secret as what it replaces.
#[test]
fn what_is_secret_is_so_all_along() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    fs::write(&path, "old").expect("a file");
    set_mode(&path, 0o600);
    let new = NewFile::beside(&path, ".part", Readers::Usual).expect("a file");
    assert_eq!(mode(&new.path()), 0o600);
    let another = new.reopen().expect("another handle");
    new.file().write_all(b"new").expect("written");
    assert_eq!(io::read_to_string(another).expect("readable"), "new");
    drop(new);
    assert_eq!(fs::read_to_string(&path).expect("ours"), "old");
    assert_eq!(fs::read_dir(directory.path()).expect("ours").count(), 1);
}

#[test]
fn only_files_are_replaced_and_no_link_is_followed() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "old").expect("a file");
    symlink("file", at("link")).expect("a link");
    symlink("nowhere", at("dangling")).expect("a link");
    fs::create_dir(at("directory")).expect("a directory");
    make_fifo(&at("fifo"));
    assert_refused(&at("link"), "it is a symbolic link");
    assert_refused(&at("dangling"), "it is a symbolic link");
    assert_refused(&at("directory"), "it is a directory");
    assert_refused(&at("fifo"), "it is no regular file");
    assert!(NewFile::check(&at("nowhere/file")).is_err());
    assert!(NewFile::check(Path::new("/")).is_err());
    assert_eq!(fs::read_to_string(at("file")).expect("ours"), "old");
    assert!(!at("nowhere").exists());
}

/// The directory is found once: what has its name at the end is not written to.
#[test]
fn a_directory_that_is_swapped_meanwhile_leads_nowhere_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("a")).expect("a directory");
    fs::create_dir(at("other")).expect("a directory");
    let new = NewFile::beside(&at("a/file"), ".part", Readers::Usual).expect("a file");
    fs::rename(at("a"), at("moved")).expect("it can be moved");
    symlink("other", at("a")).expect("a link");
    new.replace().map_err(|(error, _)| error).expect("replaced");
    assert!(at("moved/file").exists());
    assert_eq!(fs::read_dir(at("other")).expect("ours").count(), 0);
}

#[test]
fn a_name_that_is_taken_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    symlink("nowhere", &path).expect("a link");
    let new = NewFile::among(&path, ".part", Readers::Usual).expect("a file");
    let (error, new) = new.name_if_free("file".as_ref()).expect_err("it is taken");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    new.name_if_free("file-2".as_ref())
        .map_err(|(error, _)| error)
        .expect("it is free");
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .expect("ours")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["file", "file-2"]);
}

#[test]
fn a_fifo_without_a_reader_is_not_waited_for_for_ever() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("fifo");
    make_fifo(&path);
    assert!(is_stream(&path) && is_stream(Path::new("/dev/null")));
    assert!(!is_stream(directory.path()) && !is_stream(Path::new("/no/such")));
    let begun = Instant::now();
    let error = Stream::open(&path).expect_err("nobody reads");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    // One that comes later is in time.
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut file = fs::File::open(path).expect("a reader");
        file.read_to_end(&mut bytes).expect("readable");
        bytes.len()
    });
    let mut stream = Stream::open(&directory.path().join("fifo")).expect("it is read");
    stream.write_all(&vec![b'x'; 1 << 20]).expect("it is read");
    drop(stream);
    assert_eq!(reader.join().expect("no panic"), 1 << 20);
    let mut null = Stream::open(Path::new("/dev/null")).expect("a device");
    null.write_all(b"text").expect("it takes it");
}

/// These need root.
mod as_root {
    use std::os::unix::fs::{chown, lchown};

    use super::*;

    const NOBODY: u32 = 65534;

    /// A directory in which everyone may make files, as /tmp.
    fn sticky() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        set_mode(directory.path(), 0o1777);
        directory
    }

    fn nobodys(path: PathBuf) -> PathBuf {
        lchown(&path, Some(NOBODY), Some(NOBODY)).expect("we are root");
        path
    }

    #[test]
    fn what_is_replaced_keeps_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, "old").expect("a file");
        set_mode(&path, 0o600);
        chown(&path, Some(NOBODY), Some(4)).expect("we are root");
        write(&path, "new", Readers::Usual).expect("written");
        let found = fs::metadata(&path).expect("it is there");
        assert_eq!((found.uid(), found.gid()), (NOBODY, 4));
        assert_eq!(mode(&path), 0o600);
        let error = write(&path, "memory", Readers::OwnerOnly).expect_err("it is another's");
        assert!(error.to_string().contains("for us alone"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "new");
    }

    #[test]
    fn what_others_put_where_everyone_may_is_not_written_to() {
        let directory = sticky();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("ours"), "old").expect("a file");
        fs::write(at("file"), "old").expect("a file");
        symlink("ours", at("link")).expect("a link");
        symlink("fifo", at("link to a fifo")).expect("a link");
        make_fifo(&at("fifo"));
        let planted = "user 65534 has put it there";
        assert_refused(&nobodys(at("file")), planted);
        assert_refused(&nobodys(at("link")), "it is a symbolic link");
        for name in ["fifo", "link to a fifo"] {
            let error = Stream::open(&nobodys(at(name))).expect_err("it is not ours");
            assert!(error.to_string().contains(planted), "{error}");
        }
        write(&at("ours"), "new", Readers::Usual).expect("written");
        assert_eq!(fs::read_to_string(at("ours")).expect("it is there"), "new");
        assert_eq!(fs::read_to_string(at("file")).expect("it is there"), "old");
    }
}
