//! The record of acts: `invivo exec --audit-log`.

mod support;

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{busy, exec, invivo, unharmed};
use synth::{Launch, samples};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        let path = self.path(name);
        path.to_str().expect("a path in UTF-8").to_owned()
    }
}

/// The lines of a log, two for each act: those of an act follow each other.
fn acts(log: &Path) -> Vec<[Value; 2]> {
    let text = fs::read_to_string(log).expect("the log");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let (acts, rest) = lines.as_chunks::<2>();
    assert!(rest.is_empty(), "{text}");
    for [begin, end] in acts {
        assert_eq!(
            (&begin["event"], &end["event"]),
            (&"begin".into(), &"end".into())
        );
        assert_eq!(begin["id"], end["id"], "{text}");
    }
    acts.to_vec()
}

/// The end of the one act in a log.
fn only_end(log: &Path) -> Value {
    let [[_, end]] = &acts(log)[..] else {
        panic!("not one act: {:#?}", acts(log))
    };
    end.clone()
}

#[test]
fn it_says_who_ran_what_where_and_what_came_of_it() {
    let place = Place::new();
    let (log, script) = (place.path("log"), place.text("script.py"));
    fs::write(&script, "print('hello')\n").expect("the script");
    let target = busy(synth::interpreter("3.14"));
    let log_text = place.text("log");
    exec(&target, &["--audit-log", &log_text, &script]).expect(0);
    let code = "raise ValueError(1)";
    exec(&target, &["--audit-log", &log_text, "-c", code]).expect(1);
    let acts = acts(&log);
    let [[_, ran], [_, raised]] = &acts[..] else {
        panic!("not two acts: {acts:#?}")
    };

    let sum = Command::new("sha256sum").arg(&script).output();
    let sum = String::from_utf8(sum.expect("running sha256sum").stdout).expect("text");
    assert!(sum.starts_with(ran["script"]["sha256"].as_str().expect("a sum")));
    assert_eq!(ran["script"]["bytes"], 15);
    assert_eq!(
        ran["script"]["name"].as_str(),
        fs::canonicalize(&script).expect("its path").to_str()
    );
    let process = invivo::Target::open(target.pid()).expect("opening it");
    assert_eq!(ran["target"]["pid"], target.pid());
    assert_eq!(ran["target"]["start_ticks"], process.start_time());
    let exe = process.executable().expect("its program");
    assert_eq!(ran["target"]["exe"].as_str(), exe.to_str());
    let command = process.command_line().expect("its command line");
    let command: Vec<_> = command.iter().map(|word| word.to_str()).collect();
    assert_eq!(ran["target"]["command"], serde_json::json!(command));
    assert_eq!(
        ran["selection"],
        serde_json::json!({"runtime": null, "interpreter": "0", "thread": "main"})
    );
    assert_eq!(ran["runs"][0]["thread"], target.pid());
    assert_eq!(ran["runs"][0]["interpreter"], 0);
    assert_eq!(ran["runs"][0]["outcome"], "done");
    assert_eq!(ran["exit_code"], 0);
    // It started before it was acted on; text of this form sorts by time.
    let moment = |value: &Value| value.as_str().expect("a moment").to_owned();
    assert!(moment(&ran["target"]["started"]) < moment(&ran["when"]));
    assert!(moment(&ran["when"]) < moment(&raised["when"]));
    assert_eq!(raised["runs"][0]["outcome"], "raised");
    assert_eq!(raised["exit_code"], 1);
    assert_ne!(raised["script"]["sha256"], ran["script"]["sha256"]);
    unharmed(&target);
}

#[test]
fn the_variable_counts_and_the_option_wins() {
    let place = Place::new();
    let target = busy(synth::interpreter("3.15"));
    let pid = target.pid().to_string();
    let run = |words: &[&str]| {
        let mut command = Command::new(support::INVIVO);
        command.args(["exec", &pid, "-e", "1"]).args(words);
        command.env("INVIVO_AUDIT_LOG", place.path("of the variable"));
        support::Run::of(command.output().expect("running invivo")).expect(0)
    };
    run(&[]);
    run(&["--audit-log", &place.text("of the option")]);
    assert_eq!(only_end(&place.path("of the variable"))["exit_code"], 0);
    assert_eq!(only_end(&place.path("of the option"))["exit_code"], 0);
    // What only looks is no act.
    run(&["--dry-run", "--audit-log", &place.text("of a look")]);
    assert!(!place.path("of a look").exists());
    unharmed(&target);
}

#[test]
fn where_it_can_not_be_written_nothing_is_run() {
    let place = Place::new();
    let target = busy(synth::interpreter("3.14"));
    fs::write(place.path("file"), "").expect("a file");
    std::os::unix::fs::symlink("file", place.path("link")).expect("a link");
    let fifo = Command::new("mkfifo").arg(place.path("fifo")).status();
    assert!(fifo.expect("running mkfifo").success());
    let refused = |log: &str, why: &str| {
        let words = [
            "--audit-log",
            log,
            "--namespace",
            "main",
            "-c",
            "ran = True",
        ];
        exec(&target, &words).refused(2, "the audit log", why);
    };
    refused(&place.text("link"), "symbolic link");
    fs::create_dir(place.path("directory")).expect("a directory");
    std::os::unix::fs::symlink("directory", place.path("way")).expect("a link");
    refused(&place.text("way/log"), "symbolic link");
    assert!(!place.path("directory/log").exists());
    let comm = format!("/proc/{}/comm", target.pid());
    refused(&comm, "keeps no files");
    refused(&place.text("fifo"), "regular file");
    refused(&place.text("no/directory"), "No such file");
    refused(place.0.path().to_str().expect("a path"), "directory");
    refused("/dev/null", "regular file");
    let words = ["--json", "--audit-log", "/dev/null", "-e", "1"];
    assert_eq!(exec(&target, &words).expect(2).json()["outcome"], "failed");
    let ran = ["--namespace", "main", "-e", "'ran' in globals()"];
    assert_eq!(exec(&target, &ran).expect(0).stdout, "False\n");
    assert_eq!(fs::read(place.path("file")).expect("the file"), b"");
    unharmed(&target);
}

#[test]
fn an_end_that_finds_no_room_is_said() {
    const LIMIT: usize = 64 << 10;
    let place = Place::new();
    let target = busy(synth::interpreter("3.14"));
    let words = ["--audit-log", &place.text("log"), "-e", "40 + 2"];
    exec(&target, &words).expect(0);
    let text = fs::read_to_string(place.path("log")).expect("the log");
    let begin = text.lines().next().expect("a line").len() + 1;
    // Room for a beginning, and not for an end.
    let filled = LIMIT - begin - 16;
    fs::write(place.path("log"), " ".repeat(filled - 1) + "\n").expect("the log");
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", LIMIT / 512);
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", support::INVIVO, "exec"]);
    command.arg(target.pid().to_string()).args(words);
    let run = support::Run::of(command.output().expect("running sh"));
    let run = run.refused(2, "the audit log", "bytes could be written");
    assert_eq!(run.stdout, "42\n");
    unharmed(&target);
}

#[test]
fn what_is_refused_is_recorded_too() {
    let place = Place::new();
    let log = place.text("refused");
    let python = Launch::new(synth::interpreter("3.14"), samples::BUSY);
    let target = python.options(["-X", "disable-remote-debug"]).start();
    exec(&target, &["--audit-log", &log, "-e", "1"]).refused(5, "switched off", "");
    let end = only_end(&place.path("refused"));
    assert_eq!(end["runs"][0]["outcome"], "failed");
    assert_eq!(end["runs"][0]["error"]["kind"], "Unsupported");
    assert_eq!(end["exit_code"], 5);
    unharmed(&target);

    let log = place.text("not tried");
    invivo(["exec", "4294967295", "--audit-log", &log, "-e", "1"]).expect(3);
    let end = only_end(&place.path("not tried"));
    assert_eq!(end["runs"], serde_json::json!([]));
    assert_eq!(end["error"]["kind"], "NoSuchProcess");
    assert!(end["target"]["start_ticks"].is_null());
    assert_eq!(end["exit_code"], 3);
}

#[test]
fn an_act_in_several_threads_says_what_came_of_each() {
    let place = Place::new();
    let target = Launch::new(synth::interpreter("3.15"), samples::SUBINTERPRETERS_IDLE).start();
    let words = [
        "--interpreter",
        "all",
        "--audit-log",
        &place.text("log"),
        "-e",
        "1",
    ];
    exec(&target, &words).expect(5);
    let end = only_end(&place.path("log"));
    assert_eq!(end["selection"]["interpreter"], "all");
    let outcomes: Vec<_> = end["runs"].as_array().expect("a list").iter().collect();
    let [main, idle, _] = outcomes[..] else {
        panic!("not three: {end}")
    };
    assert_eq!(
        (&main["outcome"], &main["thread"]),
        (&"done".into(), &target.pid().into())
    );
    assert_eq!(
        (&idle["outcome"], &idle["thread"]),
        (&"failed".into(), &Value::Null)
    );
    assert_eq!(idle["interpreter"], target.ready_ids()[0]);
    support::not_held(&target);
}

#[test]
fn an_act_that_is_cut_short_has_a_beginning() {
    let place = Place::new();
    let target = busy(synth::interpreter("3.14"));
    let mut child = Command::new(support::INVIVO)
        .args(["exec", &target.pid().to_string()])
        .args(["--audit-log", &place.text("log")])
        .args([
            "-c",
            "import time\nprint('begun')\nfor _ in range(20): time.sleep(0.01)",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("running invivo");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    output.read_line(&mut line).expect("its output");
    assert_eq!(line, "begun\n");
    child.kill().expect("ending it");
    child.wait().expect("its end");
    let text = fs::read_to_string(place.path("log")).expect("the log");
    let begin: Value = serde_json::from_str(&text).expect("one line of JSON");
    assert_eq!(begin["event"], "begin");
    assert_eq!(begin["target"]["pid"], target.pid());
    unharmed(&target);
}

#[test]
fn what_a_target_calls_itself_can_not_forge_a_line() {
    let place = Place::new();
    let forged = OsString::from_vec(b"\x1b]0;x\x07\"}\n{\"event\":\"end\"\xff\xc2\x9b31m".to_vec());
    let target = Launch::new(synth::interpreter("3.14"), samples::BUSY)
        .arguments([forged.clone(), "x".repeat(100_000).into()])
        .start();
    exec(&target, &["--audit-log", &place.text("log"), "-e", "1"]).expect(0);
    let bytes = fs::read(place.path("log")).expect("the log");
    assert!(bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
    let end = only_end(&place.path("log"));
    let command = end["target"]["command"].as_array().expect("a list");
    let last = command.last().and_then(Value::as_str);
    assert_eq!(last, Some(forged.to_string_lossy().as_ref()));
    assert_eq!(end["target"]["command_truncated"], true);
    unharmed(&target);
}
