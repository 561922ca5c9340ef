use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use invivo_model::surrogate;
use invivo_process::{Identity, Target, TargetRoot, file_name};

/// A file with more bytes than this is no source file that a person reads.
const FILE_MAX: u64 = 4 << 20;

/// How many files are opened: many times those that a stack names.
const FILES_MAX: usize = 512;

/// How much of them is kept in all.
const BYTES_MAX: u64 = 64 << 20;

/// The source files of a target, as it sees them. Whatever can't be read is simply not there.
#[derive(Debug)]
pub struct Sources<'a> {
    target: &'a Target,
    /// The target's root and, below it, its working directory.
    root: Option<(TargetRoot, Option<PathBuf>)>,
    /// Who names the files, where that is not the target.
    named_by: Option<Identity>,
    /// By the names as they came: comparing paths as such takes long.
    texts: HashMap<OsString, Option<Source>>,
    left: u64,
}

/// A file's text, and where its lines begin.
#[derive(Debug)]
struct Source {
    text: String,
    starts: Vec<usize>,
}

impl Source {
    fn new(text: String) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        Self { text, starts }
    }

    fn line(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let start = *self.starts.get(index)?;
        let end = self.starts.get(index + 1).copied();
        let line = self.text.get(start..end.unwrap_or(self.text.len()))?;
        Some(line.trim_end_matches(['\n', '\r']))
    }
}

impl<'a> Sources<'a> {
    /// Those of `target`. Its root is opened when it is needed.
    pub fn new(target: &'a Target) -> Self {
        Self {
            target,
            root: None,
            named_by: None,
            texts: HashMap::new(),
            left: BYTES_MAX,
        }
    }

    /// The same for files that somebody else names, and may read: their rights count, not the
    /// target's.
    #[must_use]
    pub fn named_by(self, identity: Identity) -> Self {
        Self {
            named_by: Some(identity),
            ..self
        }
    }

    /// The same, with the root opened now, where it can be: files can be read after the target's end.
    pub fn held(mut self) -> Self {
        self.open_root();
        self
    }

    /// Sees anew with which rights the target may read files, where its root is open: what it names
    /// after it has given some up is read without them. Of a target that has ended, what was seen
    /// last holds; so who holds the files of one that may end does this from time to time.
    pub fn refresh(&mut self) {
        if let Some((root, directory)) = &mut self.root {
            root.refresh();
            *directory = root.working_directory().or(directory.take());
        }
    }

    fn open_root(&mut self) -> Option<&(TargetRoot, Option<PathBuf>)> {
        if self.root.is_none() {
            let mut root = self.target.root().ok()?;
            if let Some(identity) = &self.named_by {
                root = root.named_by(identity.clone());
            }
            let directory = root.working_directory();
            self.root = Some((root, directory));
        }
        self.root.as_ref()
    }

    /// The text of `file`, which may be named as Python has it ([`surrogate`]): a regular file under the target's root, in UTF-8 or nearly so. A path
    /// that is not a whole one begins in the target's working directory.
    pub fn text(&mut self, file: &Path) -> Option<&str> {
        self.source(file).map(|source| source.text.as_str())
    }

    /// The line `number`, counted from 1, of `file` (see [`Sources::text`]), without its end. The
    /// file is read as it is now: it may have changed since the target read it.
    pub fn line(&mut self, file: &Path, number: u32) -> Option<&str> {
        self.source(file)?.line(number)
    }

    fn source(&mut self, file: &Path) -> Option<&Source> {
        let name = file.as_os_str();
        if !self.texts.contains_key(name) {
            if self.texts.len() >= FILES_MAX {
                return None;
            }
            let source = self.read(file).map(Source::new);
            self.texts.insert(name.to_owned(), source);
        }
        self.texts.get(name)?.as_ref()
    }

    fn read(&mut self, file: &Path) -> Option<String> {
        let named = match file.to_str() {
            Some(text) => file_name(surrogate::encode(text)?),
            None => file.as_os_str().to_owned(),
        };
        let file = Path::new(&named);
        let room = FILE_MAX.min(self.left);
        self.refresh();
        let (root, directory) = self.open_root()?;
        let bytes = if file.has_root() {
            root.read_file(file, room).ok()?
        } else {
            let whole = directory.as_ref()?.join(file);
            root.read_file(&whole, room).ok()?
        };
        self.left = self.left.saturating_sub(bytes.len() as u64);
        // The mark that some editors put at the beginning is no part of the first line.
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one_and_have_no_ends() {
        let source = Source::new("one\r\n\nthree".to_owned());
        let lines: Vec<_> = (0..5).map(|number| source.line(number)).collect();
        assert_eq!(lines, [None, Some("one"), Some(""), Some("three"), None]);
    }

    #[test]
    fn files_are_read_once_wherever_their_paths_begin() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("a.py");
        std::fs::write(&file, "\u{feff}first\nsecond\n").expect("a file");
        let target = Target::open(std::process::id()).expect("we are there");
        let mut sources = Sources::new(&target);
        assert_eq!(sources.line(&file, 1), Some("first"));
        std::fs::remove_file(&file).expect("removing it");
        assert_eq!(sources.line(&file, 2), Some("second"));
        assert_eq!(sources.text(&file), Some("first\nsecond\n"));
        assert_eq!(sources.line(Path::new("no such file"), 1), None);
        assert_eq!(sources.line(place.path(), 1), None);
        // Tests run in the directory of their crate.
        let own = sources.text(Path::new("src/sources.rs")).map(str::len);
        assert_eq!(own, Some(include_str!("sources.rs").len()));
    }
}
