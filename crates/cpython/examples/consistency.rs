//! Reads the stack of a running target over and over, and counts what it can't have had.
//!
//!     cargo run --release -p invivo-cpython --example consistency -- PID DEPTH STACKS [STOPPED]
//!
//! The target runs `synth::samples::CHAINS` with that DEPTH. STACKS are read as a dump reads them,
//! one after the other. STOPPED stacks are read while it is stopped, as a yardstick: at random
//! moments, so that no stop hangs on when the one before it ended.

#[path = "../tests/support/chains.rs"]
mod chains;

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use invivo_cpython::{Limits, Runtime, StackOptions, locate};
use invivo_process::{ProcessMemory, Target};

use chains::Tally;

fn main() -> ExitCode {
    let numbers: Result<Vec<u64>, _> = std::env::args().skip(1).map(|word| word.parse()).collect();
    let outcome = match numbers.as_deref() {
        Ok([pid, depth, stacks]) => measure(*pid, *depth, *stacks, 0),
        Ok([pid, depth, stacks, stopped]) => measure(*pid, *depth, *stacks, *stopped),
        _ => Err("usage: consistency PID DEPTH STACKS [STOPPED]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(pid: u64, depth: u64, stacks: u64, stopped: u64) -> Result<(), Box<dyn Error>> {
    let target = Target::open(u32::try_from(pid)?)?;
    let depth = usize::try_from(depth)?;
    let modules = target.modules()?;
    let location = locate(&target.memory(), &modules, &target, &Limits::default())?;
    let runtime = Runtime::open(target.memory(), &location, Limits::default())?;
    let found = runtime.interpreters()?;
    let thread = found.main().and_then(|main| main.threads.first());
    let thread = thread.ok_or("no thread")?;
    let read = |runtime: &Runtime<ProcessMemory>, tally: &mut Tally| {
        tally.add(&runtime.stack(thread, &StackOptions::default()), depth);
    };
    let mut free = Tally::default();
    let start = Instant::now();
    for _ in 0..stacks {
        read(&runtime, &mut free);
    }
    show("free", &free, start.elapsed());
    let mut still = Tally::default();
    let start = Instant::now();
    for count in 0..stopped {
        let pause = RandomState::new().hash_one(count) % 2000;
        std::thread::sleep(Duration::from_micros(pause));
        target.while_stopped(Duration::from_secs(5), |_| read(&runtime, &mut still))?;
    }
    show("stopped", &still, start.elapsed());
    Ok(())
}

fn show(what: &str, tally: &Tally, time: Duration) {
    let stacks = tally.stacks.max(1) as f64;
    println!(
        "{what} stacks={} impossible={} misplaced={} torn={} in_a={} in_chain={} in_leaf={} frames={:.1} us={:.2}",
        tally.stacks,
        tally.impossible,
        tally.misplaced,
        tally.torn,
        tally.in_a,
        tally.in_chain,
        tally.in_leaf,
        tally.frames as f64 / stacks,
        time.as_secs_f64() * 1e6 / stacks,
    );
    for example in &tally.examples {
        println!("  {example}");
    }
}
