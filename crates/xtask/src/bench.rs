//! Measurements of Invivo beside its peers, a module each, and what they share.
//!
//! `cargo xtask bench ps [TARGETS]`: how long `invivo ps` takes.

pub(crate) mod act;
pub(crate) mod consistency;
pub(crate) mod cpu;
pub(crate) mod dump;
pub(crate) mod exec;
pub(crate) mod harm;
mod mojo;
mod ours;
mod peers;
pub(crate) mod record;
mod samplers;
pub(crate) mod shares;
pub(crate) mod truth;

use std::process::Command;
use std::time::{Duration, Instant};

use synth::{Launch, Target, interpreter, samples};

use crate::run::{Outcome, capture};
use crate::{pythons, release};

const ROUNDS: usize = 50;
const TARGETS: usize = 300;

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
