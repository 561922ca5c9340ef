//! Targets in other places than the usual, and interpreters that are hard to find.

mod support;

use std::process::Command;

use support::{exec, not_held, staged, state, unharmed, value};
use synth::launch::Place;
use synth::{Interpreter, Launch, Target, samples};

/// A script runs in it, in it and nowhere else, and nothing is left.
#[track_caller]
fn works(target: &Target) {
    let before = state(target);
    let run = exec(target, &["-c", "import os; print('inside', os.getpid())"]).expect(0);
    let pid = run
        .stdout
        .strip_prefix("inside ")
        .expect("its output")
        .trim()
        .to_owned();
    let status = std::fs::read_to_string(format!("/proc/{}/status", target.pid())).expect("status");
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .expect("NSpid");
    assert_eq!(own.split_whitespace().last(), Some(pid.as_str()));
    exec(target, &["-c", "1 / 0"]).expect(1);
    assert_eq!(state(target), before);
    assert_eq!(staged(target), Vec::<std::path::PathBuf>::new());
    assert_eq!(target.stderr_so_far(), "");
    not_held(target);
}

fn of(interpreter: &Interpreter) -> Launch<'_> {
    Launch::new(interpreter, samples::BUSY)
}

#[test]
fn a_binary_with_any_name() {
    for interpreter in synth::protocol() {
        works(&of(interpreter).named("app").start());
    }
}

#[test]
fn a_binary_that_is_deleted_or_replaced() {
    for interpreter in synth::protocol() {
        let target = of(interpreter).named("app").start();
        target.delete_executable();
        works(&target);
        let target = of(interpreter).named("python-app").start();
        target.replace_executable(b"#!/bin/sh\necho no ELF file\n");
        works(&target);
        let target = of(interpreter).named("python-app").start();
        target.replace_executable(&std::fs::read("/bin/true").expect("another program"));
        works(&target);
    }
}

#[test]
fn python_embedded_in_a_c_program() {
    for interpreter in synth::protocol() {
        let target = of(interpreter).embedded().start();
        works(&target);
        let run = exec(&target, &["--dry-run", "-e", "1"]).expect(0);
        assert!(run.stdout.contains("Python is embedded"), "{run:#?}");
    }
}

#[test]
fn two_copies_of_the_library() {
    for interpreter in synth::protocol() {
        let Some(library) = &interpreter.library else {
            panic!("{} has no shared library", interpreter.name)
        };
        let launch = Launch::new(interpreter, samples::TWO_LIBRARIES);
        works(&launch.arguments([library]).start());
    }
}

#[test]
fn sub_interpreters_never_get_what_is_meant_for_main() {
    let id = "__import__('concurrent.interpreters').interpreters.get_current().id";
    for interpreter in synth::protocol() {
        for sample in [
            samples::SUBINTERPRETERS_IDLE,
            samples::SUBINTERPRETERS_RUNNING,
        ] {
            let target = Launch::new(interpreter, sample).start();
            for _ in 0..20 {
                assert_eq!(exec(&target, &["-e", id]).expect(0).stdout, "0\n");
            }
            works(&target);
            let other = target.ready_ids()[0].to_string();
            let run = exec(&target, &["--interpreter", &other, "-e", id]);
            if sample == samples::SUBINTERPRETERS_RUNNING {
                assert_eq!(run.expect(0).stdout, format!("{other}\n"));
            } else {
                run.refused(5, &format!("interpreter {other}"), "");
            }
        }
    }
}

#[test]
fn a_directory_for_temporary_files_of_its_own() {
    let place = tempfile::tempdir().expect("a directory");
    let launch = of(synth::interpreter("3.14")).variable("TMPDIR", place.path());
    let target = launch.start();
    let run = exec(&target, &["-v", "-e", "1"]).expect(0);
    let path = place.path().to_str().expect("a path in UTF-8");
    assert!(
        run.stderr.contains(&format!("script at {path}/invivo-")),
        "{run:#?}"
    );
    works(&target);
    assert_eq!(
        std::fs::read_dir(place.path())
            .expect("the directory")
            .count(),
        0
    );
}

#[test]
fn directories_that_do_not_work_are_passed_over() {
    let long = format!("/tmp/{}", "long/".repeat(30));
    for useless in [
        "relative",
        "/no/such/directory",
        "/proc",
        "/dev/null",
        long.as_str(),
        "",
    ] {
        let target = of(synth::interpreter("3.14"))
            .variable("TMPDIR", useless)
            .start();
        assert_eq!(value(&target, "42"), 42, "{useless}");
        unharmed(&target);
    }
}

mod as_root {
    use super::*;

    #[test]
    fn a_chroot() {
        for interpreter in synth::protocol() {
            works(&of(interpreter).place(Place::Chroot).start());
        }
    }

    #[test]
    fn a_mount_and_pid_namespace() {
        for interpreter in synth::protocol() {
            works(&of(interpreter).place(Place::Namespaces).start());
        }
    }

    #[test]
    fn a_container() {
        for interpreter in synth::protocol() {
            works(&of(interpreter).place(Place::Container).start());
        }
    }

    #[test]
    fn another_user() {
        for interpreter in synth::protocol() {
            works(&of(interpreter).user(65534, 65534).start());
            works(
                &of(interpreter)
                    .place(Place::Container)
                    .user(12345, 54321)
                    .start(),
            );
        }
    }

    /// A file system of its own for as long as this lives.
    struct Mounted(tempfile::TempDir);

    impl Mounted {
        fn new(kind: &str, options: &str) -> Self {
            let place = tempfile::tempdir().expect("a directory");
            let mut mount = Command::new("mount");
            mount.args(["-t", kind, "-o", options, "none"]);
            let mounted = mount.arg(place.path()).status();
            assert!(mounted.expect("running mount").success());
            Self(place)
        }
    }

    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
        }
    }

    #[test]
    fn a_directory_without_room_makes_way_for_the_next() {
        for (python, socket) in [("3.8", true), ("3.14", true), ("3.14", false)] {
            let full = Mounted::new("tmpfs", "size=4k,mode=1777");
            let program = if socket { samples::BUSY } else { SOCKETLESS };
            let target = Launch::new(synth::interpreter(python), program)
                .variable("TMPDIR", full.0.path())
                .start();
            assert_eq!(exec(&target, &["-e", "6 * 7"]).expect(0).stdout, "42\n");
            let left = std::fs::read_dir(full.0.path()).expect("the directory");
            assert_eq!(left.count(), 0, "{python}");
            assert_eq!(target.stderr_so_far(), "");
        }
    }

    /// It has no sockets, so that a script's task lies in a file.
    const SOCKETLESS: &str = "
import sys, time
sys.modules['_socket'] = sys.modules['socket'] = None
print('ready', flush=True)
while True: time.sleep(0.01)
";

    #[test]
    fn what_is_staged_for_another_user_belongs_to_it_alone() {
        use std::os::unix::fs::MetadataExt;

        let launch = Launch::new(synth::interpreter("3.14"), samples::SLEEPER);
        let target = launch.user(65534, 65534).start();
        exec(
            &target,
            &["--wake", "never", "--no-wait", "--timeout", "60", "-e", "1"],
        )
        .expect(0);
        let [directory] = &staged(&target)[..] else {
            panic!("nothing is staged")
        };
        let seen = std::fs::metadata(directory).expect("the directory");
        assert_eq!(
            (seen.uid(), seen.gid(), seen.mode() & 0o7777),
            (65534, 65534, 0o700)
        );
        let script = std::fs::metadata(directory.join("script.py")).expect("the script");
        assert_eq!(
            (script.uid(), script.gid(), script.mode() & 0o7777),
            (65534, 65534, 0o600)
        );
        std::fs::remove_dir_all(directory).expect("cleaning up");
    }

    #[test]
    fn a_read_only_directory_for_temporary_files() {
        for interpreter in synth::protocol() {
            let place = of(interpreter).place(Place::Container);
            let target = place.read_only("/tmp").start();
            works(&target);
            let run = exec(&target, &["-v", "-e", "1"]).expect(0);
            assert!(!run.stderr.contains("script at /tmp/"), "{run:#?}");
        }
    }

    #[test]
    fn no_place_at_all() {
        let launch = of(synth::interpreter("3.14"))
            .place(Place::Container)
            .user(12345, 12345);
        let target = launch.read_only("/").start();
        let run = exec(&target, &["-e", "1"]);
        run.refused(5, "no place for a script", "/tmp: ");
        unharmed(&target);
    }
}
