//! The samplers that are measured side by side: what each is told, what it took, how often it
//! looked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use synth::{Interpreter, interpreter};

use super::{mojo, peers};
use crate::run::{Doing, Outcome, capture};

/// Runs a command, passes on what it prints, and says in a last line what it took: the kernel's
/// word (`wait4`), which counts all its threads.
const MEASURE: &str = r#"
import os, sys, time
begun = time.monotonic()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, use = os.wait4(pid, 0)
print(f"\n@ {use.ru_utime + use.ru_stime} {time.monotonic() - begun} {use.ru_maxrss} {status}")
"#;

/// A sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampler {
    Invivo,
    PySpy,
    PySpyNonblocking,
    Austin,
    /// `profiling.sampling`, which looks into its own version only.
    Own,
}

/// What it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'a> {
    pub(super) invivo: &'a Path,
    pub(super) python: &'a Interpreter,
    pub(super) pid: u32,
    /// Of the target.
    pub(super) threads: u64,
    pub(super) hertz: u64,
    pub(super) seconds: u64,
}

/// What it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took {
    pub(super) processor: f64,
    pub(super) wall: Duration,
    /// The most memory it ever had, in KiB.
    pub(super) memory: u64,
    /// How often it looked at all threads.
    pub(super) rounds: u64,
    /// What it wrote.
    pub(super) bytes: u64,
}

impl Sampler {
    pub(super) const ALL: [Sampler; 5] = [
        Sampler::Invivo,
        Sampler::PySpy,
        Sampler::PySpyNonblocking,
        Sampler::Austin,
        Sampler::Own,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Sampler::Invivo => "invivo",
            Sampler::PySpy => "py-spy",
            Sampler::PySpyNonblocking => "py-spy --nonblocking",
            Sampler::Austin => "austin",
            Sampler::Own => "profiling.sampling",
        }
    }

    /// Whether it can look into this version.
    pub(super) fn knows(self, python: &Interpreter) -> bool {
        match self {
            Sampler::Austin => (9..=14).contains(&python.minor()),
            Sampler::Own => python.name == "3.15",
            _ => true,
        }
    }

    pub(super) fn run(self, task: &Task<'_>) -> Outcome<Took> {
        let directory = tempfile::tempdir().doing(|| "making a directory".to_owned())?;
        let file = directory.path().join("recorded");
        let mut command = Command::new(&interpreter("3.12").program);
        command.args(["-c", MEASURE]);
        for word in self.words(task, &file)? {
            command.arg(word);
        }
        let printed = capture(&mut command)?;
        let (printed, figures) = printed.rsplit_once("\n@ ").unwrap_or_default();
        let figures: Vec<f64> = figures
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let [processor, wall, memory, _] = figures[..] else {
            return Err(format!("{} did not end: {printed}", self.name()));
        };
        let rounds = self.rounds(printed, &file, task.threads);
        Ok(Took {
            processor,
            wall: Duration::from_secs_f64(wall),
            memory: memory as u64,
            rounds: rounds.ok_or_else(|| format!("{} saw nothing: {printed}", self.name()))?,
            bytes: fs::metadata(&file).map_or(0, |file| file.len()),
        })
    }

    fn words(self, task: &Task<'_>, file: &Path) -> Outcome<Vec<PathBuf>> {
        let (pid, hertz) = (task.pid.to_string(), task.hertz.to_string());
        let seconds = task.seconds.to_string();
        let words = |program: PathBuf, words: &[&str]| {
            let mut all = vec![program];
            all.extend(words.iter().map(PathBuf::from));
            all.push(file.to_owned());
            all
        };
        Ok(match self {
            Sampler::Invivo => words(
                task.invivo.to_owned(),
                &[
                    "record",
                    &pid,
                    "--json",
                    "-r",
                    &hertz,
                    "-d",
                    &seconds,
                    "-f",
                    "recording",
                    "-o",
                ],
            ),
            Sampler::PySpy | Sampler::PySpyNonblocking => {
                // Of all threads, as the others.
                let mut options = vec![
                    "record", "-i", "-r", &hertz, "-d", &seconds, "-p", &pid, "-f", "raw",
                ];
                if self == Sampler::PySpyNonblocking {
                    options.push("--nonblocking");
                }
                options.push("-o");
                words(peers::program("py-spy")?, &options)
            }
            Sampler::Austin => {
                let interval = format!("{}us", (1_000_000 / task.hertz).max(1));
                let options = ["-i", &interval, "-x", &seconds, "-p", &pid, "-o"];
                let mut all = peers::austin()?;
                let program = all.pop().unwrap_or_default();
                all.extend(words(program, &options));
                all
            }
            Sampler::Own => {
                let mut options = vec!["-m", "profiling.sampling", "attach", "-a", "--binary"];
                options.extend(["-r", &hertz, "-d", &seconds, &pid, "-o"]);
                words(task.python.program.clone(), &options)
            }
        })
    }

    fn rounds(self, printed: &str, file: &Path, threads: u64) -> Option<u64> {
        match self {
            Sampler::Invivo => {
                let about: Value = serde_json::from_str(printed.trim()).ok()?;
                about["ticks"].as_u64()
            }
            Sampler::PySpy | Sampler::PySpyNonblocking => {
                let text = fs::read_to_string(file).ok()?;
                let counts = text.lines().filter_map(|line| line.rsplit_once(' '));
                let all: u64 = counts
                    .filter_map(|(_, count)| count.parse::<u64>().ok())
                    .sum();
                Some(all / threads)
            }
            Sampler::Austin => {
                let stacks = mojo::stacks(&fs::read(file).ok()?)?;
                Some(stacks.len() as u64 / threads)
            }
            Sampler::Own => {
                let (_, rest) = printed.split_once("Captured ")?;
                rest.split(' ').next()?.replace(',', "").parse().ok()
            }
        }
    }
}
