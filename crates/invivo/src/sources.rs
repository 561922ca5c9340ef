use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use invivo_process::{Target, TargetRoot};

/// A file with more bytes than this is no source file that a person reads.
const FILE_MAX: u64 = 4 << 20;

/// A traceback names a handful of files; what names more than this is not believed.
const FILES_MAX: usize = 64;

/// The source files of a target, as it sees them. Whatever can't be read is simply not there.
#[derive(Debug)]
pub struct Sources<'a> {
    target: &'a Target,
    root: Option<TargetRoot>,
    texts: HashMap<PathBuf, Option<String>>,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(target: &'a Target) -> Self {
        Self {
            target,
            root: None,
            texts: HashMap::new(),
        }
    }

    /// The text of `file`: a regular file under the target's root, in UTF-8 or nearly so.
    pub fn text(&mut self, file: &Path) -> Option<String> {
        if let Some(known) = self.texts.get(file) {
            return known.clone();
        }
        if self.texts.len() >= FILES_MAX || !file.has_root() {
            return None;
        }
        let text = self.read(file);
        self.texts.insert(file.to_owned(), text.clone());
        text
    }

    fn read(&mut self, file: &Path) -> Option<String> {
        if self.root.is_none() {
            self.root = self.target.root().ok();
        }
        let opened = self.root.as_ref()?.open_file(file, FILE_MAX).ok()?;
        let mut bytes = Vec::new();
        opened.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}
