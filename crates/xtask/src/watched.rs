//! `xtask watched PROGRAM …`: a test program, each of its tests with a limit of its own. cargo starts
//! every test program of `cargo xtask test` through this.
//!
//! libtest says of a test that it "has been running for over 60 seconds" when that is so; from then
//! on its time is counted here. A test that does not end in time has failed: it is named, what its
//! program has started is listed and ended, and the tests that it kept from ending run again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::processes::Started;
use crate::run::{Doing, Outcome, capture};

/// What the chore is called.
pub(crate) const CHORE: &str = "watched";

/// How long a test may take, also on a machine that has three times more to do than it has
/// processors. The longest one takes a quarter of it on an idle one.
const LIMIT: Duration = Duration::from_secs(600);

/// What sets another one, in seconds.
const LIMIT_VARIABLE: &str = "INVIVO_TEST_LIMIT";

/// After how long libtest says that a test takes long.
const SAID_AFTER: Duration = Duration::from_secs(60);

/// Tests that begin with so much between them began at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How long what a program has started may take to end after it.
const GRACE: Duration = Duration::from_secs(10);

/// How a test program fails.
const FAILED: u8 = 101;

/// Runs a test program to its end.
pub(crate) fn run(program: &str, words: &[&str]) -> ExitCode {
    match all(program, words) {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::from(FAILED)
        }
    }
}

fn all(program: &str, words: &[&str]) -> Outcome<u8> {
    let limit = limit()?;
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let mut hung = false;
    loop {
        let mut watch = Watch::begin(program, &words, limit)?;
        let overdue = match watch.ending()? {
            Ending::Ended(status) if hung => return Ok(FAILED.max(code(status))),
            Ending::Ended(status) => return Ok(code(status)),
            Ending::Overdue(tests) => tests,
        };
        hung = true;
        watch.end_all(&overdue)?;
        let listed = capture(Command::new(program).args(&words).arg("--list"))?;
        let finished = &watch.seen.finished;
        let left = listed
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .filter(|name| !finished.contains(*name) && !overdue.contains(*name))
            .map(str::to_owned);
        words = left.collect();
        if words.is_empty() || overdue.is_empty() {
            return Ok(FAILED);
        }
        words.push("--exact".to_owned());
        println!("xtask: running the tests that had not ended");
    }
}

fn limit() -> Outcome<Duration> {
    let Some(given) = std::env::var_os(LIMIT_VARIABLE) else {
        return Ok(LIMIT);
    };
    let seconds = given.to_str().and_then(|text| text.parse().ok());
    let seconds = seconds.filter(|seconds| *seconds >= SAID_AFTER.as_secs());
    let seconds = seconds.ok_or_else(|| {
        format!("{LIMIT_VARIABLE}={given:?}: a number of seconds from 60 on is expected")
    })?;
    Ok(Duration::from_secs(seconds))
}

/// The exit code that stands for a status: that of a shell where it was a signal.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;

    let code = status.code().or(status.signal().map(|number| 128 + number));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(FAILED)
}

/// How a run has come to its end.
enum Ending {
    Ended(ExitStatus),
    /// These tests had no time left. Where there is none: nothing was heard of any for as long.
    Overdue(BTreeSet<String>),
}

/// A running test program.
struct Watch {
    child: Child,
    started: Started,
    lines: Receiver<Vec<u8>>,
    heard: Instant,
    limit: Duration,
    seen: Seen,
}

impl Watch {
    fn begin(program: &str, words: &[String], limit: Duration) -> Outcome<Self> {
        // In the background or under `nohup` some signals are ignored, which all would inherit.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP,INT,QUIT,TERM", program]);
        command.args(words).stdout(Stdio::piped());
        let (mut child, started) = Started::by(&mut command)?;
        let (told, lines) = mpsc::channel();
        let output = child
            .stdout
            .take()
            .ok_or("the test program has no output")?;
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                if told.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            started,
            lines,
            heard: Instant::now(),
            limit,
            seen: Seen::default(),
        })
    }

    /// Shows what it says until it has ended or a test is overdue.
    fn ending(&mut self) -> Outcome<Ending> {
        loop {
            let now = Instant::now();
            let (overdue, next) = self.seen.overdue(now, self.limit);
            let silent_until = self.heard + self.limit + SAID_AFTER;
            if !overdue.is_empty() || now >= silent_until {
                return Ok(Ending::Overdue(overdue));
            }
            let next = next.map_or(silent_until, |next| next.min(silent_until));
            match self.lines.recv_timeout(next - now) {
                Ok(line) => {
                    self.heard = Instant::now();
                    self.seen.read(&String::from_utf8_lossy(&line), self.heard);
                    let mut output = io::stdout().lock();
                    let shown = output.write_all(&line).and_then(|()| output.flush());
                    shown.doing(|| "showing what a test program says".to_owned())?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let waiting = || "waiting for a test program".to_owned();
        let status = self.child.wait().doing(waiting)?;
        for left in self.started.await_end(GRACE) {
            println!("xtask: a test left this behind, which was ended: {left}");
        }
        self.started.end();
        Ok(Ending::Ended(status))
    }

    /// Ends the program and all that it has started, and says what that was.
    fn end_all(&mut self, overdue: &BTreeSet<String>) -> Outcome {
        println!("xtask: what runs when a test's time is over:");
        for process in self.started.all() {
            println!("  {process}");
        }
        self.started.end();
        let _ = self.child.kill();
        let waiting = || "waiting for a test program".to_owned();
        self.child.wait().doing(waiting)?;
        // What was started by what was ended meanwhile.
        self.started.end();
        let limit = self.limit.as_secs();
        for name in overdue {
            println!("test {name} ... FAILED: it did not end within {limit} s");
        }
        if overdue.is_empty() {
            println!("xtask: for {limit} s no test began to take long or ended");
        }
        for name in &self.seen.failed {
            println!("test {name} had failed before; what it said is lost");
        }
        println!(
            "test result: FAILED. {} passed; {} failed; {} ignored",
            self.seen.passed,
            self.seen.failed.len() + overdue.len().max(1),
            self.seen.ignored,
        );
        Ok(())
    }
}

/// What a test program has said of its tests.
#[derive(Debug, Default)]
struct Seen {
    passed: usize,
    ignored: usize,
    failed: BTreeSet<String>,
    finished: BTreeSet<String>,
    /// Those that take long, and since when they run.
    long: BTreeMap<String, Instant>,
}

impl Seen {
    fn read(&mut self, line: &str, now: Instant) {
        let Some(line) = line.trim_end().strip_prefix("test ") else {
            return;
        };
        if let Some(name) = line.strip_suffix(" has been running for over 60 seconds") {
            let begun = now.checked_sub(SAID_AFTER).unwrap_or(now);
            self.long.insert(name.to_owned(), begun);
        } else if let Some((name, result)) = line.split_once(" ... ") {
            let name = name.trim_end_matches(" - should panic").to_owned();
            self.long.remove(&name);
            match result {
                "ok" => self.passed += 1,
                "FAILED" => drop(self.failed.insert(name.clone())),
                _ => self.ignored += 1,
            }
            self.finished.insert(name);
        }
    }

    /// The tests whose time is over, and otherwise when that of the first of them will be.
    fn overdue(&self, now: Instant, limit: Duration) -> (BTreeSet<String>, Option<Instant>) {
        let next = self.long.values().min().map(|begun| *begun + limit);
        if next.is_none_or(|next| now < next) {
            return (BTreeSet::new(), next);
        }
        // Those that began with it need not be waited for anew.
        let is_over = |begun: Instant| now + AT_ONCE >= begun + limit;
        let over = self.long.iter().filter(|(_, begun)| is_over(**begun));
        (over.map(|(name, _)| name.clone()).collect(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_takes_long_is_overdue_at_its_limit_and_not_once_it_has_ended() {
        let start = Instant::now();
        let mut seen = Seen::default();
        for line in [
            "running 4 tests\n",
            "test quick ... ok\n",
            "test deep::slow has been running for over 60 seconds\n",
            "test stuck has been running for over 60 seconds\n",
            "test wrong ... FAILED\n",
            "test later - should panic ... ok\n",
        ] {
            seen.read(line, start + SAID_AFTER);
        }
        let limit = Duration::from_secs(100);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(
            seen.overdue(at(99), limit),
            (BTreeSet::new(), Some(at(100)))
        );
        seen.read("test deep::slow ... ok\n", at(99));
        let (over, _) = seen.overdue(at(100), limit);
        assert_eq!(over, BTreeSet::from(["stuck".to_owned()]));
        assert_eq!((seen.passed, seen.failed.len()), (3, 1));
        assert!(seen.finished.contains("later") && !seen.finished.contains("stuck"));
    }
}
