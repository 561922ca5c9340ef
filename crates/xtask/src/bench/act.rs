//! `cargo xtask bench act [RUNS]`: whether a script runs in a thread that waits or works in each
//! way there is, how long it takes, and whether the thread goes on as it would have. Prints the
//! document with the tables.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use synth::waits::{ALL, Kind, Wait};
use synth::{Interpreter, Target, interpreter};

use super::{number, reason};
use crate::run::{Doing, Outcome};
use crate::{pythons, release};

const RUNS: usize = 10;
pub(super) const VERSIONS: [&str; 8] =
    ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"];
/// How long a wait with a time-out lasts, and a call of the long ones in C.
const SECONDS: f64 = 5.0;
/// So many wait at the same time; each has its scripts alone.
const AT_A_TIME: usize = 6;

/// What a cell of the table shows.
enum Cell {
    /// The median, and the longest.
    Ran(Duration, Duration),
    Not(String),
}

const HEAD: &str = "\
# Where a script runs, and how long it takes

Measured by `cargo xtask bench act`; every value is from a run. In each cell a script of one \
expression was run by the main thread of a process that waits or works so, with `--timeout 0.4`. A \
number is the median time of the whole command in milliseconds, in parentheses the longest. A \
letter is the reason why it did not run; they stand below the table.

The target checks its own wait: one with a time-out must end neither sooner nor much later, one for \
an event must get exactly what was sent, and what is computed must be right. The last column counts \
the targets that found something wrong.
";

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let runs = number(arguments, "act", RUNS)?;
    pythons::ensure()?.complete()?;
    let invivo = release::binary()?;
    println!("{HEAD}\nRuns in a cell: {runs}.\n");
    println!("| the main thread | {} | harm |", VERSIONS.join(" | "));
    println!("| --- |{} --: |", " --: |".repeat(VERSIONS.len()));
    let mut reasons: BTreeMap<String, char> = BTreeMap::new();
    let (mut slowest, mut harmed) = (Duration::ZERO, 0);
    for chunk in chunks() {
        let mut rows: Vec<Vec<String>> = vec![Vec::new(); chunk.len()];
        let mut harms = vec![Vec::new(); chunk.len()];
        for version in VERSIONS {
            let cells = measure(&invivo, interpreter(version), &chunk, runs)?;
            for (index, (cell, harm)) in cells.into_iter().enumerate() {
                rows[index].push(match cell {
                    Cell::Ran(median, longest) => {
                        slowest = slowest.max(median);
                        format!("{} ({})", shown(median), shown(longest))
                    }
                    Cell::Not(why) => {
                        let next = char::from(b'a' + reasons.len() as u8);
                        reasons.entry(why).or_insert(next).to_string()
                    }
                });
                if let Some(harm) = harm {
                    eprintln!("harm: {version} {}: {harm}", chunk[index].name);
                    harms[index].push(version);
                }
            }
        }
        for ((wait, row), harms) in chunk.iter().zip(rows).zip(harms) {
            harmed += harms.len();
            println!("| {} | {} | {} |", wait.title, row.join(" | "), harms.len());
        }
    }
    let mut reasons: Vec<(String, char)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, letter)| *letter);
    println!();
    for (why, letter) in reasons {
        println!("- {letter}: {why}");
    }
    println!(
        "\nThe slowest median: {} ms. Targets harmed: {harmed}.",
        shown(slowest)
    );
    Ok(())
}

/// The waits in groups that are measured together: what computes is alone.
fn chunks() -> Vec<Vec<Wait>> {
    let mut chunks: Vec<Vec<Wait>> = Vec::new();
    for wait in ALL {
        let last = chunks.last_mut();
        match last.filter(|last| asleep(wait) && asleep(last[0]) && last.len() < AT_A_TIME) {
            Some(last) => last.push(wait),
            None => chunks.push(vec![wait]),
        }
    }
    chunks
}

fn asleep(wait: Wait) -> bool {
    !matches!(wait.kind, Kind::Python | Kind::Heedful | Kind::Deaf)
}

/// What became of each, and of its target.
fn measure(
    invivo: &Path,
    python: &Interpreter,
    waits: &[Wait],
    runs: usize,
) -> Outcome<Vec<(Cell, Option<String>)>> {
    let targets: Vec<Target> = waits
        .iter()
        .map(|wait| wait.start(python, SECONDS))
        .collect();
    let mut cells = Vec::new();
    for (wait, target) in waits.iter().zip(&targets) {
        cells.push(cell(invivo, target, runs)?);
        if wait.verdict(target).is_some_and(|verdict| verdict.is_ok()) {
            return Err(format!("{} was over before its scripts were", wait.name));
        }
    }
    let outcomes = waits.iter().zip(targets).zip(cells);
    Ok(outcomes
        .map(|((wait, target), cell)| (cell, harm(*wait, &target)))
        .collect())
}

fn cell(invivo: &Path, target: &Target, runs: usize) -> Outcome<Cell> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let pid = target.pid().to_string();
        let mut command = Command::new(invivo);
        command.args(["exec", &pid, "--timeout", "0.4", "-e", "6 * 7"]);
        let start = Instant::now();
        let output = command
            .stdin(Stdio::null())
            .output()
            .doing(|| "running invivo".to_owned())?;
        times.push(start.elapsed());
        if output.stdout != b"42\n" {
            let why = reason(&output).ok_or_else(|| format!("invivo: {output:?}"))?;
            return Ok(Cell::Not(why));
        }
    }
    times.sort();
    Ok(Cell::Ran(times[times.len() / 2], times[times.len() - 1]))
}

/// What a target found wrong with its wait.
fn harm(wait: Wait, target: &Target) -> Option<String> {
    if wait.ends_when_asked() {
        wait.end(target);
    }
    let until = Instant::now() + synth::target::PATIENCE;
    loop {
        match wait.verdict(target) {
            // A wait that began anew would last longer by what had passed of it.
            Some(Ok(seconds)) if !wait.ends_when_asked() && seconds > SECONDS + 0.5 => {
                return Some(format!("lasted {seconds} s instead of {SECONDS}"));
            }
            Some(Ok(_)) => break,
            Some(Err(what)) => return Some(what),
            None if !target.is_running() => return Some("ended".to_owned()),
            None if Instant::now() > until => return Some("never came to its end".to_owned()),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    target.close_input();
    let status = target.wait_exit(synth::target::PATIENCE);
    if !status.success() {
        return Some(status.to_string());
    }
    let errors = target.stderr_so_far();
    (!errors.is_empty()).then(|| format!("wrote on its stderr: {errors}"))
}

pub(super) fn shown(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}
