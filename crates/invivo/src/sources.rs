use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use invivo_model::surrogate;
use invivo_process::{Identity, Target, TargetRoot, file_name};

/// A file with more bytes than this is no source file that a person reads.
const FILE_MAX: u64 = 4 << 20;

/// How many files are opened: many times those that a stack names.
const FILES_MAX: usize = 512;

/// How much of them is kept in all, with what it takes to find their lines.
const BYTES_MAX: u64 = 64 << 20;

/// A line has so many bytes at most, and is cut behind them: whoever shows or keeps one holds many
/// at a time.
const LINE_MAX: usize = 2000;

/// Stands where a line was cut.
const CUT: char = '…';

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
    starts: Vec<u32>,
}

impl Source {
    /// In at most `room` bytes: of a text that is mostly ends of lines only the first are found.
    /// `None` where not even the text has room.
    fn new(text: String, room: u64) -> Option<Self> {
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let lines = room.checked_sub(text.len())? / size_of::<u32>();
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).take(lines);
        let starts = starts.map_while(|start| u32::try_from(start).ok());
        let mut starts: Vec<u32> = starts.collect();
        starts.shrink_to_fit();
        Some(Self { text, starts })
    }

    fn size(&self) -> u64 {
        (self.text.len() + self.starts.len() * size_of::<u32>()) as u64
    }

    fn line(&self, number: u32) -> Option<Cow<'_, str>> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let start = usize::try_from(*self.starts.get(index)?).ok()?;
        let rest = self.text.get(start..)?;
        // Most ends are near, and where the next line begins may not be known.
        let near = rest.get(..rest.floor_char_boundary(LINE_MAX + 2))?;
        let line = near.split('\n').next().unwrap_or_default();
        let line = line.trim_end_matches('\r');
        if line.len() <= LINE_MAX {
            return Some(Cow::Borrowed(line));
        }
        let kept = line.get(..line.floor_char_boundary(LINE_MAX))?;
        Some(Cow::Owned(format!("{kept}{CUT}")))
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

    /// The line `number`, counted from 1, of `file` (see [`Sources::text`]), without its end; cut
    /// behind 2000 bytes, with `…` in the place of the rest. The file is read as it is now:
    /// it may have changed since the target read it.
    pub fn line(&mut self, file: &Path, number: u32) -> Option<Cow<'_, str>> {
        self.source(file)?.line(number)
    }

    /// The same, with the text of `file` known already.
    #[must_use]
    pub fn with(mut self, file: &str, text: String) -> Self {
        self.keep(OsString::from(file), Some(text));
        self
    }

    fn keep(&mut self, name: OsString, text: Option<String>) {
        let source = text.and_then(|text| Source::new(text, self.left));
        let size = source.as_ref().map_or(0, Source::size);
        self.left = self.left.saturating_sub(size);
        self.texts.insert(name, source);
    }

    fn source(&mut self, file: &Path) -> Option<&Source> {
        let name = file.as_os_str();
        if !self.texts.contains_key(name) {
            if self.texts.len() >= FILES_MAX {
                return None;
            }
            let read = self.read(file);
            self.keep(name.to_owned(), read);
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
        let source = Source::new("one\r\n\nthree".to_owned(), BYTES_MAX).expect("room");
        let lines: Vec<_> = (0..5).map(|number| source.line(number)).collect();
        let expected = [None, Some("one"), Some(""), Some("three"), None];
        assert_eq!(lines, expected.map(|line| line.map(Cow::Borrowed)));
    }

    #[test]
    fn a_long_line_is_cut_within_the_text_and_says_so() {
        for (line, kept) in [
            ("x".repeat(LINE_MAX), LINE_MAX),
            ("x".repeat(5000), LINE_MAX),
        ] {
            let text = format!("{line}\r\nnext");
            let source = Source::new(text, BYTES_MAX).expect("room");
            let cut = if line.len() > LINE_MAX { "…" } else { "" };
            let expected = format!("{}{cut}", &line[..kept]);
            assert_eq!(source.line(1).as_deref(), Some(expected.as_str()));
            assert_eq!(source.line(2).as_deref(), Some("next"));
        }
        let source = Source::new("数".repeat(5000), BYTES_MAX).expect("room");
        let expected = format!("{}…", "数".repeat(LINE_MAX / 3));
        assert_eq!(source.line(1).as_deref(), Some(expected.as_str()));
    }

    #[test]
    fn the_beginnings_of_lines_draw_on_the_same_room() {
        let newlines = || "\n".repeat(1000);
        assert!(Source::new(newlines(), 999).is_none());
        let source = Source::new(newlines(), 1400).expect("room for the text");
        assert_eq!(source.size(), 1400);
        assert_eq!(source.line(100).as_deref(), Some(""));
        assert_eq!(source.line(101), None);
        assert_eq!(Source::new(newlines(), 9000).expect("room").size(), 5004);
    }

    #[test]
    fn files_are_read_once_wherever_their_paths_begin() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("a.py");
        std::fs::write(&file, "\u{feff}first\nsecond\n").expect("a file");
        let target = Target::open(std::process::id()).expect("we are there");
        let mut sources = Sources::new(&target);
        assert_eq!(sources.line(&file, 1).as_deref(), Some("first"));
        std::fs::remove_file(&file).expect("removing it");
        assert_eq!(sources.line(&file, 2).as_deref(), Some("second"));
        assert_eq!(sources.text(&file), Some("first\nsecond\n"));
        assert_eq!(sources.line(Path::new("no such file"), 1), None);
        assert_eq!(sources.line(place.path(), 1), None);
        // Tests run in the directory of their crate.
        let own = sources.text(Path::new("src/sources.rs")).map(str::len);
        assert_eq!(own, Some(include_str!("sources.rs").len()));
    }
}
