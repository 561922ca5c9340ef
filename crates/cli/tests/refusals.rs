//! Every refusal: its exit code, and three lines that say what, why and what to do.

mod support;

use std::process::Command;

use support::{busy, exec, invivo, unharmed};
use synth::{Launch, samples};

#[test]
fn a_process_that_is_not_there() {
    // A pid that was just in use and is free again.
    let mut child = Command::new("true").spawn().expect("running true");
    let pid = child.id().to_string();
    child.wait().expect("its end");
    invivo(["exec", &pid, "-e", "1"]).refused(3, &pid, "no");
    invivo(["exec", "4294967295", "-e", "1"]).refused(3, "4294967295", "no process");
    invivo(["exec", "0", "-e", "1"]).refused(3, "0", "no process");
}

#[test]
fn with_json_a_refusal_is_one_too() {
    let run = invivo(["exec", "4294967295", "--json", "-e", "1"]);
    let report = run.json();
    run.refused(3, "4294967295", "no process");
    assert_eq!(
        (&report["schema"], &report["outcome"]),
        (&1.into(), &"failed".into())
    );
    for part in ["kind", "what", "why", "try"] {
        assert!(
            report["error"][part]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{report}"
        );
    }
}

#[test]
fn a_thread_is_no_process() {
    let target = Launch::new(synth::interpreter("3.14"), samples::THREADS).start();
    let tid = target.ready_ids()[0].to_string();
    invivo(["exec", &tid, "-e", "1"]).refused(3, &tid, "thread");
}

#[test]
fn a_process_without_python() {
    let mut child = Command::new("sleep")
        .arg("1000")
        .spawn()
        .expect("running sleep");
    let run = invivo(["exec", &child.id().to_string(), "-e", "1"]);
    child.kill().expect("ending it");
    child.wait().expect("its end");
    run.refused(3, "Python", "none of");
}

#[test]
fn an_operator_that_opted_out() {
    for interpreter in synth::interpreters() {
        let plain = || Launch::new(interpreter, samples::BUSY);
        let variable = "PYTHON_DISABLE_REMOTE_DEBUG";
        let off = |target: synth::Target, why: &str| {
            exec(&target, &["-e", "1"]).refused(5, "switched off", why);
            unharmed(&target);
        };
        off(
            plain().options(["-X", "disable-remote-debug"]).start(),
            "-X disable-remote-debug",
        );
        off(
            plain().options(["-Xdisable-remote-debug=no"]).start(),
            "-X disable-remote-debug",
        );
        for value in ["1", "0", ""] {
            off(plain().variable(variable, value).start(), variable);
        }
        // The interpreter ignores its environment, but the operator has spoken.
        off(
            plain().options(["-E"]).variable(variable, "1").start(),
            variable,
        );
        // The spelling that CPython documents does nothing, so nobody opted out.
        let on = plain().options(["-X", "disable_remote_debug"]).start();
        assert_eq!(exec(&on, &["-e", "1"]).expect(0).stdout, "1\n");
    }
}

#[test]
fn a_policy_inside_the_target() {
    let program = format!(
        "import sys\ndef hook(event, arguments):\n    if event == 'compile' and b'forbidden' in \
         (arguments[0] or b''): raise PermissionError('not here')\nsys.addaudithook(hook)\n{}",
        samples::BUSY
    );
    let target = Launch::new(synth::interpreter("3.14"), program).start();
    exec(&target, &["-c", "'forbidden'"]).refused(5, "did not let the script run", "not here");
    assert_eq!(
        exec(&target, &["-e", "'allowed'"]).expect(0).stdout,
        "'allowed'\n"
    );
    unharmed(&target);
}

#[test]
fn a_target_that_another_traces() {
    let target = busy(synth::interpreter("3.14"));
    let traced = invivo::Target::open(target.pid()).expect("opening it");
    let within = std::time::Duration::from_secs(60);
    let run = traced
        .while_stopped(within, |_| exec(&target, &["-e", "1"]))
        .expect("stopping it");
    run.refused(
        4,
        "stopped",
        &format!("process {} traces it", std::process::id()),
    );
    unharmed(&target);
}

mod as_root {
    use super::*;

    const NOBODY: u32 = 65534;

    /// Runs `invivo exec` as another user.
    fn exec_as_nobody(target: &synth::Target) -> support::Run {
        use std::os::unix::process::CommandExt;

        // The build's own directory may be closed to others.
        let place = tempfile::tempdir().expect("a directory");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(place.path(), open).expect("opening it");
        let program = place.path().join("invivo");
        synth::root::copy_program(support::INVIVO.as_ref(), &program);
        let mut command = Command::new(program);
        command
            .args(["exec", &target.pid().to_string(), "-e", "1"])
            .uid(NOBODY)
            .gid(NOBODY);
        support::Run::of(command.output().expect("running invivo"))
    }

    #[test]
    fn a_user_needs_no_privilege_for_its_own_targets() {
        for interpreter in synth::protocol() {
            let target = Launch::new(interpreter, samples::BUSY)
                .user(NOBODY, NOBODY)
                .start();
            assert_eq!(exec_as_nobody(&target).expect(0).stdout, "1\n");
            unharmed(&target);
        }
    }

    #[test]
    fn a_target_of_another_user() {
        let target = busy(synth::interpreter("3.14"));
        exec_as_nobody(&target).refused(4, &target.pid().to_string(), "CAP_SYS_PTRACE");
        unharmed(&target);
    }

    #[test]
    fn a_target_that_is_not_dumpable() {
        let launch = Launch::new(synth::interpreter("3.14"), samples::NOT_DUMPABLE);
        let target = launch.user(NOBODY, NOBODY).start();
        exec_as_nobody(&target).refused(4, &target.pid().to_string(), "dumpable");
        // Root may.
        assert_eq!(exec(&target, &["-e", "1"]).expect(0).stdout, "1\n");
        assert_eq!(target.stderr_so_far(), "");
    }

    #[test]
    fn where_a_seccomp_filter_forbids_tracing() {
        let target = busy(synth::interpreter("3.14"));
        for forbidden in [&["ptrace"][..], &["ptrace", "vm"]] {
            let mut command = Command::new(synth::helpers::noptrace());
            command
                .args(forbidden)
                .args(["--", support::INVIVO, "exec"]);
            command.args([&target.pid().to_string(), "-e", "1"]);
            let run = support::Run::of(command.output().expect("running invivo"));
            run.refused(
                4,
                &target.pid().to_string(),
                "a filter on Invivo refuses ptrace",
            );
        }
        unharmed(&target);
    }

    #[test]
    fn where_a_seccomp_filter_forbids_only_the_fast_way_to_memory() {
        let target = busy(synth::interpreter("3.14"));
        let mut command = Command::new(synth::helpers::noptrace());
        command.args([
            "vm",
            "--",
            support::INVIVO,
            "exec",
            &target.pid().to_string(),
            "-e",
            "1",
        ]);
        let run = support::Run::of(command.output().expect("running invivo")).expect(0);
        assert_eq!(run.stdout, "1\n");
        unharmed(&target);
    }
}
