//! Running `invivo` as a user does, and looking at what it did to a target.

// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code)]

pub(crate) mod people;
pub(crate) mod terminal;

use std::ffi::OsStr;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, Target};

/// The binary under test.
pub(crate) const INVIVO: &str = env!("CARGO_BIN_EXE_invivo");

/// How a run of `invivo` ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout in UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr in UTF-8"),
        }
    }

    /// Asserts the exit code, showing everything where it is another.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Asserts an error of three lines with this code, and these words in the first two.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, what: &str, why: &str) -> Self {
        let run = self.expect(code);
        let lines: Vec<&str> = run.stderr.lines().collect();
        let [first, second, third] = lines[..] else {
            panic!("not three lines: {run:#?}")
        };
        assert!(
            first.starts_with("error: ") && first.contains(what),
            "{run:#?}"
        );
        assert!(
            second.starts_with("  why: ") && second.contains(why),
            "{run:#?}"
        );
        assert!(third.starts_with("  try: ") && third.len() > 10, "{run:#?}");
        run
    }

    /// Asserts that no script began in a thread that is asleep in this system call. Where it was
    /// stopped to be let go, and has had no processor since, it is runnable, and that is said.
    #[track_caller]
    pub(crate) fn not_begun_asleep(self, tid: u32, call: &str) -> Self {
        let run = self.refused(6, "did not begin", &format!("thread {tid} is "));
        let asleep = format!("thread {tid} is asleep in system call {call}");
        let let_go = format!("thread {tid} is runnable, ");
        assert!(
            run.stderr.contains(&asleep) || run.stderr.contains(&let_go),
            "{run:#?}"
        );
        run
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// `invivo` that ignores no signal. Whoever runs the tests may do so, as `nohup` does, or a shell in
/// the background, and what they start inherits that. See [`runs_invivo`].
pub(crate) fn heedful() -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,QUIT,TERM", INVIVO]);
    command
}

/// Waits until what was started so runs `invivo`, and ignores no signal any more.
pub(crate) fn runs_invivo(child: &Child) {
    let program = format!("/proc/{}/exe", child.id());
    eventually("it runs invivo", || {
        fs::read_link(&program).is_ok_and(|path| path == Path::new(INVIVO))
    });
}

/// Runs `invivo` with these words.
pub(crate) fn invivo<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Run {
    let mut command = Command::new(INVIVO);
    Run::of(
        command
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("running invivo"),
    )
}

/// Runs `invivo exec` on a target.
pub(crate) fn exec(target: &Target, words: &[&str]) -> Run {
    let pid = target.pid().to_string();
    invivo(["exec", &pid].into_iter().chain(words.iter().copied()))
}

/// The value of an expression in a target, as JSON.
#[track_caller]
pub(crate) fn value(target: &Target, expression: &str) -> Value {
    exec(target, &["--json", "-e", expression]).expect(0).json()["value"]["json"].take()
}

/// A target that computes and checks itself.
pub(crate) fn busy(interpreter: &Interpreter) -> Target {
    Launch::new(interpreter, synth::samples::BUSY).start()
}

/// What a script could leave behind in a target: file descriptors, threads, modules, its streams,
/// hooks, paths and arguments. Prints it; needs no `/proc`.
const STATE: &str = r"
import sys, posix
def is_open(fd):
    try:
        posix.fstat(fd)
    except OSError:
        return False
    return True
print([fd for fd in range(256) if is_open(fd)], len(sys._current_frames()), sorted(sys.modules))
print(sys.path, sys.meta_path, sys.gettrace(), sys.getprofile(), sys.excepthook, sys.displayhook)
print(sys.unraisablehook, sys.__stdout__, sys.__stderr__, posix.getcwd())
";

/// The target's state, as a script of ours sees it.
#[track_caller]
pub(crate) fn state(target: &Target) -> String {
    exec(target, &["-c", STATE]).expect(0).stdout
}

/// Waits until a thread of the target is in this system call.
#[track_caller]
pub(crate) fn asleep_in(target: &Target, call: &str) {
    let process = invivo::Target::open(target.pid()).expect("opening the target");
    eventually(&format!("it is in {call}"), || {
        let activity = process.activity(target.pid()).expect("its activity");
        activity
            .system_call
            .is_some_and(|now| now.name == Some(call))
    });
}

/// Asserts that the target goes on with its work, stands still nowhere, is traced by nobody, and
/// that nothing of ours lies about.
#[track_caller]
pub(crate) fn unharmed(target: &Target) {
    let before = target.checked();
    let until = Instant::now() + PATIENCE;
    while target.checked() <= before {
        assert!(Instant::now() < until, "the target works no more");
    }
    not_held(target);
    assert_eq!(staged(target), Vec::<PathBuf>::new(), "staged files");
    assert_eq!(target.stderr_so_far(), "", "the target's stderr");
}

/// Asserts that no thread stands still and none is traced.
#[track_caller]
pub(crate) fn not_held(target: &Target) {
    for (tid, state) in target.thread_states() {
        assert!(!matches!(state, 't' | 'T'), "thread {tid} stands still");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", target.pid())).expect("status");
    assert!(
        status.contains("\nTracerPid:\t0\n"),
        "it is traced:\n{status}"
    );
}

/// What is staged for a target, in the directories where it may be, as the host sees them.
pub(crate) fn staged(target: &Target) -> Vec<PathBuf> {
    let root = target.root().unwrap_or(Path::new("/"));
    let mut found = staged_in(Path::new("/"), target);
    if root != Path::new("/") {
        found.extend(staged_in(root, target));
    }
    found
}

fn staged_in(root: &Path, target: &Target) -> Vec<PathBuf> {
    let part = format!("-{}-", target.pid());
    ["tmp", "dev/shm", "var/tmp", "run/user/0"]
        .iter()
        .filter_map(|directory| fs::read_dir(root.join(directory)).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("invivo-") && name.contains(&part)
        })
        .collect()
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Does something with each of these, several at a time, and says at last for which it failed.
pub(crate) fn each<T: Sync>(
    jobs: &[T],
    name: impl Fn(&T) -> String + Sync,
    act: impl Fn(&T) + Sync,
) {
    // Many of them keep a processor busy: more only make each other late.
    at_a_time(5, jobs, name, act);
}

/// The same where each of them sleeps for most of its time.
pub(crate) fn each_asleep<T: Sync>(
    jobs: &[T],
    name: impl Fn(&T) -> String + Sync,
    act: impl Fn(&T) + Sync,
) {
    at_a_time(10, jobs, name, act);
}

fn at_a_time<T: Sync>(
    count: usize,
    jobs: &[T],
    name: impl Fn(&T) -> String + Sync,
    act: impl Fn(&T) + Sync,
) {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            // The panic has been shown; what is wanted here is where it was.
            if catch_unwind(AssertUnwindSafe(|| act(job))).is_err() {
                failed.lock().expect("the list").push(name(job));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().expect("the list");
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}
