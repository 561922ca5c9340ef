//! `invivo doctor`: what it says is what happens.

mod support;

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::{INVIVO, Run, busy, unharmed};
use synth::{Interpreter, Launch, Target, samples};
use unicode_width::UnicodeWidthStr;

/// Runs `invivo` with these words by `start`, which may put something in front of it.
fn run(start: &dyn Fn() -> Command, words: &[&str]) -> Run {
    Run::of(start().args(words).output().expect("running invivo"))
}

fn plainly() -> Command {
    Command::new(INVIVO)
}

/// Asserts that doctor, as text and as JSON, ends as exec does on this process, with `code` and
/// the same three parts of the message; gives the JSON.
#[track_caller]
fn agrees(start: &dyn Fn() -> Command, pid: u32, code: i32) -> Value {
    let pid = pid.to_string();
    let exec = run(start, &["exec", &pid, "-e", "1"]).expect(code);
    let text = run(start, &["doctor", &pid]).expect(code);
    for line in text.stdout.lines() {
        assert!(
            line.width() <= 80 || !line.trim().contains(' '),
            "too wide: {line:?}"
        );
        assert!(
            !line.contains('\x1b'),
            "colour without a terminal: {line:?}"
        );
    }
    let report = run(start, &["doctor", &pid, "--json"]).expect(code).json();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["execution"]["works"], code == 0, "{report:#}");
    if code != 0 {
        let error = &report["execution"]["error"];
        let part = |name: &str| error[name].as_str().expect("text").to_owned();
        let message = format!(
            "error: {}\n  why: {}\n  try: {}\n",
            part("what"),
            part("why"),
            part("try")
        );
        assert_eq!(exec.stderr, message);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words(&text.stdout).contains(&words(&part("why"))),
            "{text:#?}"
        );
    }
    report
}

/// What doctor's JSON says about a rule.
#[track_caller]
fn rule<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("checks");
    checks
        .iter()
        .find(|check| check["rule"] == name)
        .unwrap_or_else(|| panic!("no {name}"))
}

/// The first rule that refuses, with a remedy.
#[track_caller]
fn refusing(report: &Value) -> &str {
    let checks = report["checks"].as_array().expect("checks");
    let check = checks
        .iter()
        .find(|check| check["verdict"] == "refuses")
        .expect("a refusal");
    assert!(
        check["remedy"]
            .as_str()
            .is_some_and(|remedy| !remedy.is_empty()),
        "{check:#}"
    );
    check["rule"].as_str().expect("its name")
}

#[test]
fn a_target_with_nothing_in_the_way() {
    for interpreter in synth::protocol() {
        let target = busy(interpreter);
        let report = agrees(&plainly, target.pid(), 0);
        assert_eq!(report["access"], "allowed");
        assert_eq!(report["execution"]["thread"], target.pid());
        let found = &report["interpreter"];
        assert_eq!(found["version"], interpreter.version);
        assert_eq!(found["debug"], interpreter.debug);
        assert_eq!(found["free_threaded"], interpreter.free_threaded);
        assert_eq!(found["remote_debugging"], "on");
        assert_eq!(found["misspelt_option"], false);
        assert_eq!(found["pending"], serde_json::json!([]));
        let refusals = report["checks"].as_array().expect("checks").iter();
        assert_eq!(
            refusals
                .filter(|check| check["verdict"] == "refuses")
                .count(),
            0
        );
        unharmed(&target);
    }
}

#[test]
fn a_thread_that_sleeps_is_said_to() {
    let target = Launch::new(synth::interpreter("3.14"), samples::SLEEPER).start();
    let pid = target.pid().to_string();
    support::eventually("it sleeps", || {
        let report = support::invivo(["doctor", &pid, "--json"]).expect(0).json();
        report["execution"]["running"] == false
    });
    let text = support::invivo(["doctor", &pid]).expect(0).stdout;
    let words: Vec<&str> = text.split_whitespace().collect();
    let expected = "nanosleep now: a script begins at once, and the thread waits on afterwards.";
    assert!(words.join(" ").contains(expected), "{text}");
}

#[test]
fn versions_without_the_protocol() {
    for interpreter in synth::interpreters() {
        if synth::protocol()
            .iter()
            .any(|able| able.name == interpreter.name)
        {
            continue;
        }
        let target = Launch::new(interpreter, samples::SLEEPER).start();
        let report = agrees(&plainly, target.pid(), 0);
        let found = &report["interpreter"];
        let version = found["version"].as_str().expect("a version");
        assert!(interpreter.version.starts_with(version), "{version}");
        assert_ne!(found["remote_debugging"], "on");
        assert_eq!(report["access"], "allowed");
    }
}

#[test]
fn every_switch_is_named() {
    const VARIABLE: &str = "PYTHON_DISABLE_REMOTE_DEBUG";
    let switched = |target: Target, switches: &[&str]| {
        let report = agrees(&plainly, target.pid(), 5);
        assert_eq!(report["interpreter"]["remote_debugging"], "off");
        assert_eq!(
            report["interpreter"]["switches"],
            serde_json::json!(switches)
        );
        assert_eq!(
            report["access"], "allowed",
            "the operating system has nothing against it"
        );
    };
    for interpreter in synth::protocol() {
        let plain = || Launch::new(interpreter, samples::BUSY);
        switched(
            plain().options(["-X", "disable-remote-debug"]).start(),
            &["option"],
        );
        switched(
            plain().options(["-SXdisable-remote-debug=no"]).start(),
            &["option"],
        );
        for value in ["1", "0", ""] {
            switched(plain().variable(VARIABLE, value).start(), &["environment"]);
        }
        let ignored = plain().options(["-E"]).variable(VARIABLE, "1").start();
        switched(ignored, &["environment_ignored"]);
        let both = plain()
            .variable(VARIABLE, "1")
            .options(["-Xdisable-remote-debug"]);
        switched(both.start(), &["environment", "option"]);
    }
}

#[test]
fn the_spelling_that_does_nothing_is_pointed_out() {
    for interpreter in synth::protocol() {
        let launch = Launch::new(interpreter, samples::BUSY);
        let target = launch.options(["-X", "disable_remote_debug"]).start();
        let report = agrees(&plainly, target.pid(), 0);
        assert_eq!(report["interpreter"]["misspelt_option"], true);
        assert_eq!(report["interpreter"]["remote_debugging"], "on");
        let text = support::invivo(["doctor", &target.pid().to_string()])
            .expect(0)
            .stdout;
        assert!(text.contains("-X disable_remote_debug"), "{text}");
        assert!(
            text.contains("does not switch remote debugging off"),
            "{text}"
        );
    }
}

#[test]
fn a_target_that_another_traces() {
    let target = busy(synth::interpreter("3.14"));
    let traced = invivo::Target::open(target.pid()).expect("opening it");
    let within = Duration::from_secs(60);
    let pid = target.pid();
    let text = traced.while_stopped(within, |_| {
        let exec = support::exec(&target, &["-e", "1"]).expect(4);
        let report = support::invivo(["doctor", &pid.to_string(), "--json"])
            .expect(4)
            .json();
        assert_eq!(report["access"], "look_only");
        assert_eq!(refusing(&report), "tracer");
        let why = report["execution"]["error"]["why"]
            .as_str()
            .expect("text")
            .to_owned();
        assert!(
            why.contains(&format!("process {} (", std::process::id())),
            "{why}"
        );
        exec.stderr
    });
    let text = text.expect("stopping it");
    assert!(
        text.contains(&format!("process {} traces it", std::process::id())),
        "{text}"
    );
    unharmed(&target);
}

#[test]
fn a_request_that_waits_is_shown() {
    let target = Launch::new(synth::interpreter("3.14"), samples::SLEEPER).start();
    support::exec(&target, &["--wake", "never", "--no-wait", "-e", "1"]).expect(0);
    let report = agrees(&plainly, target.pid(), 5);
    assert_eq!(
        report["interpreter"]["pending"],
        serde_json::json!([target.pid()])
    );
}

#[test]
fn what_is_no_python() {
    let mut child = Command::new("sleep")
        .arg("1000")
        .spawn()
        .expect("running sleep");
    let process = invivo::Target::open(child.id()).expect("opening it");
    support::eventually("all of it is loaded", || {
        let doing = process.activity(child.id()).expect("its activity");
        doing.to_string().contains("nanosleep")
    });
    let report = agrees(&plainly, child.id(), 3);
    child.kill().expect("ending it");
    child.wait().expect("its end");
    assert_eq!(report["interpreter"], Value::Null);
    // It has ended.
    let run = support::invivo(["doctor", &child.id().to_string()]);
    run.refused(3, &child.id().to_string(), "");
}

#[test]
fn the_machine_without_a_process() {
    let report = support::invivo(["doctor", "--json"]).expect(0).json();
    assert_eq!(report["schema"], 1);
    for probe in ["stop_threads", "hold_process", "confine_paths"] {
        assert_eq!(rule(&report, probe)["verdict"], "allows", "{report:#}");
    }
    let text = support::invivo(["doctor"]).expect(0).stdout;
    assert!(text.lines().all(|line| line.width() <= 80), "{text}");
}

mod as_root {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::path::PathBuf;
    use std::process::Stdio;

    use super::*;

    const NOBODY: u32 = 65534;

    /// A copy of the program that other users can run; the build's own directory may be closed to
    /// them.
    struct Copied {
        _directory: tempfile::TempDir,
        program: PathBuf,
    }

    impl Copied {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let open = PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(directory.path(), open).expect("opening it");
            let program = directory.path().join("invivo");
            synth::root::copy_program(INVIVO.as_ref(), &program);
            Self {
                _directory: directory,
                program,
            }
        }

        fn as_nobody(&self) -> Command {
            let mut command = Command::new(&self.program);
            command.uid(NOBODY).gid(NOBODY);
            command
        }

        /// By a program of util-linux that changes something and runs it then.
        fn by(&self, words: &[&str]) -> Command {
            let (first, rest) = words.split_first().expect("a program");
            let mut command = Command::new(first);
            command.args(rest).arg(&self.program);
            command
        }
    }

    fn of_nobody(interpreter: &Interpreter, program: &str) -> Target {
        Launch::new(interpreter, program)
            .user(NOBODY, NOBODY)
            .start()
    }

    #[test]
    fn other_users_both_ways() {
        let (own, others) = (busy(synth::interpreter("3.14")), {
            of_nobody(synth::interpreter("3.15"), samples::BUSY)
        });
        let copied = Copied::new();
        let as_nobody = || copied.as_nobody();
        let report = agrees(&as_nobody, own.pid(), 4);
        assert_eq!(report["access"], "refused");
        assert_eq!(refusing(&report), "same_user");
        assert_eq!(agrees(&as_nobody, others.pid(), 0)["access"], "allowed");
        assert_eq!(agrees(&plainly, others.pid(), 0)["access"], "allowed");
        unharmed(&own);
    }

    #[test]
    fn root_without_the_capability() {
        let target = of_nobody(synth::interpreter("3.14"), samples::BUSY);
        let copied = Copied::new();
        let start = || {
            copied.by(&[
                "setpriv",
                "--bounding-set",
                "-sys_ptrace",
                "--inh-caps",
                "-sys_ptrace",
            ])
        };
        let report = agrees(&start, target.pid(), 4);
        assert_eq!(refusing(&report), "same_user");
        let remedy = rule(&report, "same_user")["remedy"]
            .as_str()
            .expect("a remedy");
        assert!(remedy.contains("CAP_SYS_PTRACE"), "{remedy}");
    }

    #[test]
    fn a_target_with_capabilities_of_its_own() {
        let target = busy(synth::interpreter("3.14"));
        let copied = Copied::new();
        // Root like the target, but with fewer capabilities.
        let start = || copied.by(&["setpriv", "--bounding-set", "-sys_ptrace,-net_admin"]);
        let report = agrees(&start, target.pid(), 4);
        assert_eq!(refusing(&report), "capabilities");
        let fact = rule(&report, "capabilities")["fact"]
            .as_str()
            .expect("a fact");
        assert!(
            fact.contains("CAP_NET_ADMIN") && fact.contains("CAP_SYS_PTRACE"),
            "{fact}"
        );
    }

    #[test]
    fn a_target_that_is_not_dumpable() {
        let target = of_nobody(synth::interpreter("3.14"), samples::NOT_DUMPABLE);
        let copied = Copied::new();
        let report = agrees(&|| copied.as_nobody(), target.pid(), 4);
        assert_eq!(refusing(&report), "dumpable");
        assert_eq!(agrees(&plainly, target.pid(), 0)["access"], "allowed");
    }

    #[test]
    fn a_filter_on_invivo() {
        let target = busy(synth::interpreter("3.14"));
        let filtered = |forbidden: &'static [&'static str]| {
            move || {
                let mut command = Command::new(synth::helpers::noptrace());
                command.args(forbidden).args(["--", INVIVO]);
                command
            }
        };
        for forbidden in [&["ptrace"][..], &["ptrace", "vm"]] {
            let report = agrees(&filtered(forbidden), target.pid(), 4);
            assert_eq!(report["access"], "look_only");
            assert_eq!(refusing(&report), "seccomp");
        }
        let report = agrees(&filtered(&["vm"]), target.pid(), 0);
        assert_eq!(rule(&report, "seccomp")["verdict"], "info");
        let machine = run(&filtered(&["ptrace"]), &["doctor", "--json"])
            .expect(0)
            .json();
        assert_eq!(rule(&machine, "stop_threads")["verdict"], "refuses");
        unharmed(&target);
    }

    #[test]
    fn a_target_in_a_user_namespace_below() {
        let interpreter = synth::interpreter("3.14");
        let mut child = Command::new("unshare")
            .args(["--user", "--map-root-user"])
            .arg(&interpreter.program)
            .args([
                "-c",
                "print('ready', flush=True)\nwhile True: sum(range(1000))",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("running unshare");
        let mut ready = [0; 6];
        let output = child.stdout.as_mut().expect("its output");
        output.read_exact(&mut ready).expect("its first line");
        let report = agrees(&plainly, child.id(), 0);
        child.kill().expect("ending it");
        child.wait().expect("its end");
        assert_eq!(report["access"], "allowed");
        let fact = rule(&report, "user_namespace")["fact"]
            .as_str()
            .expect("a fact");
        assert!(fact.contains("lies below Invivo's"), "{fact}");
    }

    #[test]
    fn a_target_outside_our_user_namespace() {
        let copied = Copied::new();
        let as_nobody = [
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
        ]
        .as_slice();
        let outside = of_nobody(synth::interpreter("3.14"), samples::BUSY);
        // From inside a namespace of the same user.
        let inside = [as_nobody, &["unshare", "--user", "--map-root-user"]].concat();
        let report = agrees(&|| copied.by(&inside), outside.pid(), 4);
        assert_eq!(report["access"], "refused");
        assert_eq!(refusing(&report), "capabilities");
        let fact = rule(&report, "user_namespace")["fact"]
            .as_str()
            .expect("a fact");
        assert!(fact.contains("not Invivo's nor below it"), "{fact}");
    }

    #[test]
    fn a_thread_of_the_kernel() {
        // The first one, unless this is a container, where none shows.
        let kernel = std::fs::read_to_string("/proc/2/comm").unwrap_or_default();
        assert_eq!(
            kernel.trim(),
            "kthreadd",
            "this test needs the machine's own /proc"
        );
        let report = agrees(&plainly, 2, 3);
        assert_eq!(refusing(&report), "kernel_thread");
    }
}
