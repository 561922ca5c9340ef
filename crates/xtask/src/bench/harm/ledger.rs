//! What has been measured: a line of JSON for each target, appended once it has ended.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use synth::interpreters::workspace;

use crate::run::{Doing, Outcome};

/// What became of one target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) shape: String,
    pub(super) python: String,
    pub(super) version: String,
    /// The commit of the Invivo that was measured.
    pub(super) build: String,
    /// Why there was no such target.
    pub(super) absent: Option<String>,
    /// Scripts that ran and gave what they had to.
    pub(super) ran: usize,
    /// How often scripts did not run, by the reason given.
    pub(super) refused: BTreeMap<String, usize>,
    /// What came of a script that should have been something else.
    pub(super) wrong: Vec<String>,
    /// How the target came to harm.
    pub(super) harm: Option<String>,
    /// After the first quarter of the scripts, and after all of them.
    pub(super) early: Size,
    pub(super) late: Size,
    /// What Invivo left in the target's temporary directory.
    pub(super) left: Vec<String>,
    pub(super) milliseconds: u64,
    /// How the target ended, and what it said last.
    pub(super) ended: String,
    pub(super) last_words: String,
    /// What its threads and its children did where it did not end.
    #[serde(default)]
    pub(super) stacks: String,
}

/// How much a target holds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Size {
    /// In KiB.
    pub(super) memory: u64,
    pub(super) descriptors: usize,
    pub(super) threads: usize,
}

impl Size {
    /// Whether there are more descriptors or threads. Memory varies by itself.
    pub(super) fn holds_more_than(self, before: Size) -> bool {
        self.descriptors > before.descriptors || self.threads > before.threads
    }
}

impl Entry {
    pub(super) fn not_run(&self) -> usize {
        self.refused.values().sum()
    }

    pub(super) fn runs(&self) -> usize {
        self.ran + self.not_run() + self.wrong.len()
    }

    /// What there is more of than before: descriptors and threads of which a target has always as
    /// many, and files.
    pub(super) fn leak(&self) -> Option<String> {
        let mut more = Vec::new();
        if self.late.descriptors > self.early.descriptors {
            let count = self.late.descriptors - self.early.descriptors;
            more.push(format!("{count} descriptors more"));
        }
        if self.late.threads > self.early.threads {
            let count = self.late.threads - self.early.threads;
            more.push(format!("{count} threads more"));
        }
        if !self.left.is_empty() {
            more.push(format!("files left: {}", self.left.join(", ")));
        }
        (!more.is_empty()).then(|| more.join("; "))
    }

    /// For whoever watches.
    pub(super) fn line(&self) -> String {
        let Entry { shape, python, .. } = self;
        if let Some(why) = &self.absent {
            return format!("{shape} on {python}: not there: {why}");
        }
        let mut text = format!(
            "{shape} on {python}: {} ran, {} did not, {} wrong, {}; the target {}",
            self.ran,
            self.not_run(),
            self.wrong.len(),
            self.harm.as_deref().unwrap_or("unharmed"),
            self.ended,
        );
        for part in self.wrong.iter().chain(&self.leak()) {
            text.push_str("\n  ");
            text.push_str(part);
        }
        for (reason, count) in &self.refused {
            text.push_str(&format!("\n  {count} times: {reason}"));
        }
        text
    }
}

/// All entries, in the file that keeps them.
pub(super) struct Ledger {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl Ledger {
    /// Reads what there is.
    pub(super) fn open() -> Outcome<Ledger> {
        let path = workspace().join("target/harm/results.jsonl");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("reading {}: {error}", path.display())),
        };
        let entries = text.lines().enumerate().map(|(index, line)| {
            serde_json::from_str(line).doing(|| format!("{}:{}", path.display(), index + 1))
        });
        Ok(Ledger {
            entries: entries.collect::<Outcome<Vec<Entry>>>()?,
            path,
        })
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn of(&self, shape: &str, python: &str) -> impl Iterator<Item = &Entry> {
        let own = move |entry: &&Entry| entry.shape == shape && entry.python == python;
        self.entries.iter().filter(own)
    }

    /// How many scripts there were in targets of this shape.
    pub(super) fn runs(&self, shape: &str, python: &str) -> usize {
        self.of(shape, python).map(Entry::runs).sum()
    }

    pub(super) fn harmed(&self, shape: &str, python: &str) -> usize {
        let harmed = |entry: &&Entry| entry.harm.is_some();
        self.of(shape, python).filter(harmed).count()
    }

    /// Keeps one more. Several runs may do so at once: each writes whole lines.
    pub(super) fn note(&mut self, entry: Entry) -> Outcome {
        let mut line = serde_json::to_string(&entry).doing(|| "writing a result".to_owned())?;
        line.push('\n');
        self.entries.push(entry);
        let directory = self.path.parent().unwrap_or(&self.path);
        let kept = fs::create_dir_all(directory).and_then(|()| {
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)?;
            file.write_all(line.as_bytes())
        });
        kept.doing(|| format!("writing {}", self.path.display()))
    }

    /// Drops what has been measured of this cell.
    pub(super) fn forget(&mut self, shape: &str, python: &str) -> Outcome {
        let mut now = Ledger::open()?.entries;
        now.retain(|entry| entry.shape != shape || entry.python != python);
        let lines = now.iter().map(|entry| {
            let line = serde_json::to_string(entry).doing(|| "writing a result".to_owned())?;
            Ok(line + "\n")
        });
        let text = lines.collect::<Outcome<String>>()?;
        self.entries = now;
        if !self.path.exists() {
            return Ok(());
        }
        let unfinished = self.path.with_extension("new");
        fs::write(&unfinished, text)
            .and_then(|()| fs::rename(&unfinished, &self.path))
            .doing(|| format!("writing {}", self.path.display()))
    }
}
