//! Recorded processes with words of theirs changed, and live ones that write over their own
//! structures: nothing panics, hangs, or takes memory without bound. The same for hours is
//! `cargo xtask fuzz`.

#[path = "support/fuzzing.rs"]
mod fuzzing;

use std::time::Instant;

use fuzzing::{Recorded, look_at, run};
use invivo_cpython::{Limits, locate, locate_asyncio};
use invivo_process::{Memory, Target};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use synth::scenarios::SAMPLER;
use synth::{Interpreter, Launch, interpreters, samples};

/// How much memory this process may ever have taken, with all tests in it: MiB.
const MEMORY: u64 = 256;

/// A number from the environment: whoever has hours gives larger ones.
fn wanted(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

/// The most memory that this process ever had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("our own status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.expect("VmHWM") / 1024
}

#[test]
fn changed_recordings_are_read_within_bounds() {
    let cases = wanted("INVIVO_FUZZ_CASES", 6);
    for interpreter in interpreters() {
        let (process, told) = SAMPLER.start(interpreter);
        let recorded = Recorded::of(&Target::open(told.pid).expect("the target"));
        drop(process);
        let name = &interpreter.name;
        let whole = run(&recorded, &[]).expect("it can be opened");
        let frames: usize = told.threads.iter().map(|thread| thread.frames.len()).sum();
        // The one that tells has left a frame since.
        assert_eq!(whole.frames, frames - 1, "{name}: the recording is whole");
        // Memory alone does not tell where debug builds list them.
        let tasks = if interpreter.debug {
            1
        } else {
            told.tasks.len()
        };
        assert!(
            whole.tasks >= tasks && whole.variables > 100,
            "{name}: {whole:?}"
        );
        let saved = Recorded::load(&recorded.save());
        assert_eq!(run(&saved, &[]), Some(whole), "{name}: as a file");

        let config = ProptestConfig {
            failure_persistence: None,
            max_shrink_iters: 0,
            ..ProptestConfig::with_cases(cases)
        };
        let choices = prop::collection::vec(any::<u8>(), 0..400);
        let outcome = TestRunner::new(config).run(&choices, |choices| {
            run(&recorded, &choices);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(peak() < MEMORY, "{} MiB", peak());
}

/// What came of looking at a process that writes over its own structures.
#[derive(Debug, Default)]
struct Survived {
    /// Looks at one whose memory was still there at their end.
    alive: u32,
    /// Of these, the ones that saw frames, variables and tasks.
    whole: u32,
    /// Looks at one whose memory was gone at their end.
    dying: u32,
    crashes: u32,
}

/// Looks at a process that writes over its own structures, and starts another when it has crashed,
/// until so many looks at a live one have seen something of everything, or four times as many have
/// been made.
fn survive(interpreter: &Interpreter, looks: u32) -> Survived {
    let mut sum = Survived::default();
    while sum.whole < looks && sum.alive < 4 * looks && sum.crashes < 4 * looks {
        let process = Launch::new(interpreter, samples::SCRIBBLER)
            .arguments([sum.crashes.to_string()])
            .start();
        let target = Target::open(process.pid()).expect("the target");
        let modules = target.modules().expect("its modules");
        let location = locate(&target.memory(), &modules, &target, &Limits::default());
        let location = location.expect("an interpreter");
        let asyncio = locate_asyncio(&location, &modules, &target).expect("what asyncio says");
        process.send_line("begin");
        while sum.whole < looks && sum.alive < 4 * looks && process.is_running() {
            let seen = look_at(&target.memory(), &location, asyncio).unwrap_or_default();
            // One that has crashed has no memory for a while before it has ended.
            if target.memory().read_u64(location.address).is_err() {
                sum.dying += 1;
                continue;
            }
            sum.alive += 1;
            sum.whole += u32::from(seen.frames > 0 && seen.variables > 0 && seen.tasks > 0);
        }
        sum.crashes += u32::from(!process.is_running());
    }
    sum
}

#[test]
fn a_process_that_writes_over_itself_is_survived() {
    let looks = wanted("INVIVO_FUZZ_LOOKS", 10);
    for interpreter in interpreters() {
        let began = Instant::now();
        let survived = survive(interpreter, looks);
        let time = began.elapsed();
        println!("{:6} {survived:?} in {time:?}", interpreter.name);
        assert_eq!(survived.whole, looks, "{}: {survived:?}", interpreter.name);
    }
    assert!(peak() < MEMORY, "{} MiB", peak());
}
