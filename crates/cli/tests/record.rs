//! Recording live processes and commands: formats, ends, exit codes.

mod support;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Run, busy, eventually, heedful, invivo, not_held, runs_invivo, unharmed};
use synth::{Interpreter, Launch, Target, interpreter, interpreters};

/// Every format: its name, its ending, and what its files begin with.
const FORMATS: [(&str, &str, &[u8]); 12] = [
    ("flamegraph", ".html", b"<!doctype html>"),
    ("svg", ".svg", b"<svg "),
    ("heatmap", ".heatmap.html", b"<!doctype html>"),
    ("collapsed", ".collapsed", b"<"),
    ("speedscope", ".speedscope.json", b"{"),
    ("pprof", ".pb.gz", b"\x1f\x8b"),
    ("firefox", ".firefox.json", b"{"),
    ("chrome", ".trace.json", b"{"),
    ("pstats", ".pstats", b"{"),
    ("jsonl", ".jsonl", b"{"),
    ("table", ".txt", b""),
    ("recording", ".invivo", b"\x89invivo\n"),
];

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it is there");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// `invivo record` in a directory.
fn record(directory: &Path, words: &[&str]) -> Command {
    let mut command = heedful();
    command
        .arg("record")
        .args(words)
        .current_dir(directory)
        .stdin(Stdio::null());
    command
}

fn run(mut command: Command) -> Run {
    Run::of(command.output().expect("running invivo"))
}

/// The text of a table of a target that was recorded for a moment.
fn table(target: &Target, words: &[&str]) -> String {
    let pid = target.pid().to_string();
    let words: Vec<&str> = [&pid, "-d", "0.5", "-f", "table"]
        .into_iter()
        .chain(words.iter().copied())
        .collect();
    let here = directory();
    run(record(here.path(), &words)).expect(0).stdout
}

#[test]
fn every_interpreter_is_recorded() {
    for interpreter in interpreters() {
        let target = busy(interpreter);
        let table = table(&target, &[]);
        assert!(table.contains("main ("), "{}: {table}", interpreter.name);
        unharmed(&target);
    }
}

#[test]
fn stopped_for_each_look_it_stands_still_whenever_it_is_read() {
    for interpreter in interpreters() {
        let target = busy(interpreter);
        let pid = target.pid().to_string();
        let here = directory();
        let words = [&pid, "--block", "-d", "0.5", "-o", "a.txt", "--json"];
        let report = run(record(here.path(), &words)).expect(0).json();
        let name = &interpreter.name;
        let number = |field: &Value| field.as_u64().expect("a number");
        let [samples, torn, ticks] = ["samples", "torn", "ticks"].map(|one| number(&report[one]));
        let looks = &report["looks"];
        assert!(samples > 0, "{name}: {report}");
        assert!(number(&looks["stopped"]) > 0, "{name}: {report}");
        assert_eq!(number(&looks["own_processor"]), 0, "{name}: {report}");
        assert_eq!(number(&looks["elsewhere"]), 0, "{name}: {report}");
        // Of what is torn, a part are ticks at which a busy machine did not let it stand still in
        // time: those have no sample. The rest are samples, and rare: it may have been stopped
        // where what it says of its frames contradicts itself. 3.11 and 3.12 enter their
        // evaluation loop in two steps, and which frame is on top is not told in between.
        let torn_samples = (samples + torn).saturating_sub(ticks);
        assert!(torn_samples <= 2 + samples / 20, "{name}: {report}");
        unharmed(&target);
    }
}

#[test]
fn every_format_is_made_and_told_by_its_ending() {
    let target = busy(interpreter("3.15"));
    let pid = target.pid().to_string();
    let here = directory();
    for (name, ending, start) in FORMATS {
        let file = format!("a b{ending}");
        let run = run(record(here.path(), &[&pid, "-d", "0.2", "-o", &file])).expect(0);
        let bytes = fs::read(here.path().join(&file)).expect("it is there");
        let said = format!("wrote {file} (");
        assert!(run.stderr.contains(&said), "{run:#?}");
        assert_eq!(run.stdout, "");
        assert!(bytes.starts_with(start), "{name}: {:?}", bytes.get(..40));
        if !matches!(name, "pprof" | "recording") {
            let text = String::from_utf8_lossy(&bytes);
            assert!(text.contains("main"), "{name}: {text}");
        }
        if ending.ends_with(".json") {
            let parsed: Result<Value, _> = serde_json::from_slice(&bytes);
            assert!(parsed.is_ok(), "{name}");
        }
        // Asked for by name, whatever the ending.
        let words = [&pid, "-d", "0.1", "-f", name, "-o", "out.dat"];
        self::run(record(here.path(), &words)).expect(0);
        let bytes = fs::read(here.path().join("out.dat")).expect("it is there");
        assert!(bytes.starts_with(start), "{name}: {:?}", bytes.get(..40));
    }
    assert_eq!(names(here.path()).len(), FORMATS.len() + 1);
    unharmed(&target);
}

#[test]
fn what_nobody_named_gets_a_name_that_is_free() {
    let target = busy(interpreter("3.13"));
    let pid = target.pid().to_string();
    let here = directory();
    for _ in 0..2 {
        run(record(here.path(), &[&pid, "-d", "0.1"])).expect(0);
    }
    let expected = [format!("invivo-{pid}-2.html"), format!("invivo-{pid}.html")];
    assert_eq!(names(here.path()), expected);
}

#[test]
fn stdout_takes_what_is_asked_for() {
    let target = busy(interpreter("3.12"));
    let pid = target.pid().to_string();
    let here = directory();
    let words = [&pid, "-d", "0.2", "-f", "collapsed", "-o", "-", "--threads"];
    let run = run(record(here.path(), &words)).expect(0);
    for line in run.stdout.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with(&format!("thread {pid}: ")), "{line}");
        let count = line.rsplit(' ').next().expect("a count");
        assert!(count.parse::<u64>().is_ok(), "{line}");
    }
    assert!(run.stdout.contains(";main ("), "{run:#?}");
    assert_eq!(names(here.path()), [""; 0]);
    // A reader that goes away is no error.
    let mut reader = record(here.path(), &[&pid, "-d", "0.1", "-f", "jsonl", "-o", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("running invivo");
    drop(reader.stdout.take());
    assert!(reader.wait().expect("its end").success());
}

/// A Python program in a file, in a directory of its own.
fn program(text: &str) -> (tempfile::TempDir, PathBuf) {
    let here = directory();
    let path = here.path().join("program.py");
    fs::write(&path, text).expect("a program");
    (here, path)
}

fn launch(here: &Path, options: &[&str], python: &Interpreter, words: &[&str]) -> Run {
    let program = python.program.to_string_lossy();
    let mut all = options.to_vec();
    all.extend(["--", &program, "program.py"]);
    all.extend(words);
    run(record(here, &all))
}

const ENDS: &str = r"
import os, sys, time
def first():
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end: pass
print('said', flush=True)
first()
if sys.argv[1] == 'signal':
    os.kill(os.getpid(), int(sys.argv[2]))
sys.exit(int(sys.argv[2]))
";

#[test]
fn a_command_is_recorded_and_its_exit_code_passed_on() {
    for name in ["3.8", "3.11", "3.13", "3.14", "3.15"] {
        let python = interpreter(name);
        let (here, _) = program(ENDS);
        for (how, number, code) in [("exit", "0", 0), ("exit", "37", 37), ("signal", "9", 137)] {
            let run = launch(here.path(), &["-o", "a.txt"], python, &[how, number]).expect(code);
            assert_eq!(run.stdout, "said\n", "{name}");
            let table = fs::read_to_string(here.path().join("a.txt")).expect("it is there");
            assert!(table.contains("first ("), "{name}: {table}");
        }
        assert_eq!(names(here.path()), ["a.txt", "program.py"]);
    }
}

#[test]
fn a_command_that_outlives_its_recording_is_waited_for() {
    let (here, _) = program(ENDS);
    let options = ["-d", "0.1", "-o", "a.html", "--json"];
    let run = launch(here.path(), &options, interpreter("3.14"), &["exit", "5"]).expect(5);
    let json = run.stdout.lines().last().expect("a line");
    let report: Value = serde_json::from_str(json).expect("JSON");
    // Under load it may not have begun within the time, and then there is nothing to write.
    assert_eq!(report["exit_code"], 5);
    assert!(report["ended_by"] == "duration", "{report}");
}

#[test]
fn what_is_no_python_is_said_so() {
    let here = directory();
    let try_this = "--subprocesses";
    let run = run(record(here.path(), &["-o", "a.html", "--", "true"]));
    assert!(run.stderr.contains(try_this), "{run:#?}");
    run.refused(3, "nothing was recorded", "no Python");
    let words = ["-o", "a.html", "--", "sh", "-c", "exit 9"];
    self::run(record(here.path(), &words)).refused(9, "nothing was recorded", "no Python");
    let words = ["-o", "a.html", "--", "/no/such/program"];
    self::run(record(here.path(), &words)).refused(2, "can't be started", "No such file");
    assert_eq!(names(here.path()), [""; 0]);
}

#[test]
fn wrong_usage_is_told_before_anything_begins() {
    let target = busy(interpreter("3.15"));
    let pid = target.pid().to_string();
    let here = directory();
    let run = |words: &[&str]| {
        let words: Vec<&str> = [&*pid].into_iter().chain(words.iter().copied()).collect();
        run(record(here.path(), &words))
    };
    let wrong = run(&["-o", "a.xml"]).refused(2, "a.xml does not say", "no format has the ending");
    for (_, ending, _) in FORMATS {
        assert!(wrong.stderr.contains(ending), "{wrong:#?}");
    }
    run(&["-o", "a.json"]).refused(2, "a.json does not say", "several formats are JSON");
    run(&["-o", "none/a.html"]).refused(2, "can't be written", "there is no directory none");
    run(&["-o", ".", "-f", "svg"]).refused(2, "can't be written", "it is a directory");
    run(&["-o", "-"]).refused(2, "stdout needs a format", "ending");
    run(&["-f", "table", "--json"]).expect(2);
    run(&["-f", "table", "--subprocesses=separate"]).refused(2, "several files", "one for each");
    let words = ["-o", "a.invivo", "--subprocesses=separate"];
    run(&words).refused(2, "a recording holds all", "one file for each");
    for words in [
        &["-r", "0"][..],
        &["-r", "fast"],
        &["-d", "-1"],
        &["--mode", "x"],
        &["--", "ls"],
        &["-f", "x"],
        &["--block", "--mode", "cpu"],
        &["--block", "--no-idle"],
    ] {
        let run = run(words).expect(2);
        assert!(run.stderr.contains("error: "), "{run:#?}");
    }
    invivo(["record"]).expect(2);
    let own = self::run(record(here.path(), &["999999999", "-o", "a.html"]));
    own.refused(3, "999999999", "number");
    assert_eq!(names(here.path()), [""; 0]);
    unharmed(&target);
}

/// A recording of a target that has begun: something has been seen and written.
fn begun(here: &Path, target: &Target, words: &[&str]) -> Child {
    let pid = target.pid().to_string();
    let words: Vec<&str> = [&*pid].into_iter().chain(words.iter().copied()).collect();
    let child = record(here, &words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("running invivo");
    eventually("a recording has begun", || {
        draft(here).is_some_and(|draft| has_samples(&draft))
    });
    child
}

/// The recording that is being made in this directory.
fn draft(here: &Path) -> Option<PathBuf> {
    let names = names(here);
    let name = names.iter().find(|name| name.ends_with(".invivo"))?;
    Some(here.join(name))
}

fn has_samples(draft: &Path) -> bool {
    let file = draft.to_string_lossy();
    let run = invivo(["convert", &file, "-f", "jsonl", "-o", "-"]);
    run.code == Some(0) && run.stdout.contains("\"main\"")
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("sending it");
}

fn ended(mut child: Child) -> Run {
    let read = |from: Option<&mut dyn Read>| {
        let mut text = String::new();
        from.expect("a pipe")
            .read_to_string(&mut text)
            .expect("text");
        text
    };
    let stdout = read(child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read));
    let stderr = read(child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read));
    Run {
        code: child.wait().expect("its end").code(),
        stdout,
        stderr,
    }
}

#[test]
fn signals_end_it_well() {
    for (name, which) in [
        ("3.8", Signal::INT),
        ("3.15", Signal::INT),
        ("3.12", Signal::TERM),
        ("3.14", Signal::HUP),
    ] {
        let target = busy(interpreter(name));
        let here = directory();
        let child = begun(here.path(), &target, &["-o", "a.txt", "--json"]);
        signal(&child, which);
        let run = ended(child).expect(0);
        assert_eq!(run.json()["ended_by"], "signal", "{run:#?}");
        assert_eq!(names(here.path()), ["a.txt"]);
        let table = fs::read_to_string(here.path().join("a.txt")).expect("it is there");
        assert!(table.contains("main ("), "{table}");
        unharmed(&target);
    }
}

#[test]
fn the_end_of_the_target_ends_it_well() {
    let target = busy(interpreter("3.13"));
    let here = directory();
    let child = begun(here.path(), &target, &["-o", "a.txt", "--json"]);
    target.close_input();
    let run = ended(child).expect(0);
    let report = run.json();
    assert_eq!(report["ended_by"], "target", "{run:#?}");
    assert_eq!(report["exit_code"], Value::Null);
    assert!(report["samples"].as_u64() > Some(0), "{run:#?}");
    assert_eq!(names(here.path()), ["a.txt"]);
}

#[test]
fn killed_it_leaves_a_recording_and_an_unharmed_target() {
    let target = busy(interpreter("3.15"));
    let here = directory();
    let mut child = begun(here.path(), &target, &["-o", "a.html"]);
    signal(&child, Signal::KILL);
    child.wait().expect("its end");
    unharmed(&target);
    let left = draft(here.path()).expect("its recording");
    let left = left.to_string_lossy();
    assert!(left.contains("a.html."), "{left}");
    let run = invivo(["convert", &left, "-f", "table"]).expect(0);
    assert!(run.stdout.contains("main ("), "{run:#?}");
    assert!(run.stderr.contains("ended early"), "{run:#?}");
}

const HANDLES: &str = r"
import signal, sys, time
def stop(number, frame):
    print('stopping', number, flush=True)
    sys.exit(42)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGHUP, stop)
def main():
    while True: sum(range(1000))
print('ready', flush=True)
main()
";

#[test]
fn a_command_is_told_to_terminate() {
    let (here, _) = program(HANDLES);
    let python = interpreter("3.14").program.to_string_lossy().into_owned();
    for (which, number) in [(Signal::TERM, 15), (Signal::HUP, 1)] {
        let words = ["-o", "a.txt", "--", &python, "program.py"];
        let child = record(here.path(), &words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("running invivo");
        eventually("a recording has begun", || {
            draft(here.path()).is_some_and(|draft| has_samples(&draft))
        });
        signal(&child, which);
        let run = ended(child).expect(42);
        assert_eq!(run.stdout, format!("ready\nstopping {number}\n"));
        let table = fs::read_to_string(here.path().join("a.txt")).expect("it is there");
        assert!(table.contains("main ("), "{table}");
    }
}

const CHILDREN: &str = r"
import multiprocessing, time
def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
    return multiprocessing.current_process().pid
if __name__ == '__main__':
    with multiprocessing.get_context('fork').Pool(2) as pool:
        print(*sorted(set(pool.map(work, [0.4] * 4, 1))), flush=True)
";

#[test]
fn children_are_recorded_in_one_file_or_several() {
    for name in ["3.9", "3.15"] {
        let python = interpreter(name);
        let (here, _) = program(CHILDREN);
        let options = ["-r", "200", "--subprocesses", "-o", "all.collapsed"];
        let run = launch(here.path(), &options, python, &[]).expect(0);
        let text = fs::read_to_string(here.path().join("all.collapsed")).expect("it is there");
        for pid in run.stdout.split_whitespace() {
            let root = format!("process {pid}: ");
            let mut lines = text.lines().filter(|line| line.starts_with(&root));
            assert!(
                lines.any(|line| line.contains(";work (")),
                "{name} {pid}: {text}"
            );
        }
        let options = [
            "-r",
            "200",
            "--subprocesses=separate",
            "-o",
            "one.collapsed",
        ];
        let run = launch(here.path(), &options, python, &[]).expect(0);
        let pids: Vec<&str> = run.stdout.split_whitespace().collect();
        for pid in &pids {
            let file = here.path().join(format!("one-{pid}.collapsed"));
            let text = fs::read_to_string(file).expect("a file for it");
            assert!(
                text.contains(";work (") && !text.contains("process "),
                "{text}"
            );
        }
        let files = names(here.path());
        let ones = files.iter().filter(|name| name.starts_with("one-"));
        // The first process has one too.
        assert!(ones.count() > pids.len(), "{files:?}");
    }
}

const HOSTILE: &str = r#"
import sys, threading, time
sys.argv[0] = "x"
source = "def f():\n    while True: sum(range(100))\n"
names = ["</script><script>alert(1)//", "a;b\nc 5", "\x1b[31mred\x07", "\u202egnp.exe", "<!--]]>"]
for name in names:
    code = compile(source, name + ".py", "exec")
    space = {}
    exec(code, space)
    function = space["f"]
    function.__code__ = function.__code__.replace(co_name=name)
    threading.Thread(target=function, name=name, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"#;

#[test]
fn hostile_names_break_no_format() {
    for name in ["3.10", "3.15"] {
        let target = Launch::new(interpreter(name), HOSTILE).start();
        let pid = target.pid().to_string();
        let here = directory();
        let words = [&pid, "-d", "1", "-r", "200", "-o", "a.invivo"];
        run(record(here.path(), &words)).expect(0);
        for (format, ending, _) in FORMATS {
            if format == "recording" {
                continue;
            }
            let file = here.path().join(format!("a{ending}"));
            let path = here.path().join("a.invivo");
            let words = [path.as_os_str(), "-o".as_ref(), file.as_os_str()];
            invivo(["convert".as_ref()].into_iter().chain(words)).expect(0);
            let bytes = fs::read(&file).expect("it is there");
            if matches!(format, "pprof" | "pstats") {
                continue;
            }
            let text = String::from_utf8(bytes).expect("text");
            assert!(
                !text.contains('\u{1b}') && !text.contains('\u{7}'),
                "{format}: {text}"
            );
            match format {
                "flamegraph" | "heatmap" | "svg" => {
                    assert!(!text.contains("<script>alert"), "{format}: {text}");
                    assert!(!text.contains("<!--]]>"), "{format}: {text}");
                }
                "collapsed" => {
                    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
                    let counted = |line: &str| {
                        line.rsplit_once(' ')
                            .is_some_and(|(_, n)| n.parse::<u64>().is_ok())
                    };
                    assert!(lines.all(|line| counted(line) && line != "c 5"), "{text}");
                }
                "jsonl" => text.lines().for_each(|line| {
                    let parsed: Result<Value, _> = serde_json::from_str(line);
                    assert!(parsed.is_ok(), "{line}");
                }),
                _ if ending.ends_with("json") => {
                    let parsed: Result<Value, _> = serde_json::from_str(&text);
                    assert!(parsed.is_ok(), "{format}");
                }
                _ => {}
            }
        }
    }
}

/// The Python threads of the target may be anywhere when it comes.
#[test]
fn many_that_are_stopped_at_random_leave_the_target_unharmed() {
    let target = busy(interpreter("3.14"));
    let pid = target.pid().to_string();
    let here = directory();
    let mut killed = 0;
    for round in 0..60_u64 {
        let block = if round % 2 == 0 { "--gc" } else { "--block" };
        let mut child = record(here.path(), &[&pid, "-r", "5k", "-o", "a.html", block])
            .stderr(Stdio::null())
            .spawn()
            .expect("running invivo");
        runs_invivo(&child);
        // Somewhere between its start and its work.
        let moment = round.wrapping_mul(2_654_435_761) % 60;
        std::thread::sleep(std::time::Duration::from_millis(moment));
        let which = [Signal::INT, Signal::TERM, Signal::KILL][round as usize % 3];
        signal(&child, which);
        let status = child.wait().expect("its end");
        if which == Signal::KILL {
            killed += 1;
            not_held(&target);
        } else {
            // Before it caught them, signals end it as any program.
            assert!(
                status.code().is_none_or(|code| matches!(code, 0 | 130)),
                "{status}"
            );
        }
    }
    let left = names(here.path());
    let recordings = left.iter().filter(|name| name.ends_with(".invivo")).count();
    assert!(recordings <= killed, "{left:?}");
    let others = left.iter().filter(|name| !name.ends_with(".invivo"));
    assert!(others.clone().all(|name| name == "a.html"), "{left:?}");
    unharmed(&target);
    target.close_input();
    assert!(target.wait_exit(synth::target::PATIENCE).success());
}
