//! `cargo xtask bench harm [RUNS] [--peers] [PYTHON…]`: whether a target comes to harm.
//!
//! The target does everything at once that a script from outside could disturb, and checks all of
//! it ([`samples::FULL_LOAD`]). Scripts come without pause, half of them for its main thread and
//! half for any other. Meanwhile and afterwards it has to go on in all its parts, with no more
//! memory or file descriptors than before, and to end well.
//!
//! With `--peers`, the peers inject as many scripts into the same target, and a new one is started
//! where one has come to harm.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use synth::target::PATIENCE;
use synth::{Interpreter, Launch, Target, interpreter, samples};

use super::{peers, reason};
use crate::run::{Doing, Outcome};
use crate::{pythons, release};

const RUNS: usize = 10_000;
const RUNS_OF_PEERS: usize = 200;
/// Memory is looked at after so many runs: what grows at first is caches.
const ROUND: usize = 100;
/// How long a peer may take, and a target to show that it works, before it counts as harmed.
pub(super) const PATIENCE_WITH_PEERS: Duration = Duration::from_secs(10);
const PYTHONS: [&str; 10] = [
    "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15", "3.14d", "3.15d",
];

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let peers = arguments.contains(&"--peers");
    let mut words = arguments.iter().filter(|word| **word != "--peers");
    let usual = if peers { RUNS_OF_PEERS } else { RUNS };
    let runs = match words.next() {
        None => usual,
        Some(word) => word
            .parse()
            .map_err(|_| "usage: cargo xtask bench harm [RUNS] [--peers] [PYTHON…]")?,
    };
    let chosen: Vec<&str> = words.copied().collect();
    let pythons = PYTHONS
        .into_iter()
        .filter(|name| chosen.is_empty() || chosen.contains(name));
    pythons::ensure()?.complete()?;
    if peers {
        return beside(runs, pythons);
    }
    let invivo = release::binary()?;
    println!(
        "| Python | `PYTHONMALLOC` | runs | done | not done | ms each | memory, MiB | descriptors | target |"
    );
    println!("| --- | --- | --: | --: | --: | --: | --: | --: | --- |");
    for name in pythons {
        for allocator in ["", "debug"] {
            println!("{}", harm(&invivo, interpreter(name), allocator, runs)?);
        }
    }
    Ok(())
}

fn start(python: &Interpreter, allocator: &str) -> Target {
    let launch = Launch::new(python, samples::FULL_LOAD);
    match allocator {
        "" => launch,
        allocator => launch.variable("PYTHONMALLOC", allocator),
    }
    .start()
}

/// A line of the table: what became of a target.
fn harm(invivo: &Path, python: &Interpreter, allocator: &str, runs: usize) -> Outcome<String> {
    let target = start(python, allocator);
    let threads = target.ready_ids();
    let mut memory = Vec::new();
    let mut descriptors = Vec::new();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let (mut done, mut spent) = (0, Duration::ZERO);
    let mut verdict = None;
    // Threads that could not be asked: they are tried now and then.
    let mut busy = BTreeSet::new();
    for number in 0..runs {
        if number % ROUND == 0 {
            if let Some(harm) = works(&target, PATIENCE) {
                verdict = Some(harm);
                break;
            }
            memory.push(target.memory());
        }
        if number % (runs / 2).max(1) == 0 {
            descriptors.push(target.descriptors());
        }
        let mut thread = if number % 2 == 0 {
            threads[0]
        } else {
            threads[number / 2 % threads.len()]
        };
        if busy.contains(&thread) && number % ROUND != 1 {
            thread = threads[0];
        }
        let begun = Instant::now();
        let run = one_run(invivo, &target, thread, number);
        match run.map_err(|wrong| format!("{wrong}\n{}", target.account()))? {
            None => done += 1,
            Some(reason) => {
                busy.insert(thread);
                *reasons.entry(reason).or_insert(0) += 1;
            }
        }
        spent += begun.elapsed();
        if !target.is_running() {
            let said = [target.stdout_so_far(), target.stderr_so_far()];
            let last = said.map(|text| text.lines().last().unwrap_or("").to_owned());
            let status = target.wait_exit(PATIENCE);
            verdict = Some(format!(
                "ended in run {number} ({status}): {}",
                last.join(" ")
            ));
            break;
        }
    }
    if verdict.is_none() {
        descriptors.push(target.descriptors());
        memory.push(target.memory());
    }
    let verdict = verdict
        .or_else(|| works(&target, PATIENCE))
        .or_else(|| ended(&target));
    for (reason, count) in &reasons {
        eprintln!("{} {allocator}: {count} times: {reason}", python.name);
    }
    let not_done: usize = reasons.values().sum();
    Ok(format!(
        "| {} | {allocator} | {} | {done} | {not_done} | {:.1} | {} | {} | {} |",
        python.name,
        done + not_done,
        spent.as_secs_f64() * 1e3 / (done + not_done).max(1) as f64,
        course(&memory),
        descriptors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        verdict.unwrap_or_else(|| "unharmed".to_owned()),
    ))
}

/// The memory at a tenth, half and the end of the runs.
fn course(memory: &[u64]) -> String {
    let at = |share: f64| {
        let index = ((memory.len().saturating_sub(1)) as f64 * share).round() as usize;
        let kib = memory.get(index).copied().unwrap_or(0);
        format!("{:.1}", kib as f64 / 1024.0)
    };
    [at(0.1), at(0.5), at(1.0)].join(", ")
}

/// Has a script run: `None` where it did, and the reason where it was refused. A wrong answer is
/// an error of its own.
fn one_run(invivo: &Path, target: &Target, thread: u64, number: usize) -> Outcome<Option<String>> {
    let (option, code, status, printed) = match number % 4 {
        0 => (
            "-e",
            format!("sum(range({number}))"),
            0,
            format!("{}\n", number * number.saturating_sub(1) / 2),
        ),
        1 => (
            "-c",
            format!("import sys; print('a', {number}); print('b', file=sys.stderr)"),
            0,
            format!("a {number}\n"),
        ),
        2 => ("-c", format!("raise KeyError({number})"), 1, String::new()),
        _ => (
            "-e",
            format!("[list(range(100)) for _ in range(100)] and {number}"),
            0,
            format!("{number}\n"),
        ),
    };
    let pid = target.pid().to_string();
    let mut command = Command::new(invivo);
    let thread_text = thread.to_string();
    command.args(["exec", &pid, "--timeout", "3", "--thread", &thread_text]);
    command.args([option, &code]);
    let output = command
        .stdin(Stdio::null())
        .output()
        .doing(|| "running invivo".to_owned())?;
    if output.status.code() == Some(status) && output.stdout == printed.as_bytes() {
        return Ok(None);
    }
    match (output.status.code(), reason(&output)) {
        (Some(5..=7), Some(why)) => Ok(Some(why)),
        _ => Err(format!(
            "run {number} in thread {thread} of {pid} should have printed {printed:?} and ended \
             with {status}: {output:?}"
        )),
    }
}

/// Whether all its parts go on: `None`, or the harm.
fn works(target: &Target, patience: Duration) -> Option<String> {
    let counted = || -> Option<u64> {
        if !target.is_running() {
            return None;
        }
        target.send_line("report");
        let before = target.stdout_so_far().lines().count();
        let until = Instant::now() + patience;
        while Instant::now() < until {
            let text = target.stdout_so_far();
            let answer = text
                .lines()
                .skip(before)
                .find_map(|line| line.strip_prefix("checked "));
            if let Some(count) = answer {
                return count.parse().ok();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    };
    let first = counted();
    let until = Instant::now() + patience;
    while Instant::now() < until {
        match (first, counted()) {
            (Some(first), Some(now)) if now > first => return None,
            (Some(_), Some(_)) => {}
            _ => break,
        }
    }
    Some(state_of(target))
}

/// How a target came to harm that works no more.
fn state_of(target: &Target) -> String {
    let printed = target.stdout_so_far();
    let wrong = printed.lines().find(|line| line.starts_with("wrong "));
    if let Some(line) = wrong {
        return line.to_owned();
    }
    if target.is_running() {
        "it works no more".to_owned()
    } else {
        crashed(target.wait_exit(PATIENCE))
    }
}

fn crashed(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;

    match status.signal() {
        Some(signal) => format!("ended by signal {signal}"),
        None => format!("ended with {status}"),
    }
}

/// Whether it ends as it should: `None`, or the harm.
fn ended(target: &Target) -> Option<String> {
    target.send_line("stop");
    let status = target.wait_exit(PATIENCE);
    if !status.success() {
        return Some(crashed(status));
    }
    let errors = target.stderr_so_far();
    (!errors.is_empty()).then(|| {
        format!(
            "wrote on its stderr: {}",
            errors.lines().next().unwrap_or("")
        )
    })
}

/// How a peer is told to run a Python file's text in a process.
#[derive(Clone, Copy)]
enum Peer {
    Hypno,
    Pyrasite,
}

fn beside(runs: usize, pythons: impl Iterator<Item = &'static str>) -> Outcome {
    println!("| Python | peer | runs | ran | did not | harmed | how |");
    println!("| --- | --- | --: | --: | --: | --: | --- |");
    for name in pythons {
        for peer in [Peer::Hypno, Peer::Pyrasite] {
            println!("{}", peer.harm(interpreter(name), runs)?);
        }
    }
    Ok(())
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Peer::Hypno => "hypno",
            Peer::Pyrasite => "pyrasite",
        }
    }

    fn harm(self, python: &Interpreter, runs: usize) -> Outcome<String> {
        let directory = tempfile::tempdir().doing(|| "making a directory".to_owned())?;
        let (file, mark) = (
            directory.path().join("code.py"),
            directory.path().join("mark"),
        );
        let code = format!("open({mark:?}, 'w').close()");
        fs::write(&file, &code).doing(|| "writing a script".to_owned())?;
        let program = peers::program(self.name())?;
        let mut target = start(python, "");
        let (mut ran, mut not, mut hows) = (0, 0, BTreeMap::<String, usize>::new());
        for _ in 0..runs {
            let _ = fs::remove_file(&mark);
            let pid = target.pid().to_string();
            let mut command = Command::new("timeout");
            // One that hangs is not waited for.
            let limit = PATIENCE_WITH_PEERS.as_secs().to_string();
            command
                .args(["--signal=KILL", &limit])
                .arg(&program)
                .arg(&pid);
            match self {
                Peer::Hypno => command.arg(&code),
                Peer::Pyrasite => command.arg(&file),
            };
            let status = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .doing(|| format!("running {}", self.name()))?;
            let harm = works(&target, PATIENCE_WITH_PEERS);
            if mark.exists() {
                ran += 1;
            } else {
                not += 1;
            }
            if let Some(harm) = harm {
                *hows.entry(harm).or_insert(0) += 1;
                target = start(python, "");
            } else if !status.success() && ran + not == 1 {
                eprintln!("{} on {}: {status}", self.name(), python.name);
            }
        }
        let harmed: usize = hows.values().sum();
        let hows: Vec<String> = hows
            .into_iter()
            .map(|(how, count)| format!("{count} {how}"))
            .collect();
        Ok(format!(
            "| {} | {} | {runs} | {ran} | {not} | {harmed} | {} |",
            python.name,
            self.name(),
            hows.join("; ")
        ))
    }
}
