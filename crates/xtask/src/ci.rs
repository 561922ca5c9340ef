//! `cargo xtask ci`: everything that a change has to pass, in one go.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::run::{Outcome, capture, cargo, show};
use crate::{test, tidy};

const CARGO_DENY: &str = "0.20.2";

/// Runs every step, or those that are named, also after one has failed, and closes with their times
/// and the tests' sum.
pub(crate) fn run(chosen: &[&str]) -> Outcome {
    let mut tally = test::Tally::default();
    let steps: [(&str, &mut dyn FnMut() -> Outcome); 6] = [
        ("fmt", &mut || {
            show(cargo().args(["fmt", "--all", "--check"]))
        }),
        ("clippy", &mut clippy),
        ("doc", &mut doc),
        ("tidy", &mut tidy::run),
        ("deny", &mut deny),
        ("test", &mut || {
            let outcome;
            (tally, outcome) = test::tally(&[])?;
            outcome
        }),
    ];
    if let Some(unknown) = chosen
        .iter()
        .find(|word| steps.iter().all(|(name, _)| name != *word))
    {
        return Err(format!("ci has no step {unknown}"));
    }
    let (mut times, mut failed) = (Vec::new(), Vec::new());
    for (name, step) in steps {
        if !chosen.is_empty() && !chosen.contains(&name) {
            continue;
        }
        println!("== {name}");
        let start = Instant::now();
        if let Err(message) = step() {
            println!("{message}");
            failed.push(name);
        }
        times.push(format!("{name} {:.1} s", start.elapsed().as_secs_f64()));
    }
    println!("== {}", times.join(", "));
    if !failed.is_empty() {
        println!("== failed: {}", failed.join(", "));
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("{} failed", failed.join(", ")))
    }
}

fn clippy() -> Outcome {
    show(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

fn doc() -> Outcome {
    let mut command = cargo();
    command.args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
    show(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny() -> Outcome {
    let program = cargo_deny()?;
    println!("advisories are left out here: a release checks them, see CONTRIBUTING.md");
    // It reads the manifests of what other platforms would need as well, which no build has fetched.
    show(cargo().args(["fetch", "--locked", "--quiet"]))?;
    show(Command::new(program).args([
        "--locked",
        "--offline",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))
}

/// The cargo-deny on PATH if it is the right one; otherwise our own, built when first needed.
fn cargo_deny() -> Outcome<PathBuf> {
    let right = |program: &str| {
        capture(Command::new(program).arg("--version"))
            .is_ok_and(|text| text.trim().ends_with(CARGO_DENY))
    };
    if right("cargo-deny") {
        return Ok("cargo-deny".into());
    }
    let tools = synth::interpreters::workspace().join("target/tools");
    let program = tools.join("bin/cargo-deny");
    if !right(&program.to_string_lossy()) {
        println!("building cargo-deny {CARGO_DENY}, once; this takes some minutes");
        let mut install = cargo();
        install.args([
            "install",
            "--quiet",
            "--locked",
            "cargo-deny",
            "--version",
            CARGO_DENY,
            "--root",
        ]);
        show(install.arg(&tools))?;
    }
    Ok(program)
}
