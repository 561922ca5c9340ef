use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::Args;
use invivo::{Error, ErrorKind, Result};

use crate::exit::Status;
use crate::show::{Output, Style};

/// Start a small sample program, and show on it what Invivo does.
///
/// It uses the Python that INVIVO_DEMO_PYTHON names, or the newest in PATH that works.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  invivo demo
  INVIVO_DEMO_PYTHON=/opt/python/bin/python3 invivo demo")]
pub(crate) struct Arguments {}

const PROGRAM: &str = include_str!("demo.py");

/// The variable that names the interpreter to use.
const PYTHON_VARIABLE: &str = "INVIVO_DEMO_PYTHON";

pub(crate) fn run(_arguments: &Arguments, output: &mut Output) -> Result<Status> {
    let place = tempfile::Builder::new().prefix("shop-").tempdir();
    let place = place.map_err(|error| failed("make a directory for it", &error))?;
    let program = place.path().join("shop.py");
    fs::write(&program, PROGRAM).map_err(|error| failed("write the sample program", &error))?;
    let (python, sample) = start(&program, output)?;
    let pid = sample.child.id();

    output.line(&output.styled(
        Style::Strong,
        "A shop is open: a program that knows nothing of Invivo.",
    ));
    output.line(&format!("  {} {}", python.display(), program.display()));
    let me = env::current_exe().map_err(|error| failed("find the invivo program", &error))?;
    let mut tour = Tour { me, pid, output };
    tour.step("Which Python processes are here?", &["ps"])?;
    tour.step(
        "May I attach to this one, and what would work?",
        &["doctor", "PID"],
    )?;
    tour.step(
        "What is each of its threads doing?",
        &["dump", "PID", "--locals"],
    )?;
    tour.step(
        "And its asyncio tasks: who waits for whom?",
        &["tasks", "PID", "--tree"],
    )?;
    tour.step(
        "Where does its time go? A thousand looks, counted by line:",
        &["record", "PID", "-d", "1", "-f", "table", "--lines"],
    )?;
    let able = invivo::attach(pid).and_then(|attached| {
        invivo::exec::Plan::new(
            &attached.target,
            &attached.runtime,
            Default::default(),
            Default::default(),
        )
    });
    if let Err(error) = able {
        tour.output.line("");
        tour.output.line(&format!(
            "Running code inside needs another Python here ({}): `cargo xtask demo` fetches one, or set {PYTHON_VARIABLE}.",
            error.why
        ));
        return Ok(Status::Done);
    }
    tour.step(
        "What would a request write into it?",
        &["exec", "PID", "--dry-run", "-e", "len(orders)"],
    )?;
    tour.step(
        "Read a global of the running program:",
        &[
            "exec",
            "PID",
            "--namespace",
            "main",
            "-e",
            "len(orders), total",
        ],
    )?;
    tour.step(
        "Run a script inside, with its output brought back here:",
        &[
            "exec",
            "PID",
            "-c",
            "import sys, os; print('hello from', os.getpid()); print(sys.version)",
        ],
    )?;
    tour.step(
        "An error in it is an error here, and not there:",
        &[
            "exec",
            "PID",
            "--namespace",
            "main",
            "-c",
            "price('coffee', 2)",
        ],
    )?;
    tour.step(
        "The shop never noticed:",
        &[
            "exec",
            "PID",
            "--namespace",
            "main",
            "-e",
            "f'{total} earned and still open'",
        ],
    )?;
    tour.output.line("");
    tour.output.line(
        "More: invivo --help; a flame graph of your own program: invivo record PID -o FILE.html",
    );
    Ok(Status::Done)
}

/// Starts the sample in the interpreter that is named, or in the first one that can run it.
fn start(program: &Path, output: &mut Output) -> Result<(PathBuf, Sample)> {
    if let Some(named) = env::var_os(PYTHON_VARIABLE).filter(|named| !named.is_empty()) {
        let python = PathBuf::from(named);
        let sample = Sample::start(&python, program)?;
        return Ok((python, sample));
    }
    let mut last = None;
    let candidates = candidates();
    let count = candidates.len();
    for python in candidates {
        match Sample::start(&python, program) {
            Ok(sample) => return Ok((python, sample)),
            Err(error) => {
                output.detail(&format!("{}: {}", error.what, error.why));
                last = Some(error);
            }
        }
    }
    let Some(last) = last else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "there is no Python to show anything on",
            format!("no python3.N or python3 in PATH, and {PYTHON_VARIABLE} is not set"),
            "run `cargo xtask demo`, which fetches one, or name one with INVIVO_DEMO_PYTHON",
        ));
    };
    Err(Error::new(
        ErrorKind::Unsupported,
        "none of the Pythons in PATH could run the sample program",
        format!(
            "{count} were tried; of the last, {}: {}",
            last.what, last.why
        ),
        format!("name a working one with {PYTHON_VARIABLE}; --verbose tells of each"),
    ))
}

/// The running sample; ended when it is dropped.
struct Sample {
    child: Child,
}

impl Sample {
    fn start(python: &Path, program: &Path) -> Result<Self> {
        let child = Command::new(python)
            .arg(program)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&format!("start {}", python.display()), &error))?;
        let mut sample = Self { child };
        let mut line = String::new();
        if let Some(stdout) = sample.child.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(|error| failed("hear from the sample program", &error))?;
        }
        if line.trim_end() != "ready" {
            return Err(unfit(python, &sample.last_words()));
        }
        match invivo::attach(sample.child.id()) {
            // A Python that Invivo does not know; what else comes in the way, the tour shows.
            Err(error) if matches!(error.kind, ErrorKind::Unsupported | ErrorKind::NotPython) => {
                Err(unfit(python, &format!("{}: {}", error.what, error.why)))
            }
            _ => Ok(sample),
        }
    }

    /// The first line that a program which failed said: a shim says there that it leads nowhere.
    fn last_words(&mut self) -> String {
        /// More than any reason has.
        const MAX: u64 = 64 << 10;
        let mut text = Vec::new();
        // It may go on without a word, and its children hold the pipe.
        let _ = self.child.kill();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = stderr.take(MAX).read_to_end(&mut text);
        }
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let said = lines.next().unwrap_or_default();
        match said {
            "" => "it ended before it was ready".to_owned(),
            said => format!("it said: {}", said.trim()),
        }
    }
}

fn unfit(python: &Path, why: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{} could not run the sample program", python.display()),
        why,
        format!("name a working Python 3 with {PYTHON_VARIABLE}"),
    )
}

impl Drop for Sample {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Tour<'a> {
    me: PathBuf,
    pid: u32,
    output: &'a mut Output,
}

impl Tour<'_> {
    /// Prints a command as it could be typed, and runs it.
    fn step(&mut self, title: &str, words: &[&str]) -> Result<()> {
        let pid = self.pid.to_string();
        let words: Vec<&str> = words
            .iter()
            .map(|word| if *word == "PID" { pid.as_str() } else { word })
            .collect();
        let typed: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        self.output.line("");
        self.output.line(&self.output.styled(Style::Strong, title));
        let command = format!("$ invivo {}", typed.join(" "));
        self.output
            .line(&self.output.styled(Style::Command, &command));
        self.output.ensure_written()?;
        // A step that fails has said why; the tour goes on.
        Command::new(&self.me)
            .args(&words)
            .stdin(Stdio::null())
            .status()
            .map_err(|error| failed("run a step of the demo", &error))?;
        Ok(())
    }
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else if word.contains('\'') && !word.contains(['"', '$', '`', '\\', '!']) {
        format!("\"{word}\"")
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Where there may be an interpreter to show things on: each `python3.N` in PATH, the newest first,
/// then each `python3`. One may be a shim that leads nowhere.
fn candidates() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let minor = |path: &Path| -> Option<u32> {
        let rest = path.file_name()?.to_str()?.strip_prefix("python3")?;
        match rest.strip_prefix('.') {
            Some(minor) => minor.parse().ok(),
            None => rest.is_empty().then_some(0),
        }
    };
    let mut found: Vec<(u32, PathBuf)> = env::split_paths(&path)
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((minor(&path)?, path))
        })
        .collect();
    // What comes first in PATH stays first.
    found.sort_by_key(|(minor, _)| std::cmp::Reverse(*minor));
    found.into_iter().map(|(_, path)| path).collect()
}

fn failed(what: &str, error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the demo could not {what}"),
        error.to_string(),
        "check that the directory for temporary files is writable and Python starts",
    )
}
