use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::Args;
use invivo::{Error, ErrorKind, Result};

use crate::exit::Status;
use crate::show::{Output, Style};

/// Start a small sample program, and show on it what Invivo does.
///
/// It uses the newest Python it finds: the one in INVIVO_DEMO_PYTHON, or in PATH.
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
    let python = find_python()?;
    let place = tempfile::Builder::new().prefix("shop-").tempdir();
    let place = place.map_err(|error| failed("make a directory for it", &error))?;
    let program = place.path().join("shop.py");
    fs::write(&program, PROGRAM).map_err(|error| failed("write the sample program", &error))?;
    let sample = Sample::start(&python, &program)?;
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
            .spawn()
            .map_err(|error| failed(&format!("start {}", python.display()), &error))?;
        let mut sample = Self { child };
        let mut line = String::new();
        if let Some(stdout) = sample.child.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(|error| failed("hear from the sample program", &error))?;
        }
        if line.trim_end() == "ready" {
            return Ok(sample);
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} could not run the sample program", python.display()),
            "it ended before it was ready",
            format!("name a working Python 3 with {PYTHON_VARIABLE}"),
        ))
    }
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

/// The interpreter to show things on: the one that is named, or the newest `python3.N` in PATH.
fn find_python() -> Result<PathBuf> {
    if let Some(named) = env::var_os(PYTHON_VARIABLE).filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let newest = env::split_paths(&path)
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let minor: u32 = path
                .file_name()?
                .to_str()?
                .strip_prefix("python3.")?
                .parse()
                .ok()?;
            Some((minor, path))
        })
        .max_by_key(|(minor, _)| *minor);
    newest.map(|(_, path)| path).ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            "there is no Python to show anything on",
            format!("no python3.N in PATH, and {PYTHON_VARIABLE} is not set"),
            "run `cargo xtask demo`, which fetches one, or name one with INVIVO_DEMO_PYTHON",
        )
    })
}

fn failed(what: &str, error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the demo could not {what}"),
        error.to_string(),
        "check that the directory for temporary files is writable and Python starts",
    )
}
