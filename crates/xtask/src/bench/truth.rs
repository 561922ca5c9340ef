//! `cargo xtask bench truth [SAMPLES]`: whether what `invivo record` counts is what the target
//! itself says that it spent its time with, in every mode and version.
//!
//! The target's main thread goes through parts (plain calls, recursion, generators, a coroutine, a
//! handler of an exception, sleep), another one hashes without the GIL and naps; both keep an
//! account. What is shown is by how many points that part's share is off that is off the most.

use std::collections::BTreeMap;

use synth::target::PATIENCE;
use synth::{Launch, Target, interpreter};

use super::{number, ours};
use crate::run::Outcome;
use crate::{pythons, release};

const SAMPLES: usize = 20_000;
/// Ticks a second.
const RATE: usize = 10_000;
const MODES: [&str; 4] = ["wall", "cpu", "gil", "exception"];

const PROGRAM: &str = r#"
import hashlib, sys, threading, time
clock = time.perf_counter
spent = {}
def spin(seconds):
    end = clock() + seconds
    while clock() < end: pass
def three(): spin(0.0006)
def one(): spin(0.0002)
def recurse(depth=9):
    if depth: recurse(depth - 1)
    else: spin(0.0004)
def inner():
    while True:
        spin(0.0003)
        yield
def generate():
    yield from inner()
generator = generate()
async def waited(): spin(0.0002)
async def task(): await waited()
def drive():
    try: task().send(None)
    except StopIteration: pass
def handle():
    try: {}[0]
    except KeyError: spin(0.0004)
def doze(): time.sleep(0.0004)
block = bytes(1 << 17)
def digest(): hashlib.sha256(block).digest()
def nap(): time.sleep(0.001)
def account(name, part):
    begun = clock()
    part()
    spent[name] = spent.get(name, 0.0) + clock() - begun
def aside():
    while True:
        account("digest", digest)
        account("nap", nap)
def answer():
    for line in sys.stdin:
        print("spent", line.strip(), *(f"{name}={seconds}" for name, seconds in sorted(spent.items())), flush=True)
def main():
    while True:
        account("three", three)
        account("one", one)
        account("recurse", recurse)
        account("inner", lambda: next(generator))
        account("drive", drive)
        account("handle", handle)
        account("doze", doze)
for function in aside, answer:
    threading.Thread(target=function, daemon=True).start()
print("ready", flush=True)
main()
"#;
/// Parts in which a thread is on a processor, and those in which it is not.
const BUSY: [&str; 6] = ["three", "one", "recurse", "inner", "drive", "handle"];
const ALL: [&str; 7] = [
    "three", "one", "recurse", "inner", "drive", "handle", "doze",
];
const ASIDE: [&str; 2] = ["digest", "nap"];

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let samples = number(arguments, "truth", SAMPLES)?;
    pythons::ensure()?.complete()?;
    let invivo = release::binary()?;
    let seconds = samples as f64 / RATE as f64;
    println!(
        "Points by which the share of a part is off at most; {RATE} Hz, {samples} ticks due.\n"
    );
    println!("| Python | mode | ticks | missed | torn | off by | in | shown, % | true, % |");
    println!("| --- | --- | --: | --: | --: | --: | --- | --: | --: |");
    for name in ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"] {
        let target = Launch::new(interpreter(name), PROGRAM).start();
        for mode in MODES {
            let before = spent(&target, &format!("before-{mode}"));
            let (rate, seconds) = (RATE.to_string(), seconds.to_string());
            let options = ["-r", &rate, "-d", &seconds, "--mode", mode];
            let recorded = ours::record(&invivo, &target.pid().to_string(), &options)?;
            let after = spent(&target, &format!("after-{mode}"));
            let time = |part: &str| {
                let at = |account: &BTreeMap<String, f64>| account.get(part).copied();
                at(&after).unwrap_or(0.0) - at(&before).unwrap_or(0.0)
            };
            let ticks = |part: &str| ticks_in(&recorded.seen, part);
            let (part, shown, real) = worst(mode, &time, &ticks, recorded.number("ticks"));
            println!(
                "| {name} | {mode} | {} | {} | {} | {:.2} | {part} | {:.2} | {:.2} |",
                recorded.number("ticks"),
                recorded.number("missed"),
                recorded.number("torn"),
                100.0 * (shown - real).abs(),
                100.0 * shown,
                100.0 * real,
            );
        }
    }
    Ok(())
}

/// What the target has spent in each part so far, in seconds.
fn spent(target: &Target, word: &str) -> BTreeMap<String, f64> {
    target.send_line(word);
    let line = target.wait_line(&format!("spent {word} "), PATIENCE);
    let pairs = line.split_whitespace().skip(2);
    pairs
        .filter_map(|pair| {
            let (name, seconds) = pair.split_once('=')?;
            Some((name.to_owned(), seconds.parse().ok()?))
        })
        .collect()
}

fn ticks_in(seen: &[ours::Seen], part: &str) -> f64 {
    let inside = seen
        .iter()
        .filter(|seen| seen.names.iter().any(|name| name == part));
    inside.map(|seen| seen.ticks as f64).sum()
}

/// The part whose share is off the most, with its share as shown and as it was.
fn worst<'a>(
    mode: &str,
    time: &dyn Fn(&str) -> f64,
    ticks: &dyn Fn(&str) -> f64,
    rounds: f64,
) -> (&'a str, f64, f64) {
    let whole: f64 = ALL.iter().map(|part| time(part)).sum();
    let among = |parts: &'static [&'static str]| {
        let (all_ticks, all_time): (f64, f64) = parts
            .iter()
            .map(|part| (ticks(part), time(part)))
            .fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let shares =
            move |part: &&'static str| (*part, ticks(part) / all_ticks, time(part) / all_time);
        parts.iter().map(shares).collect::<Vec<_>>()
    };
    let shares = match mode {
        "wall" => [among(&ALL), among(&ASIDE)].concat(),
        "exception" => vec![("handle", ticks("handle") / rounds, time("handle") / whole)],
        _ => among(&BUSY),
    };
    let off = |one: &(&str, f64, f64)| (one.1 - one.2).abs();
    let most = shares.into_iter().max_by(|a, b| off(a).total_cmp(&off(b)));
    most.unwrap_or(("none", f64::NAN, f64::NAN))
}
