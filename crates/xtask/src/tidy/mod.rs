//! `cargo xtask tidy`: the invariants of ARCHITECTURE.md, as checks of the sources.
//!
//! They read text, not types: a check finds what a person would write by mistake, not what
//! somebody hides on purpose.

mod code;
mod documents;
mod lexer;
mod manifests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use lexer::Line;
use synth::interpreters::workspace;

use crate::run::{Doing, Outcome};

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// Counted from 1; 0 for the file as a whole.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.message)
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: [Rule; 17] = [
    code::unsafe_in_its_place,
    code::unsafe_forbidden,
    code::system_named_in_process_only,
    code::versions_named_in_layout_only,
    code::written_by_inject_only,
    code::readers_without_side_doors,
    code::files_opened_by_one_door,
    code::printed_by_the_command_only,
    code::written_to_stdout_in_one_place,
    code::no_ignored_tests,
    code::files_of_bearable_length,
    manifests::allowed_edges,
    manifests::dependencies_with_reasons,
    documents::present,
    documents::claims_name_tests,
    documents::links_resolve,
    documents::crates_are_listed,
];

/// Checks every rule, prints what breaks one, and fails if anything does.
pub(crate) fn run() -> Outcome {
    let tree = Tree::load(workspace())?;
    let findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => Err("1 thing is untidy".to_owned()),
        n => Err(format!("{n} things are untidy")),
    }
}

/// The project's text files by their path from its top, and the Rust among them as lines of code.
#[derive(Default)]
struct Tree {
    texts: BTreeMap<String, String>,
    rust: BTreeMap<String, Vec<Line>>,
}

impl Tree {
    fn load(top: &Path) -> Outcome<Tree> {
        let mut tree = Tree::default();
        for part in ["", "crates", "docs", ".ci"] {
            tree.read(top, part, !part.is_empty())?;
        }
        tree.mark_test_modules();
        Ok(tree)
    }

    fn read(&mut self, top: &Path, part: &str, deep: bool) -> Outcome {
        let doing = || format!("reading {part}");
        let directory = top.join(part);
        if !directory.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(directory).doing(doing)? {
            let entry = entry.doing(doing)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if part.is_empty() {
                name
            } else {
                format!("{part}/{name}")
            };
            let kind = entry.file_type().doing(doing)?;
            if kind.is_dir() && deep {
                self.read(top, &path, true)?;
            } else if kind.is_file() {
                // What is not text is nothing that these rules speak of.
                if let Ok(text) = fs::read_to_string(entry.path()) {
                    self.add(path, text);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, path: String, text: String) {
        if path.ends_with(".rs") {
            let mut lines = lexer::lines(&text);
            let for_tests = ["/tests/", "/examples/", "/benches/"]
                .iter()
                .any(|part| path.contains(part));
            if for_tests || path.ends_with("/tests.rs") {
                lines.iter_mut().for_each(|line| line.test = true);
            }
            self.rust.insert(path.clone(), lines);
        }
        self.texts.insert(path, text);
    }

    /// Marks the files of modules that are declared for tests only.
    fn mark_test_modules(&mut self) {
        let declared = |(path, lines): (&String, &Vec<Line>)| {
            let place = path
                .trim_end_matches("/lib.rs")
                .trim_end_matches("/main.rs")
                .trim_end_matches("/mod.rs");
            let place = place.trim_end_matches(".rs").to_owned();
            let tests = lines.iter().filter(|line| line.test);
            let names =
                tests.filter_map(|line| line.bare.trim().strip_prefix("mod ")?.strip_suffix(';'));
            names
                .map(move |name| format!("{place}/{name}"))
                .collect::<Vec<_>>()
        };
        for module in self.rust.iter().flat_map(declared).collect::<Vec<_>>() {
            let (file, directory) = (format!("{module}.rs"), format!("{module}/"));
            let within = self
                .rust
                .iter_mut()
                .filter(|(path, _)| **path == file || path.starts_with(&directory));
            within
                .flat_map(|(_, lines)| lines)
                .for_each(|line| line.test = true);
        }
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        files
            .iter()
            .for_each(|(path, text)| tree.add((*path).to_owned(), (*text).to_owned()));
        tree.mark_test_modules();
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_show_where() {
        assert_eq!(Finding::new("a.rs", 3, "no").to_string(), "a.rs:3: no");
        assert_eq!(Finding::new("a.rs", 0, "no").to_string(), "a.rs: no");
    }

    #[test]
    fn modules_for_tests_are_tests_in_whatever_file() {
        let declares = "mod a;\n#[cfg(test)]\nmod b;\n";
        let files = ["x/src/a.rs", "x/src/b.rs", "x/src/b/c.rs"].map(|path| (path, "fn f() {}"));
        let tree = Tree::of(&[&files[..], &[("x/src/lib.rs", declares)]].concat());
        let marked = |path: &str| tree.rust[path][0].test;
        assert_eq!(files.map(|(path, _)| marked(path)), [false, true, true]);
        let tree = Tree::of(&[("x/src/d.rs", declares), ("x/src/d/b.rs", "fn f() {}")]);
        assert!(tree.rust["x/src/d/b.rs"][0].test);
    }

    #[test]
    fn reads_the_workspace_it_is_in() {
        let tree = Tree::load(workspace()).unwrap();
        assert!(tree.rust.contains_key("crates/xtask/src/main.rs"));
        assert!(tree.texts.contains_key("Cargo.toml"));
        assert!(!tree.texts.keys().any(|path| path.starts_with("target/")));
    }
}
