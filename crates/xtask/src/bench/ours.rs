//! What `invivo record` sees, read from its JSON lines.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::run::{Doing, Outcome, capture};

/// What was seen in some ticks.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The functions, outermost first.
    pub(super) names: Vec<String>,
    /// For each the line it stands at, counted from the function's first.
    pub(super) lines: Vec<i64>,
    /// Whether nothing of it is marked as uncertain.
    pub(super) whole: bool,
    /// In how many ticks.
    pub(super) ticks: u64,
}

/// A recording.
#[derive(Debug)]
pub(super) struct Recorded {
    /// What `--json` says of it.
    pub(super) about: Value,
    pub(super) seen: Vec<Seen>,
    /// When it saw something first, in nanoseconds since 1970.
    pub(super) first: Option<u64>,
}

impl Recorded {
    /// A number that `--json` says.
    pub(super) fn number(&self, name: &str) -> f64 {
        self.about[name].as_f64().unwrap_or(f64::NAN)
    }
}

/// Has `invivo` record a process.
pub(super) fn record(invivo: &Path, pid: &str, options: &[&str]) -> Outcome<Recorded> {
    let directory = tempfile::tempdir().doing(|| "making a directory".to_owned())?;
    let file = directory.path().join("stacks.jsonl");
    let mut command = Command::new(invivo);
    command.args(["record", pid, "--json", "-f", "jsonl"]);
    let printed = capture(command.args(options).arg("-o").arg(&file))?;
    let about = serde_json::from_str(&printed).doing(|| "reading --json".to_owned())?;
    let (seen, first) = read(&file)?;
    Ok(Recorded { about, seen, first })
}

/// The tables of a recording, as far as they are wanted.
#[derive(Default)]
struct Tables {
    /// Name and first line.
    functions: Vec<(String, i64)>,
    /// Function and line.
    frames: Vec<(usize, i64)>,
    /// Caller and frame.
    stacks: Vec<(Option<usize>, usize)>,
}

fn read(file: &Path) -> Outcome<(Vec<Seen>, Option<u64>)> {
    let file = File::open(file).doing(|| "opening the recording".to_owned())?;
    let mut tables = Tables::default();
    let mut ticks: HashMap<(Option<usize>, bool), u64> = HashMap::new();
    let (mut started, mut first) = (0, None);
    for line in BufReader::new(file).lines() {
        let line = line.doing(|| "reading the recording".to_owned())?;
        let line: Value =
            serde_json::from_str(&line).doing(|| "reading the recording".to_owned())?;
        let number = |name: &str| line[name].as_u64().unwrap_or(0);
        let index = |name: &str| line[name].as_u64().and_then(|at| usize::try_from(at).ok());
        match line["type"].as_str() {
            Some("about") => started = number("started"),
            Some("function") => {
                let name = line["name"].as_str().unwrap_or_default().to_owned();
                tables.functions.push((name, number("first_line") as i64));
            }
            Some("frame") => tables
                .frames
                .push((index("function").unwrap_or(0), number("line") as i64)),
            Some("stack") => tables
                .stacks
                .push((index("caller"), index("frame").unwrap_or(0))),
            Some("sample") => {
                first = first.or(Some(started + number("time")));
                let key = (index("stack"), line["trust"] == "whole");
                *ticks.entry(key).or_insert(0) += number("ticks");
            }
            _ => {}
        }
    }
    let seen = ticks.into_iter().map(|((stack, whole), ticks)| {
        let (names, lines) = tables.stack(stack);
        Seen {
            names,
            lines,
            whole,
            ticks,
        }
    });
    Ok((seen.collect(), first))
}

impl Tables {
    fn stack(&self, mut next: Option<usize>) -> (Vec<String>, Vec<i64>) {
        let mut places = Vec::new();
        while let Some((caller, frame)) = next.and_then(|index| self.stacks.get(index)) {
            if let Some((function, line)) = self.frames.get(*frame)
                && let Some((name, first)) = self.functions.get(*function)
            {
                places.push((name.clone(), line - first));
            }
            next = *caller;
        }
        places.into_iter().rev().unzip()
    }
}
