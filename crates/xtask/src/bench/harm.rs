//! `cargo xtask bench harm [--runs N] [--shape NAME] [--anew] [PYTHON…]`: whether a target comes to
//! harm.
//!
//! Scripts come without pause into targets of the shapes that people run ([`shape`]), each of which
//! checks all that it does. Meanwhile and afterwards a target has to go on in all its parts, with no
//! more memory, descriptors or threads than before, and to end well. What became of each target is
//! noted at once ([`ledger`]), so that a run which was ended, or is to have more scripts, goes on
//! where it was; with `--anew` it begins again. Prints the document with the table of all that has
//! been measured, with `--table` at once.
//!
//! With `--peers`, the peers inject scripts into the target at full load, and a new one is started
//! where one has come to harm.

mod document;
mod ledger;
mod packages;
mod peers;
mod shape;
mod sitting;

use std::path::PathBuf;
use std::process::Command;

use synth::interpreter;

use self::ledger::{Entry, Ledger};
use self::shape::{SHAPES, Shape};
use crate::run::{Outcome, capture};
use crate::{pythons, release};

const RUNS: usize = 1000;
const RUNS_OF_PEERS: usize = 200;
/// So many scripts one target has at the most.
const SITTING: usize = 500;
/// A shape that comes to harm so often is not tried further.
const HARMED_MAX: usize = 10;
const PYTHONS: [&str; 11] = [
    "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.13t", "3.14", "3.15", "3.14d", "3.15d",
];
const USAGE: &str = "usage: cargo xtask bench harm [--runs N] [--shape NAME] [--anew] [--table] [--peers] \
     [--invivo PROGRAM] [PYTHON…]";

/// What was asked for.
struct Wish {
    runs: Option<usize>,
    shapes: Vec<&'static Shape>,
    pythons: Vec<&'static str>,
    anew: bool,
    table: bool,
    peers: bool,
    /// A command that is there already, to measure instead of what is built.
    invivo: Option<PathBuf>,
}

impl Wish {
    fn of(arguments: &[&str]) -> Outcome<Wish> {
        let mut wish = Wish {
            runs: None,
            shapes: Vec::new(),
            pythons: Vec::new(),
            anew: false,
            table: false,
            peers: false,
            invivo: None,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match *word {
                "--runs" => {
                    let number = words.next().and_then(|word| word.parse().ok());
                    wish.runs = Some(number.filter(|runs| *runs > 0).ok_or(USAGE)?);
                }
                "--shape" => {
                    let name = *words.next().ok_or(USAGE)?;
                    let found = SHAPES.iter().find(|shape| shape.name == name);
                    wish.shapes.push(found.ok_or_else(|| {
                        let names = SHAPES.iter().map(|shape| shape.name);
                        let names: Vec<&str> = names.collect();
                        format!("no shape is named {name}: {}", names.join(", "))
                    })?);
                }
                "--invivo" => wish.invivo = Some(words.next().ok_or(USAGE)?.into()),
                "--anew" => wish.anew = true,
                "--table" => wish.table = true,
                "--peers" => wish.peers = true,
                name => wish.pythons.push(
                    PYTHONS
                        .into_iter()
                        .find(|python| *python == name)
                        .ok_or_else(|| format!("no Python is named {name}\n{USAGE}"))?,
                ),
            }
        }
        if wish.shapes.is_empty() {
            wish.shapes.extend(&SHAPES);
        }
        if wish.pythons.is_empty() {
            // The free-threaded one is not everywhere.
            let there = |name: &&str| *name != "3.13t" || shape::there(name);
            wish.pythons = PYTHONS.into_iter().filter(there).collect();
        }
        Ok(wish)
    }
}

/// What is built, as a commit.
fn commit() -> Outcome<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--abbrev=9"]);
    Ok(capture(&mut git)?.trim().to_owned())
}

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let wish = Wish::of(arguments)?;
    let mut ledger = Ledger::open()?;
    if wish.table {
        print!("{}", document::text(ledger.entries()));
        return Ok(());
    }
    pythons::ensure()?.complete()?;
    if wish.peers {
        return peers::run(wish.runs.unwrap_or(RUNS_OF_PEERS), &wish.pythons);
    }
    let (invivo, build) = match wish.invivo.clone() {
        Some(invivo) => {
            let digest = capture(Command::new("sha256sum").arg(&invivo))?;
            let digest = digest.get(..12).unwrap_or(&digest);
            (invivo, format!("a program of SHA-256 {digest}…"))
        }
        None => (release::binary()?, commit()?),
    };
    for shape in &wish.shapes {
        for name in &wish.pythons {
            let python = interpreter(name);
            if wish.anew {
                ledger.forget(shape.name, name)?;
            }
            loop {
                let had = ledger.runs(shape.name, name);
                let left = wish.runs.unwrap_or(RUNS).saturating_sub(had);
                if left == 0 || ledger.harmed(shape.name, name) >= HARMED_MAX {
                    break;
                }
                let entry = match shape.start(python) {
                    Ok(stage) => sitting::sit(&invivo, shape, stage, left.min(SITTING), had)?,
                    Err(why) => Entry {
                        absent: Some(why),
                        ..Entry::default()
                    },
                };
                let entry = Entry {
                    shape: shape.name.to_owned(),
                    python: (*name).to_owned(),
                    version: python.version.clone(),
                    build: build.clone(),
                    ..entry
                };
                eprintln!("xtask: {}", entry.line());
                let absent = entry.absent.is_some();
                ledger.note(entry)?;
                if absent {
                    break;
                }
            }
        }
    }
    print!("{}", document::text(ledger.entries()));
    Ok(())
}
