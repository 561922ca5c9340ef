//! `invivo ps`: every Python process, whatever its version, place and name.

mod support;

use std::process::Command;

use serde_json::Value;
use support::{INVIVO, Run, invivo};
use synth::launch::Place;
use synth::{Launch, Target, samples};

/// What the list says about a process; `None` where it is not in it.
fn listed(pid: u32) -> Option<Value> {
    let report = invivo(["ps", "--json"]).expect(0).json();
    assert_eq!(report["schema"], 1);
    let processes = report["processes"].as_array().expect("a list");
    processes
        .iter()
        .find(|process| process["pid"] == pid)
        .cloned()
}

#[track_caller]
fn listed_target(target: &Target) -> Value {
    listed(target.pid()).expect("the target is in the list")
}

#[test]
fn every_version_is_recognised() {
    for interpreter in synth::interpreters() {
        let target = Launch::new(interpreter, samples::SLEEPER).start();
        let process = listed_target(&target);
        let found = &process["interpreter"];
        let version = found["version"].as_str().expect("a version");
        assert!(
            interpreter.version.starts_with(version),
            "{version} for {}",
            interpreter.version
        );
        assert_eq!(found["debug"], interpreter.debug, "{}", interpreter.name);
        assert_eq!(found["free_threaded"] == true, interpreter.free_threaded);
        assert_eq!(process["access"], "allowed");
        assert_eq!(process["refused_by"], Value::Null);
        let able = synth::protocol()
            .iter()
            .any(|able| able.name == interpreter.name);
        let expected = if able { Value::Bool(true) } else { Value::Null };
        assert_eq!(found["remote_debugging"], expected, "{}", interpreter.name);
    }
}

#[test]
fn whatever_its_name_is() {
    let launch = Launch::new(synth::interpreter("3.14"), samples::SLEEPER);
    let target = launch.named("app").start();
    let process = listed_target(&target);
    let place = process["interpreter"]["where"].as_str().expect("a path");
    assert!(place.ends_with("/app"), "{place}");
    // Also once its file is gone.
    target.delete_executable();
    let process = listed_target(&target);
    assert_eq!(
        process["interpreter"]["version"],
        synth::interpreter("3.14").version
    );
}

#[test]
fn an_operator_that_opted_out() {
    let plain = || Launch::new(synth::interpreter("3.15"), samples::SLEEPER);
    for target in [
        plain().options(["-X", "disable-remote-debug"]).start(),
        plain().variable("PYTHON_DISABLE_REMOTE_DEBUG", "").start(),
        plain()
            .options(["-I"])
            .variable("PYTHON_DISABLE_REMOTE_DEBUG", "1")
            .start(),
    ] {
        assert_eq!(
            listed_target(&target)["interpreter"]["remote_debugging"],
            false
        );
    }
}

#[test]
fn what_is_no_python_is_not_listed_nor_is_invivo() {
    let mut child = Command::new("sleep")
        .arg("1000")
        .spawn()
        .expect("running sleep");
    let found = listed(child.id());
    child.kill().expect("ending it");
    child.wait().expect("its end");
    assert_eq!(found, None);
}

#[test]
fn a_command_can_not_drive_the_terminal() {
    let launch = Launch::new(synth::interpreter("3.14"), samples::SLEEPER);
    let target = launch
        .arguments(["\x1b]0;title\x07", "two\nlines", "\u{202e}"])
        .start();
    let text = invivo(["ps"]).expect(0).stdout;
    let pid = target.pid().to_string();
    let line = text
        .lines()
        .find(|line| line.split(' ').next() == Some(&pid))
        .expect("its line");
    assert!(
        line.contains(r"\x1b]0;title\x07 two\nlines \u202e"),
        "{line}"
    );
    assert!(!text.contains(['\x1b', '\x07', '\u{202e}']), "{text:?}");
}

mod as_root {
    use super::*;

    #[test]
    fn where_proc_is_not_mounted_that_is_said() {
        let script = "mount -t tmpfs none /proc && exec \"$0\" ps";
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, INVIVO])
            .output()
            .expect("running unshare");
        Run::of(output).refused(4, "can't be listed", "not the proc file system");
    }

    #[test]
    fn a_target_in_another_root() {
        for place in [Place::Chroot, Place::Container] {
            let launch = Launch::new(synth::interpreter("3.14"), samples::SLEEPER);
            let target = launch.place(place).start();
            let process = listed_target(&target);
            assert_eq!(
                process["interpreter"]["version"],
                synth::interpreter("3.14").version,
                "{place:?}"
            );
            assert_eq!(process["access"], "allowed", "{place:?}");
        }
    }

    #[test]
    fn a_target_of_another_user_is_listed_but_not_guessed_at() {
        use std::os::unix::fs::PermissionsExt;
        use std::os::unix::process::CommandExt;

        let directory = tempfile::tempdir().expect("a directory");
        let open = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).expect("opening it");
        let program = directory.path().join("invivo");
        synth::root::copy_program(INVIVO.as_ref(), &program);

        let target = Launch::new(synth::interpreter("3.14"), samples::SLEEPER).start();
        let run = |words: &[&str]| {
            let mut command = Command::new(&program);
            command.args(words).uid(65534).gid(65534);
            Run::of(command.output().expect("running invivo")).expect(0)
        };
        let report = run(&["ps", "--json"]).json();
        let processes = report["processes"].as_array().expect("a list");
        let process = processes
            .iter()
            .find(|one| one["pid"] == target.pid())
            .expect("the target");
        assert_eq!(process["interpreter"], Value::Null);
        assert_eq!(process["access"], "refused");
        assert_eq!(process["refused_by"]["rule"], "same_user");
        let text = run(&["ps"]).stdout;
        let pid = target.pid().to_string();
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(&pid))
            .expect("a line");
        assert!(
            line.contains("unknown") && line.contains("refused: other user"),
            "{line}"
        );
    }
}

/// As where a limit of processes has been reached: a stack of this size is never given.
#[test]
fn without_threads_it_looks_alone() {
    let target = Launch::new(synth::interpreter("3.14"), samples::SLEEPER).start();
    let output = Command::new(INVIVO)
        .args(["ps", "--json"])
        .env("RUST_MIN_STACK", (1_u64 << 50).to_string())
        .output()
        .expect("running invivo");
    let report = Run::of(output).expect(0).json();
    let processes = report["processes"].as_array().expect("a list");
    let mut listed = processes.iter();
    assert!(listed.any(|process| process["pid"] == target.pid()));
}
