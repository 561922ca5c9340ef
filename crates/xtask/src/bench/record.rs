//! `cargo xtask bench record [ROUNDS] [--long]`: what sampling takes, of the sampler and of its
//! target, beside the peers on the same target.
//!
//! Start-up is taken out: each sampler runs for a short and for a longer time, and what counts is
//! the difference in processor time by that in rounds (a round looks at all threads). Samplers run
//! in random order; figures are medians of ROUNDS. `--long` records ten minutes at 10 kHz instead.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use synth::{Interpreter, Launch, Target, helpers, interpreter, samples};

use super::samplers::{Sampler, Task};
use super::{number, ours};
use crate::run::{Doing, Outcome, capture};
use crate::{pythons, release};

const ROUNDS: usize = 1;
/// The main thread calls a function that counts, over and over, at the bottom of so many calls, and
/// writes to a file how far it is; the other threads wait for an event, as deep.
const PROGRAM: &str = r#"
import mmap, sys, threading
depth, threads = map(int, sys.argv[1:3])
file = open(sys.argv[3], "r+b")
words = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")
sys.setrecursionlimit(depth + 100)
def count():
    for _ in range(20): words[0] += 1
def compute():
    print("ready", flush=True)
    while True: count()
def down(left, then):
    if left > 1:
        down(left - 1, then)
    else:
        then()
for _ in range(threads - 1):
    threading.Thread(target=down, args=(depth - 5, threading.Event().wait), daemon=True).start()
down(depth - 3, compute)
"#;

/// A target and how fast each sampler is asked to look.
struct Shape {
    depth: u64,
    threads: u64,
    /// `None`: as fast as it can.
    hertz: Option<u64>,
    /// Of py-spy, which runs for a number of rounds however long they take: what it just misses.
    py_spy: u64,
}

const fn shape(depth: u64, threads: u64, hertz: Option<u64>, py_spy: u64) -> Shape {
    Shape {
        depth,
        threads,
        hertz,
        py_spy,
    }
}

const SHAPES: [Shape; 5] = [
    shape(10, 1, None, 3500),
    shape(500, 1, None, 100),
    shape(10, 10, None, 450),
    shape(10, 50, None, 80),
    shape(10, 1, Some(1000), 1000),
];
/// Ticks a second that nobody reaches.
const MOST: u64 = 100_000;
/// Seconds of the short and the longer run.
const SHORT: u64 = 1;
const LONGER: u64 = 2;

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let long = arguments.contains(&"--long");
    let rest: Vec<_> = arguments
        .iter()
        .copied()
        .filter(|word| *word != "--long")
        .collect();
    let rounds = number(&rest, "record", ROUNDS)?;
    pythons::ensure()?.complete()?;
    let invivo = release::binary()?;
    if long {
        return record_long(&invivo);
    }
    println!("The main thread calls a function over and over, the others wait for an event.");
    println!(
        "Processor time of a round, start-up taken out; medians of {rounds}; load{}",
        load()
    );
    println!(
        "Target: its speed per second on a processor, of that alone; the share of time in which"
    );
    println!("it neither ran nor waited for a processor; how often a second it was put to rest.\n");
    println!(
        "| Python | frames × threads | asked | sampler | µs a round | rounds/s | speed | rests | a second |"
    );
    println!("| --- | --- | --: | --- | --: | --: | --: | --: | --: |");
    for name in ["3.13", "3.15"] {
        for shape in &SHAPES {
            compare(&invivo, interpreter(name), shape, rounds)?;
        }
    }
    system_calls(&invivo)?;
    first_sample(&invivo)?;
    println!("load{}", load());
    Ok(())
}

/// System calls a tick, of all that `invivo record` does while it goes on: what is done however
/// often it looks is in both of two runs that take as long.
fn system_calls(invivo: &Path) -> Outcome {
    const RATES: [u64; 2] = [100, 1000];
    println!();
    println!("| Python | frames × threads | system calls a tick, with the one that sleeps |");
    println!("| --- | --- | --: |");
    for name in ["3.13", "3.15"] {
        for (depth, threads) in [(10, 1), (500, 1), (10, 50)] {
            let target = Counting::start(interpreter(name), &shape(depth, threads, None, 1))?;
            let pid = target.target.pid().to_string();
            let [few, many] = RATES.map(|hertz| traced(invivo, &pid, hertz));
            let ((few_calls, few_ticks), (calls, ticks)) = (few?, many?);
            let each = (calls - few_calls) / (ticks - few_ticks);
            println!("| {name} | {depth} × {threads} | {each:.2} |");
        }
    }
    Ok(())
}

/// The system calls of a recording, and its ticks.
fn traced(invivo: &Path, pid: &str, hertz: u64) -> Outcome<(f64, f64)> {
    let directory = tempfile::tempdir().doing(|| "making a directory".to_owned())?;
    let report = directory.path().join("report");
    let mut command = Command::new(helpers::killat());
    command.arg("0").arg(&report).arg(invivo);
    command.args(["record", pid, "--json", "-d", "2", "-r", &hertz.to_string()]);
    command.args(["-f", "recording", "-o"]);
    let printed = capture(command.arg(directory.path().join("recording")))?;
    let about: Value = serde_json::from_str(&printed).doing(|| "reading --json".to_owned())?;
    let report = fs::read_to_string(&report).doing(|| "reading the count".to_owned())?;
    let calls = report
        .split(' ')
        .nth(1)
        .and_then(|count| count.parse().ok());
    let ticks = about["ticks"].as_f64();
    calls
        .zip(ticks)
        .ok_or_else(|| format!("no count in {report}"))
}

/// How long it takes from the start to the first sample.
fn first_sample(invivo: &Path) -> Outcome {
    const TIMES: usize = 20;
    println!();
    for name in ["3.13", "3.15"] {
        let target = Counting::start(interpreter(name), &shape(10, 1, None, 1))?;
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            let begun = since.doing(|| "reading the clock".to_owned())?.as_nanos() as f64;
            let pid = target.target.pid().to_string();
            let recorded = ours::record(invivo, &pid, &["-r", "1000", "-d", "0.05"])?;
            let first = recorded.first.ok_or("nothing was seen")?;
            times.push((first as f64 - begun) / 1e6);
        }
        let median = median(times);
        println!("{name}: {median:.1} ms from the start to the first sample (median of {TIMES})");
    }
    Ok(())
}

/// What the machine was busy with.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ')
        .take(3)
        .fold(String::new(), |all, one| all + " " + one)
}

/// A target that counts.
struct Counting {
    target: Target,
    file: tempfile::NamedTempFile,
}

/// How far it was at a moment.
#[derive(Clone, Copy)]
struct Progress {
    count: u64,
    /// Nanoseconds on a processor, and of waiting for one.
    ran: u64,
    waited: u64,
    /// How often it went to rest by itself, or was stopped.
    rests: u64,
    at: Instant,
}

/// What became of it from one moment to another.
#[derive(Clone, Copy, Default)]
struct Pace {
    /// Counted per nanosecond on a processor.
    speed: f64,
    /// The share of time in which it stood still.
    still: f64,
    rests_per_second: f64,
}

impl Counting {
    fn start(python: &Interpreter, shape: &Shape) -> Outcome<Self> {
        let file = tempfile::NamedTempFile::new().doing(|| "making a file".to_owned())?;
        file.as_file()
            .set_len(8)
            .doing(|| "making a file".to_owned())?;
        let (depth, threads) = (shape.depth.to_string(), shape.threads.to_string());
        let target = Launch::new(python, PROGRAM)
            .arguments([depth.as_ref(), threads.as_ref(), file.path().as_os_str()])
            .start();
        Ok(Self { target, file })
    }

    fn progress(&self) -> Outcome<Progress> {
        let mut count = [0; 8];
        let read = self.file.as_file().read_exact_at(&mut count, 0);
        read.doing(|| "reading the target's count".to_owned())?;
        let pid = self.target.pid();
        let read = |name: &str| {
            let path = format!("/proc/{pid}/task/{pid}/{name}");
            fs::read_to_string(&path).doing(|| format!("reading {path}"))
        };
        let times = read("schedstat")?;
        let mut times = times
            .split_whitespace()
            .map(|word| word.parse().unwrap_or(0));
        let status = read("status")?;
        let rests = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        Ok(Progress {
            count: u64::from_ne_bytes(count),
            ran: times.next().unwrap_or(0),
            waited: times.next().unwrap_or(0),
            rests: rests
                .and_then(|rests| rests.trim().parse().ok())
                .unwrap_or(0),
            at: Instant::now(),
        })
    }

    /// Its pace while something is done.
    fn pace<T>(&self, act: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Pace)> {
        let before = self.progress()?;
        let result = act()?;
        let after = self.progress()?;
        let time = (after.at - before.at).as_nanos() as f64;
        let ran = (after.ran - before.ran) as f64;
        let waited = (after.waited - before.waited) as f64;
        let pace = Pace {
            speed: (after.count - before.count) as f64 / ran.max(1.0),
            still: (1.0 - (ran + waited) / time).max(0.0),
            rests_per_second: (after.rests - before.rests) as f64 * 1e9 / time,
        };
        Ok((result, pace))
    }
}

/// What one run of each length came to.
struct Figures {
    per_round: Vec<f64>,
    rate: Vec<f64>,
    paces: Vec<Pace>,
    failed: Option<String>,
}

fn compare(invivo: &Path, python: &Interpreter, shape: &Shape, rounds: usize) -> Outcome {
    let target = Counting::start(python, shape)?;
    let samplers: Vec<_> = Sampler::ALL
        .into_iter()
        .filter(|one| one.knows(python))
        .collect();
    let mut all: Vec<_> = samplers
        .iter()
        .map(|sampler| {
            let figures = Figures {
                per_round: Vec::new(),
                rate: Vec::new(),
                paces: Vec::new(),
                failed: None,
            };
            (*sampler, figures)
        })
        .collect();
    let mut alone = Vec::new();
    for _ in 0..rounds {
        let rest = || {
            std::thread::sleep(Duration::from_secs(1));
            Ok(())
        };
        alone.push(target.pace(rest)?.1.speed);
        shuffle(&mut all);
        for (sampler, figures) in &mut all {
            if let Err(why) = measure(*sampler, invivo, python, shape, &target, figures) {
                figures.failed = Some(why);
            }
        }
    }
    let alone = median(alone);
    for sampler in samplers {
        if let Some((_, figures)) = all.iter_mut().find(|(one, _)| *one == sampler) {
            show(python, shape, sampler, figures, alone);
        }
    }
    Ok(())
}

fn measure(
    sampler: Sampler,
    invivo: &Path,
    python: &Interpreter,
    shape: &Shape,
    target: &Counting,
    figures: &mut Figures,
) -> Outcome {
    let py_spy = matches!(sampler, Sampler::PySpy | Sampler::PySpyNonblocking);
    let task = |seconds| Task {
        invivo,
        python,
        pid: target.target.pid(),
        threads: shape.threads,
        hertz: if py_spy {
            shape.py_spy
        } else {
            shape.hertz.unwrap_or(MOST)
        },
        seconds,
    };
    let short = sampler.run(&task(SHORT))?;
    let (longer, pace) = target.pace(|| sampler.run(&task(LONGER)))?;
    let rounds = longer.rounds as f64 - short.rounds as f64;
    figures
        .per_round
        .push(1e6 * (longer.processor - short.processor) / rounds);
    // py-spy goes on until it has looked so often, the others until the time is over.
    let time = if py_spy {
        longer.wall.as_secs_f64()
    } else {
        LONGER as f64
    };
    figures.rate.push(longer.rounds as f64 / time);
    figures.paces.push(pace);
    Ok(())
}

fn show(python: &Interpreter, shape: &Shape, sampler: Sampler, figures: &Figures, alone: f64) {
    let asked = shape
        .hertz
        .map_or("most".to_owned(), |hertz| hertz.to_string());
    let what = format!(
        "| {} | {} × {} | {asked} | {} |",
        python.name,
        shape.depth,
        shape.threads,
        sampler.name()
    );
    if let Some(why) = &figures.failed {
        println!(
            "{what} did not do it: {} |",
            why.lines().last().unwrap_or_default()
        );
        return;
    }
    let of = |pick: fn(&Pace) -> f64| median(figures.paces.iter().map(pick).collect());
    println!(
        "{what} {:.1} | {:.0} | {:.1} % | {:.2} % | {:.0} |",
        median(figures.per_round.clone()),
        median(figures.rate.clone()),
        100.0 * of(|pace| pace.speed) / alone,
        100.0 * of(|pace| pace.still),
        of(|pace| pace.rests_per_second),
    );
}

/// Ten minutes at 10 kHz: memory in bounds, and bytes a sample.
fn record_long(invivo: &Path) -> Outcome {
    const SECONDS: [u64; 2] = [60, 600];
    println!(
        "10 kHz, 1 thread, two chains of 10 calls in turn; load{}",
        load()
    );
    println!("Memory below 10 MiB is not told apart.\n");
    println!("| Python | seconds | ticks | most memory, MiB | bytes | bytes a sample | CPU, s |");
    println!("| --- | --: | --: | --: | --: | --: | --: |");
    for seconds in SECONDS {
        let python = interpreter("3.15");
        let target = Launch::new(python, samples::CHAINS)
            .arguments(["10", "3"])
            .start();
        let task = Task {
            invivo,
            python,
            pid: target.pid(),
            threads: 1,
            hertz: 10_000,
            seconds,
        };
        let took = Sampler::Invivo.run(&task)?;
        println!(
            "| {} | {seconds} | {} | {:.1} | {} | {:.2} | {:.1} |",
            python.name,
            took.rounds,
            took.memory as f64 / 1024.0,
            took.bytes,
            took.bytes as f64 / took.rounds as f64,
            took.processor,
        );
    }
    Ok(())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

fn shuffle<T>(all: &mut [T]) {
    for last in (1..all.len()).rev() {
        let random = RandomState::new().hash_one(last) as usize;
        all.swap(last, random % (last + 1));
    }
}
