//! `cargo xtask fuzz [MINUTES] [FAMILY]`: changed recordings of processes, chosen by what code they
//! reach, for so many minutes a family of versions; then processes that write over themselves.
//! `cargo xtask fuzz commands`: the [command itself](commands).
//!
//! cargo-fuzz drives it. Of the compiler that needs an unstable flag, no sanitizer: there is no
//! unsafe code among what reads a target.

mod asked;
mod chance;
mod commands;
mod inputs;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use synth::interpreters::{directory, workspace};

use crate::pythons;
use crate::run::{Doing, Outcome, capture, cargo, show};

const CARGO_FUZZ: &str = "0.13.2";

/// Versions whose structures are alike: the first and last minor.
const FAMILIES: [(&str, &str, &str); 4] = [
    ("3.8-3.10", "8", "10"),
    ("3.11-3.12", "11", "12"),
    ("3.13", "13", "13"),
    ("3.14-3.15", "14", "15"),
];

/// What libFuzzer is told: an input takes two seconds at most in each of its views, and the whole
/// process so many MiB.
const LIMITS: [&str; 4] = [
    "-max_len=400",
    "-len_control=0",
    "-timeout=15",
    "-rss_limit_mb=256",
];

/// How often each process that writes over itself is looked at.
const LOOKS: &str = "1000";

/// Runs the fuzz target for every family, or for the one that is named, then the live test.
pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let (minutes, chosen) = match arguments {
        ["commands", rest @ ..] => return commands::run(rest),
        [] => ("10", None),
        [minutes] => (*minutes, None),
        [minutes, family] => (*minutes, Some(*family)),
        _ => return Err("usage: cargo xtask fuzz [MINUTES] [FAMILY]".to_owned()),
    };
    let minutes: u64 = minutes.parse().doing(|| format!("minutes: {minutes}"))?;
    let families: Vec<_> = FAMILIES
        .into_iter()
        .filter(|(name, ..)| chosen.is_none_or(|chosen| chosen == *name))
        .collect();
    if families.is_empty() {
        return Err(format!(
            "no family {}; there are {}",
            chosen.unwrap_or_default(),
            FAMILIES.map(|(name, ..)| name).join(", ")
        ));
    }
    pythons::ensure()?;
    let tools = cargo_fuzz()?;
    for (name, first, last) in families {
        println!("== {name}");
        let work = Work::new(&tools, name);
        work.record(first, last)?;
        work.fuzz(minutes)?;
    }
    if chosen.is_none() {
        println!("== processes that write over themselves");
        live()?;
    }
    Ok(())
}

/// The files of one family.
struct Work<'a> {
    /// Where cargo-fuzz is.
    tools: &'a Path,
    recorded: PathBuf,
    corpus: PathBuf,
}

impl Work<'_> {
    fn new<'a>(tools: &'a Path, family: &str) -> Work<'a> {
        let directory = workspace().join("target/fuzz").join(family);
        Work {
            tools,
            recorded: directory.join("recorded"),
            corpus: directory.join("corpus"),
        }
    }

    /// Keeps the recordings that are there: what was found in them is found in them again.
    fn record(&self, first: &str, last: &str) -> Outcome {
        if self.recorded.exists() {
            return Ok(());
        }
        let unfinished = self.recorded.with_extension("new");
        let mut command = cargo();
        command.current_dir(workspace().join("fuzz"));
        command.args(["run", "--quiet", "--release", "--bin", "record", "--"]);
        command.arg(&unfinished).args([first, last]);
        command.env("CARGO_TARGET_DIR", workspace().join("target/fuzz/build"));
        show(command.env("INVIVO_PYTHONS", directory()))?;
        fs::rename(&unfinished, &self.recorded).doing(|| "keeping the recordings".to_owned())
    }

    fn fuzz(&self, minutes: u64) -> Outcome {
        fs::create_dir_all(&self.corpus).doing(|| "making the corpus".to_owned())?;
        let path = env::var_os("PATH").unwrap_or_default();
        let places = [self.tools.join("bin")].into_iter();
        let places = places.chain(env::split_paths(&path));
        let mut command = cargo();
        command.args([
            "fuzz",
            "run",
            "--sanitizer",
            "none",
            "--no-trace-compares",
            "--target-dir",
        ]);
        command.arg(workspace().join("target/fuzz/build"));
        command.arg("views").arg(&self.corpus).arg("--");
        command
            .args(LIMITS)
            .arg(format!("-max_total_time={}", minutes * 60));
        command
            .env("PATH", env::join_paths(places).doing(|| "PATH".to_owned())?)
            // Instrumenting is not stable yet.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("INVIVO_FUZZ_RECORDED", &self.recorded);
        show(&mut command)
    }
}

fn live() -> Outcome {
    let mut command = cargo();
    command.args(["test", "--release", "--locked", "--package"]);
    command.args(["invivo-cpython", "--test", "fuzz", "--"]);
    command.args([
        "a_process_that_writes_over_itself_is_survived",
        "--nocapture",
    ]);
    show(command.env("INVIVO_FUZZ_LOOKS", LOOKS))
}

/// Where our own cargo-fuzz is, built when first needed.
fn cargo_fuzz() -> Outcome<PathBuf> {
    let tools = workspace().join("target/tools");
    let program = tools.join("bin/cargo-fuzz");
    let right = capture(Command::new(&program).arg("--version"))
        .is_ok_and(|text| text.trim().ends_with(CARGO_FUZZ));
    if !right {
        println!("building cargo-fuzz {CARGO_FUZZ}, once; this takes some minutes");
        let mut install = cargo();
        install.args(["install", "--quiet", "--locked", "cargo-fuzz"]);
        install.args(["--version", CARGO_FUZZ, "--root"]);
        show(install.arg(&tools))?;
    }
    Ok(tools)
}
