//! `cargo xtask bench exec [ROUNDS]`: how long `invivo exec` takes, beside `sys.remote_exec`.
//!
//! Both act on the same busy target in turn, so that whatever else the machine does meets both.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use synth::target::PATIENCE;
use synth::{Interpreter, Launch, interpreter, samples};

use crate::pythons;
use crate::run::{Doing, Outcome, capture, cargo, show};

const ROUNDS: usize = 50;

pub(crate) fn exec(arguments: &[&str]) -> Outcome {
    let rounds = match arguments {
        [] => ROUNDS,
        [rounds] => rounds
            .parse()
            .doing(|| format!("a number of rounds, not {rounds}"))?,
        _ => return Err("usage: cargo xtask bench exec [ROUNDS]".to_owned()),
    };
    if rounds == 0 {
        return Err("at least one round".to_owned());
    }
    pythons::ensure()?.complete()?;
    let invivo = release_binary()?;
    println!("milliseconds, {rounds} rounds, a busy single-threaded target");
    println!("{:42} {:>8} {:>8} {:>8}", "", "median", "min", "p90");
    for name in ["3.14", "3.15"] {
        compare(&invivo, interpreter(name), rounds)?;
    }
    Ok(())
}

/// Builds the command as it is released, and says where it lies.
fn release_binary() -> Outcome<PathBuf> {
    show(cargo().args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "invivo-cli",
    ]))?;
    let text = capture(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).doing(|| "reading cargo's metadata".to_owned())?;
    let target = metadata["target_directory"]
        .as_str()
        .ok_or("cargo names no target directory")?;
    Ok(Path::new(target).join("release/invivo"))
}

fn compare(invivo: &Path, python: &Interpreter, rounds: usize) -> Outcome {
    let target = Launch::new(python, samples::BUSY).start();
    let pid = target.pid().to_string();
    let remote = RemoteExec::new(python, &pid)?;
    let (mut ours, mut exits, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms the caches and does not count.
    for round in 0..=rounds {
        let own = invivo_exec(invivo, &pid)?;
        let (exit, run) = remote.round()?;
        if round > 0 {
            ours.push(own);
            exits.push(exit);
            runs.push(run);
        }
    }
    // A target that found its own results wrong does not answer.
    target.checked();

    let own = line(
        &format!("{}: invivo exec PID -e 1, to its exit", python.name),
        ours,
    );
    let exit = line(
        &format!("{}: sys.remote_exec, to its exit", python.name),
        exits,
    );
    let run = line(
        &format!("{}: sys.remote_exec, to the script's run", python.name),
        runs,
    );
    let ratio = |other: Duration| own.as_secs_f64() / other.as_secs_f64();
    println!(
        "{}: ratio of medians {:.3} and {:.3}",
        python.name,
        ratio(exit),
        ratio(run)
    );
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
    fn new(python: &Interpreter, pid: &str) -> Outcome<RemoteExec> {
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
        let words = ["-S", "-c", client, pid].map(PathBuf::from);
        let command = [python.program.clone()]
            .into_iter()
            .chain(words)
            .chain([script])
            .collect();
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
        "{what:42} {} {} {}",
        shown(at(0.5)),
        shown(times[0]),
        shown(at(0.9))
    );
    at(0.5)
}
