//! `cargo xtask bench consistency [STACKS]`: what stacks of a thread that is not stopped are worth.
//!
//! The target goes down two chains of calls in turn. Invivo reads that many of its stacks, then
//! some while it is stopped: the shares of what they show should be the same. The peers sample the
//! same target for a few seconds, without stopping it, at 1 kHz.

use std::path::{Path, PathBuf};
use std::process::Command;

use synth::{Interpreter, Launch, interpreter, samples};

use super::{mojo, number, peers};
use crate::pythons;
use crate::run::{Doing, Outcome, capture, cargo, show};

const STACKS: usize = 1_000_000;
/// Stacks read of the stopped target.
const STOPPED: &str = "4000";
/// Calls from `main` to the leaf, and how much the leaf works.
const CHAINS: [(usize, &str); 2] = [(1, "30"), (50, "3")];
/// Seconds for which a peer samples.
const SECONDS: &str = "5";

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let stacks = number(arguments, "consistency", STACKS)?;
    pythons::ensure()?.complete()?;
    let reader = reader()?;
    println!(
        "{:34} {:>9} {:>10} {:>9} {:>9} {:>8} {:>8}",
        "", "stacks", "impossible", "misplaced", "marked", "in a, %", "leaf, %"
    );
    let names = ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"];
    for (depth, work) in CHAINS {
        for name in names {
            let python = interpreter(name);
            let target = Launch::new(python, samples::CHAINS)
                .arguments([&depth.to_string(), work])
                .start();
            let pid = target.pid().to_string();
            let mut command = Command::new(&reader);
            command.args([&pid, &depth.to_string(), &stacks.to_string(), STOPPED]);
            for line in capture(&mut command)?.lines() {
                own_line(&format!("{name}, depth {depth}"), line);
            }
            for (peer, sampled) in peers_of(python, &pid) {
                let what = format!("{name}, depth {depth}: {peer}");
                match sampled {
                    Ok(sampled) => peer_line(&what, depth, &sampled),
                    Err(why) => println!("{what:34} did not do it: {}", last_line(&why)),
                }
            }
        }
    }
    Ok(())
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

/// Shows what the reader printed of one way of reading: `free stacks=… impossible=… …`.
fn own_line(what: &str, line: &str) {
    let Some((how, figures)) = line.split_once(' ') else {
        return;
    };
    let how = match how {
        "free" => "invivo",
        "stopped" => "invivo, target stopped",
        _ => return,
    };
    let figure = |name: &str| {
        let mut figures = figures.split_whitespace();
        let found = figures.find_map(|figure| figure.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or("?").to_owned()
    };
    println!(
        "{:34} {:>9} {:>10} {:>9} {:>9} {:>8} {:>8}",
        format!("{what}: {how}"),
        figure("stacks"),
        figure("impossible"),
        figure("misplaced"),
        figure("torn"),
        figure("a"),
        figure("leaf")
    );
}

/// A stack as a peer recorded it: the functions, outermost first, and how often.
pub(super) type Sampled = Vec<(Vec<String>, u64)>;

fn peers_of(python: &Interpreter, pid: &str) -> Vec<(&'static str, Outcome<Sampled>)> {
    let mut all = vec![
        ("py-spy --nonblocking", py_spy(pid)),
        ("austin", austin(pid)),
    ];
    if python.name == "3.15" {
        all.push(("profiling.sampling", own_profiler(python, pid)));
    }
    all
}

fn py_spy(pid: &str) -> Outcome<Sampled> {
    let (_directory, file) = output()?;
    let mut command = Command::new(peers::program("py-spy")?);
    let words = [
        "record",
        "--nonblocking",
        "--rate",
        "1000",
        "--format",
        "raw",
    ];
    command.args(words).args(["--duration", SECONDS]);
    command.args(["--pid", pid, "--output"]).arg(&file);
    capture(&mut command)?;
    // `main (chains:11);hot_a (chains:2) 12`
    folded(&file, |frame| frame.rsplit_once(" (").map(|(name, _)| name))
}

fn own_profiler(python: &Interpreter, pid: &str) -> Outcome<Sampled> {
    let (_directory, file) = output()?;
    let mut command = Command::new(&python.program);
    command.args(["-m", "profiling.sampling", "attach", "--collapsed"]);
    command.args(["-r", "1khz", "-d", SECONDS, "-o"]);
    capture(command.arg(&file).arg(pid))?;
    // `tid:1;chains:main:11;chains:hot_a:2 12`
    folded(&file, |frame| {
        let (rest, _) = frame.rsplit_once(':')?;
        rest.rsplit_once(':').map(|(_, name)| name)
    })
}

/// It needs a newer C library than some machines have: that of an interpreter's prefix will do.
fn austin(pid: &str) -> Outcome<Sampled> {
    let (_directory, file) = output()?;
    let program = peers::program("austin")?;
    let prefix = interpreter("3.15").prefix.as_ref();
    let mut command = match prefix {
        Some(prefix) => {
            let mut command = Command::new(prefix.outside(&prefix.loader));
            let libraries = prefix.outside(&prefix.libraries);
            command.arg("--library-path").arg(libraries).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(["-i", "1000us", "-x", SECONDS, "-p", pid, "-o"]);
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

fn peer_line(what: &str, depth: usize, sampled: &Sampled) {
    let mut all = [0; 5];
    let [stacks, impossible, in_chain, in_a, leaves] = &mut all;
    for (names, count) in sampled {
        *stacks += count;
        let chain = names.get(2).and_then(|name| name.strip_prefix("hot_"));
        if !is_possible(names, chain.unwrap_or("a"), depth) {
            *impossible += count;
            continue;
        }
        if let Some(chain) = chain {
            *in_chain += count;
            *in_a += if chain == "a" { *count } else { 0 };
        }
        *leaves += if names.len() == depth + 3 { *count } else { 0 };
    }
    let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
    println!(
        "{what:34} {stacks:>9} {:>9.2}% {:>9} {:>9} {:>8.1} {:>8.1}",
        percent(*impossible, *stacks),
        "",
        "",
        percent(*in_a, *in_chain),
        percent(*leaves, *stacks - *impossible)
    );
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

fn last_line(text: &str) -> &str {
    text.trim().lines().last().unwrap_or_default()
}
