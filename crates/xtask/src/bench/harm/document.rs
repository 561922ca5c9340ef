//! The document that the results make: docs/harm.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::PYTHONS;
use super::ledger::Entry;
use super::shape::SHAPES;

const HEAD: &str = "\
# Whether a target comes to harm

Measured by `cargo xtask bench harm`; every number is from a run, and where there is none nothing \
was measured. Scripts of `invivo exec` came without pause into targets that check all that they do \
and that must go on in all their parts meanwhile, hold no more than before, and end well. The \
scripts compute, print, raise and allocate; each must give exactly what it has to.

In a cell: how many scripts ran, and after the + how many did not, because Invivo refused or timed \
out before they began. A target is harmed when it ends, gives a wrong result, stands still, or \
writes anything on its stderr. A leak is a descriptor or thread more than after a quarter of the \
scripts, or a file of Invivo's; threads and descriptors are not counted in the pool that forks, \
whose own come and go. *No target* is said where it can't be had, with the reason below.
";

/// What all targets of a shape on a version came to.
#[derive(Default)]
struct Cell<'a> {
    entries: Vec<&'a Entry>,
}

impl Cell<'_> {
    fn sum(&self, count: impl Fn(&Entry) -> usize) -> usize {
        self.entries.iter().map(|entry| count(entry)).sum()
    }

    fn ran(&self) -> usize {
        self.sum(|entry| entry.ran)
    }

    fn not_run(&self) -> usize {
        self.sum(Entry::not_run)
    }

    fn shown(&self) -> String {
        let targets = self.entries.iter().filter(|entry| entry.absent.is_none());
        if targets.count() == 0 {
            return if self.entries.is_empty() {
                "–"
            } else {
                "no target"
            }
            .to_owned();
        }
        let mut text = match self.not_run() {
            0 => self.ran().to_string(),
            not => format!("{} + {not}", self.ran()),
        };
        let counts = [
            ("harmed", self.sum(|entry| entry.harm.is_some().into())),
            ("wrong", self.sum(|entry| entry.wrong.len())),
            ("leaks", self.sum(|entry| entry.leak().is_some().into())),
        ];
        for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            // A number cannot fail to be written to a text.
            let _ = write!(text, ", **{count} {what}**");
        }
        text
    }

    /// How many KiB a target holds more at its end, at the median and the most.
    fn growth(&self) -> Option<(i64, i64)> {
        let grown = self.entries.iter().filter(|entry| entry.late.memory > 0);
        let grown =
            grown.map(|entry| entry.late.memory.cast_signed() - entry.early.memory.cast_signed());
        let mut grown: Vec<i64> = grown.collect();
        grown.sort_unstable();
        Some((*grown.get(grown.len() / 2)?, *grown.last()?))
    }
}

/// The whole document.
pub(super) fn text(entries: &[Entry]) -> String {
    let mut cells: BTreeMap<(&str, &str), Cell> = BTreeMap::new();
    for entry in entries {
        let key = (entry.shape.as_str(), entry.python.as_str());
        cells.entry(key).or_default().entries.push(entry);
    }
    let pythons: Vec<&str> = PYTHONS
        .into_iter()
        .filter(|name| cells.keys().any(|(_, python)| python == name))
        .collect();
    let mut text = String::from(HEAD);
    totals(&mut text, entries);
    table(&mut text, &pythons, "shape", |shape, python| {
        cells
            .get(&(shape, python))
            .map_or("–".to_owned(), Cell::shown)
    });
    text.push_str(
        "\n## Memory\n\nHow many KiB a target held more after all its scripts than after a quarter \
         of them: the median of the targets, and the most in parentheses. What a program holds \
         varies without scripts too.\n",
    );
    table(&mut text, &pythons, "shape", |shape, python| {
        let growth = cells.get(&(shape, python)).and_then(Cell::growth);
        growth.map_or("–".to_owned(), |(median, most)| {
            format!("{median} ({most})")
        })
    });
    harms(&mut text, entries);
    reasons(&mut text, entries);
    absences(&mut text, entries);
    text
}

fn totals(text: &mut String, entries: &[Entry]) {
    let targets: Vec<&Entry> = entries.iter().filter(|one| one.absent.is_none()).collect();
    let sum = |count: &dyn Fn(&Entry) -> usize| -> usize {
        targets.iter().map(|entry| count(entry)).sum()
    };
    // In the order of the versions, of which 3.8 comes before 3.10.
    let versions = PYTHONS.into_iter().flat_map(|name| {
        let own = targets.iter().filter(move |one| one.python == name);
        own.map(|one| one.version.as_str()).collect::<BTreeSet<_>>()
    });
    let mut versions: Vec<&str> = versions.collect();
    // A debug build is of the same version as another.
    let mut named = BTreeSet::new();
    versions.retain(|version| named.insert(*version));
    let builds: BTreeSet<&str> = targets.iter().map(|one| one.build.as_str()).collect();
    let builds: Vec<&str> = builds.into_iter().collect();
    let _ = write!(
        text,
        "\nIn all: {} scripts ran and {} did not, in {} targets. Targets harmed: {}. Wrong results \
         of scripts: {}. Targets with a leak: {}. CPython {}; Invivo at {}.\n\n## Scripts\n",
        sum(&|one| one.ran),
        sum(&Entry::not_run),
        targets.len(),
        sum(&|one| one.harm.is_some().into()),
        sum(&|one| one.wrong.len()),
        sum(&|one| one.leak().is_some().into()),
        versions.join(", "),
        builds.join(", "),
    );
}

fn table(text: &mut String, pythons: &[&str], head: &str, cell: impl Fn(&str, &str) -> String) {
    let _ = write!(
        text,
        "\n| {head} | {} |\n| --- |{}\n",
        pythons.join(" | "),
        " --: |".repeat(pythons.len())
    );
    for shape in &SHAPES {
        let row: Vec<String> = pythons.iter().map(|name| cell(shape.name, name)).collect();
        let _ = writeln!(text, "| {} | {} |", shape.title, row.join(" | "));
    }
}

fn harms(text: &mut String, entries: &[Entry]) {
    let mut lines = Vec::new();
    for entry in entries {
        let what = entry.harm.iter().chain(&entry.wrong).cloned();
        for what in what.chain(entry.leak()) {
            lines.push(format!(
                "- {} on {}: {what} (the target {}; it said last: {})\n",
                entry.shape, entry.python, entry.ended, entry.last_words
            ));
        }
    }
    if !lines.is_empty() {
        text.push_str("\n## What came to harm\n\n");
        text.extend(lines.iter().map(|line| without_directories(line)));
    }
}

/// Why there was no target, where there has never been one.
fn absences(text: &mut String, entries: &[Entry]) {
    let mut lines = BTreeSet::new();
    for entry in entries {
        let same = |other: &&Entry| other.shape == entry.shape && other.python == entry.python;
        let mut own = entries.iter().filter(same);
        if let (Some(why), true) = (&entry.absent, own.all(|other| other.absent.is_some())) {
            lines.insert(format!("- {} on {}: {why}\n", entry.shape, entry.python));
        }
    }
    if !lines.is_empty() {
        text.push_str("\n## Where there was no target\n\n");
        text.extend(lines);
    }
}

/// The text with the last part alone of each path: where programs lay is of no interest.
fn without_directories(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.rsplit_once('/') {
        Some((directory, name)) if directory.starts_with('/') && !name.trim().is_empty() => {
            format!("…/{name}")
        }
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn reasons(text: &mut String, entries: &[Entry]) {
    text.push_str(
        "\n## Why scripts did not run\n\nHow often, and on which versions; numbers are N.\n\n",
    );
    for shape in &SHAPES {
        let mut counts: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.shape == shape.name) {
            for (why, count) in &entry.refused {
                let known = counts.entry(why.as_str()).or_default();
                known.0 += count;
                known.1.insert(&entry.python);
            }
        }
        for (why, (count, pythons)) in counts {
            let names = PYTHONS.into_iter().filter(|name| pythons.contains(name));
            let names = names.collect::<Vec<_>>().join(", ");
            let why = without_directories(why);
            let _ = writeln!(text, "- {} ({count}, on {names}): {why}", shape.name);
        }
    }
}
