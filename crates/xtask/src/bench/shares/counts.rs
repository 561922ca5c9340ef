//! Samples by function, however they were written down.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::run::{Doing, Outcome};

/// How many samples had this function innermost.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// What `perf script -F ip,sym` prints of a program that runs under `-X perf`.
    pub(super) fn of_perf(text: &str) -> Self {
        let mut counts = Self::default();
        for sample in text.split("\n\n").filter(|one| !one.trim().is_empty()) {
            let function = sample.lines().find_map(|line| line.split_once("py::"));
            let name = function.map_or("?", |(_, function)| function);
            let name = name.split_once(':').map_or(name, |(name, _)| name);
            counts.add(short(name), 1);
        }
        counts
    }

    fn add(&mut self, name: &str, count: u64) {
        *self.0.entry(name.to_owned()).or_insert(0) += count;
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (name, count) in &other.0 {
            both.add(name, *count);
        }
        both
    }

    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// By how many points shares are apart.
    pub(super) fn distance(&self, other: &Self) -> f64 {
        let share = |counts: &Self, name: &String| {
            let count = counts.0.get(name).copied().unwrap_or(0);
            100.0 * count as f64 / counts.total().max(1) as f64
        };
        let names = self.0.keys();
        let others = other.0.keys().filter(|name| !self.0.contains_key(*name));
        let apart = names
            .chain(others)
            .map(|name| (share(self, name) - share(other, name)).abs());
        apart.sum::<f64>() / 2.0
    }
}

/// Stacks in a line each, with how often they were seen.
#[derive(Clone, Debug)]
pub(super) struct Stacks(Vec<(String, u64)>);

impl Stacks {
    pub(super) fn read(file: &Path) -> Outcome<Self> {
        let text = fs::read_to_string(file).doing(|| format!("reading {}", file.display()))?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let stacks = lines.filter_map(|line| {
            let (stack, count) = line.rsplit_once(' ')?;
            Some((stack.to_owned(), count.parse().ok()?))
        });
        Ok(Self(stacks.collect()))
    }

    /// By their innermost functions, where frames are `NAME (FILE:LINE)`.
    pub(super) fn leaves(&self) -> Counts {
        self.innermost(|frame| frame.split_once(" (").map_or(frame, |(name, _)| name))
    }

    /// The same where frames are `FILE:NAME:LINE`.
    pub(super) fn leaves_of_modules(&self) -> Counts {
        self.innermost(|frame| frame.rsplit(':').nth(1).unwrap_or(frame))
    }

    fn innermost(&self, name: impl Fn(&str) -> &str) -> Counts {
        let mut counts = Counts::default();
        for (stack, count) in &self.0 {
            let frame = stack.rsplit(';').next().unwrap_or(stack);
            counts.add(short(name(frame)), *count);
        }
        counts
    }

    /// How many can't be, and how many there are. Those that say that they are not whole are not
    /// among the first.
    pub(super) fn impossible(&self) -> (u64, u64) {
        let (mut wrong, mut all) = (0, 0);
        for (stack, count) in &self.0 {
            let mut frames = stack.split(';');
            let has = |side: &str| {
                stack
                    .split(';')
                    .any(|frame| short_of(frame).starts_with(side))
            };
            let root = frames.next().unwrap_or_default();
            let is_rooted = root.starts_with('<');
            all += count;
            if !is_rooted || has("left") && has("right") {
                wrong += count;
            }
        }
        (wrong, all)
    }
}

fn short_of(frame: &str) -> &str {
    short(frame.split_once(" (").map_or(frame, |(name, _)| name))
}

/// A qualified name's last part.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
