//! Opening files as a target sees them: never one that it chose for us, and never waiting.

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use invivo_model::{ErrorKind, Result};
use invivo_process::{Module, ModuleFiles, Target};
use support::{Subject, program, static_program};

/// The first module that is code: its program.
fn program_of(target: &Target) -> Module {
    let modules = target.modules().expect("they can be read");
    modules
        .into_iter()
        .find(Module::is_code)
        .expect("it has a program")
}

/// Whether `file` is a program that has the inode of `module`.
fn assert_is(file: Result<File>, module: &Module) {
    let mut file = file.expect("it can be opened");
    assert_eq!(file.metadata().expect("known").ino(), module.inode);
    let mut magic = [0; 4];
    file.read_exact(&mut magic).expect("it can be read");
    assert_eq!(&magic, b"\x7fELF");
}

fn assert_refused(outcome: Result<File>, why: &str) {
    let error = outcome.expect_err("it must not be opened");
    assert_eq!((error.kind, error.why.as_str()), (ErrorKind::Refused, why));
}

/// Copies a program that will be started, by another process: a file that is open for writing in
/// ours is so in whatever another test starts meanwhile too, and can't be run (`ETXTBSY`).
fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).status();
    assert!(status.expect("cp is there").success());
}

/// A program of its own for a test, under `name`.
fn copy_as(directory: &Path, name: &str) -> PathBuf {
    let copy = directory.join(name);
    copy_program(program(), &copy);
    copy
}

fn run(program: &Path) -> Subject {
    Subject::start(Command::new(program).arg("asleep"))
}

fn make_fifo(path: &Path) {
    assert!(
        Command::new("mkfifo")
            .arg(path)
            .status()
            .expect("it is there")
            .success()
    );
}

#[test]
fn what_is_mapped_is_opened() {
    let subject = Subject::new(&["asleep"]);
    let target = subject.target();
    let module = program_of(&target);
    assert_eq!(module.file_name(), b"subject");
    assert_is(target.open_module(&module), &module);
    let modules = target.modules().expect("they can be read");
    let library = modules
        .iter()
        .find(|module| module.file_name().starts_with(b"libc.so"));
    let library = library.expect("it has a C library");
    assert_is(target.open_module(library), library);
}

#[test]
fn odd_names_are_no_obstacle() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["new\nline", "two  words ", "not really (deleted)", "ümläut"] {
        let subject = run(&copy_as(directory.path(), name));
        let target = subject.target();
        let module = program_of(&target);
        assert_is(target.open_module(&module), &module);
    }
}

#[test]
fn what_is_gone_or_replaced_is_not_opened() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = copy_as(directory.path(), "app");
    let subject = run(&place);
    let target = subject.target();
    let module = program_of(&target);
    let gone = "there is no such file";
    fs::remove_file(&place).expect("it can be removed");
    assert_refused(target.open_module(&module), gone);
    let deleted = program_of(&target);
    assert!(deleted.deleted);
    assert_refused(target.open_module(&deleted), gone);

    copy_as(directory.path(), "app");
    assert_refused(
        target.open_module(&deleted),
        "another file has its name now",
    );

    fs::remove_file(&place).expect("it can be removed");
    symlink("/bin/sh", &place).expect("a link can be made");
    assert_refused(
        target.open_module(&deleted),
        "a link on the way to it may not be followed",
    );

    fs::remove_file(&place).expect("it can be removed");
    make_fifo(&place);
    let fifo = "there is a FIFO where a regular file should be";
    assert_refused(target.open_module(&deleted), fifo);

    fs::remove_file(&place).expect("it can be removed");
    fs::create_dir(&place).expect("a directory can be made");
    let directory = "there is a directory where a regular file should be";
    assert_refused(target.open_module(&deleted), directory);
}

#[test]
fn what_is_no_file_is_not_opened() {
    let subject = Subject::new(&["asleep"]);
    let target = subject.target();
    let mut module = program_of(&target);
    for name in ["[heap]", "", "anon_inode:thing", "subject"] {
        module.name = name.into();
        assert_refused(target.open_module(&module), "it is no file with a name");
    }
}

#[test]
fn only_regular_files_of_bounded_size_are_opened() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "0123456789").expect("it can be written");
    symlink("file", at("link")).expect("a link can be made");
    symlink("loop", at("loop")).expect("a link can be made");
    symlink("/proc/self/exe", at("magic")).expect("a link can be made");
    make_fifo(&at("fifo"));
    let _listener = std::os::unix::net::UnixListener::bind(at("socket")).expect("it can listen");

    let subject = Subject::new(&["asleep"]);
    let root = subject.target().root().expect("it has one");
    // As often up as one likes: the root is above itself.
    let from_above = format!("{}{}/file", "../".repeat(20), directory.path().display());
    for path in [at("file"), at("link"), at(&from_above)] {
        let mut text = String::new();
        root.open_file(&path, 10)
            .expect("a file")
            .read_to_string(&mut text)
            .expect("readable");
        assert_eq!(text, "0123456789");
    }
    let open = |path: &Path| root.open_file(path, 9);
    let there_is = |what: &str| format!("there is {what} where a regular file should be");
    assert_refused(open(&at("file")), "it has more than 9 bytes");
    assert_refused(open(&at("fifo")), &there_is("a FIFO"));
    assert_refused(open(&at("socket")), &there_is("a socket"));
    assert_refused(open(directory.path()), &there_is("a directory"));
    assert_refused(open(Path::new("/dev/tty")), &there_is("a device"));
    assert_refused(open(Path::new("/dev/full")), &there_is("a device"));
    assert_refused(
        open(&at("loop")),
        "a link on the way to it may not be followed",
    );
    assert_refused(
        open(&at("magic")),
        "a link on the way to it may not be followed",
    );
    let by_proc = format!("/proc/{}/root/etc/passwd", subject.pid());
    assert_refused(
        open(Path::new(&by_proc)),
        "a link on the way to it may not be followed",
    );
    assert_refused(open(&at("nothing")), "there is no such file");
}

/// A FIFO or device must not even be opened: where the reader would wait, the test would.
#[test]
fn whatever_is_swapped_in_meanwhile_is_not_opened() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "good").expect("it can be written");
    make_fifo(&at("fifo"));
    symlink(at("file"), at("name")).expect("a link can be made");
    let subject = Subject::new(&["asleep"]);
    let root = subject.target().root().expect("it has one");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for to in ["fifo", "file"].iter().cycle() {
                symlink(at(to), at("next")).expect("a link can be made");
                fs::rename(at("next"), at("name")).expect("it can be put there");
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
        });
        let (mut opened, mut refused) = (0, 0);
        while opened < 50 || refused < 50 {
            match root.open_file(&at("name"), 4) {
                Ok(mut file) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text).expect("readable");
                    assert_eq!(text, "good");
                    opened += 1;
                }
                Err(error) => {
                    assert_eq!(error.why, "there is a FIFO where a regular file should be");
                    refused += 1;
                }
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// These need root.
mod as_root {
    use super::*;

    /// A directory to be a root, with the program in it.
    fn new_root() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        copy_program(static_program(), &directory.path().join("app"));
        directory
    }

    fn start(script: &str, root: &Path) -> Subject {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-ec", script, "sh"])
            .arg(root)
            .arg(static_program());
        Subject::start(&mut command)
    }

    fn in_chroot(root: &Path) -> Subject {
        Subject::start(Command::new("chroot").arg(root).args(["/app", "asleep"]))
    }

    #[test]
    fn in_a_chroot_its_program_is_opened() {
        let root = new_root();
        let subject = in_chroot(root.path());
        let target = subject.target();
        let module = program_of(&target);
        assert_eq!(
            module.name,
            root.path().join("app").as_os_str().as_encoded_bytes()
        );
        assert_is(target.open_module(&module), &module);
    }

    #[test]
    fn what_was_mapped_before_a_chroot_is_opened() {
        let root = tempfile::tempdir().expect("a directory");
        let subject = Subject::new(&["chroot", root.path().to_str().expect("plain")]);
        let target = subject.target();
        let module = program_of(&target);
        assert_is(target.open_module(&module), &module);
    }

    #[test]
    fn in_a_chroot_that_only_its_mount_namespace_holds_its_program_is_opened() {
        let root = tempfile::tempdir().expect("a directory");
        let script =
            "mount -t tmpfs none \"$1\"; cp \"$2\" \"$1\"/app; exec chroot \"$1\" /app asleep";
        let subject = start(script, root.path());
        assert!(!root.path().join("app").exists());
        let target = subject.target();
        let module = program_of(&target);
        assert_is(target.open_module(&module), &module);
    }

    #[test]
    fn under_a_root_of_its_own_its_program_is_opened() {
        let root = tempfile::tempdir().expect("a directory");
        let script = "mount -t tmpfs none \"$1\"; cp \"$2\" \"$1\"/app; mkdir \"$1\"/old
            cd \"$1\"; pivot_root . old; exec /app asleep";
        let subject = start(script, root.path());
        let target = subject.target();
        let module = program_of(&target);
        assert_eq!(module.name, b"/app");
        assert_is(target.open_module(&module), &module);
    }

    #[test]
    fn nothing_leads_out_of_a_root() {
        let root = new_root();
        let outside = tempfile::tempdir().expect("a directory");
        let secret = outside.path().join("secret");
        fs::write(&secret, "outside").expect("it can be written");
        let at = |name: &str| root.path().join(name);
        symlink(&secret, at("absolute")).expect("a link can be made");
        let up = "../".repeat(20);
        symlink(format!("{up}{}", secret.display()), at("relative")).expect("a link can be made");
        symlink(outside.path(), at("directory")).expect("a link can be made");
        fs::create_dir(at("proc")).expect("it can be made");
        symlink("/proc/self/root", at("proc/itself")).expect("a link can be made");

        let subject = in_chroot(root.path());
        let target = subject.target();
        let files = target.root().expect("it has one");
        let open = |path: &str| files.open_file(Path::new(path), 100);
        let gone = "there is no such file";
        for path in [
            "/absolute",
            "/relative",
            "/directory/secret",
            "/proc/itself/etc/passwd",
        ] {
            assert_refused(open(path), gone);
        }
        assert_refused(open(&format!("/{up}{}", secret.display())), gone);

        // Where the same path exists inside, that is meant.
        let inside = at(secret
            .strip_prefix("/")
            .expect("absolute")
            .to_str()
            .expect("plain"));
        fs::create_dir_all(inside.parent().expect("it has one")).expect("it can be made");
        fs::write(&inside, "inside").expect("it can be written");
        for path in ["/absolute", "/relative", "/directory/secret"] {
            let mut text = String::new();
            open(path)
                .expect("it is inside")
                .read_to_string(&mut text)
                .expect("readable");
            assert_eq!(text, "inside");
        }
    }

    #[test]
    fn the_links_of_a_proc_inside_are_not_followed() {
        let root = new_root();
        fs::create_dir(root.path().join("proc")).expect("it can be made");
        let script = "mount -t proc none \"$1\"/proc; exec chroot \"$1\" /app asleep";
        let subject = start(script, root.path());
        let files = subject.target().root().expect("it has one");
        let open = |path: &str| files.open_file(Path::new(path), u64::MAX);
        let link = "a link on the way to it may not be followed";
        for path in ["root/app", "cwd/app", "exe"] {
            assert_refused(open(&format!("/proc/{}/{path}", subject.pid())), link);
        }
        assert!(open("/proc/version").is_ok());
    }

    #[test]
    fn a_device_in_place_of_its_program_is_not_opened() {
        let root = new_root();
        let subject = in_chroot(root.path());
        let target = subject.target();
        let module = program_of(&target);
        let app = root.path().join("app");
        fs::remove_file(&app).expect("it can be removed");
        // The system's log: to open it is harmless here, but would be visible.
        let made = Command::new("mknod")
            .arg(&app)
            .args(["c", "1", "11"])
            .status();
        assert!(made.expect("it is there").success());
        let device = "there is a device where a regular file should be";
        assert_refused(target.open_module(&module), device);
        let files = target.root().expect("it has one");
        assert_refused(files.open_file(Path::new("/app"), 100), device);
    }
}
