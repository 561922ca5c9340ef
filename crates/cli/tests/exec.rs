//! `invivo exec`: what it brings back, on every build that has the protocol.

mod support;

use serde_json::json;
use support::{busy, exec, invivo, state, unharmed};
use synth::Launch;

#[test]
fn two_hundred_runs_bring_back_what_is_right_and_leave_nothing() {
    for interpreter in synth::protocol() {
        let target = busy(interpreter);
        let before = state(&target);
        for number in 0..200 {
            match number % 3 {
                0 => {
                    let expression = format!("[{number}, 'ä', None, {number} / 2, 10 ** 30]");
                    let run = exec(&target, &["--json", "-e", &expression]).expect(0);
                    let report = run.json();
                    assert_eq!(report["outcome"], "done");
                    assert_eq!(report["stdout"], "");
                    let half = serde_json::from_str::<serde_json::Value>(&format!(
                        "[{number}, \"ä\", null, {:?}, 1{}]",
                        f64::from(number) / 2.0,
                        "0".repeat(30)
                    ));
                    assert_eq!(report["value"]["json"], half.expect("JSON"));
                }
                1 => {
                    let code = format!(
                        "import sys\nfor i in range(3): print('line', {number}, i)\n\
                         print('to stderr', {number}, file=sys.stderr)"
                    );
                    let run = exec(&target, &["-c", &code]).expect(0);
                    let lines: Vec<String> = (0..3)
                        .map(|line| format!("line {number} {line}\n"))
                        .collect();
                    assert_eq!(run.stdout, lines.concat());
                    assert_eq!(run.stderr, format!("to stderr {number}\n"));
                }
                _ => {
                    let code = format!("def f():\n    raise KeyError({number})\nf()");
                    let run = exec(&target, &["-c", &code]).expect(1);
                    assert_eq!(run.stdout, "");
                    assert!(
                        run.stderr
                            .starts_with("Traceback (most recent call last):\n")
                    );
                    assert!(run.stderr.contains("File \"<invivo>\", line 2, in f\n"));
                    assert!(
                        run.stderr.ends_with(&format!("KeyError: {number}\n")),
                        "{run:#?}"
                    );
                }
            }
        }
        assert_eq!(state(&target), before, "{}", interpreter.name);
        unharmed(&target);
        target.close_input();
        let status = target.wait_exit(synth::target::PATIENCE);
        assert!(
            status.success(),
            "{}: its own result: {status}",
            interpreter.name
        );
    }
}

#[test]
fn a_script_has_its_arguments_and_a_namespace_of_its_own() {
    let target = busy(synth::interpreter("3.14"));
    let code = "import sys; print(sys.argv, __name__, 'main' in globals())";
    let run = exec(&target, &["-c", code, "--", "a b", "--flag"]).expect(0);
    assert_eq!(run.stdout, "['-c', 'a b', '--flag'] __main__ False\n");
    let code = "found = triangle(10); print(found, 'order' in globals())";
    let run = exec(&target, &["--namespace", "main", "-c", code]).expect(0);
    assert_eq!(run.stdout, "True True\n");
    let run = exec(&target, &["--namespace", "main", "-e", "found"]).expect(0);
    assert_eq!(run.stdout, "True\n");
    exec(&target, &["-e", "found"]).expect(1);
    unharmed(&target);
}

#[test]
fn a_script_comes_from_a_file_or_from_stdin() {
    let target = busy(synth::interpreter("3.15"));
    let file = tempfile::Builder::new()
        .suffix(".py")
        .tempfile()
        .expect("a file");
    std::fs::write(
        file.path(),
        "import sys\nprint(__file__, sys.argv)\n1 / 0\n",
    )
    .expect("script");
    let path = file.path().to_str().expect("a path in UTF-8");
    let run = exec(&target, &[path, "--", "x"]).expect(1);
    assert_eq!(run.stdout, format!("{path} ['{path}', 'x']\n"));
    assert!(run.stderr.contains(&format!(
        "File \"{path}\", line 3, in <module>\n    1 / 0\n"
    )));

    let mut command = std::process::Command::new(support::INVIVO);
    command.args(["exec", &target.pid().to_string(), "-"]);
    command.stdin(std::fs::File::open(file.path()).expect("the script"));
    let run = support::Run::of(command.output().expect("running invivo")).expect(1);
    assert_eq!(run.stdout, "<stdin> ['-']\n");
    unharmed(&target);
}

#[test]
fn sys_exit_ends_the_script_and_not_the_target() {
    let target = busy(synth::interpreter("3.14"));
    exec(&target, &["-c", "import sys; sys.exit()"]).expect(0);
    exec(&target, &["-c", "import sys; sys.exit(0)"]).expect(0);
    let run = exec(&target, &["-c", "import sys; sys.exit('no more')"]).expect(1);
    assert!(run.stderr.contains("no more"));
    let run = exec(&target, &["--json", "-c", "raise SystemExit(3)"]).expect(1);
    assert_eq!(run.json()["outcome"], "exited");
    assert_eq!(run.json()["exit"], json!({"code": "3", "success": false}));
    unharmed(&target);
}

#[test]
fn output_comes_while_the_script_runs() {
    use std::io::{BufRead, BufReader};

    let target = busy(synth::interpreter("3.14"));
    // The script goes on only when its first line has been seen out here.
    let gate = tempfile::tempdir().expect("a directory");
    let gate_file = gate.path().join("go");
    let code = format!(
        "import time, os\nprint('first')\nwhile not os.path.exists({gate_file:?}): \
         time.sleep(0.001)\nprint('second')"
    );
    let mut child = std::process::Command::new(support::INVIVO)
        .args([
            "exec",
            &target.pid().to_string(),
            "--timeout",
            "60",
            "-c",
            &code,
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("running invivo");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "first");
    std::fs::write(gate_file, "").expect("the gate");
    assert_eq!(lines.next().expect("a line").expect("text"), "second");
    assert!(lines.next().is_none());
    assert!(child.wait().expect("its end").success());
    unharmed(&target);
}

#[test]
fn a_script_may_end_the_target_and_that_is_said() {
    // It has no sockets: what it says lies in a file, and may be found when it has ended.
    for _ in 0..10 {
        let target = busy(synth::interpreter("3.14"));
        let run = exec(&target, &["-c", "import os; print('bye'); os._exit(9)"]);
        let run = run.refused(7, "ended while it ran the script", "the script");
        assert_eq!(run.stdout, "bye\n");
        assert_eq!(target.wait_exit(synth::target::PATIENCE).code(), Some(9));
    }
}

#[test]
fn any_thread_can_be_chosen() {
    for interpreter in synth::protocol() {
        let target = Launch::new(interpreter, synth::samples::THREADS).start();
        for tid in target.ready_ids() {
            let run = exec(
                &target,
                &[
                    "--thread",
                    &tid.to_string(),
                    "-e",
                    "__import__('threading').get_native_id()",
                ],
            );
            assert_eq!(run.expect(0).stdout, format!("{tid}\n"));
        }
        support::not_held(&target);
    }
}

#[test]
fn what_would_be_written_is_shown_and_nothing_is() {
    let target = busy(synth::interpreter("3.14"));
    let run = exec(&target, &["--dry-run", "-e", "1"]).expect(0);
    for field in [
        "debugger_script_path",
        "debugger_pending_call",
        "eval_breaker",
        "Nothing was",
    ] {
        assert!(run.stdout.contains(field), "{run:#?}");
    }
    let report = exec(&target, &["--dry-run", "--json", "-e", "1"])
        .expect(0)
        .json();
    assert_eq!(report["outcome"], "dry-run");
    assert_eq!(report["thread"], target.pid());
    assert_eq!(report["writes"].as_array().expect("a list").len(), 3);
    unharmed(&target);
}

#[test]
fn wrong_usage_says_what_is_wrong() {
    invivo(["exec", "1"]).expect(2);
    invivo(["exec", "not-a-pid", "-e", "1"]).expect(2);
    invivo(["exec", "1", "-e", "1", "-c", "2"]).expect(2);
    invivo(["exec", "1", "--timeout", "-1", "-e", "1"]).expect(2);
    invivo(["exec", "1", "/no/such/script.py"]).refused(2, "/no/such/script.py", "No such file");
    let target = busy(synth::interpreter("3.14"));
    exec(&target, &["--thread", "1", "-e", "1"]).refused(2, "thread 1 of", "has no thread 1");
    exec(&target, &["--interpreter", "7", "-e", "1"]).refused(2, "no interpreter 7", "are: 0");
    unharmed(&target);
}

#[test]
fn nothing_from_a_target_reaches_a_terminal_unescaped() {
    let python = synth::interpreter("3.14");
    let target = busy(python);
    let pid = target.pid().to_string();
    let hostile = "'\\x1b]0;owned\\x07\\u202e\\x9b31m'";
    let print = format!("import sys; print({hostile}); print({hostile}, file=sys.stderr)");
    let raise = format!("raise ValueError({hostile})");
    // A function of that name, in which the script is when the time is up.
    let spin = format!(
        "def f():\n    while True: pass\n\
         f.__code__ = f.__code__.replace(co_qualname={hostile})\nf()"
    );
    let escaped = "\\x1b]0;owned\\x07\\u202e\\x9b31m";

    // Python's own pseudo-terminal is the terminal.
    let terminal = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    for (code, status, times) in [(&print, 0, 2), (&raise, 1, 2), (&spin, 6, 1)] {
        let mut command = std::process::Command::new(&python.program);
        command.args(["-c", terminal, support::INVIVO, "exec", &pid]);
        command.args(["--color", "never", "--timeout", "5", "-c", code]);
        command.stdin(std::process::Stdio::null());
        let run = support::Run::of(command.output().expect("running python")).expect(status);
        assert!(
            !run.stdout
                .contains(['\u{1b}', '\u{7}', '\u{202e}', '\u{9b}']),
            "{run:#?}"
        );
        assert_eq!(run.stdout.matches(escaped).count(), times, "{run:#?}");
    }

    // Elsewhere what a script prints is as it is, but what we say ourselves is escaped there too.
    let again = busy(python);
    let run = exec(&again, &["-c", &print]).expect(0);
    assert_eq!(run.stdout, "\u{1b}]0;owned\u{7}\u{202e}\u{9b}31m\n");
    let run = exec(&again, &["--timeout", "3", "-c", &spin]).expect(6);
    assert!(
        run.stderr.contains(escaped) && !run.stderr.contains('\u{1b}'),
        "{run:#?}"
    );
}
