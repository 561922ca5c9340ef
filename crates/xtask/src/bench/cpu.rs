//! `cargo xtask bench cpu [SECONDS]`: whether what `invivo` says of processor time is what the
//! kernel accounted, on a machine with six busy loops more than it would have.
//!
//! The target has a thread that computes, one that computes now and then, and two without Python.
//! What is shown is by how many points of one processor `record --mode cpu` and `top --once` are off
//! `/proc/PID/task/TID/schedstat`, read before and after.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use synth::{Launch, Target, helpers, interpreter};

use super::{number, ours};
use crate::run::{Outcome, capture};
use crate::{pythons, release};

const SECONDS: usize = 10;
/// Busy loops beside it.
const LOAD: usize = 6;
const VERSIONS: [&str; 8] = ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"];
/// By how many points it may be off.
const POINTS: f64 = 3.0;

const LOOP: &str = r#"
print("ready", flush=True)
while True: pass
"#;
const PROGRAM: &str = r#"
import ctypes, sys, threading, time
native = ctypes.CDLL(sys.argv[1])
def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end: pass
def nap():
    while True:
        spin(0.004)
        time.sleep(0.02)
threading.Thread(target=nap, daemon=True).start()
assert native.start(2) == 0
print("ready", flush=True)
while True: spin(1)
"#;

/// Shares of a processor, in percent: of threads with Python, and of those without.
type Shares = [f64; 2];

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let seconds = number(arguments, "cpu", SECONDS)?;
    pythons::ensure()?.complete()?;
    let invivo = release::binary()?;
    println!(
        "Percent of a processor, {LOAD} busy loops beside it, {seconds} s each: Python's threads + \
         two without Python.\n"
    );
    println!("| Python | way | schedstat | invivo | off by | waited | ticks missed |");
    println!("| --- | --- | --: | --: | --: | --: | --: |");
    let _load: Vec<Target> = (0..LOAD)
        .map(|_| Launch::new(interpreter("3.14"), LOOP).start())
        .collect();
    let mut worst = 0.0_f64;
    for name in VERSIONS {
        let target = Launch::new(interpreter(name), PROGRAM)
            .arguments([helpers::spin()])
            .start();
        for way in ["record", "record -r 100", "top --once"] {
            let before = Accounted::of(&target);
            let (shown, missed) = shown(way, &invivo, &target, seconds)?;
            let (real, waited) = Accounted::of(&target).since(&before, target.pid());
            let off = [shown[0] - real[0], shown[1] - real[1]].map(f64::abs);
            worst = worst.max(off[0]).max(off[1]);
            println!(
                "| {name} | {way} | {:.1} + {:.1} | {:.1} + {:.1} | {:.1}, {:.1} | {waited:.0} | {missed} |",
                real[0], real[1], shown[0], shown[1], off[0], off[1],
            );
        }
    }
    println!("\nOff by {worst:.1} points at most; {POINTS} are allowed.");
    if worst > POINTS {
        return Err(format!("processor time is off by {worst:.1} points"));
    }
    Ok(())
}

/// What the kernel has accounted so far.
struct Accounted {
    at: Instant,
    threads: BTreeMap<u32, [Duration; 2]>,
}

impl Accounted {
    fn of(target: &Target) -> Self {
        Self {
            at: Instant::now(),
            threads: target.processor_times(),
        }
    }

    /// The shares since then, and how much all threads waited.
    fn since(&self, before: &Self, main: u32) -> (Shares, f64) {
        let passed = (self.at - before.at).as_secs_f64() / 100.0;
        let mut sums = [0.0; 2];
        let mut waited = 0.0;
        // The first two threads are Python's.
        for (index, (tid, [on, waiting])) in self.threads.iter().enumerate() {
            let [on_before, waiting_before] = before.threads.get(tid).copied().unwrap_or_default();
            let python = *tid == main || index < 2;
            sums[usize::from(!python)] += (*on - on_before).as_secs_f64() / passed;
            waited += (*waiting - waiting_before).as_secs_f64() / passed;
        }
        (sums, waited)
    }
}

/// The shares that `invivo` shows, and the ticks that it missed of how many.
fn shown(way: &str, invivo: &Path, target: &Target, seconds: usize) -> Outcome<(Shares, String)> {
    let (pid, seconds) = (target.pid().to_string(), seconds.to_string());
    let mut shares = [0.0; 2];
    if way == "top --once" {
        let words = ["top", &pid, "--once", "-d", &seconds];
        let printed = capture(Command::new(invivo).args(words))?;
        let rows = printed.lines().skip_while(|line| !line.starts_with("CPU%"));
        for row in rows.skip(1).filter(|row| !row.is_empty()) {
            let share: Option<f64> = row.split_whitespace().next().and_then(|n| n.parse().ok());
            let native = row.contains("<thread without Python>") || row.contains("short-lived");
            shares[usize::from(native)] += share.ok_or_else(|| format!("no share in {row}"))?;
        }
        return Ok((shares, String::new()));
    }
    let mut options = vec!["--mode", "cpu", "-d", &seconds];
    options.extend(way.split_whitespace().skip(1));
    let recorded = ours::record(invivo, &pid, &options)?;
    let ticks = recorded.number("ticks");
    for seen in &recorded.seen {
        let outside = seen
            .names
            .iter()
            .any(|name| name == "<thread without Python>" || name == "<short-lived threads>");
        shares[usize::from(outside)] += seen.ticks as f64 * 100.0 / ticks;
    }
    let missed = recorded.number("missed");
    Ok((shares, format!("{missed} of {}", missed + ticks)))
}
