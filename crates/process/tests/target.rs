//! Opening processes, and what can be told of them.

mod support;

use std::ffi::OsString;
use std::process::{Command, Stdio};

use invivo_model::ErrorKind;
use invivo_process::Target;
use support::{Subject, program, thread_states, until};

/// The system call behind `pause()`.
const PAUSE: &str = if cfg!(target_arch = "x86_64") {
    "pause"
} else {
    "ppoll"
};

#[test]
fn a_process_is_known_by_number_and_time() {
    let subject = Subject::new(&["asleep"]);
    let target = subject.target();
    assert_eq!(target.pid(), subject.pid());
    assert_eq!(target.ensure_alive(), Ok(()));
    let own = Target::open(std::process::id()).expect("we are there");
    assert!(own.start_time() > 0 && own.start_time() <= target.start_time());
}

#[test]
fn what_is_no_process_is_said_to_be_none() {
    // The highest number that the kernel gives is 2^22.
    for pid in [0, 4_194_305, i32::MAX.unsigned_abs(), u32::MAX] {
        let error = Target::open(pid).expect_err("there is none");
        assert_eq!(error.kind, ErrorKind::NoSuchProcess, "{error}");
        assert_eq!(error.what, format!("there is no process {pid}"));
    }
}

#[test]
fn a_process_that_has_ended_is_gone() {
    let mut subject = Subject::new(&["asleep"]);
    let target = subject.target();
    subject.child.kill().expect("it can be killed");
    // Nobody has collected it yet: a zombie.
    until("it has ended", || target.ensure_alive().is_err());
    assert_eq!(
        Target::open(subject.pid()).expect_err("ended").kind,
        ErrorKind::NoSuchProcess
    );
    subject.child.wait().expect("it has ended");
    assert_eq!(
        Target::open(subject.pid()).expect_err("ended").kind,
        ErrorKind::NoSuchProcess
    );
    let pid = subject.pid();
    let kinds = [
        target.ensure_alive().expect_err("gone").kind,
        target.mappings().expect_err("gone").kind,
        target.modules().expect_err("gone").kind,
        target.threads().expect_err("gone").kind,
        target.activity(pid).expect_err("gone").kind,
        target.status().expect_err("gone").kind,
        target.command_line().expect_err("gone").kind,
        target.environment_variable("PATH").expect_err("gone").kind,
        target.executable().expect_err("gone").kind,
        target.root().expect_err("gone").kind,
    ];
    assert_eq!(kinds, [ErrorKind::Gone; 10]);
}

#[test]
fn a_thread_is_no_process() {
    let subject = Subject::new(&["threads", "1"]);
    let threads = subject.target().threads().expect("they can be listed");
    assert_eq!(threads.len(), 2);
    let tid = threads[1].tid;
    let error = Target::open(tid).expect_err("it is a thread");
    assert_eq!(error.kind, ErrorKind::NoSuchProcess);
    let why = format!(
        "the number is that of a thread of process {}",
        subject.pid()
    );
    assert_eq!(error.why, why);
}

#[test]
fn words_and_names_are_as_they_were_given() {
    let mut command = Command::new(program());
    command
        .args(["asleep", "", "two words", "new\nline"])
        .env("INVIVO_TEST", "a=b")
        .env("INVIVO_TEST_LONGER", "no")
        .env("INVIVO_EMPTY", "");
    let subject = Subject::start(&mut command);
    let target = subject.target();
    let words = target.command_line().expect("it can be read");
    assert_eq!(words[1..], ["asleep", "", "two words", "new\nline"]);
    let variable = |name| target.environment_variable(name).expect("it can be read");
    assert_eq!(variable("INVIVO_TEST"), Some(OsString::from("a=b")));
    assert_eq!(variable("INVIVO_EMPTY"), Some(OsString::new()));
    assert_eq!(variable("INVIVO"), None);
    assert_eq!(target.executable().as_deref(), Ok(program().as_path()));
}

#[test]
fn threads_have_numbers_names_and_something_to_do() {
    let subject = Subject::new(&["threads", "3"]);
    let target = subject.target();
    let threads = target.threads().expect("they can be listed");
    assert_eq!(threads.len(), 4);
    assert!(threads.iter().all(|thread| thread.name == b"subject"));
    assert!(
        threads
            .iter()
            .all(|thread| thread.native_id == u64::from(thread.tid))
    );
    assert_eq!(threads[0].tid, subject.pid());
    let doing = |index: usize| target.activity(threads[index].tid).expect("it can be seen");
    until("all do what they do", || {
        let [first, counts, rests] = [doing(0), doing(1), doing(2)];
        first.to_string() == "asleep in system call read"
            && counts.to_string() == "runnable"
            && counts.running
            && rests.system_call.and_then(|call| call.name) == Some(PAUSE)
            && rests.to_string() == format!("asleep in system call {PAUSE}")
    });
    let error = target
        .activity(std::process::id())
        .expect_err("no thread of it");
    assert_eq!(error.kind, ErrorKind::Refused);
}

#[test]
fn a_name_can_be_anything() {
    let name = ") R 1\n(";
    let script = "printf '%s' \"$1\" > /proc/$$/comm; echo ready; read line";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", name]);
    let subject = Subject::start(&mut command);
    let target = subject.target();
    let threads = target.threads().expect("they can be listed");
    assert_eq!(threads[0].name, name.as_bytes());
    assert_eq!(
        target.status().expect("it can be read").name,
        name.as_bytes()
    );
    until("it waits", || {
        target
            .activity(subject.pid())
            .expect("it can be seen")
            .to_string()
            == "asleep in system call read"
    });
}

#[test]
fn its_status_tells_who_it_is() {
    let subject = Subject::new(&["threads", "2"]);
    let status = subject.target().status().expect("it can be read");
    assert_eq!(status.threads, Some(3));
    assert_eq!(status.process, Some(subject.pid()));
    assert_eq!(status.parent, Some(std::process::id()));
    assert_eq!(status.tracer, Some(0));
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(status.uid, Some([uid; 4]));
    assert_eq!(
        status.innermost_pid(),
        status.namespace_pids.first().copied()
    );
}

#[test]
fn a_signal_stops_it_visibly() {
    let subject = Subject::new(&["single"]);
    let target = subject.target();
    subject.signal("STOP");
    let doing = || {
        target
            .activity(subject.pid())
            .expect("it can be seen")
            .to_string()
    };
    // It may have been in a system call just then, which is said too.
    until("it is stopped", || {
        doing().starts_with("stopped by a signal")
    });
    subject.signal("CONT");
    until("it runs", || doing() == "runnable");
}

/// These need root.
mod as_root {
    use super::*;

    #[test]
    fn a_number_given_again_is_another_process() {
        let last_pid = "/proc/sys/kernel/ns_last_pid";
        for _ in 0..100 {
            let first = Subject::new(&["asleep"]);
            let (pid, target) = (first.pid(), first.target());
            drop(first);
            std::fs::write(last_pid, (pid - 1).to_string()).expect("root may set it");
            let second = Subject::new(&["asleep"]);
            if second.pid() != pid {
                // Somebody was faster.
                continue;
            }
            assert_eq!(
                target.ensure_alive().expect_err("another one").kind,
                ErrorKind::Gone
            );
            assert_eq!(
                target.mappings().expect_err("another one").kind,
                ErrorKind::Gone
            );
            assert_eq!(
                target.status().expect_err("another one").kind,
                ErrorKind::Gone
            );
            assert_eq!(
                target.threads().expect_err("another one").kind,
                ErrorKind::Gone
            );
            let stopped = target.while_stopped(support::PATIENCE, |_| ());
            assert_eq!(stopped.expect_err("another one").kind, ErrorKind::Gone);
            assert_eq!(second.target().ensure_alive(), Ok(()));
            assert!(thread_states(pid).iter().all(|(_, _, tracer)| *tracer == 0));
            return;
        }
        panic!("no number came again in 100 attempts");
    }

    #[test]
    fn in_another_pid_namespace_it_knows_itself_by_another_number() {
        let mut command = Command::new("unshare");
        command
            .args(["--pid", "--fork", "--kill-child"])
            .arg(program())
            .args(["threads", "1"]);
        let outer = Subject::start(&mut command);
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", outer.pid()));
        let pid = children
            .expect("the kernel tells")
            .trim()
            .parse()
            .expect("one child");
        let threads = Target::open(pid)
            .expect("it is there")
            .threads()
            .expect("listed");
        let native: Vec<_> = threads.iter().map(|thread| thread.native_id).collect();
        assert_eq!(native, [1, 2]);
        assert_eq!(threads[0].tid, pid);
    }

    /// Without a `/proc` of our own every number would be somebody else's.
    #[test]
    fn a_proc_of_another_pid_namespace_is_refused() {
        let output = Command::new("unshare")
            .args(["--pid", "--fork"])
            .arg(support::example("hold"))
            .arg("1")
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            said,
            "process 1 can't be looked at: /proc belongs to another pid namespace than ours\n"
        );
    }
}
