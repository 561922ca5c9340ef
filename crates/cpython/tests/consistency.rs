//! Stacks of a thread that calls and returns while they are read: none is shown as certain that
//! the thread can't have had.

#[path = "support/chains.rs"]
mod chains;

use chains::Tally;
use invivo_cpython::{Limits, Runtime, StackOptions, locate};
use invivo_process::Target;
use synth::{Interpreter, Launch, interpreters, samples};

/// Stacks read of each target.
const STACKS: u64 = 5_000;

/// Whether frames lie on a data stack; else each is an object of its own.
fn has_data_stack(interpreter: &Interpreter) -> bool {
    let minor = interpreter.version.split('.').nth(1).expect("a version");
    minor.parse::<u32>().expect("a version") >= 11
}

fn read_without_stopping(interpreter: &Interpreter, depth: usize, work: usize) -> Tally {
    let arguments = [depth.to_string(), work.to_string()];
    let process = Launch::new(interpreter, samples::CHAINS)
        .arguments(arguments)
        .start();
    let target = Target::open(process.pid()).expect("the target");
    let modules = target.modules().expect("its modules");
    let location = locate(&target.memory(), &modules, &target, &Limits::default());
    let location = location.expect("an interpreter");
    let runtime = Runtime::open(target.memory(), &location, Limits::default()).expect("a layout");
    let found = runtime.interpreters().expect("interpreters");
    let thread = &found.main().expect("a main one").threads[0];
    let mut tally = Tally::default();
    while tally.stacks < STACKS {
        let stack = runtime.stack(thread, &StackOptions::default());
        // It has to get there first.
        let begun = stack
            .frames
            .iter()
            .any(|frame| frame.code.name.text == "main");
        if begun || tally.stacks > 0 {
            tally.add(&stack, depth);
        }
    }
    tally
}

fn is_good(interpreter: &Interpreter, tally: &Tally) -> bool {
    // On the worst machine seen 3.11 marks 3 in 100 at depth 1, and misplaces a line in 1 or 2.
    let is_placed = if has_data_stack(interpreter) {
        tally.misplaced <= STACKS / 50 && tally.torn <= STACKS / 20 && tally.in_chain > STACKS / 2
    } else {
        // Each frame is read at a moment of its own, and a caller's line may be of another one
        // unmarked.
        tally.misplaced <= STACKS / 10
    };
    is_placed && tally.impossible <= STACKS / 200
}

#[test]
fn what_is_shown_as_certain_is_possible() {
    for interpreter in interpreters() {
        for (depth, work) in [(1, 30), (50, 3)] {
            // How often it happens depends on the machine, and on what else it does at the moment:
            // `cargo xtask bench consistency` counts. A reader that believes what it reads shows
            // one in ten to one in two, however often it is tried.
            let mut tried = Vec::new();
            while tried.len() < 4 && !tried.last().is_some_and(|last| is_good(interpreter, last)) {
                tried.push(read_without_stopping(interpreter, depth, work));
            }
            let good = tried.last().is_some_and(|last| is_good(interpreter, last));
            assert!(good, "{}, depth {depth}: {tried:?}", interpreter.name);
        }
    }
}
