//! What the peers do to the target at full load.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use synth::{Interpreter, Launch, Target, interpreter, samples};

use super::sitting::works;
use crate::bench::peers::{self, PATIENCE};
use crate::run::{Doing, Outcome};

fn start(python: &Interpreter) -> Target {
    Launch::new(python, samples::FULL_LOAD).start()
}

/// How a peer is told to run a Python file's text in a process.
#[derive(Clone, Copy)]
enum Peer {
    Hypno,
    Pyrasite,
}

pub(super) fn run(runs: usize, pythons: &[&str]) -> Outcome {
    println!("| Python | peer | runs | ran | did not | harmed | how |");
    println!("| --- | --- | --: | --: | --: | --: | --- |");
    for name in pythons {
        for peer in [Peer::Hypno, Peer::Pyrasite] {
            println!("{}", peer.harm(interpreter(name), runs)?);
        }
    }
    Ok(())
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Peer::Hypno => "hypno",
            Peer::Pyrasite => "pyrasite",
        }
    }

    fn harm(self, python: &Interpreter, runs: usize) -> Outcome<String> {
        let directory = tempfile::tempdir().doing(|| "making a directory".to_owned())?;
        let (file, mark) = (
            directory.path().join("code.py"),
            directory.path().join("mark"),
        );
        let code = format!("open({mark:?}, 'w').close()");
        fs::write(&file, &code).doing(|| "writing a script".to_owned())?;
        let program = peers::program(self.name())?;
        let mut target = start(python);
        let (mut ran, mut not, mut hows) = (0, 0, BTreeMap::<String, usize>::new());
        for _ in 0..runs {
            let _ = fs::remove_file(&mark);
            let pid = target.pid().to_string();
            let mut command = Command::new("timeout");
            // One that hangs is not waited for.
            let limit = PATIENCE.as_secs().to_string();
            command
                .args(["--signal=KILL", &limit])
                .arg(&program)
                .arg(&pid);
            match self {
                Peer::Hypno => command.arg(&code),
                Peer::Pyrasite => command.arg(&file),
            };
            let status = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .doing(|| format!("running {}", self.name()))?;
            let harm = works(&target, PATIENCE);
            if mark.exists() {
                ran += 1;
            } else {
                not += 1;
            }
            if let Some(harm) = harm {
                *hows.entry(harm).or_insert(0) += 1;
                target = start(python);
            } else if !status.success() && ran + not == 1 {
                eprintln!("{} on {}: {status}", self.name(), python.name);
            }
        }
        let harmed: usize = hows.values().sum();
        let hows: Vec<String> = hows
            .into_iter()
            .map(|(how, count)| format!("{count} {how}"))
            .collect();
        Ok(format!(
            "| {} | {} | {runs} | {ran} | {not} | {harmed} | {} |",
            python.name,
            self.name(),
            hows.join("; ")
        ))
    }
}
