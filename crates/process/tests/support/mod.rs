//! Processes to look into, each in a situation that its test names.

// Each test file is a program of its own and uses its part of this.
#![allow(dead_code)]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use invivo_process::{Address, Memory, Target};

/// The longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A child process that is killed at the end of its test.
pub(crate) struct Subject {
    pub(crate) child: Child,
    pub(crate) input: Option<ChildStdin>,
    /// The addresses that it said.
    pub(crate) said: Vec<Address>,
    /// What it says after that.
    pub(crate) output: BufReader<ChildStdout>,
}

impl Subject {
    /// `subject.c` in the situation `arguments`.
    pub(crate) fn new(arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.args(arguments);
        Self::start(&mut command)
    }

    /// A program that prints a line beginning with `ready` when it is.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("the subject starts");
        let output = child.stdout.take().expect("its output is piped");
        let input = child.stdin.take();
        let mut subject = Self {
            child,
            input,
            said: Vec::new(),
            output: BufReader::new(output),
        };
        let line = subject.line();
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("ready"), "it said {line:?}");
        subject.said = words
            .map(|word| Address(word.parse().expect("an address")))
            .collect();
        subject
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it says something");
        line
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn target(&self) -> Target {
        Target::open(self.pid()).expect("it can be opened")
    }

    /// The number that it counts up, or that the test looks for.
    pub(crate) fn counter(&self, target: &Target) -> u64 {
        target
            .memory()
            .read_u64(self.said[0])
            .expect("its counter can be read")
    }

    /// Sends a signal by the number that `kill -l` shows.
    pub(crate) fn signal(&self, number: &str) {
        kill(number, &self.pid().to_string());
    }

    /// Waits until it counts on.
    pub(crate) fn assert_runs(&self, target: &Target) {
        let before = self.counter(target);
        until("it runs on", || self.counter(target) != before);
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        drop(self.input.take());
        // The whole group: it may have children of its own.
        kill("KILL", &format!("-{}", self.pid()));
        let _ = self.child.wait();
    }
}

pub(crate) fn kill(signal: &str, pid: &str) {
    // Whether there is still anybody to get it is for the caller to know.
    let _ = Command::new("kill")
        .args(["-s", signal, "--", pid])
        .stderr(Stdio::null())
        .status()
        .expect("kill is there");
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The state's letter and the tracer of every thread, as `/proc` shows them. Threads that end
/// meanwhile are left out.
pub(crate) fn thread_states(pid: u32) -> Vec<(u32, char, u32)> {
    let mut states = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task")).expect("it has threads") {
        let Ok(entry) = entry else { continue };
        let Ok(status) = std::fs::read(entry.path().join("status")) else {
            continue;
        };
        let status = String::from_utf8_lossy(&status);
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1))
                .map(str::to_owned)
        };
        let (Some(state), Some(tracer)) = (field("State:"), field("TracerPid:")) else {
            continue;
        };
        let tid = entry
            .file_name()
            .to_string_lossy()
            .parse()
            .expect("a number");
        let state = state.chars().next().expect("a letter");
        states.push((tid, state, tracer.parse().expect("a number")));
    }
    states
}

/// Waits until nobody traces it and none of its threads is stopped.
pub(crate) fn assert_left_alone(pid: u32) {
    until("no thread of it is stopped or traced", || {
        thread_states(pid)
            .iter()
            .all(|(_, state, tracer)| *tracer == 0 && !matches!(state, 't' | 'T'))
    });
}

/// The program of `subject.c`.
pub(crate) fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("subject", "subject.c", &[]))
}

/// The same, in need of no library: it runs in an otherwise empty root.
pub(crate) fn static_program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("subject-static", "subject.c", &["-static"]))
}

/// The program of `waits.c`.
pub(crate) fn waits() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("waits", "waits.c", &[]))
}

fn build(name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let support = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support");
    let source = PathBuf::from(support).join(source);
    let program = directory.join(format!("{name}-{}", std::process::id()));
    let built = Command::new("cc")
        .args(["-O1", "-Wall", "-pthread", "-o"])
        .arg(&program)
        .arg(&source)
        .args(flags)
        .status()
        .expect("a C compiler is there: install one as `cc`");
    assert!(built.success(), "{} compiles", source.display());
    // Under one name for all test programs, so that nothing piles up.
    let shared = directory.join(name);
    std::fs::rename(&program, &shared).expect("the program can be renamed");
    shared
}

/// The program of an example of this crate.
pub(crate) fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("we have a program");
    let profile = own
        .ancestors()
        .nth(2)
        .expect("it lies in the target directory");
    let program = profile.join("examples").join(name);
    assert!(
        program.exists(),
        "build it first: cargo build -p invivo-process --examples"
    );
    program
}
