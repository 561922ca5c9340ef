//! `invivo dump`: what every thread does, on every interpreter.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use support::people::{dump, functions, line_of, named, people, threads};
use support::{INVIVO, Run, eventually, invivo, not_held, unharmed};
use synth::launch::Place;
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, interpreter, interpreters, samples};

#[test]
fn every_thread_is_told_what_it_does() {
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let target = people(interpreter, &[]);
        // It may take a look or two to see what runs at a moment when it does.
        eventually("one runs Python and one runs native code", || {
            let report = dump(&target, &["--json"]).expect(0).json();
            let kind = |name| named(&report, name)["doing"]["kind"].clone();
            [kind("computes"), kind("native")] == ["runs_python", "runs_native"]
        });
        let report = dump(&target, &["--json"]).expect(0).json();
        assert_eq!(report["schema"], 1);
        assert_eq!(report["version"], interpreter.version.as_str());
        assert_eq!(report["incomplete"], Value::Null);
        let doing = |thread: &str| named(&report, thread)["doing"]["sentence"].clone();
        assert_eq!(doing("sleeps"), doing("falls"), "{name}");
        let sleep = doing("sleeps");
        let sleep = sleep.as_str().expect("a sentence");
        assert!(
            [
                "asleep in clock_nanosleep",
                "asleep in pselect6",
                "asleep in select"
            ]
            .contains(&sleep),
            "{name}: {sleep}"
        );
        assert_eq!(doing("locked"), "in futex wait", "{name}");
        assert_eq!(doing("MainThread"), "asleep in read", "{name}");
        assert_eq!(
            doing("handles"),
            format!("{sleep}, handles an exception"),
            "{name}"
        );
        assert_eq!(named(&report, "MainThread")["main"], true);
        assert_eq!(named(&report, "MainThread")["tid"], target.pid());
        assert_eq!(functions(named(&report, "locked"))[0], "locked");
        // `time.sleep` in a thread of its own: no Python at all.
        let bare = threads(&report)
            .into_iter()
            .find(|one| functions(one).is_empty())
            .expect("a thread without frames");
        assert_eq!(
            bare["doing"]["sentence"],
            format!("{sleep}, no Python frames"),
            "{name}"
        );
        let others = report["without_python"].as_array().expect("a list");
        let [other] = &others[..] else {
            panic!("{name}: not one thread without Python: {others:?}")
        };
        assert_eq!(other["os"]["system_call"], "pause", "{name}");
        let all: Vec<u64> = threads(&report)
            .into_iter()
            .chain(others)
            .map(|one| one["tid"].as_u64().expect("a number"))
            .collect();
        let mut of_os: Vec<u64> = target
            .thread_states()
            .iter()
            .map(|(tid, _)| u64::from(*tid))
            .collect();
        let mut found = all.clone();
        found.sort_unstable();
        of_os.sort_unstable();
        assert_eq!(found, of_os, "{name}");
    }
}

#[test]
fn who_holds_the_gil_and_who_waits_for_it_is_told() {
    const RIVALS: &str = r#"
import threading
def computes():
    while True:
        pass
for _ in range(2):
    threading.Thread(target=computes, daemon=True).start()
print("ready", flush=True)
computes()
"#;
    for interpreter in interpreters().iter().filter(|one| !one.free_threaded) {
        let target = Launch::new(interpreter, RIVALS).start();
        // While the threads change places, it may be that nobody holds it.
        eventually("one runs and two wait for it", || {
            let report = dump(&target, &["--json", "--block"]).expect(0).json();
            let all = threads(&report);
            let Some(runs) = all.iter().find(|one| one["doing"]["kind"] == "runs_python") else {
                return false;
            };
            let waits = format!("waits for the GIL held by thread {}", runs["tid"]);
            let waiting = all.iter().filter(|one| one["doing"]["sentence"] == waits);
            waiting.count() == 2
        });
    }
}

#[test]
fn who_sleeps_with_the_gil_is_found_out() {
    const HOG: &str = r#"
import ctypes
print("ready", flush=True)
ctypes.PyDLL(None).pause()
"#;
    for interpreter in interpreters() {
        let target = Launch::new(interpreter, HOG).start();
        support::asleep_in(&target, "pause");
        let report = dump(&target, &["--json"]).expect(0).json();
        let [thread] = threads(&report)[..] else {
            panic!("one thread")
        };
        let holds = if interpreter.free_threaded {
            "is attached to Python, asleep in pause"
        } else {
            "holds the GIL, asleep in pause"
        };
        assert_eq!(thread["doing"]["sentence"], holds, "{}", interpreter.name);
        assert_eq!(thread["doing"]["kind"], "sleeps_with_gil");
    }
}

/// Whether a version's code says columns.
fn has_columns(interpreter: &Interpreter) -> bool {
    !["3.8", "3.9", "3.10"].contains(&interpreter.name.as_str())
}

#[test]
fn the_text_shows_frames_source_and_what_is_marked() {
    for interpreter in interpreters() {
        let target = people(interpreter, &["quiet"]);
        let run = dump(&target, &["--locals"]).expect(0);
        let lines: Vec<&str> = run.stdout.lines().collect();
        let pid = target.pid();
        assert!(
            lines[0].starts_with(&format!("process {pid}: ")),
            "{run:#?}"
        );
        assert!(
            lines[1].starts_with(&format!("CPython {}", interpreter.version))
                && lines[1].ends_with(", 6 threads, 1 without Python"),
            "{}",
            lines[1]
        );
        let file = lines[0].rsplit(' ').nth(1).expect("its program");
        // From a thread's line up to the next empty one.
        let part = |name: &str| {
            let start = lines
                .iter()
                .position(|line| line.contains(&format!(" \"{name}\"")));
            let part = lines.iter().skip(start.expect("its thread") + 1);
            let part: Vec<&str> = part.take_while(|line| !line.is_empty()).copied().collect();
            part.join("\n")
        };
        let locked = format!(
            "  locked  {file}:{}\n    with held:\n{}      first = 1\n      second = 'two'\n  … started \
             by threading (3 frames)",
            line_of("with held:"),
            // Some versions' code stands at the `with`, which is the whole line.
            if part("locked").contains('^') {
                "         ^^^^\n"
            } else {
                ""
            }
        );
        assert_eq!(part("locked"), locked, "{}", interpreter.name);
        let (inner, outer) = (line_of("os.read(0, 1)"), line_of("main()"));
        let main = format!(
            "  main  {file}:{inner}\n    os.read(0, 1)\n  <module>  {file}:{outer}\n    main()\n"
        );
        assert!(
            part("MainThread").starts_with(&main),
            "{}",
            part("MainThread")
        );
        let falls = part("falls");
        let (inner, outer) = (line_of("falls(depth - 1)") - 1, line_of("falls(depth - 1)"));
        let expected = format!(
            "  falls  {file}:{inner}\n    time.sleep(1000)\n      depth = 0\n  falls  {file}:{outer}\n    \
             falls(depth - 1)\n      depth = 1\n  … the same 4,998 times more\n  … started by \
             threading (3 frames)"
        );
        assert_eq!(falls, expected, "{}", interpreter.name);
        let handles = part("handles");
        assert!(
            handles.contains("      error = KeyError('key')\n"),
            "{handles}"
        );
        assert!(
            run.stdout.contains("\n1 thread without Python:\n  "),
            "{run:#?}"
        );
        assert_eq!(run.stderr, "");
    }
}

#[test]
fn json_has_every_frame_however_often_it_repeats() {
    for interpreter in interpreters() {
        let target = people(interpreter, &["quiet"]);
        let report = dump(&target, &["--json"]).expect(0).json();
        let falls = named(&report, "falls");
        assert_eq!(falls["cut"], Value::Null, "{}", interpreter.name);
        let names = functions(falls);
        assert_eq!(names.len(), 5003, "{}", interpreter.name);
        assert!(names[..5000].iter().all(|name| *name == "falls"));
        let frame = &falls["frames"][1];
        assert_eq!(
            (&frame["line"], &frame["first_line"]),
            (
                &line_of("falls(depth - 1)").into(),
                &line_of("def falls(depth):").into()
            )
        );
        assert_eq!(frame["source"], "    falls(depth - 1)");
        assert_eq!(frame["trust"], "whole");
        let columns = if has_columns(interpreter) {
            [4, 20].map(Value::from)
        } else {
            [Value::Null, Value::Null]
        };
        assert_eq!(
            [&frame["column"], &frame["end_column"]],
            [&columns[0], &columns[1]]
        );
    }
}

#[test]
fn one_thread_and_the_other_order() {
    for interpreter in interpreters() {
        let target = people(interpreter, &["quiet"]);
        let report = dump(&target, &["--json"]).expect(0).json();
        let tid = named(&report, "locked")["tid"].to_string();
        let one = dump(&target, &["--json", "--thread", &tid])
            .expect(0)
            .json();
        let [only] = threads(&one)[..] else {
            panic!("one thread")
        };
        assert_eq!(only["name"], "locked");
        assert_eq!(one["without_python"], Value::Null);
        let words = [
            "--thread",
            &tid,
            "--order",
            "outermost-first",
            "-v",
            "--opcodes",
        ];
        let text = dump(&target, &words).expect(0).stdout;
        let at = |what: &str| {
            text.find(what)
                .unwrap_or_else(|| panic!("{what} in {text}"))
        };
        assert!(at("_bootstrap  ") < at("_bootstrap_inner  "));
        assert!(at("run  ") < at("  locked  "));
        assert!(text.contains("  [opcode "), "{text}");
        dump(&target, &["--thread", "1"]).refused(2, "thread 1 is no Python thread", &tid);
        let others = &report["without_python"][0]["tid"].to_string();
        dump(&target, &["--thread", others]).refused(2, others, "its Python threads are");
    }
}

#[test]
fn sub_interpreters_are_counted_and_shown_when_asked_for() {
    for interpreter in synth::protocol() {
        for sample in [
            samples::SUBINTERPRETERS_IDLE,
            samples::SUBINTERPRETERS_RUNNING,
        ] {
            let target = Launch::new(interpreter, sample).start();
            let run = dump(&target, &[]).expect(0);
            assert!(
                run.stdout
                    .contains("\n2 other interpreters not shown: --all-interpreters\n"),
                "{run:#?}"
            );
            let report = dump(&target, &["--json", "--all-interpreters"])
                .expect(0)
                .json();
            let ids: Vec<_> = report["interpreters"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|one| one["id"].as_u64().expect("a number"))
                .collect();
            let mut expected = vec![0];
            expected.extend(target.ready_ids());
            assert_eq!(ids, expected);
            let text = dump(&target, &["--all-interpreters"]).expect(0).stdout;
            for id in ids {
                assert!(text.contains(&format!("\nInterpreter {id}\n")), "{text}");
            }
        }
    }
}

/// Names, files and values that would drive a terminal, hide or reorder text.
const EVIL: &str = r#"
import threading, time
def main(value="\x1b]0;owned\x07\u202e\n", other=b"\x1b[2J"):
    namespace = {"time": time}
    source = "def \u0444\u0443\u043d\u043a():\n    time.sleep(1000)\n\u0444\u0443\u043d\u043a()\n"
    code = compile(source, "evil\x1b[31m\u202e\n.py", "exec")
    namespace["__name__"] = "evil"
    print("ready", flush=True)
    exec(code, namespace)
threading.Thread(target=main, name="bad\x1b[2J\u202e\nname").start()
"#;

#[test]
fn what_a_target_says_does_not_drive_the_terminal_and_is_exact_in_json() {
    for interpreter in interpreters() {
        let target = Launch::new(interpreter, EVIL).start();
        let is_there = || {
            dump(&target, &["--json"])
                .stdout
                .contains("\u{444}\u{443}\u{43d}")
        };
        eventually("it sleeps", is_there);
        let run = dump(&target, &["--locals"]).expect(0);
        let bad = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!run.stdout.contains(bad), "{run:#?}");
        for shown in [
            "\"bad\\x1b[2J\\u202e\\nname\"",
            "  функ  evil\\x1b[31m\\u202e\\n.py:2\n",
            "value = '\\x1b]0;owned\\x07\\u202e\\n'\n",
            "other = b'\\x1b[2J'\n",
        ] {
            assert!(run.stdout.contains(shown), "{shown} in {run:#?}");
        }
        let report = dump(&target, &["--locals", "--json"]).expect(0).json();
        let thread = named(&report, "bad\u{1b}[2J\u{202e}\nname");
        assert_eq!(thread["frames"][0]["file"], "evil\u{1b}[31m\u{202e}\n.py");
        let frames = thread["frames"].as_array().expect("frames");
        let main = frames
            .iter()
            .find(|one| one["name"] == "main")
            .expect("main");
        let locals = main["locals"].as_array().expect("locals");
        let value = locals
            .iter()
            .find(|one| one["name"] == "value")
            .expect("value");
        assert_eq!(value["value"]["value"], "\u{1b}]0;owned\u{7}\u{202e}\n");
        assert_eq!(value["role"], "argument");
    }
}

#[test]
fn members_of_enumerations_are_called_by_their_names() {
    const MEMBERS: &str = r#"
import enum, sys
class Colour(enum.Enum):
    RED = 1
    BOTH = (1, "two")
def wait(red, both):
    print("ready", flush=True)
    sys.stdin.read()
wait(Colour.RED, Colour.BOTH)
"#;
    for interpreter in interpreters() {
        let target = Launch::new(interpreter, MEMBERS).start();
        let run = dump(&target, &["--locals"]).expect(0);
        for line in ["red = <Colour.RED: 1>", "both = <Colour.BOTH: (1, 'two')>"] {
            assert!(run.stdout.contains(line), "{}: {run:#?}", interpreter.name);
        }
    }
}

#[test]
fn colour_comes_when_it_is_asked_for() {
    const CALLS: &str = "import time\nprint('ready', flush=True)\nx = [time.sleep(1000)]\n";
    let target = Launch::new(interpreter("3.14"), CALLS).start();
    support::asleep_in(&target, "clock_nanosleep");
    let plain = dump(&target, &[]).expect(0).stdout;
    assert!(!plain.contains('\x1b') && plain.contains('^'), "{plain}");
    let color = dump(&target, &["--color", "always"]).expect(0).stdout;
    assert!(color.contains("\x1b[1m") && !color.contains('^'), "{color}");
}

#[test]
fn looking_neither_stops_nor_signals_nor_writes() {
    for interpreter in interpreters() {
        let target = support::busy(interpreter);
        for words in [&["dump", "--locals", "--opcodes"][..], &["tasks", "--tree"]] {
            let run = Command::new(synth::helpers::noptrace())
                .args(["harm", "--", INVIVO])
                .args(words)
                .arg(target.pid().to_string())
                .output();
            Run::of(run.expect("running noptrace")).expect(0);
        }
        unharmed(&target);
        // The same filter ends one that stops the target.
        let run = Command::new(synth::helpers::noptrace())
            .args(["harm", "--", INVIVO, "dump", "--block"])
            .arg(target.pid().to_string())
            .output();
        assert_eq!(run.expect("running noptrace").status.code(), None);
    }
}

#[test]
fn a_target_that_was_stopped_goes_on() {
    for interpreter in interpreters() {
        let target = support::busy(interpreter);
        for _ in 0..5 {
            let report = dump(&target, &["--block", "--json", "--locals"])
                .expect(0)
                .json();
            assert_eq!(report["blocked"], true);
            not_held(&target);
        }
        unharmed(&target);
    }
}

#[test]
fn refusals_have_their_codes() {
    let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep");
    let pid = child.id().to_string();
    let run = invivo(["dump", &pid]);
    child.kill().expect("ending it");
    child.wait().expect("its end");
    run.refused(3, "cannot find a Python interpreter", "none of");
    let run = invivo(["dump", &pid, "--json"]);
    assert_eq!(run.json()["error"]["kind"], "NoSuchProcess");
    run.refused(3, &pid, "");
    assert_eq!(invivo(["dump"]).code, Some(2));
    assert_eq!(invivo(["dump", "1", "--image", "x"]).code, Some(2));
    assert_eq!(invivo(["dump", "1", "--locals=99"]).code, Some(2));
}

#[test]
fn what_was_read_when_the_time_is_up_is_shown() {
    const MANY: &str = r#"
import threading
def waits(word, numbers):
    threading.Event().wait()
for number in range(300):
    threading.Thread(target=waits, args=(str(number), list(range(100))), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"#;
    let target = Launch::new(interpreter("3.14"), MANY).start();
    // How far it comes in a millisecond is not known; that it is not the end is.
    dump(&target, &["--locals", "--timeout", "0.001"]).refused(6, "", "time");
    let run = dump(&target, &["--json", "--locals", "--timeout", "0.001"]).expect(6);
    let report = run.json();
    let reason = if report["incomplete"].is_null() {
        "error"
    } else {
        "incomplete"
    };
    assert_eq!(report[reason]["kind"], "TimedOut", "{report}");
}

mod as_root {
    use super::*;

    #[test]
    fn in_other_places_threads_and_source_are_found() {
        for interpreter in synth::protocol() {
            for place in [Place::Namespaces, Place::Chroot, Place::Container] {
                let target = Launch::new(interpreter, samples::SLEEPER)
                    .place(place)
                    .start();
                support::asleep_in(&target, "clock_nanosleep");
                let report = dump(&target, &["--json"]).expect(0).json();
                let [thread] = threads(&report)[..] else {
                    panic!("one thread")
                };
                assert_eq!(thread["tid"], target.pid(), "{place:?}");
                assert_eq!(thread["doing"]["sentence"], "asleep in clock_nanosleep");
                let source = thread["frames"][0]["source"].as_str();
                assert!(
                    source.is_some_and(|line| line.contains("sleep(")),
                    "{place:?}: {thread:#}"
                );
            }
        }
    }

    #[test]
    fn a_link_out_of_the_root_shows_no_source() {
        let outside = tempfile::tempdir().expect("a directory");
        let secret = outside.path().join("secret.py");
        fs::write(&secret, "secret = 1\n".repeat(1000)).expect("a secret");
        let launch = Launch::new(interpreter("3.14"), samples::SLEEPER);
        let target = launch.place(Place::Container).start();
        let inside = target.root().expect("its root").join("srv/target.py");
        fs::remove_file(&inside).expect("removing it");
        std::os::unix::fs::symlink(&secret, &inside).expect("a link");
        let run = dump(&target, &[]).expect(0);
        assert!(run.stdout.contains("/srv/target.py:"), "{run:#?}");
        assert!(!run.stdout.contains("secret = 1"), "{run:#?}");
    }

    #[test]
    fn a_target_of_another_user_is_refused() {
        use std::os::unix::process::CommandExt;

        let directory = tempfile::tempdir().expect("a directory");
        let open = PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), open).expect("opening it");
        let program = directory.path().join("invivo");
        synth::root::copy_program(Path::new(INVIVO), &program);
        let target = Launch::new(interpreter("3.14"), samples::SLEEPER).start();
        let pid = target.pid().to_string();
        for words in [["dump", &pid], ["tasks", &pid]] {
            let mut command = Command::new(&program);
            command.args(words).uid(65534).gid(65534);
            let run = Run::of(command.output().expect("running invivo"));
            run.refused(4, &pid, "");
        }
    }
}

#[test]
fn values_of_a_thread_that_runs_are_of_one_moment_without_a_stop() {
    // Whatever instruction it stands at, these belong together. It stays on its processor, and lets
    // us have that for longer than the kernel would: a build for tests is slow.
    const TWINS: &str = "\
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
def count():
    one = other = 0
    while True:
        one = one + 1
        other = one
print('ready', flush=True)
count()
";
    for interpreter in interpreters().iter().filter(|one| !one.free_threaded) {
        let name = &interpreter.name;
        let target = Launch::new(interpreter, TWINS).start();
        let mut seen = 0;
        // It gets little time where others want it all, and each look takes long there.
        let until = Instant::now() + 3 * PATIENCE;
        while seen < 5 {
            assert!(Instant::now() < until, "{name}: {seen} in time");
            let report = dump(&target, &["--locals", "--json"]).expect(0).json();
            assert_eq!(report["blocked"], false);
            // It may not have been running at that moment, and then that is said.
            if report["read_from"] != "own_processor" {
                continue;
            }
            let frames = &report["interpreters"][0]["threads"][0]["frames"];
            let locals = frames[0]["locals"].as_array().expect("its variables");
            let number = |name: &str| -> Option<i64> {
                let variable = locals.iter().find(|one| one["name"] == name)?;
                variable["value"]["text"].as_str()?.parse().ok()
            };
            let Some((one, other)) = number("one").zip(number("other")) else {
                // It is not there yet.
                continue;
            };
            assert!((0..=1).contains(&(one - other)), "{name}: {one}, {other}");
            seen += 1;
        }
    }
}
