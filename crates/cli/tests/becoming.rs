//! Processes that become another program while they are sampled, that end early, or that are the
//! parents of what is meant.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::terminal::Terminal;
use support::{INVIVO, Run, each, eventually, invivo};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, interpreter, interpreters};

/// Works, and when a line comes becomes itself again, twice; then works until a line comes.
const CHAIN: &str = r"
import os, sys, threading
step = int(sys.argv[1]) if len(sys.argv) > 1 else 0
def wait():
    sys.stdin.buffer.raw.read(1)
    over.append(1)
over = []
threading.Thread(target=wait, daemon=True).start()
def first_program():
    while not over: sum(range(500))
def second_program():
    while not over: sum(range(500))
def third_program():
    while not over: sum(range(500))
if step == 0: print('ready', flush=True)
else: print('step', step, flush=True)
[first_program, second_program, third_program][step]()
if step < 2:
    os.execv(sys.executable, [sys.executable, sys.argv[0], str(step + 1)])
";

/// A recording that goes on, in a directory of its own.
struct Recording {
    child: Child,
    directory: tempfile::TempDir,
}

impl Recording {
    fn begin(pid: &str, words: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let child = Command::new(INVIVO)
            .args(["record", pid, "-o"])
            .arg(directory.path().join("page.html"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("running invivo");
        Self { child, directory }
    }

    /// Waits until it has seen this function: what it sees is in a file beside its own.
    fn sees(&self, name: &str) {
        eventually(&format!("{name} is seen"), || {
            let files = fs::read_dir(self.directory.path()).expect("it is there");
            let mut files = files.filter_map(|entry| Some(entry.ok()?.path()));
            let draft = files.find(|path| path.extension().is_some_and(|end| end == "invivo"));
            draft.is_some_and(|draft| {
                let draft = draft.to_str().expect("UTF-8");
                let run = invivo(["convert", draft, "-f", "table", "-o", "-"]);
                run.stdout.contains(name)
            })
        });
    }

    fn ended(self) -> Run {
        Run::of(self.child.wait_with_output().expect("its end"))
    }
}

/// What each program of the chain is in, and what it says when it begins.
const PROGRAMS: [(&str, &str); 3] = [
    ("first_program", ""),
    ("second_program", "step 1"),
    ("third_program", "step 2"),
];

#[test]
fn a_recording_follows_the_programs_that_a_process_becomes() {
    let all: Vec<&Interpreter> = interpreters().iter().collect();
    // A few at a time: each keeps a processor busy.
    for several in all.chunks(2) {
        each(
            several,
            |one| one.name.clone(),
            |one| {
                let target = Launch::new(one, CHAIN).start();
                let pid = target.pid().to_string();
                let recording = Recording::begin(&pid, &["-r", "100"]);
                for (name, says) in PROGRAMS {
                    if !says.is_empty() {
                        target.wait_line(says, PATIENCE);
                    }
                    recording.sees(name);
                    target.send_line("");
                }
                let run = recording.ended().expect(0);
                let became = format!("process {pid} runs another program now: ");
                assert_eq!(run.stderr.matches(&became).count(), 2, "{run:#?}");
                let has_ended = format!("process {pid} has ended");
                assert!(run.stderr.contains(&has_ended), "{run:#?}");
                assert!(target.wait_exit(PATIENCE).success());
            },
        );
    }
}

#[test]
fn top_follows_them_as_well() {
    let target = Launch::new(interpreter("3.14"), CHAIN).start();
    let pid = target.pid().to_string();
    let mut terminal = Terminal::start([INVIVO, "top", &pid]);
    for (name, _) in PROGRAMS {
        terminal.wait(name);
        target.send_line("");
    }
    terminal.wait("the process has ended");
    terminal.keys("q");
    let standing = terminal.ended();
    let screen = standing.screen();
    assert_eq!(
        screen.matches("runs another program now").count(),
        2,
        "{screen}"
    );
    assert!(target.wait_exit(PATIENCE).success());
}

#[test]
fn a_program_without_python_is_told_of() {
    let program = "import os, sys\ndef before_exec(): sys.stdin.buffer.raw.read(1)\n\
                   print('ready', flush=True)\nbefore_exec()\n\
                   os.execvp('sh', ['sh', '-c', 'read line; exit 0'])";
    let target = Launch::new(interpreter("3.12"), program).start();
    let pid = target.pid().to_string();
    let mut recording = Recording::begin(&pid, &["-d", "600", "--json"]);
    recording.sees("before_exec");
    let mut lines = BufReader::new(recording.child.stderr.take().expect("a pipe")).lines();
    let mut next = || lines.next().expect("a line").expect("UTF-8");
    target.send_line("");
    let line = next();
    assert!(
        line.contains(&format!("process {pid} runs another program now: sh -c")),
        "{line}"
    );
    target.send_line("");
    let line = next();
    assert!(
        line.contains("no Python was found in the program"),
        "{line}"
    );
    let line = next();
    assert!(
        line.contains("has ended before the 600 s were over"),
        "{line}"
    );
    let report = recording.ended().expect(0).json();
    assert_eq!(report["ended_by"], "target");
    let events = report["turns"].as_array().expect("a list");
    assert_eq!(events[0]["event"], "exec", "{report}");
    assert_eq!(events[0]["command"][0], "sh", "{report}");
}

/// A shell that has started a Python; both end when it is dropped.
struct Shell(Child);

impl Shell {
    fn start(python: &Interpreter) -> Self {
        let program =
            "def grandchild_sleeps():\n import sys; sys.stdin.read()\ngrandchild_sleeps()";
        let shell = Command::new("sh")
            .args(["-c", "\"$0\" -c \"$1\"; exit 0"])
            .arg(&python.program)
            .arg(program)
            .stdin(Stdio::piped())
            .spawn();
        Self(shell.expect("a shell"))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The end of its input is that of the Python, and then of the shell.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn the_parent_of_a_python_names_it_and_what_to_type() {
    let shell = Shell::start(interpreter("3.11"));
    let pid = shell.pid();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let child = || {
        fs::read_to_string(&children)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    eventually("its Python runs", || {
        let run = invivo(["dump", &child()]);
        run.stdout.contains("grandchild_sleeps")
    });
    let child = child();
    for words in [
        &["dump", &pid][..],
        &["tasks", &pid],
        &["exec", &pid, "-e", "1"],
        &["record", &pid],
        &["top", &pid],
    ] {
        let run = invivo(words).refused(3, "Python", "none of");
        for named in [
            format!("process {child} ("),
            format!("invivo dump {child}"),
            format!("--subprocesses {pid}"),
        ] {
            assert!(run.stderr.contains(&named), "{named}: {run:#?}");
        }
    }
    let run = invivo([
        "top",
        "--subprocesses",
        &pid,
        "--once",
        "-d",
        "1",
        "--mode",
        "wall",
    ]);
    let run = run.expect(0);
    assert!(run.stdout.contains("grandchild_sleeps"), "{run:#?}");
}

/// A program that runs for as long as its input is open, under a name that says what it is.
fn called(place: &Path, name: &str) -> Child {
    let path = place.join(name);
    fs::copy("/bin/cat", &path).expect("a copy");
    let mut child = Command::new(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("running it");
    // What it says back says that it runs.
    let input = child.stdin.as_mut().expect("a pipe");
    input.write_all(b"x\n").expect("it reads");
    let output = child.stdout.as_mut().expect("a pipe");
    output.read_exact(&mut [0; 2]).expect("it writes");
    child
}

#[test]
fn other_pythons_are_called_by_their_names() {
    let place = tempfile::tempdir().expect("a directory");
    for (file, name, listed) in [
        ("python2.7", "CPython 2.7", "2.7"),
        ("python3.6m", "CPython 3.6", "3.6"),
        ("pypy3.10", "PyPy 3.10", "PyPy 3.10"),
        ("pypy3.9-c", "PyPy 3.9", "PyPy 3.9"),
        ("graalpy", "GraalPy", "GraalPy"),
    ] {
        let mut child = called(place.path(), file);
        let pid = child.id().to_string();
        let run = invivo(["dump", &pid]).refused(5, name, "Invivo looks into CPython 3.8 to");
        assert!(run.stderr.contains("no release of Invivo will"), "{run:#?}");
        let report = invivo(["ps", "--json"]).json();
        let mut all = report["processes"].as_array().expect("a list").iter();
        let own = all
            .find(|one| one["pid"] == child.id())
            .expect("it is listed");
        assert_eq!(own["unsupported"], name);
        let table = invivo(["ps"]).expect(0).stdout;
        let row = table
            .lines()
            .find(|line| line.starts_with(&pid))
            .expect("a row");
        assert!(row.contains(listed) && row.contains("unsupported"), "{row}");
        drop(child.stdin.take());
        child.wait().expect("its end");
    }
}

#[test]
fn the_tour_takes_the_next_python_where_one_leads_nowhere() {
    let place = tempfile::tempdir().expect("a directory");
    let script = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    };
    script(
        "python3.99",
        "echo 'shim: python3.99: command not found' >&2; exit 127",
    );
    let demo = || {
        let output = Command::new(INVIVO)
            .args(["demo", "-v"])
            .env("PATH", place.path())
            .env_remove("INVIVO_DEMO_PYTHON")
            .stdin(Stdio::null())
            .output();
        Run::of(output.expect("running invivo"))
    };
    let run = demo().expect(5);
    assert!(
        run.stderr.contains("none of the Pythons in PATH"),
        "{run:#?}"
    );
    assert!(
        run.stderr.contains("python3.99: command not found"),
        "{run:#?}"
    );
    let real = &interpreter("3.14").program;
    script("python3.14", &format!("exec {} \"$@\"", real.display()));
    let run = demo().expect(0);
    assert!(run.stdout.contains("earned and still open"), "{run:#?}");
}
