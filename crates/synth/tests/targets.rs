//! Every kind of target starts on the interpreters it is meant for, is what it claims to be,
//! and leaves nothing behind.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use synth::launch::Place;
use synth::samples;
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, Target, helpers, interpreter, interpreters, protocol, waits};

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Drops the target and checks that the process is gone.
fn finish(target: Target) {
    let pid = target.pid();
    assert!(target.is_running(), "stderr:\n{}", target.stderr_so_far());
    drop(target);
    assert!(!exists(pid), "{pid} was left behind");
}

fn executable(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap()
}

fn threads(target: &Target) -> Vec<u64> {
    target
        .thread_states()
        .into_iter()
        .map(|(tid, _)| u64::from(tid))
        .collect()
}

fn start(interpreter: &Interpreter, program: &str) -> Target {
    Launch::new(interpreter, program).start()
}

#[test]
fn every_interpreter_checks_its_own_work() {
    for python in interpreters() {
        let target = start(python, samples::BUSY);
        assert_eq!(executable(target.pid()), python.program);
        let first = target.checked();
        assert!(target.checked() > first, "Python {}", python.name);
        target.send_line("stop");
        let status = target.wait_exit(PATIENCE);
        assert!(
            status.success(),
            "Python {}: {status}: {}",
            python.name,
            target.stderr_so_far()
        );
    }
}

#[test]
fn the_versions_and_builds_are_as_named() {
    let program = "import sys, json\nprint('ready')\n\
                   print('is', '%d.%d' % sys.version_info[:2] + sys.abiflags, hasattr(sys, 'gettotalrefcount'), flush=True)\n\
                   sys.stdin.read()";
    for python in protocol() {
        let target = start(python, program);
        let line = target.wait_line("is", PATIENCE);
        assert_eq!(
            line,
            format!(
                "is {} {}",
                python.name,
                if python.debug { "True" } else { "False" }
            )
        );
        finish(target);
    }
}

#[test]
fn a_wrong_result_does_not_go_unnoticed() {
    let broken = samples::BUSY.replace("// 2", "// 2 + (n > 30)");
    let target = start(interpreter("3.14"), &broken);
    assert_eq!(target.wait_line("wrong", PATIENCE), "wrong triangle 31");
    assert_eq!(target.wait_exit(PATIENCE).code(), Some(3));
}

#[test]
fn waiting_targets_start() {
    for python in protocol() {
        for sample in [samples::SLEEPER, samples::LOCK_WAITER, samples::ASYNCIO] {
            finish(start(python, sample));
        }
    }
}

#[test]
fn threads_tell_their_ids() {
    for python in protocol() {
        let target = start(python, samples::THREADS);
        let ids = target.ready_ids();
        assert_eq!(ids.len(), 4);
        assert!(
            ids.iter()
                .all(|id| threads(&target).contains(id) && *id != u64::from(target.pid()))
        );
        finish(target);
    }
}

#[test]
fn only_workers_are_left() {
    for python in protocol() {
        let target = start(python, samples::WORKERS_ONLY);
        assert_eq!(target.ready_ids().len(), 2);
        finish(target);
    }
}

#[test]
fn subinterpreters_idle_and_running() {
    for python in protocol() {
        let idle = start(python, samples::SUBINTERPRETERS_IDLE);
        assert_eq!((idle.ready_ids(), threads(&idle).len()), (vec![1, 2], 1));
        finish(idle);
        let running = start(python, samples::SUBINTERPRETERS_RUNNING);
        assert_eq!(
            (running.ready_ids(), threads(&running).len()),
            (vec![1, 2], 3)
        );
        finish(running);
    }
}

#[test]
fn two_libraries_are_mapped() {
    for python in protocol() {
        let library = python.library.as_ref().unwrap();
        let target = Launch::new(python, samples::TWO_LIBRARIES)
            .arguments([library])
            .start();
        let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid())).unwrap();
        for file in [&python.program, library] {
            assert!(
                maps.contains(file.to_str().unwrap()),
                "{} in\n{maps}",
                file.display()
            );
        }
        finish(target);
    }
}

#[test]
fn embedded_in_a_c_program() {
    for python in protocol() {
        let target = Launch::new(python, samples::BUSY).embedded().start();
        assert_eq!(executable(target.pid()), helpers::embed(python));
        assert!(target.checked() > 0);
        target.close_input();
        assert!(target.wait_exit(PATIENCE).success());
    }
}

#[test]
fn a_copy_is_named_deleted_and_replaced() {
    for python in protocol() {
        let target = Launch::new(python, samples::BUSY).named("app").start();
        assert!(target.executable().ends_with("app"));
        assert_eq!(executable(target.pid()), target.executable());
        target.delete_executable();
        assert!(
            executable(target.pid())
                .to_str()
                .unwrap()
                .ends_with("app (deleted)")
        );
        finish(target);

        let target = Launch::new(python, samples::BUSY).named("app").start();
        target.replace_executable(b"not a program");
        assert_eq!(fs::read(target.executable()).unwrap(), b"not a program");
        assert!(target.checked() > 0);
        finish(target);
    }
}

#[test]
#[should_panic(expected = "belongs to others")]
fn only_a_copy_can_be_deleted() {
    start(interpreter("3.14"), samples::SLEEPER).delete_executable();
}

#[test]
fn options_arguments_variables_and_directory_arrive() {
    let program = "import os, sys\nprint('ready', flush=True)\n\
                   print('has', sys._xoptions, sys.argv[1:], os.environ['COLOUR'], os.getcwd(), flush=True)\n\
                   sys.stdin.read()";
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new(interpreter("3.14"), program)
        .options(["-X", "dev"])
        .arguments(["a b", "c"]);
    let target = launch
        .variable("COLOUR", "green")
        .directory(directory.path())
        .start();
    let expected = format!(
        "has {{'dev': True}} ['a b', 'c'] green {}",
        directory.path().display()
    );
    assert_eq!(target.wait_line("has", PATIENCE), expected);
    finish(target);
}

#[test]
fn a_panicking_test_leaves_no_process() {
    let (send, receive) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let target = start(interpreter("3.14"), samples::SLEEPER);
        send.send(target.pid()).unwrap();
        panic!("on purpose");
    });
    assert!(test.join().is_err());
    assert!(!exists(receive.recv().unwrap()));
}

#[test]
#[should_panic(expected = "SyntaxError")]
fn a_target_that_does_not_start_says_why() {
    start(interpreter("3.14"), "print('ready'");
}

#[test]
fn not_dumpable() {
    let target = start(interpreter("3.14"), samples::NOT_DUMPABLE);
    // The kernel gives such a process's files to root.
    let owner = std::os::unix::fs::MetadataExt::uid(
        &fs::metadata(format!("/proc/{}/maps", target.pid())).unwrap(),
    );
    assert_eq!(owner, 0);
    finish(target);
}

#[test]
#[should_panic(expected = "cargo xtask pythons")]
fn a_missing_interpreter_fails() {
    interpreter("2.7");
}

/// `status` of the process, the field after `name:`.
fn status(pid: u32, name: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

mod as_root {
    use super::*;

    fn namespace(pid: u32, kind: &str) -> PathBuf {
        fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
    }

    /// How many pid namespaces see it, from the host's inwards.
    fn pids(pid: u32) -> usize {
        status(pid, "NSpid").len()
    }

    #[test]
    fn in_another_root() {
        for python in protocol() {
            let target = Launch::new(python, samples::BUSY)
                .place(Place::Chroot)
                .start();
            let root = fs::read_link(format!("/proc/{}/root", target.pid())).unwrap();
            assert_eq!(Some(root.as_path()), target.root());
            assert_eq!(pids(target.pid()), 1);
            assert!(target.checked() > 0);
            let root = root.clone();
            finish(target);
            assert!(!root.exists());
        }
    }

    #[test]
    fn in_namespaces() {
        for python in protocol() {
            let target = Launch::new(python, samples::BUSY)
                .place(Place::Namespaces)
                .start();
            for kind in ["mnt", "pid"] {
                assert_ne!(
                    namespace(target.pid(), kind),
                    namespace(std::process::id(), kind)
                );
            }
            assert_eq!(pids(target.pid()), 2);
            assert_eq!(executable(target.pid()), python.program);
            assert!(target.checked() > 0);
            finish(target);
        }
    }

    #[test]
    fn in_a_container() {
        for python in protocol() {
            let target = Launch::new(python, samples::BUSY)
                .place(Place::Container)
                .start();
            assert_eq!(pids(target.pid()), 2);
            let root = fs::read_link(format!("/proc/{}/root", target.pid())).unwrap();
            assert_eq!(root, Path::new("/"));
            let inside = format!("/proc/{}/root/srv/target.py", target.pid());
            assert_eq!(fs::read_to_string(inside).unwrap(), samples::BUSY);
            assert!(target.checked() > 0);
            target.send_line("stop");
            assert!(target.wait_exit(PATIENCE).success());
        }
    }

    #[test]
    fn with_a_read_only_directory() {
        let launch = Launch::new(interpreter("3.14"), samples::BUSY);
        let target = launch.place(Place::Container).read_only("/tmp").start();
        let tmp = PathBuf::from(format!("/proc/{}/root/tmp/x", target.pid()));
        assert_eq!(
            fs::write(tmp, "").unwrap_err().kind(),
            std::io::ErrorKind::ReadOnlyFilesystem
        );
        assert!(fs::write(format!("/proc/{}/root/var/tmp/x", target.pid()), "").is_ok());
        finish(target);
    }

    #[test]
    fn as_another_user_everywhere() {
        for place in [
            Place::Host,
            Place::Namespaces,
            Place::Chroot,
            Place::Container,
        ] {
            let launch = Launch::new(interpreter("3.14"), samples::BUSY).place(place);
            let target = launch.user(12345, 54321).named("app").start();
            assert_eq!(status(target.pid(), "Uid"), ["12345"; 4], "{place:?}");
            assert_eq!(status(target.pid(), "Gid"), ["54321"; 4], "{place:?}");
            assert!(status(target.pid(), "Groups").is_empty(), "{place:?}");
            assert!(target.checked() > 0, "{place:?}");
            finish(target);
        }
    }
}

mod helper_programs {
    use super::*;

    /// Runs a program under `killat`; the report's words and the exit code.
    fn killed_at(n: u64, program: &[&str]) -> (Vec<String>, Option<i32>) {
        let report = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new(helpers::killat());
        command.arg(n.to_string()).arg(report.path()).args(program);
        let status = command.status().unwrap();
        let text = fs::read_to_string(report.path()).unwrap();
        (
            text.split_whitespace().map(str::to_owned).collect(),
            status.code(),
        )
    }

    #[test]
    fn killat_counts_and_kills_at_each() {
        let program = ["/bin/sh", "-c", "exit 7"];
        let (whole, status) = killed_at(0, &program);
        assert_eq!(
            (whole[0].as_str(), whole[2].as_str(), status),
            ("ended", "7", Some(7))
        );
        let total: u64 = whole[1].parse().unwrap();
        assert!(total > 10);
        for n in 1..=total {
            let (report, status) = killed_at(n, &program);
            assert_eq!(
                (report[0].as_str(), status),
                ("killed", Some(137)),
                "{n} of {total}"
            );
            assert_eq!(report[1], n.to_string());
        }
        assert_eq!(killed_at(total + 1, &program), (whole, Some(7)));
    }

    #[test]
    fn killat_stops_a_call_from_happening() {
        let directory = tempfile::tempdir().unwrap();
        let made = directory.path().join("made");
        let program = ["/bin/mkdir", made.to_str().unwrap()];
        let total: u64 = killed_at(0, &program).0[1].parse().unwrap();
        let first_that_made = (1..=total).find(|n| {
            let _ = fs::remove_dir(&made);
            killed_at(*n, &program);
            made.exists()
        });
        // The call itself is among those at whose entry the program dies.
        assert!(first_that_made.is_some_and(|n| n > 2));
    }

    #[test]
    fn killat_follows_threads() {
        let python = interpreter("3.14").program.to_str().unwrap();
        let threads = "import threading as t\nfor _ in range(3): x = t.Thread(target=print); x.start(); x.join()";
        let count = |program| {
            killed_at(0, &[python, "-I", "-S", "-c", program]).0[1]
                .parse::<u64>()
                .unwrap()
        };
        let (with, without) = (count(threads), count("import threading as t"));
        assert!(with >= without + 9, "{with} and {without}");
    }

    #[test]
    fn killat_leaves_a_tracer_to_its_work() {
        // The tracer starts a child of its own, waits for its stop, and lets it go.
        let tracer = "import ctypes, os, signal\n\
             ptrace = ctypes.CDLL(None, use_errno=True).ptrace\n\
             ptrace.argtypes = [ctypes.c_long] * 4\n\
             child = os.fork()\n\
             if child == 0:\n    signal.pause()\n\
             assert ptrace(0x4206, child, 0, 0) == 0, ctypes.get_errno()\n\
             assert ptrace(0x4207, child, 0, 0) == 0, ctypes.get_errno()\n\
             pid, status = os.waitpid(child, 0)\n\
             assert os.WIFSTOPPED(status)\n\
             assert ptrace(17, child, 0, 0) == 0, ctypes.get_errno()\n\
             os.kill(child, 9); os.waitpid(child, 0)\n\
             os._exit(5)";
        let python = interpreter("3.14").program.to_str().unwrap();
        let (report, status) = killed_at(0, &[python, "-I", "-S", "-c", tracer]);
        assert_eq!((report[0].as_str(), status), ("ended", Some(5)));
    }

    #[test]
    fn killat_says_what_did_not_start() {
        assert_eq!(killed_at(0, &["/nowhere"]), (vec![], Some(125)));
    }

    fn under_noptrace(words: &[&str], call: &str) -> String {
        let program = format!(
            "import ctypes, errno, os\nc = ctypes.CDLL(None, use_errno=True)\nc.{call}\n\
             print(errno.errorcode.get(ctypes.get_errno(), 'allowed'))"
        );
        let mut command = Command::new(helpers::noptrace());
        command
            .args(words)
            .arg("--")
            .arg(&interpreter("3.14").program)
            .args(["-I", "-S", "-c", &program]);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn noptrace_refuses_what_is_named() {
        // No such process is the kernel's own answer; a refusal comes before it.
        let (ptrace, vm) = (
            "ptrace(0x4206, 0x7fffffff, 0, 0)",
            "process_vm_readv(0x7fffffff, 0, 0, 0, 0, 0)",
        );
        assert_eq!(under_noptrace(&["ptrace"], ptrace), "EPERM");
        assert_eq!(under_noptrace(&["vm"], ptrace), "ESRCH");
        assert_eq!(under_noptrace(&["vm"], vm), "EPERM");
        assert_eq!(under_noptrace(&["ptrace", "vm"], vm), "EPERM");
        assert_ne!(under_noptrace(&["ptrace"], vm), "EPERM");
    }
}

#[test]
fn whoever_waits_undisturbed_finds_nothing_wrong() {
    for python in [interpreter("3.8"), interpreter("3.15")] {
        let start = |wait: &waits::Wait| (*wait, wait.start(python, 1.0));
        for started in waits::ALL.chunks(8) {
            for (wait, target) in started.iter().map(start).collect::<Vec<_>>() {
                if wait.ends_when_asked() {
                    assert_eq!(wait.verdict(&target), None, "{}", wait.name);
                    wait.end(&target);
                }
                let seconds = wait.went_well(&target);
                assert!(wait.ends_when_asked() || seconds >= 0.99, "{}", wait.name);
                target.close_input();
                assert!(target.wait_exit(PATIENCE).success());
                assert_eq!(target.stderr_so_far(), "");
            }
        }
    }
}

#[test]
fn a_target_at_full_load_goes_on_in_all_its_parts() {
    // Without the GIL, faulthandler looks at stacks that change, and may crash by itself.
    for python in interpreters().iter().filter(|one| !one.free_threaded) {
        let target = start(python, samples::FULL_LOAD);
        assert_eq!(target.ready_ids().len(), threads(&target).len());
        let first = target.checked();
        while target.checked() == first {}
        target.send_line("stop");
        let status = target.wait_exit(PATIENCE);
        assert!(status.success(), "Python {}: {status}", python.name);
        assert_eq!(target.stderr_so_far(), "");
    }
}
