//! `cargo xtask bench exec [RUNS]`: how long `invivo exec PID -e 1` takes, beside what else runs a
//! script in a process: hypno, pyrasite, debugpy's attach and `sys.remote_exec`. Prints one table.
//!
//! They take turns, so that whatever else the machine does meets all of them, and each run has a
//! target of its own: what a peer leaves behind or breaks is not met by the next.

use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use synth::target::PATIENCE;
use synth::waits::{self, Wait};
use synth::{Interpreter, Target, interpreter};

use super::act::{VERSIONS, shown};
use super::peers::PATIENCE as PATIENCE_WITH_PEERS;
use super::{number, peers, reason};
use crate::run::{Doing, Outcome, capture};
use crate::{pythons, release};

const RUNS: usize = 20;
const STATES: [&str; 4] = ["busy", "sleep", "lock", "asyncio"];
/// Longer than any run: a wait that is over before has been cut short.
const SECONDS: f64 = 600.0;
/// How often one is asked that works by gdb, and one that has not once succeeded.
const FEW: usize = 3;
/// How often one is looked for that comes at no known time.
const OFTEN: Duration = Duration::from_millis(1);

const HEAD: &str = "\
Milliseconds, medians, each run on a new target. `invivo exec PID -e 1`: until it has ended, with \
the result. The others bring none back, so theirs is the time until the script has begun (debugpy: \
until it listens), without their own end. *never*: not in 5 seconds (debugpy: 15). *crash*: the \
target ended. *harm*: it went on no more, or its wait was cut short. Where some runs failed, it is \
said how many of them. `sys.remote_exec` is called by a new `python -S`. The last column is what \
invivo takes of the best peer's time.
";

#[derive(Clone, Copy, PartialEq)]
enum Client {
    Invivo,
    Hypno,
    Pyrasite,
    Debugpy,
    RemoteExec,
}

use Client::{Debugpy, Hypno, Invivo, Pyrasite, RemoteExec};

const CLIENTS: [Client; 5] = [Invivo, Hypno, Pyrasite, Debugpy, RemoteExec];

/// The time it took, or in a word what came instead.
type Run = Result<Duration, &'static str>;

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let runs = number(arguments, "exec", RUNS)?;
    pythons::ensure()?.complete()?;
    let tools = Tools::new()?;
    println!(
        "{HEAD}\nRuns: {runs}, of pyrasite and debugpy {}.\n",
        runs.min(FEW)
    );
    println!(
        "| CPython | the main thread | invivo | hypno | pyrasite | debugpy | `sys.remote_exec` | ratio |"
    );
    println!("| --- | --- | --: | --: | --: | --: | --: | --: |");
    for version in VERSIONS {
        for state in STATES {
            let wait = waits::named(state);
            let results = tools.in_turn(interpreter(version), wait, runs)?;
            println!("| {version} | {} | {} |", wait.title, row(results));
        }
    }
    Ok(())
}

/// The cells of a line, in the order of [`CLIENTS`], and the ratio.
fn row(results: [Option<Vec<Run>>; CLIENTS.len()]) -> String {
    let medians = results.each_ref().map(|runs| {
        let runs = runs.iter().flatten();
        let mut times: Vec<Duration> = runs.filter_map(|run| run.ok()).collect();
        times.sort();
        times.get(times.len() / 2).copied()
    });
    let mut cells: Vec<String> = results
        .iter()
        .zip(medians)
        .map(|(runs, median)| match runs {
            Some(runs) => cell(runs, median),
            None => "–".to_owned(),
        })
        .collect();
    let [own, peers @ ..] = medians;
    let best = peers.into_iter().flatten().min();
    cells.push(match own.zip(best) {
        Some((own, best)) => format!("{:.2}", own.as_secs_f64() / best.as_secs_f64()),
        None => "–".to_owned(),
    });
    cells.join(" | ")
}

fn cell(runs: &[Run], median: Option<Duration>) -> String {
    let mut words: Vec<&str> = runs.iter().filter_map(|run| run.err()).collect();
    let of = runs.len();
    words.sort_unstable();
    let told: Vec<String> = words
        .chunk_by(|a, b| a == b)
        .map(|same| match same.len() {
            all if all == of => same[0].to_owned(),
            some => format!("{} {some} of {of}", same[0]),
        })
        .collect();
    median
        .map(shown)
        .into_iter()
        .chain(told)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Client {
    /// How long after its start it is still waited for.
    fn patience(self) -> Duration {
        Duration::from_secs(if self == Debugpy { 15 } else { 5 })
    }

    fn is_for(self, python: &Interpreter) -> bool {
        self != RemoteExec || matches!(python.name.as_str(), "3.14" | "3.15")
    }

    /// Whether it works by gdb, which takes seconds.
    fn by_gdb(self) -> bool {
        matches!(self, Pyrasite | Debugpy)
    }

    /// Whether it has its turn in this round, after what came of those before.
    fn has_turn(self, round: usize, before: &[Run]) -> bool {
        match round {
            // This warms the caches and does not count.
            0 => !self.by_gdb(),
            _ => before.len() < FEW || (!self.by_gdb() && before.iter().any(Run::is_ok)),
        }
    }
}

/// The programs, and the script that says when it begins.
struct Tools {
    invivo: PathBuf,
    hypno: PathBuf,
    pyrasite: PathBuf,
    /// Where debugpy lies, which the target's own Python runs.
    packages: PathBuf,
    mark: Mark,
}

impl Tools {
    fn new() -> Outcome<Tools> {
        Ok(Tools {
            invivo: release::binary()?,
            hypno: peers::program("hypno")?,
            pyrasite: peers::program("pyrasite")?,
            packages: peers::packages()?,
            mark: Mark::new()?,
        })
    }

    /// What each did, in the order of [`CLIENTS`]; nothing of one that this version has not.
    fn in_turn(
        &self,
        python: &Interpreter,
        wait: Wait,
        runs: usize,
    ) -> Outcome<[Option<Vec<Run>>; CLIENTS.len()]> {
        let mut results = CLIENTS.map(|client| client.is_for(python).then(Vec::new));
        for round in 0..=runs {
            for (client, results) in CLIENTS.into_iter().zip(&mut results) {
                let Some(results) = results.as_mut().filter(|r| client.has_turn(round, r)) else {
                    continue;
                };
                let run = self.one(client, python, wait)?;
                if round > 0 {
                    results.push(run);
                }
            }
        }
        Ok(results)
    }

    fn one(&self, client: Client, python: &Interpreter, wait: Wait) -> Outcome<Run> {
        let target = wait.start(python, SECONDS);
        let pid = target.pid().to_string();
        self.mark.forget();
        let port = free_port()?;
        let mut command = self.command(client, python, &pid, port);
        let start = Instant::now();
        if client == Invivo {
            let run = exec(&mut command, start)?;
            return Ok(run.and_then(|time| harm(wait, &target).map_or(Ok(time), Err)));
        }
        // With a group of its own, so that its gdb ends with it.
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .doing(|| format!("starting {command:?}"))?;
        let until = start + client.patience();
        let begun = match client {
            Debugpy => listens(port, until),
            _ => self.mark.made(until),
        };
        let Some(begun) = begun else {
            end(&mut child, until)?;
            let crashed = !target.is_running();
            return Ok(Err(if crashed { "crash" } else { "never" }));
        };
        end(&mut child, Instant::now() + PATIENCE)?;
        Ok(harm(wait, &target).map_or(Ok(begun - start), Err))
    }

    fn command(
        &self,
        client: Client,
        python: &Interpreter,
        pid: &str,
        port: SocketAddr,
    ) -> Command {
        let mut command = Command::new(match client {
            Invivo => &self.invivo,
            Hypno => &self.hypno,
            Pyrasite => &self.pyrasite,
            Debugpy | RemoteExec => &python.program,
        });
        match client {
            Invivo => command.args(["exec", pid, "-e", "1"]),
            Hypno => command.args([pid, &self.mark.code]),
            Pyrasite => command.arg(pid).arg(&self.mark.script),
            Debugpy => command.env("PYTHONPATH", &self.packages).args([
                "-m",
                "debugpy",
                "--listen",
                &port.to_string(),
                "--pid",
                pid,
            ]),
            RemoteExec => {
                let code = "import sys; sys.remote_exec(int(sys.argv[1]), sys.argv[2])";
                command.args(["-S", "-c", code, pid]).arg(&self.mark.script)
            }
        };
        command
    }
}

fn exec(command: &mut Command, start: Instant) -> Outcome<Run> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.doing(|| "running invivo".to_owned())?;
    let time = start.elapsed();
    if output.stdout == b"1\n" {
        return Ok(Ok(time));
    }
    eprintln!(
        "{}",
        reason(&output).ok_or_else(|| format!("invivo: {output:?}"))?
    );
    Ok(Err("not"))
}

/// Waits for its end, and ends it at last, with what it has started.
fn end(child: &mut Child, until: Instant) -> Outcome {
    let ended = |child: &mut Child| child.try_wait().doing(|| "waiting for a peer".to_owned());
    while ended(child)?.is_none() {
        if Instant::now() > until {
            let group = format!("-{}", child.id());
            capture(Command::new("kill").args(["-KILL", "--", &group]))?;
            child.wait().doing(|| "waiting for a peer".to_owned())?;
            break;
        }
        thread::sleep(OFTEN);
    }
    Ok(())
}

/// In a word, what a target has come to that should still wait or work.
fn harm(wait: Wait, target: &Target) -> Option<&'static str> {
    // Of what has no end of its own, it is seen that it comes to a good one.
    if target.is_running() && wait.ends_when_asked() && wait.verdict(target).is_none() {
        wait.end(target);
        let until = Instant::now() + PATIENCE_WITH_PEERS;
        while target.is_running() && Instant::now() < until {
            match wait.verdict(target) {
                Some(Ok(_)) => return None,
                Some(Err(_)) => break,
                None => thread::sleep(OFTEN),
            }
        }
        return Some(if target.is_running() { "harm" } else { "crash" });
    }
    match (target.is_running(), wait.verdict(target)) {
        (false, _) => Some("crash"),
        (true, None) => None,
        (true, Some(_)) => Some("harm"),
    }
}

fn free_port() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.doing(|| "looking for a free port".to_owned())
}

/// When someone first listened there, if in time. To connect would change what is measured: a
/// target crashed whose debugpy had a client, and lost it, before gdb had let go of it.
fn listens(port: SocketAddr, until: Instant) -> Option<Instant> {
    let listener = format!(": 0100007F:{:04X} 00000000:0000 0A ", port.port());
    while Instant::now() < until {
        let sockets = fs::read_to_string("/proc/net/tcp").ok()?;
        if sockets.contains(&listener) {
            return Some(Instant::now());
        }
        thread::sleep(OFTEN);
    }
    None
}

/// A script that writes a byte into a fifo, and when it did.
struct Mark {
    code: String,
    script: PathBuf,
    made: mpsc::Receiver<Instant>,
    _directory: tempfile::TempDir,
}

impl Mark {
    fn new() -> Outcome<Mark> {
        let directory = tempfile::tempdir().doing(|| "making a directory".to_owned())?;
        let path = |name: &str| directory.path().join(name);
        let (fifo, script) = (path("fifo"), path("script.py"));
        capture(Command::new("mkfifo").arg(&fifo))?;
        let code = format!(
            "import os\nf = os.open({fifo:?}, os.O_WRONLY)\nos.write(f, b'x')\nos.close(f)\n"
        );
        fs::write(&script, &code).doing(|| "writing the script".to_owned())?;
        Ok(Mark {
            code,
            script,
            made: reader(&fifo)?,
            _directory: directory,
        })
    }

    /// What an earlier target has made.
    fn forget(&self) {
        self.made.try_iter().for_each(drop);
    }

    fn made(&self, until: Instant) -> Option<Instant> {
        let left = until.saturating_duration_since(Instant::now());
        self.made.recv_timeout(left).ok()
    }
}

fn reader(fifo: &Path) -> Outcome<mpsc::Receiver<Instant>> {
    // Opened for both, so that it neither waits for a writer nor ends with one.
    let mut reader = File::options()
        .read(true)
        .write(true)
        .open(fifo)
        .doing(|| "opening the fifo".to_owned())?;
    let (send, made) = mpsc::channel();
    thread::spawn(move || {
        while reader.read_exact(&mut [0]).is_ok() && send.send(Instant::now()).is_ok() {}
    });
    Ok(made)
}
