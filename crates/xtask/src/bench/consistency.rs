//! `cargo xtask bench consistency [STACKS]`: what stacks of a thread that is not stopped are worth.
//!
//! The target goes down two chains of calls in turn. `invivo record` reads that many of its stacks
//! at 20 kHz; some are read while it is stopped, at random moments: the shares of what they show
//! should be the same. The peers sample the same target in the same run.

use std::path::{Path, PathBuf};
use std::process::Command;

use synth::{Interpreter, Launch, interpreter, samples};

use super::{mojo, number, ours, peers};
use crate::run::{Doing, Outcome, capture, cargo, show};
use crate::{pythons, release};

const STACKS: usize = 40_000;
/// Ticks a second asked for; py-spy, which needs a millisecond and more, is asked for a thousand.
const RATE: usize = 20_000;
/// Stacks read of the stopped target.
const STOPPED: &str = "3000";
/// Calls from `main` to the leaf, and how much the leaf works.
const CHAINS: [(usize, &str); 2] = [(1, "30"), (50, "3")];
/// Seconds for which a peer samples.
const SECONDS: &str = "2";

/// Of one way of reading.
#[derive(Clone, Debug, Default)]
struct Tally {
    stacks: u64,
    /// Those that the target can't have had, and that were shown as certain.
    impossible: u64,
    /// Those whose functions are possible but whose lines are not, where lines are told.
    misplaced: u64,
    /// Those that are marked as uncertain, or rejected.
    marked: u64,
    in_a: u64,
    in_chain: u64,
    in_leaf: u64,
}

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let stacks = number(arguments, "consistency", STACKS)?;
    pythons::ensure()?.complete()?;
    let (reader, invivo) = (reader()?, release::binary()?);
    println!("{RATE} Hz asked, py-spy 1000; the target is never stopped but where it says so.\n");
    println!(
        "| Python | calls | sampler | stacks | impossible | misplaced | marked | in a | in a leaf |"
    );
    println!("| --- | --: | --- | --: | --: | --: | --: | --: | --: |");
    for (depth, work) in CHAINS {
        for name in ["3.11", "3.12", "3.13", "3.14", "3.15"] {
            let python = interpreter(name);
            let target = Launch::new(python, samples::CHAINS)
                .arguments([&depth.to_string(), work])
                .start();
            let pid = target.pid().to_string();
            let row = |sampler: &str, tally: Outcome<Tally>| match tally {
                Ok(tally) => tally.show(name, depth, sampler),
                Err(why) => println!(
                    "| {name} | {depth} | {sampler} | did not do it: {} |",
                    why.trim().lines().last().unwrap_or_default()
                ),
            };
            row("stopped", stopped(&reader, &pid, depth));
            row("invivo", recorded(&invivo, &pid, depth, stacks as u64));
            row(
                "py-spy, stops it",
                py_spy(&pid, &[]).map(|all| peer(&all, depth)),
            );
            let nonblocking = py_spy(&pid, &["--nonblocking"]);
            row(
                "py-spy --nonblocking",
                nonblocking.map(|all| peer(&all, depth)),
            );
            if python.minor() < 15 {
                row("austin", austin(&pid).map(|all| peer(&all, depth)));
            } else {
                row("profiling.sampling", own_profiler(python, &pid, depth));
            }
        }
    }
    Ok(())
}

/// What `invivo record` sees, at least that many stacks where a few attempts are enough.
fn recorded(invivo: &Path, pid: &str, depth: usize, stacks: u64) -> Outcome<Tally> {
    const ATTEMPTS: usize = 10;
    let mut tally = Tally::default();
    for _ in 0..ATTEMPTS {
        let left = stacks.saturating_sub(tally.stacks);
        if left == 0 {
            break;
        }
        let (rate, seconds) = (RATE.to_string(), left as f64 / RATE as f64);
        let seconds = format!("{:.3}", seconds.max(0.1));
        let recorded = ours::record(invivo, pid, &["-r", &rate, "-d", &seconds])?;
        for seen in recorded.seen {
            if seen.whole {
                tally.add(&seen.names, Some(&seen.lines), seen.ticks, depth);
            } else {
                tally.stacks += seen.ticks;
                tally.marked += seen.ticks;
            }
        }
    }
    Ok(tally)
}

/// What is read while the target stands still.
fn stopped(reader: &Path, pid: &str, depth: usize) -> Outcome<Tally> {
    let mut command = Command::new(reader);
    let printed = capture(command.args([pid, &depth.to_string(), "0", STOPPED]))?;
    let line = printed
        .lines()
        .find_map(|line| line.strip_prefix("stopped "));
    let words = line.unwrap_or_default().split_whitespace();
    let mut tally = Tally::default();
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        let place = match name {
            "stacks" => &mut tally.stacks,
            "impossible" => &mut tally.impossible,
            "misplaced" => &mut tally.misplaced,
            "torn" => &mut tally.marked,
            "in_a" => &mut tally.in_a,
            "in_chain" => &mut tally.in_chain,
            "in_leaf" => &mut tally.in_leaf,
            _ => continue,
        };
        *place = value
            .parse()
            .doing(|| "reading the reader's figures".to_owned())?;
    }
    Ok(tally)
}

/// The program that reads stacks over and over.
fn reader() -> Outcome<PathBuf> {
    eprintln!("xtask: building the reader");
    let words = [
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "invivo-cpython",
        "--example",
        "consistency",
    ];
    show(cargo().args(words))?;
    let text = capture(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).doing(|| "reading cargo's metadata".to_owned())?;
    let target = metadata["target_directory"].as_str();
    let target = target.ok_or("cargo names no target directory")?;
    Ok([target, "release", "examples", "consistency"]
        .iter()
        .collect())
}

/// A stack as a peer recorded it: the functions, outermost first, and how often.
pub(super) type Sampled = Vec<(Vec<String>, u64)>;

fn py_spy(pid: &str, options: &[&str]) -> Outcome<Sampled> {
    let (_directory, file) = output()?;
    let mut command = Command::new(peers::program("py-spy")?);
    command.args(["record", "--rate", "1000", "--format", "raw", "--idle"]);
    command.args(options).args(["--duration", SECONDS]);
    command.args(["--pid", pid, "--output"]).arg(&file);
    capture(&mut command)?;
    // `main (chains:11);hot_a (chains:2) 12`
    folded(&file, |frame| frame.rsplit_once(" (").map(|(name, _)| name))
}

fn own_profiler(python: &Interpreter, pid: &str, depth: usize) -> Outcome<Tally> {
    let (_directory, file) = output()?;
    let mut command = Command::new(&python.program);
    command.args(["-m", "profiling.sampling", "attach", "--collapsed"]);
    command.args(["-r", &RATE.to_string(), "-d", SECONDS, "-o"]);
    let printed = capture(command.arg(&file).arg(pid))?;
    // `tid:1;chains:main:11;chains:hot_a:2 12`
    let sampled = folded(&file, |frame| {
        let (rest, _) = frame.rsplit_once(':')?;
        rest.rsplit_once(':').map(|(_, name)| name)
    })?;
    let mut tally = peer(&sampled, depth);
    // What it could not read it leaves out, and says how much that was.
    let rate = printed
        .lines()
        .find_map(|line| line.strip_prefix("Error rate: "));
    let rate: f64 = rate
        .and_then(|rate| rate.trim().parse().ok())
        .unwrap_or(0.0)
        / 100.0;
    tally.marked = (tally.stacks as f64 * rate / (1.0 - rate).max(0.001)) as u64;
    tally.stacks += tally.marked;
    Ok(tally)
}

fn austin(pid: &str) -> Outcome<Sampled> {
    let (_directory, file) = output()?;
    let words = peers::austin()?;
    let mut command = Command::new(words.first().ok_or("no austin")?);
    command.args(words.iter().skip(1));
    let interval = format!("{}us", 1_000_000 / RATE);
    command.args(["-i", &interval, "-x", SECONDS, "-p", pid, "-o"]);
    // It ends with an error after the time it was given, its file whole.
    let ended = capture(command.arg(&file));
    let bytes = std::fs::read(&file).unwrap_or_default();
    match mojo::stacks(&bytes) {
        Some(stacks) if !stacks.is_empty() => Ok(stacks),
        _ => Err(ended
            .err()
            .unwrap_or("it wrote a form that is not known".to_owned())),
    }
}

fn output() -> Outcome<(tempfile::TempDir, PathBuf)> {
    let directory = tempfile::tempdir().doing(|| "making a directory".to_owned())?;
    let file = directory.path().join("stacks");
    Ok((directory, file))
}

/// Stacks of a line each, frames separated by semicolons, behind a space how often.
fn folded(file: &Path, name: impl Fn(&str) -> Option<&str>) -> Outcome<Sampled> {
    let text = std::fs::read_to_string(file).doing(|| "reading the stacks".to_owned())?;
    let line = |line: &str| {
        let (frames, count) = line.rsplit_once(' ')?;
        let names = frames.split(';').filter_map(&name).map(str::to_owned);
        Some((names.collect(), count.parse().ok()?))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// What a peer's stacks come to.
fn peer(sampled: &Sampled, depth: usize) -> Tally {
    let mut tally = Tally::default();
    for (names, count) in sampled {
        if names.iter().any(|name| name == mojo::UNREAD) {
            tally.stacks += count;
            tally.marked += count;
        } else {
            tally.add(names, None, *count, depth);
        }
    }
    tally
}

impl Tally {
    /// Takes stacks that are shown as certain: each is the beginning of one chain.
    fn add(&mut self, names: &[String], lines: Option<&[i64]>, count: u64, depth: usize) {
        self.stacks += count;
        let chain = names.get(2).and_then(|name| name.strip_prefix("hot_"));
        if !is_possible(names, chain.unwrap_or("a"), depth) {
            self.impossible += count;
            return;
        }
        if let Some(chain) = chain {
            self.in_chain += count;
            self.in_a += if chain == "a" { count } else { 0 };
        }
        self.in_leaf += if names.len() == depth + 3 { count } else { 0 };
        // Each function calls on its second line; `main` calls a on its third, b on its fourth.
        let wanted = |at: usize| match at {
            1 => 2 + i64::from(chain == Some("b")),
            _ => 1,
        };
        let mut calls = lines
            .unwrap_or_default()
            .iter()
            .enumerate()
            .skip(1)
            .rev()
            .skip(1);
        if !calls.all(|(at, line)| *line == wanted(at)) {
            self.misplaced += count;
        }
    }

    fn show(&self, python: &str, depth: usize, sampler: &str) {
        let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        println!(
            "| {python} | {depth} | {sampler} | {} | {} ({:.3} %) | {} | {:.2} % | {:.1} % | {:.1} % |",
            self.stacks,
            self.impossible,
            percent(self.impossible, self.stacks),
            self.misplaced,
            percent(self.marked, self.stacks),
            percent(self.in_a, self.in_chain),
            percent(self.in_leaf, self.stacks - self.impossible - self.marked),
        );
    }
}

/// Whether a target can have had this stack: a beginning of one chain.
fn is_possible(names: &[String], chain: &str, depth: usize) -> bool {
    let expected = |at: usize| match at {
        0 => "<module>".to_owned(),
        1 => "main".to_owned(),
        2 => format!("hot_{chain}"),
        at if at == depth + 2 => format!("leaf_{chain}"),
        at => format!("{chain}{}", at - 2),
    };
    (2..=depth + 3).contains(&names.len())
        && ["a", "b"].contains(&chain)
        && names
            .iter()
            .enumerate()
            .all(|(at, name)| *name == expected(at))
}
