//! The project's chores: `cargo xtask CHORE`.
#![forbid(unsafe_code)]

mod apt;
mod bench;
mod browser;
mod ci;
mod demo;
mod fuzz;
mod processes;
mod pythons;
mod release;
mod run;
mod sources;
mod test;
mod tidy;
mod watched;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask CHORE

  demo [ARGUMENT…]              see Invivo at work: builds it and runs `invivo demo`
  build                         the command as it is released: one static file
  test [--no-root] [ARGUMENT…]  run every test; the arguments go to `cargo test`
  ci [STEP…]                    fmt, clippy, doc, tidy, deny and test, as CI does, or some of them
  tidy                          check the invariants of ARCHITECTURE.md
  pythons [--free-threaded | --packages]
                                find or unpack the interpreters that tests and the demo use;
                                with the options, build a free-threaded one as well, or fetch
                                the packages that targets import
  fuzz [MINUTES] [FAMILY]       changed recordings, read by every view: 10 minutes for each family
                                of versions, or for one, such as 3.14-3.15
  fuzz commands [MINUTES] [--seed NUMBER] [--invivo PROGRAM]
                                the command itself, with made-up files, words and processes, under
                                a limit of memory and a watchdog
  bench exec [RUNS]             the time that `invivo exec` takes in every version, of threads that
                                work and that wait, beside the peers
  bench act [RUNS]              whether a script runs in a thread that waits or works in each way
                                there is, how fast, and whether that harms it
  bench harm [--runs N] [--shape NAME] [--anew] [--table] [--peers] [--invivo PROGRAM] [PYTHON…]
                                whether targets of many shapes come to harm: goes on where it was
                                and prints docs/harm.md, with --table at once; with --peers,
                                whether the peers harm the one that does everything at once
  bench consistency [STACKS]    whether stacks of a running thread are right, beside the peers'
  bench dump [ROUNDS]           the time that `invivo dump` takes, beside its peers
  bench record [ROUNDS] [--long]
                                what sampling takes, of the sampler and its target, beside the
                                peers; with the option, what ten minutes at 10 kHz take
  bench shares [SECONDS] [PROGRAM…]
                                whether shares agree with perf's, beside the peers', and whether
                                stacks with generators and coroutines can be
  bench cpu [SECONDS]           whether processor time is what the kernel accounted, under load
  bench truth [SAMPLES]         whether the shares of a recording are those of the target
  bench ps [TARGETS]            the time that `invivo ps` takes among that many Pythons
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        // For cargo: a test program with a limit for each of its tests.
        [watched::CHORE, program, rest @ ..] => return watched::run(program, rest),
        ["demo", rest @ ..] => demo::run(rest),
        ["build"] => release::run(),
        ["test", rest @ ..] => test::run(rest),
        ["ci", steps @ ..] => ci::run(steps),
        ["tidy"] => tidy::run(),
        ["pythons"] => pythons::report(),
        ["pythons", "--packages"] => pythons::report_with_packages(),
        ["pythons", "--free-threaded"] => pythons::report_with_free_threaded(),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["bench", "exec", rest @ ..] => bench::exec::run(rest),
        ["bench", "act", rest @ ..] => bench::act::run(rest),
        ["bench", "harm", rest @ ..] => bench::harm::run(rest),
        ["bench", "consistency", rest @ ..] => bench::consistency::run(rest),
        ["bench", "dump", rest @ ..] => bench::dump::run(rest),
        ["bench", "record", rest @ ..] => bench::record::run(rest),
        ["bench", "shares", rest @ ..] => bench::shares::run(rest),
        ["bench", "cpu", rest @ ..] => bench::cpu::run(rest),
        ["bench", "truth", rest @ ..] => bench::truth::run(rest),
        ["bench", "ps", rest @ ..] => bench::ps(rest),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
