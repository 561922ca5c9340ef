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

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(outcome: Result<T>, why: &str) {
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
        let text = root.read_file(&path, 10).expect("a file");
        assert_eq!(text, b"0123456789");
    }
    let open = |path: &Path| root.read_file(path, 9);
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

const MADE_UP: &str =
    "its file system (number 0x9fa0 of statfs) is none that is known to hold files";

/// The kernel makes up what is in them as it is read, and tells each reader something else.
#[test]
fn what_the_kernel_makes_up_is_not_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let link = directory.path().join("module.py");
    symlink("/proc/version", &link).expect("a link can be made");
    let subject = Subject::new(&["asleep"]);
    let root = subject.target().root().expect("it has one");
    let open = |path: &str| root.read_file(Path::new(path), u64::MAX);
    let environ = format!("/proc/{}/environ", subject.pid());
    for path in ["/proc/version", "/proc/kmsg", &environ] {
        assert_refused(open(path), MADE_UP);
    }
    assert_refused(root.read_file(&link, u64::MAX), MADE_UP);
    assert_refused(
        open("/sys/kernel/notes"),
        "its file system (number 0x62656572 of statfs) is none that is known to hold files",
    );
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
            match root.read_file(&at("name"), 4) {
                Ok(text) => {
                    assert_eq!(text, b"good");
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
        let open = |path: &str| files.read_file(Path::new(path), 100);
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
            assert_eq!(open(path).expect("it is inside"), b"inside");
        }
    }

    /// `subject.c` as a user, in these groups.
    fn run_as(directory: &Path, uid: u32, groups: &str) -> Subject {
        let program = directory.join(format!("app-{uid}-{groups}"));
        copy_program(static_program(), &program);
        let mut command = Command::new("setpriv");
        let uid = uid.to_string();
        command.args(["--reuid", &uid, "--regid", &uid]);
        match groups {
            "" => command.arg("--clear-groups"),
            groups => command.args(["--groups", groups]),
        };
        Subject::start(command.arg(program).arg("asleep"))
    }

    /// A directory that everyone may search.
    fn open_directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), open).expect("it is ours");
        directory
    }

    fn write(path: &Path, mode: u32, gid: u32) {
        fs::write(path, "text").expect("it can be written");
        std::os::unix::fs::chown(path, Some(0), Some(gid)).expect("we are root");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path, mode).expect("it is ours");
    }

    #[test]
    fn files_are_read_with_the_rights_of_who_names_them() {
        const KEPT: &str = "the kernel says: Permission denied (os error 13)";
        let directory = open_directory();
        let at = |name: &str| directory.path().join(name);
        write(&at("open"), 0o644, 0);
        write(&at("root's"), 0o600, 0);
        write(&at("group's"), 0o640, 4);
        fs::create_dir(at("closed")).expect("a directory can be made");
        write(&at("closed/open"), 0o644, 0);
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(at("closed"), closed).expect("it is ours");
        let nobody = run_as(directory.path(), 65534, "");
        let member = run_as(directory.path(), 65534, "4,20");
        let check = || {
            for (subject, expected) in [(&nobody, false), (&member, true)] {
                let root = subject.target().root().expect("it has one");
                let open = |name: &str| root.read_file(&at(name), 10);
                assert_eq!(open("open").expect("it is for all"), b"text");
                assert_refused(open("root's"), KEPT);
                assert_refused(open("closed/open"), KEPT);
                match open("group's") {
                    Ok(text) => assert_eq!((text.as_slice(), expected), (&b"text"[..], true)),
                    refused if !expected => assert_refused(refused, KEPT),
                    refused => panic!("{refused:?}"),
                }
            }
        };
        check();
        // Groups of ours are none of its.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let groups = [4, 20, 27].map(rustix::process::Gid::from_raw);
                rustix::thread::set_thread_groups(&groups).expect("we are root");
                check();
            });
        });
        let root = Subject::new(&["asleep"]).target().root().expect("one");
        assert_eq!(root.read_file(&at("root's"), 10).expect("ours"), b"text");
    }

    /// What it names after it has become another user is read as that one.
    #[test]
    fn rights_that_were_given_up_do_not_count() {
        let directory = open_directory();
        let at = |name: &str| directory.path().join(name);
        write(&at("root's"), 0o600, 0);
        copy_program(static_program(), &at("app"));
        let script = "echo ready; read line
            exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$1\" asleep";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(at("app"));
        let mut subject = Subject::start(&mut command);
        let mut root = subject.target().root().expect("it has one");
        assert_eq!(root.read_file(&at("root's"), 10).expect("its"), b"text");
        let mut input = subject.input.take().expect("it is piped");
        std::io::Write::write_all(&mut input, b"go\n").expect("it reads");
        assert!(subject.line().starts_with("ready"));
        root.refresh();
        assert!(root.read_file(&at("root's"), 10).is_err());
        // What was seen last holds when it has ended.
        drop(subject);
        root.refresh();
        assert!(root.read_file(&at("root's"), 10).is_err());
    }

    /// One who may not read a file can make a link to it where one who may will look.
    #[test]
    fn a_link_of_somebody_else_is_not_followed() {
        let directory = open_directory();
        let at = |name: &str| directory.path().join(name);
        write(&at("secret"), 0o600, 0);
        symlink("secret", at("link")).expect("a link can be made");
        let subject = Subject::new(&["asleep"]);
        let root = subject.target().root().expect("it has one");
        assert_eq!(root.read_file(&at("link"), 10).expect("ours"), b"text");
        std::os::unix::fs::lchown(at("link"), Some(65534), None).expect("we are root");
        assert_refused(
            root.read_file(&at("link"), 10),
            "a link on the way to it may not be followed",
        );
    }

    /// A process with capabilities in a namespace of its own has none here.
    #[test]
    fn what_it_may_in_its_own_namespace_it_may_not_here() {
        let directory = open_directory();
        let program = directory.path().join("app");
        copy_program(static_program(), &program);
        write(&directory.path().join("root's"), 0o600, 0);
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.args(["unshare", "--user", "--map-root-user"]);
        let subject = Subject::start(command.arg(program).arg("asleep"));
        let target = subject.target();
        let status = target.status().expect("it is there");
        assert_ne!(status.effective_capabilities, Some(0));
        let root = target.root().expect("it has one");
        assert!(
            root.read_file(&directory.path().join("root's"), 10)
                .is_err()
        );
    }

    #[test]
    fn the_links_of_a_proc_inside_are_not_followed() {
        let root = new_root();
        fs::create_dir(root.path().join("proc")).expect("it can be made");
        let script = "mount -t proc none \"$1\"/proc; exec chroot \"$1\" /app asleep";
        let subject = start(script, root.path());
        let files = subject.target().root().expect("it has one");
        let open = |path: &str| files.read_file(Path::new(path), u64::MAX);
        let link = "a link on the way to it may not be followed";
        for path in ["root/app", "cwd/app", "exe"] {
            assert_refused(open(&format!("/proc/{}/{path}", subject.pid())), link);
        }
        assert_refused(open("/proc/version"), MADE_UP);
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
        assert_refused(files.read_file(Path::new("/app"), 100), device);
    }
}
