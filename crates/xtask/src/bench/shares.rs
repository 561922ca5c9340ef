//! `cargo xtask bench shares [SECONDS] [PROGRAM…]`: whether shares of self time agree with perf's.
//!
//! perf's timer interrupts the program at moments that have nothing to do with what it does, and
//! nothing is stopped, so that nothing is drawn towards system calls: its samples are the yardstick.
//! CPython 3.15 has frame pointers, and under `-X perf` perf sees each Python function. The
//! distance of two profiles is half the sum of what their shares are apart, in points: 0 where all
//! are the same, 100 where no function is in both.
//!
//! A second table counts stacks that can't be in programs with generators and coroutines: two
//! sides that never meet in one stack, or a function without a caller that is not the module.

mod counts;

use std::path::{Path, PathBuf};
use std::process::Command;

use synth::{Interpreter, Launch, Target, interpreter};

use super::peers;
use crate::run::{Doing, Outcome, capture};
use crate::{pythons, release};
use counts::{Counts, Stacks};

const SECONDS: u32 = 10;
const HERTZ: u32 = 1000;
const PROGRAMS: [(&str, &str); 8] = [
    ("journal", include_str!("shares/journal.py")),
    ("table", include_str!("shares/table.py")),
    ("orchard", include_str!("shares/orchard.py")),
    ("streams", include_str!("shares/streams.py")),
    ("awaits", include_str!("shares/awaits.py")),
    ("agens", include_str!("shares/agens.py")),
    ("pipeline", include_str!("shares/pipeline.py")),
    ("chains", include_str!("shares/chains.py")),
];
/// Of these, from which on there are sides that never meet.
const WITH_SIDES: usize = 3;
const BUSY: &str = "print('ready', flush=True)\nwhile True: pass\n";
/// In front of a program, in its first line.
const PINNED: &str = "import os; os.sched_setaffinity(0, {0})\n";

/// Who samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sampler {
    Invivo,
    Elsewhere,
    Block,
    PySpy,
    PySpyNonblocking,
    Own,
    OwnBlocking,
}

impl Sampler {
    const ALL: [Sampler; 7] = [
        Sampler::Invivo,
        Sampler::Elsewhere,
        Sampler::Block,
        Sampler::PySpy,
        Sampler::PySpyNonblocking,
        Sampler::Own,
        Sampler::OwnBlocking,
    ];

    fn name(self) -> &'static str {
        match self {
            Sampler::Invivo => "invivo",
            Sampler::Elsewhere => "invivo from elsewhere",
            Sampler::Block => "invivo --block",
            Sampler::PySpy => "py-spy",
            Sampler::PySpyNonblocking => "py-spy --nonblocking",
            Sampler::Own => "profiling.sampling",
            Sampler::OwnBlocking => "profiling.sampling --blocking",
        }
    }
}

/// Where the program runs.
#[derive(Clone, Copy, Debug)]
struct Setting {
    pinned: bool,
    busy: bool,
}

const SETTINGS: [Setting; 4] = [
    Setting {
        pinned: false,
        busy: false,
    },
    Setting {
        pinned: true,
        busy: false,
    },
    Setting {
        pinned: false,
        busy: true,
    },
    Setting {
        pinned: true,
        busy: true,
    },
];

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let usage = || {
        let names = PROGRAMS.map(|(name, _)| name).join(", ");
        format!("usage: cargo xtask bench shares [SECONDS] [PROGRAM…]; programs are {names}")
    };
    let (seconds, wanted) = match arguments.split_first() {
        Some((first, rest)) if first.parse::<u32>().is_ok_and(|seconds| seconds > 0) => {
            (first.parse().unwrap_or(SECONDS), rest)
        }
        _ => (SECONDS, arguments),
    };
    if wanted
        .iter()
        .any(|name| PROGRAMS.iter().all(|known| known.0 != *name))
    {
        return Err(usage());
    }
    let found = pythons::ensure()?;
    found.complete()?;
    let bench = Bench {
        invivo: release::binary()?,
        directory: tempfile::tempdir().doing(|| "making a directory".to_owned())?,
        seconds,
    };
    let is_wanted = |name: &str| wanted.is_empty() || wanted.contains(&name);
    bench.distances(&is_wanted)?;
    bench.impossible(&is_wanted)
}

struct Bench {
    invivo: PathBuf,
    directory: tempfile::TempDir,
    seconds: u32,
}

impl Bench {
    fn distances(&self, is_wanted: &dyn Fn(&str) -> bool) -> Outcome {
        let head = Sampler::ALL.map(Sampler::name).join(" | ");
        println!(
            "Points that shares of self time are off perf's, and how many percent of the samples \
             that were due there are; CPython 3.15, {HERTZ} Hz, {} s.\n",
            self.seconds
        );
        println!("| program | runs | perf to itself | {head} |");
        println!("| --- | --- | --: |{}", " --: |".repeat(Sampler::ALL.len()));
        for (name, program) in PROGRAMS.iter().filter(|(name, _)| is_wanted(name)) {
            for setting in SETTINGS {
                println!("{}", self.line(name, program, setting)?);
            }
        }
        Ok(())
    }

    fn line(&self, name: &str, program: &str, setting: Setting) -> Outcome<String> {
        let python = interpreter("3.15");
        let target = start(python, program, setting.pinned, &["-X", "perf"]);
        let busy = if setting.busy { 2 } else { 0 };
        let _busy: Vec<Target> = (0..busy)
            .map(|_| start(interpreter("3.14"), BUSY, false, &[]))
            .collect();
        let pid = target.pid();
        let map = Leftover(format!("/tmp/perf-{pid}.map").into());
        let one = self.perf(pid)?;
        let mut cells = Vec::new();
        for sampler in Sampler::ALL {
            cells.push(self.sampled(sampler, pid, python));
        }
        let two = self.perf(pid)?;
        drop(map);
        let noise = one.distance(&two);
        let yardstick = one.and(&two);
        let due = f64::from(self.seconds) * f64::from(HERTZ);
        let cells = cells.into_iter().map(|cell| match cell {
            Ok(counts) => format!(
                "{:.1} ({:.0} %)",
                counts.distance(&yardstick),
                100.0 * counts.total() as f64 / due
            ),
            Err(why) => {
                eprintln!("xtask: {why}");
                "failed".to_owned()
            }
        });
        let cells: Vec<String> = cells.collect();
        Ok(format!(
            "| {name} | {}{} | {noise:.1} | {} |",
            if setting.pinned {
                "pinned"
            } else {
                "free to move"
            },
            if setting.busy {
                ", beside two busy loops"
            } else {
                ""
            },
            cells.join(" | ")
        ))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn perf(&self, pid: u32) -> Outcome<Counts> {
        let data = self.file("perf.data");
        let mut record = Command::new("perf");
        let rate = (HERTZ - 3).to_string();
        record.args(["record", "-q", "-F", &rate, "-e", "cpu-clock", "-g", "-p"]);
        record.arg(pid.to_string()).arg("-o").arg(&data);
        capture(record.args(["--", "sleep", &self.seconds.to_string()]))?;
        let mut script = Command::new("perf");
        script.arg("script").arg("-i").arg(&data);
        Ok(Counts::of_perf(&capture(script.args(["-F", "ip,sym"]))?))
    }

    fn sampled(&self, sampler: Sampler, pid: u32, python: &Interpreter) -> Outcome<Counts> {
        let file = self.file("collapsed");
        let (rate, seconds) = (HERTZ.to_string(), self.seconds.to_string());
        let pid = pid.to_string();
        let words = |program: &Path, before: &[&str], after: &[&str]| {
            let mut command = Command::new(program);
            command
                .args(before)
                .args(["-r", &rate, "-d", &seconds])
                .args(after);
            command
        };
        let invivo = |more: &[&str]| {
            let mut command = words(&self.invivo, &["record", &pid, "-f", "collapsed"], more);
            command.arg("-o");
            command
        };
        let py_spy = |more: &[&str]| {
            let program = peers::program("py-spy")?;
            let mut command = words(&program, &["record", "-p", &pid, "-f", "raw"], more);
            command.arg("-o");
            Ok::<_, String>(command)
        };
        let own = |more: &[&str]| {
            let before = ["-m", "profiling.sampling", "attach", "-a", "--collapsed"];
            let mut command = words(&python.program, &before, more);
            command.arg("-o");
            command
        };
        let mut command = match sampler {
            Sampler::Invivo => invivo(&[]),
            Sampler::Elsewhere => invivo(&["--sample-from", "elsewhere"]),
            Sampler::Block => invivo(&["--block"]),
            Sampler::PySpy => py_spy(&[])?,
            Sampler::PySpyNonblocking => py_spy(&["--nonblocking"])?,
            Sampler::Own => own(&[]),
            Sampler::OwnBlocking => own(&["--blocking"]),
        };
        command.arg(&file);
        if matches!(sampler, Sampler::Own | Sampler::OwnBlocking) {
            command.arg(&pid);
        }
        capture(&mut command)?;
        let stacks = Stacks::read(&file)?;
        Ok(match sampler {
            Sampler::Own | Sampler::OwnBlocking => stacks.leaves_of_modules(),
            _ => stacks.leaves(),
        })
    }

    fn impossible(&self, is_wanted: &dyn Fn(&str) -> bool) -> Outcome {
        println!(
            "\nStacks that can't be, in a million, and how many were looked at; {HERTZ} Hz, {} s.\n",
            self.seconds
        );
        println!("| program | Python | own processor | from elsewhere |");
        println!("| --- | --- | --: | --: |");
        let programs = PROGRAMS.iter().skip(WITH_SIDES);
        for (name, program) in programs.filter(|(name, _)| is_wanted(name)) {
            for python in synth::interpreters().iter().filter(|python| !python.debug) {
                let target = start(python, program, false, &[]);
                let cell = |sampler| {
                    let file = self.file("collapsed");
                    self.sampled(sampler, target.pid(), python)?;
                    let (wrong, all) = Stacks::read(&file)?.impossible();
                    let share = 1e6 * wrong as f64 / all.max(1) as f64;
                    Ok::<_, String>(format!("{share:.0} of {all}"))
                };
                println!(
                    "| {name} | {} | {} | {} |",
                    python.name,
                    cell(Sampler::Invivo)?,
                    cell(Sampler::Elsewhere)?
                );
            }
        }
        Ok(())
    }
}

fn start(python: &'static Interpreter, program: &str, pinned: bool, options: &[&str]) -> Target {
    let first = if pinned { PINNED } else { "" };
    Launch::new(python, format!("{first}{program}"))
        .options(options.iter().copied())
        .start()
}

/// A file that a target leaves behind.
struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
