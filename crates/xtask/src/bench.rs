//! `cargo xtask bench exec [ROUNDS]`: how long `invivo exec` takes, beside `sys.remote_exec`. Both
//! act on the same busy target in turn, so that whatever else the machine does meets both.
//!
//! `cargo xtask bench ps [TARGETS]`: how long `invivo ps` takes.

pub(crate) mod act;
pub(crate) mod consistency;
pub(crate) mod dump;
pub(crate) mod harm;
mod mojo;
mod ours;
mod peers;
pub(crate) mod record;
mod samplers;
pub(crate) mod truth;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use synth::target::PATIENCE;
use synth::{Interpreter, Launch, Target, interpreter, samples};

use crate::run::{Doing, Outcome, capture};
use crate::{pythons, release};

const ROUNDS: usize = 50;
const TARGETS: usize = 300;

pub(crate) fn exec(arguments: &[&str]) -> Outcome {
    let rounds = number(arguments, "exec", ROUNDS)?;
    pythons::ensure()?.complete()?;
    let invivo = release::binary()?;
    println!("milliseconds, {rounds} rounds, a busy single-threaded target");
    heading();
    for name in ["3.14", "3.15"] {
        compare(&invivo, interpreter(name), rounds)?;
    }
    Ok(())
}

fn compare(invivo: &Path, python: &Interpreter, rounds: usize) -> Outcome {
    let target = Launch::new(python, samples::BUSY).start();
    let pid = target.pid().to_string();
    let clients = [
        ("sys.remote_exec", RemoteExec::new(python, &[], &pid)?),
        (
            "sys.remote_exec, python -S",
            RemoteExec::new(python, &["-S"], &pid)?,
        ),
    ];
    let mut ours = Vec::new();
    let mut theirs = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    // The first round warms the caches and does not count.
    for round in 0..=rounds {
        let own = invivo_exec(invivo, &pid)?;
        let mut others = Vec::new();
        for (_, client) in &clients {
            others.push(client.round()?);
        }
        if round > 0 {
            ours.push(own);
            for ((exits, runs), (exit, run)) in theirs.iter_mut().zip(others) {
                exits.push(exit);
                runs.push(run);
            }
        }
    }
    // A target that found its own results wrong does not answer.
    target.checked();

    let name = &python.name;
    let own = line(&format!("{name}: invivo exec PID -e 1, to its exit"), ours);
    for ((client, _), (exits, runs)) in clients.iter().zip(theirs) {
        for (times, to) in [(exits, "its exit"), (runs, "the script's run")] {
            let other = line(&format!("{name}: {client}, to {to}"), times);
            let ratio = own.as_secs_f64() / other.as_secs_f64();
            println!("{:50} invivo takes {ratio:.2} of it", "");
        }
    }
    Ok(())
}

fn invivo_exec(invivo: &Path, pid: &str) -> Outcome<Duration> {
    let mut command = Command::new(invivo);
    command.args(["exec", pid, "-e", "1"]);
    let start = Instant::now();
    let printed = capture(&mut command)?;
    let time = start.elapsed();
    if printed.trim() == "1" {
        Ok(time)
    } else {
        Err(format!("invivo printed {printed:?}"))
    }
}

/// CPython's own client, and a fifo into which the script writes a byte when it runs.
struct RemoteExec {
    command: Vec<PathBuf>,
    ran: mpsc::Receiver<Instant>,
    _directory: tempfile::TempDir,
}

impl RemoteExec {
    fn new(python: &Interpreter, options: &[&str], pid: &str) -> Outcome<RemoteExec> {
        let directory = tempfile::tempdir().doing(|| "making a directory".to_owned())?;
        let (fifo, script) = (
            directory.path().join("fifo"),
            directory.path().join("script.py"),
        );
        capture(Command::new("mkfifo").arg(&fifo))?;
        let text = format!(
            "import os\nf = os.open({fifo:?}, os.O_WRONLY)\nos.write(f, b'x')\nos.close(f)\n"
        );
        fs::write(&script, text).doing(|| "writing the script".to_owned())?;
        // Opened for both, so that it neither waits for a writer nor ends with one.
        let mut reader = File::options()
            .read(true)
            .write(true)
            .open(&fifo)
            .doing(|| "opening the fifo".to_owned())?;
        let (send, ran) = mpsc::channel();
        thread::spawn(move || {
            while reader.read_exact(&mut [0]).is_ok() && send.send(Instant::now()).is_ok() {}
        });
        let client = "import sys; sys.remote_exec(int(sys.argv[1]), sys.argv[2])";
        let mut command = vec![python.program.clone()];
        command.extend(options.iter().map(PathBuf::from));
        command.extend(["-c", client, pid].map(PathBuf::from));
        command.push(script);
        Ok(RemoteExec {
            command,
            ran,
            _directory: directory,
        })
    }

    /// The times until the client has ended, and until the script has run.
    fn round(&self) -> Outcome<(Duration, Duration)> {
        let start = Instant::now();
        let mut command = Command::new(&self.command[0]);
        let status = command
            .args(&self.command[1..])
            .stdin(Stdio::null())
            .status();
        let exit = start.elapsed();
        if !status.doing(|| "starting the client".to_owned())?.success() {
            return Err("sys.remote_exec failed".to_owned());
        }
        let ran = self
            .ran
            .recv_timeout(PATIENCE)
            .doing(|| "the script did not run".to_owned())?;
        Ok((exit, ran - start))
    }
}

/// Prints a line of the table and returns the median.
fn line(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    let shown = |time: Duration| format!("{:8.2}", time.as_secs_f64() * 1e3);
    println!(
        "{what:50} {} {} {}",
        shown(at(0.5)),
        shown(times[0]),
        shown(at(0.9))
    );
    at(0.5)
}

/// `cargo xtask bench ps [TARGETS]`: how long `invivo ps` takes where that many Pythons run.
pub(crate) fn ps(arguments: &[&str]) -> Outcome {
    let count = number(arguments, "ps", TARGETS)?;
    pythons::ensure()?.complete()?;
    let invivo = release::binary()?;
    let python = interpreter("3.14");
    // Started with nothing imported: it is their number that counts.
    let targets: Vec<Target> = (0..count)
        .map(|_| {
            Launch::new(python, samples::SLEEPER)
                .options(["-S"])
                .start()
        })
        .collect();
    let mut times = Vec::new();
    for round in 0..=ROUNDS {
        let start = Instant::now();
        let listed = capture(Command::new(&invivo).arg("ps"))?;
        if listed.lines().count() <= targets.len() {
            return Err(format!("ps listed fewer than {count} processes"));
        }
        // The first round warms the caches and does not count.
        if round > 0 {
            times.push(start.elapsed());
        }
    }
    println!("milliseconds, {ROUNDS} rounds");
    heading();
    line(&format!("invivo ps, {count} Python processes"), times);
    Ok(())
}

fn number(arguments: &[&str], bench: &str, usual: usize) -> Outcome<usize> {
    let usage = || format!("usage: cargo xtask bench {bench} [NUMBER], at least 1");
    match arguments {
        [] => Ok(usual),
        [number] => number
            .parse()
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(usage),
        _ => Err(usage()),
    }
}

/// The reason that `invivo` gives for what it did not do, the same for every process: without
/// numbers, and without what is this target's own.
fn reason(output: &std::process::Output) -> Option<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    let why = errors
        .lines()
        .find_map(|line| line.strip_prefix("  why: "))?;
    let (why, _) = why
        .split_once(", in the Python function")
        .unwrap_or((why, ""));
    let mut text = String::new();
    for letter in why.chars() {
        match letter {
            '0'..='9' if text.ends_with('N') => {}
            '0'..='9' => text.push('N'),
            other => text.push(other),
        }
    }
    Some(text)
}

fn heading() {
    println!("{:50} {:>8} {:>8} {:>8}", "", "median", "min", "p90");
}
