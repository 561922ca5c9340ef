//! `cargo xtask test`: every test of the workspace, with its interpreters and a browser.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::run::{Doing, Outcome, cargo};
use crate::{browser, pythons, watched};

/// Tests that need root lie in modules of this name.
const AS_ROOT: &str = "as_root";

/// What cargo's result lines add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    ignored: u64,
}

impl Tally {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 0 ignored; …`; others count nothing.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.trim().strip_prefix("test result: ") else {
            return;
        };
        let words: Vec<&str> = rest
            .split([' ', ';'])
            .filter(|word| !word.is_empty())
            .collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else {
                continue;
            };
            match pair[1] {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Runs the tests and prints their sum in a closing line.
pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let (tally, outcome) = tally(arguments)?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    outcome
}

/// Runs the tests: their sum, and whether they went well.
pub(crate) fn tally(arguments: &[&str]) -> Outcome<(Tally, Outcome)> {
    let without_root = arguments.contains(&"--no-root");
    let is_root = fs::metadata("/proc/self")
        .doing(|| "reading /proc/self".to_owned())?
        .uid()
        == 0;
    if !is_root && !without_root {
        return Err(
            "some tests need root (another user, another root, namespaces).\n\
                    Run as root, or leave them out: cargo xtask test --no-root"
                .to_owned(),
        );
    }
    let found = pythons::ensure()?;
    found.complete()?;
    pythons::packages::ensure(&found.interpreters)?;
    let browser = browser::ensure()?;

    let chosen: Vec<&str> = arguments
        .iter()
        .copied()
        .filter(|a| *a != "--no-root")
        .collect();
    let end = chosen
        .iter()
        .position(|a| *a == "--")
        .unwrap_or(chosen.len());
    let (for_cargo, for_tests) = chosen.split_at(end);
    let program = env::current_exe().doing(|| "finding xtask".to_owned())?;
    let runner = serde_json::json!([program, watched::CHORE]);
    let mut command = cargo();
    command
        .env(browser::VARIABLE, browser)
        // Not by a variable, whose name would be that of the machine's triple.
        .arg("--config")
        .arg(format!("target.'cfg(all())'.runner = {runner}"))
        .args(["test", "--workspace", "--locked", "--no-fail-fast"])
        .args(["--features", "invivo-formats/browser"])
        .args(for_cargo)
        .arg("--");
    command.args(for_tests.iter().skip(1));
    if without_root {
        command.args(["--skip", AS_ROOT]);
    }
    let (tally, success) = shown(&mut command)?;
    let outcome = if !success || tally.failed > 0 {
        Err("tests failed".to_owned())
    } else if tally.ignored > 0 {
        Err(format!(
            "{} tests were ignored: a test runs or is not there",
            tally.ignored
        ))
    } else if tally.passed == 0 {
        Err("no test ran".to_owned())
    } else {
        Ok(())
    };
    Ok((tally, outcome))
}

/// Runs cargo, showing what it prints as it comes.
fn shown(command: &mut Command) -> Outcome<(Tally, bool)> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .doing(|| "starting cargo".to_owned())?;
    let mut tally = Tally::default();
    let output = child.stdout.take().ok_or("cargo has no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.doing(|| "reading cargo's output".to_owned())?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.add(&line);
    }
    let status = child.wait().doing(|| "waiting for cargo".to_owned())?;
    Ok((tally, status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_cargos_result_lines() {
        let mut tally = Tally::default();
        tally.add("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.1s");
        tally.add("test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out");
        tally.add("test a_test_with_4 passed in its name ... ok");
        assert_eq!(
            tally,
            Tally {
                passed: 15,
                failed: 2,
                ignored: 1
            }
        );
    }
}
