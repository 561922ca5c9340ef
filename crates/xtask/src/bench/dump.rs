//! `cargo xtask bench dump [ROUNDS]`: how long `invivo dump` takes from its start to its exit,
//! beside `py-spy dump` and `pystack remote` on the same target in turn, so that whatever else the
//! machine does meets all of them. Then `invivo tasks` among 10,000 tasks.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use synth::{Interpreter, Launch, interpreter};

use super::{heading, line, number, peers};
use crate::run::{Outcome, capture};
use crate::{pythons, release};

const ROUNDS: usize = 40;

/// A target, and the name of a function that a dump of it has to show.
struct Case {
    name: &'static str,
    program: &'static str,
    shows: &'static str,
}

const CASES: [Case; 3] = [
    Case {
        name: "1 thread, 10 frames",
        program: "
import sys
def descend(depth):
    if depth:
        return descend(depth - 1)
    print('ready', flush=True)
    sys.stdin.read()
descend(8)
",
        shows: "descend",
    },
    Case {
        name: "50 threads",
        program: "
import sys, threading
started = threading.Semaphore(0)
def wait_here():
    started.release()
    threading.Event().wait()
for _ in range(49):
    threading.Thread(target=wait_here, daemon=True).start()
for _ in range(49):
    started.acquire()
print('ready', flush=True)
sys.stdin.read()
",
        shows: "wait_here",
    },
    Case {
        name: "1 thread, 500 frames",
        program: "
import sys
def descend(depth):
    if depth:
        return descend(depth - 1)
    print('ready', flush=True)
    sys.stdin.read()
descend(498)
",
        shows: "descend",
    },
];

const TASKS: &str = "
import asyncio
async def wait_here(event):
    await event.wait()
async def main():
    event = asyncio.Event()
    tasks = [asyncio.create_task(wait_here(event)) for _ in range(9_999)]
    await asyncio.sleep(0)
    print('ready', flush=True)
    await asyncio.gather(*tasks)
asyncio.run(main())
";

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let rounds = number(arguments, "dump", ROUNDS)?;
    pythons::ensure()?.complete()?;
    let invivo = release::binary()?;
    println!("milliseconds, {rounds} rounds, start to exit, targets asleep");
    heading();
    for name in ["3.10", "3.12", "3.13", "3.14", "3.15"] {
        for case in &CASES {
            compare(&invivo, interpreter(name), case, rounds)?;
        }
    }
    for name in ["3.12", "3.14", "3.15"] {
        tasks(&invivo, interpreter(name), rounds)?;
    }
    Ok(())
}

fn compare(invivo: &Path, python: &Interpreter, case: &Case, rounds: usize) -> Outcome {
    let target = Launch::new(python, case.program).start();
    let pid = target.pid().to_string();
    let clients = [
        ("invivo dump", invivo.to_owned(), vec!["dump", &pid]),
        (
            "py-spy dump",
            peers::program("py-spy")?,
            vec!["dump", "--pid", &pid],
        ),
        (
            "py-spy dump --nonblocking",
            peers::program("py-spy")?,
            vec!["dump", "--nonblocking", "--pid", &pid],
        ),
        (
            "pystack remote",
            peers::program("pystack")?,
            vec!["remote", "--no-block", &pid],
        ),
    ];
    let mut own = None;
    for (client, times) in in_turn(&clients, case.shows, rounds)? {
        let what = format!("{} {}: {client}", python.name, case.name);
        match times {
            Ok(times) => {
                let median = line(&what, times);
                let own = *own.get_or_insert(median);
                let ratio = own.as_secs_f64() / median.as_secs_f64();
                println!("{:50} invivo takes {ratio:.2} of it", "");
            }
            Err(why) => println!("{what:50} does not do it: {why}"),
        }
    }
    Ok(())
}

type Client<'a> = (&'static str, std::path::PathBuf, Vec<&'a str>);
type Times = Result<Vec<Duration>, String>;

/// Runs the clients in turn, `rounds` times each. One that fails, or does not show the function,
/// is left out from then on and says why.
fn in_turn(
    clients: &[Client<'_>],
    shows: &str,
    rounds: usize,
) -> Outcome<Vec<(&'static str, Times)>> {
    let mut results: Vec<(_, Times)> = clients
        .iter()
        .map(|(name, ..)| (*name, Ok(Vec::new())))
        .collect();
    // The first round warms the caches and does not count.
    for round in 0..=rounds {
        for ((_, program, arguments), (_, times)) in clients.iter().zip(&mut results) {
            let Ok(kept) = times else { continue };
            let start = Instant::now();
            let printed = capture(Command::new(program).args(arguments));
            let took = start.elapsed();
            match printed {
                Ok(printed) if printed.contains(shows) && round > 0 => kept.push(took),
                Ok(printed) if printed.contains(shows) => {}
                Ok(_) => *times = Err(format!("it does not show {shows}")),
                Err(message) => {
                    let last = message.lines().last().unwrap_or_default();
                    *times = Err(last.to_owned());
                }
            }
        }
    }
    match results.first() {
        Some((name, Err(why))) => Err(format!("{name}: {why}")),
        _ => Ok(results),
    }
}

fn tasks(invivo: &Path, python: &Interpreter, rounds: usize) -> Outcome {
    let target = Launch::new(python, TASKS).start();
    let pid = target.pid().to_string();
    let mut times = Vec::new();
    for round in 0..=rounds {
        let start = Instant::now();
        let printed = capture(Command::new(invivo).args(["tasks", &pid]))?;
        let took = start.elapsed();
        let listed = printed
            .lines()
            .filter(|line| line.contains("wait_here"))
            .count();
        if listed < 9_999 {
            return Err(format!("invivo tasks lists {listed} of 9999 tasks"));
        }
        if round > 0 {
            times.push(took);
        }
    }
    line(
        &format!("{}: invivo tasks, 10,000 tasks", python.name),
        times,
    );
    Ok(())
}
