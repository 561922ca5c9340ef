//! A result that can't be written is an error, whatever the command; a reader that has gone is none.

mod support;

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{INVIVO, Run, busy, invivo};
use synth::{Launch, interpreter, samples};

/// The code of a result that could not be written.
const UNWRITTEN: i32 = 74;

/// A device that takes nothing.
fn full() -> File {
    let device = OpenOptions::new().write(true).open("/dev/full");
    device.expect("a device that is full")
}

fn into(stdout: impl Into<Stdio>, words: &[&str]) -> Output {
    Command::new(INVIVO)
        .args(words)
        .env("INVIVO_DEMO_PYTHON", &interpreter("3.14").program)
        .stdin(Stdio::null())
        .stdout(stdout)
        .output()
        .expect("running invivo")
}

/// Command lines that print something, each command's among them: `PID` is a process, `TASKS` one
/// with tasks, `RECORDING` a recording.
const PRINTING: &[&str] = &[
    "--help",
    "--version",
    "help dump",
    "ps",
    "ps --json",
    "ps --help",
    "doctor",
    "doctor --json",
    "doctor PID",
    "doctor PID --json",
    "dump PID",
    "dump PID --locals",
    "dump PID --json",
    "tasks TASKS",
    "tasks TASKS --tree",
    "tasks TASKS --json",
    "exec PID -e 1",
    "exec PID -e 1 --json",
    "exec PID -e 1 --dry-run",
    "exec PID -e 1 --thread all",
    "exec PID -c print(1)",
    "record PID -d 0.2 -f table",
    "record PID -d 0.2 -f recording -o -",
    "record PID -d 0.2 -o /dev/null -f table --json",
    "convert RECORDING -f table",
    "convert RECORDING -f jsonl -o -",
    "diff RECORDING RECORDING",
    "top PID --once -d 0.3",
    "completions bash",
    "man",
    "demo",
];

/// A process, one with tasks, and a recording: what the command lines speak of.
struct Scene {
    busy: synth::Target,
    tasks: synth::Target,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            busy: busy(interpreter("3.14")),
            tasks: Launch::new(interpreter("3.14"), samples::ASYNCIO).start(),
            directory: tempfile::tempdir().expect("a directory"),
        };
        let pid = scene.busy.pid().to_string();
        let words = ["record", &pid, "-d", "0.3", "-o", &scene.recording()];
        invivo(words).expect(0);
        scene
    }

    fn recording(&self) -> String {
        let path = self.directory.path().join("a.invivo");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn words(&self, line: &str) -> Vec<String> {
        let word = |word: &str| match word {
            "PID" => self.busy.pid().to_string(),
            "TASKS" => self.tasks.pid().to_string(),
            "RECORDING" => self.recording(),
            word => word.to_owned(),
        };
        line.split(' ').map(word).collect()
    }
}

#[test]
fn every_command_says_that_its_result_could_not_be_written() {
    let scene = Scene::new();
    for line in PRINTING {
        let words = scene.words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let run = Run::of(into(full(), &words)).expect(UNWRITTEN);
        let error = run.stderr.lines().filter(|line| line.contains("error: "));
        let error: Vec<&str> = error.collect();
        assert!(
            error.len() == 1 && error[0].contains("could not be written to stdout"),
            "{line}: {run:#?}"
        );
        assert!(run.stderr.contains("No space left"), "{line}: {run:#?}");
    }
    support::unharmed(&scene.busy);
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let scene = Scene::new();
    for line in PRINTING.iter().filter(|line| **line != "demo") {
        let words = scene.words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let run = Run::of(into(writer, &words)).expect(0);
        assert!(!run.stderr.contains("error"), "{line}: {run:#?}");
    }
}

#[test]
fn no_command_is_left_out() {
    let help = invivo(["--help"]).expect(0).stdout;
    let list = help.split("Commands:").nth(1).expect("a list of commands");
    let names = list.lines().skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = names
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let known = |line: &&str| line.split(' ').next() == Some(name);
        assert!(PRINTING.iter().any(known), "{name}");
    }
}

#[test]
fn stdout_that_may_not_be_written_to_is_told_as_well() {
    let read_only = File::open("/dev/null").expect("it is there");
    let run = Run::of(into(read_only, &["ps"])).expect(UNWRITTEN);
    assert!(run.stderr.contains("Bad file descriptor"), "{run:#?}");
}

#[test]
fn what_a_script_printed_to_its_stderr_is_a_result_too() {
    let target = busy(interpreter("3.14"));
    let pid = target.pid().to_string();
    let script = "import sys; print('heard', file=sys.stderr)";
    let status = Command::new(INVIVO)
        .args(["exec", &pid, "-c", script])
        .stdin(Stdio::null())
        .stderr(full())
        .status();
    assert_eq!(status.expect("running invivo").code(), Some(UNWRITTEN));
}

#[test]
fn an_error_that_could_not_be_put_into_json_keeps_its_code() {
    let output = into(full(), &["dump", "4294967295", "--json"]);
    let run = Run::of(output).expect(3);
    assert!(run.stderr.contains("no process 4294967295"), "{run:#?}");
    assert!(run.stderr.contains("No space left"), "{run:#?}");
}

/// Runs `invivo` where no file may grow beyond some blocks.
fn with_little_room(blocks: u32, words: &[&str]) -> Run {
    let shell = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &shell, INVIVO])
        .args(words)
        .stdin(Stdio::null())
        .output();
    Run::of(output.expect("running invivo"))
}

#[test]
fn a_file_that_does_not_fit_is_told_and_not_left_half_written() {
    let scene = Scene::new();
    let place = tempfile::tempdir().expect("a directory");
    let path = |name: &str| place.path().join(name).to_str().expect("UTF-8").to_owned();
    let pid = scene.busy.pid().to_string();
    let (recording, image, page) = (scene.recording(), path("image"), path("a.html"));
    for words in [
        &["dump", &pid, "--save-image", &image][..],
        &["convert", &recording, "-o", &page],
        &["diff", &recording, &recording, "-o", &page],
        &["record", &pid, "-d", "0.3", "-o", &page],
        &["man", "--directory", &path("man")],
    ] {
        let run = with_little_room(1, words).expect(UNWRITTEN);
        assert!(run.stderr.contains("File too large"), "{run:#?}");
        assert!(!Path::new(&image).exists() && !Path::new(&page).exists());
    }
    for words in [
        &["convert", &recording, "-o", "/dev/full", "-f", "table"][..],
        &[
            "record",
            &pid,
            "-d",
            "0.3",
            "-o",
            "/dev/full",
            "-f",
            "pprof",
        ],
        &[
            "record",
            &pid,
            "-d",
            "0.3",
            "-o",
            "/dev/full",
            "-f",
            "recording",
        ],
    ] {
        let run = invivo(words).expect(UNWRITTEN);
        assert!(run.stderr.contains("No space left"), "{run:#?}");
    }
}

#[test]
fn an_audit_log_without_room_keeps_a_script_from_being_run() {
    let target = busy(interpreter("3.14"));
    let place = tempfile::tempdir().expect("a directory");
    let log = place.path().join("log");
    let log = log.to_str().expect("UTF-8");
    let pid = target.pid().to_string();
    let words = ["exec", &pid, "--audit-log", log, "-e", "1"];
    let run = with_little_room(0, &words).refused(2, "the audit log", "File too large");
    assert!(run.stderr.contains("nothing was run") && run.stdout.is_empty());
}

#[test]
fn the_record_of_an_act_says_that_its_result_was_lost() {
    let target = busy(interpreter("3.14"));
    let place = tempfile::tempdir().expect("a directory");
    let log = place.path().join("log");
    let log = log.to_str().expect("UTF-8");
    let pid = target.pid().to_string();
    let words = ["exec", &pid, "--audit-log", log, "-e", "1"];
    Run::of(into(full(), &words)).expect(UNWRITTEN);
    let text = std::fs::read_to_string(log).expect("the log");
    let end = text.lines().last().expect("its end");
    let end: serde_json::Value = serde_json::from_str(end).expect("JSON");
    assert_eq!(end["runs"][0]["outcome"], "done", "{end}");
    assert_eq!(
        (&end["exit_code"], &end["error"]["kind"]),
        (&74.into(), &"Unwritten".into())
    );
}
