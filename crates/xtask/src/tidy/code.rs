//! Rules about what Rust code may name, and where.

use super::{Finding, Tree, lexer::Line};

/// The crates that are no part of the product.
const CHORES: [&str; 2] = ["crates/synth/", "crates/xtask/"];

/// The longest file that is still read in one go.
const LONGEST: usize = 600;

/// Lines outside the given places that a test finds fault with.
fn outside(
    tree: &Tree,
    places: &[&str],
    message: &str,
    fault: impl Fn(&Line) -> bool,
) -> Vec<Finding> {
    let files = tree
        .rust
        .iter()
        .filter(|(path, _)| !places.iter().any(|place| path.starts_with(place)));
    let lines = files.flat_map(|(path, lines)| {
        lines
            .iter()
            .enumerate()
            .map(move |(n, line)| (path, n + 1, line))
    });
    lines
        .filter(|(_, _, line)| fault(line))
        .map(|(path, n, _)| Finding::new(path, n, message))
        .collect()
}

/// Whether `text` contains `word`, and not as a part of a longer name.
fn has_word(text: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

/// Whether a name in `text` begins with `word`.
fn begins_word(text: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].chars().next_back().is_some_and(part_of_name))
}

fn has_any(text: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| text.contains(part))
}

pub(super) fn unsafe_in_its_place(tree: &Tree) -> Vec<Finding> {
    let is_sys = |path: &str| path.starts_with("crates/process/src/") && path.ends_with("/sys.rs");
    let all = outside(
        tree,
        &[],
        "`unsafe` outside crates/process/src/*/sys.rs",
        |line| has_word(&line.bare, "unsafe"),
    );
    all.into_iter()
        .filter(|finding| !is_sys(&finding.path))
        .collect()
}

pub(super) fn unsafe_forbidden(tree: &Tree) -> Vec<Finding> {
    let is_top = |path: &str| path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs");
    let tops = tree
        .rust
        .iter()
        .filter(|(path, _)| is_top(path) && !path.starts_with("crates/process/"));
    tops.filter(|(_, lines)| {
        !lines
            .iter()
            .any(|line| line.bare.contains("#![forbid(unsafe_code)]"))
    })
    .map(|(path, _)| Finding::new(path, 0, "`#![forbid(unsafe_code)]` is missing"))
    .collect()
}

pub(super) fn system_named_in_process_only(tree: &Tree) -> Vec<Finding> {
    const NAMES: [&str; 5] = ["target_os", "libc::", "rustix::", "std::os::", "/proc/"];
    let places = [&["crates/process/"][..], &CHORES].concat();
    outside(
        tree,
        &places,
        "names an operating system outside crates/process",
        |line| !line.test && has_any(&line.code, &NAMES),
    )
}

pub(super) fn versions_named_in_layout_only(tree: &Tree) -> Vec<Finding> {
    let places = [
        &["crates/cpython/src/layout/", "crates/cpython/src/layout.rs"][..],
        &CHORES,
    ]
    .concat();
    outside(
        tree,
        &places,
        "names a CPython version outside crates/cpython/src/layout/",
        |line| !line.test && names_version(line),
    )
}

/// `"3.14"` within a string, `(3, 14)`, `3, 14` in a call, or a comparison of `minor` with a number.
fn names_version(line: &Line) -> bool {
    let number = |text: &str| {
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .map_or(text, |end| &text[..end]);
        digits.parse::<u32>().is_ok_and(|n| (7..100).contains(&n))
    };
    let after = |text: &str, sign: &str| {
        text.match_indices(sign).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            !before.is_some_and(|c| c.is_ascii_digit() || c == '.')
                && number(&text[at + sign.len()..])
        })
    };
    let compared = ["==", ">=", "<=", "<", ">", "!="]
        .iter()
        .any(|sign| after(&line.bare, &format!("minor {sign} ")));
    let in_string = line.code != line.bare && after(&line.code, "3.") && !after(&line.bare, "3.");
    compared || in_string || after(&line.bare, "3, ")
}

pub(super) fn written_by_inject_only(tree: &Tree) -> Vec<Finding> {
    const WAYS: [&str; 3] = ["write_many", "WriteRequest", "Suspension"];
    let named = |line: &Line, ways: &[&str]| {
        !line.test && ways.iter().any(|name| has_word(&line.bare, name))
    };
    let writers = [&["crates/process/", "crates/inject/"][..], &CHORES].concat();
    // A look may be wanted of one moment: it stops, and has nothing to write with.
    let stoppers = [&writers[..], &["crates/invivo/", "crates/profile/"]].concat();
    let mut found = outside(
        tree,
        &writers,
        "writes to a target outside crates/inject",
        |line| named(line, &WAYS),
    );
    found.extend(outside(
        tree,
        &stoppers,
        "stops a target outside crates/inject, crates/invivo and crates/profile",
        |line| named(line, &["while_stopped", "stand_still"]),
    ));
    found
}

pub(super) fn readers_without_side_doors(tree: &Tree) -> Vec<Finding> {
    const DOORS: [&str; 6] = [
        "std::fs",
        "std::process",
        "std::net",
        "std::env",
        "Instant",
        "SystemTime",
    ];
    let rooms = ["crates/image/", "crates/cpython/", "crates/formats/"];
    let readers = |path: &str| rooms.iter().any(|room| path.starts_with(room));
    let all = outside(
        tree,
        &CHORES,
        "a reader or a format opens no file, process or clock",
        |line| !line.test && has_any(&line.bare, &DOORS),
    );
    all.into_iter()
        .filter(|finding| readers(&finding.path))
        .collect()
}

/// Files that a target, a recording or an image names are opened by one door. What else opens files
/// is given them by who runs the command.
pub(super) fn files_opened_by_one_door(tree: &Tree) -> Vec<Finding> {
    const OPENERS: [&str; 10] = [
        "File::open",
        "File::create",
        "OpenOptions",
        "fs::read",
        "fs::write",
        "fs::canonicalize",
        "fs::metadata",
        "fs::rename",
        "NamedTempFile",
        "read_link",
    ];
    // The caller's own: a script, a recording, an image, the sample program.
    const GIVEN: [&str; 4] = ["exec", "profiles", "dump", "demo"];
    let given = GIVEN.map(|name| format!("crates/cli/src/commands/{name}.rs"));
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let elsewhere = ["crates/process/", "crates/invivo/src/audit_tests.rs"];
    let mut found = outside(
        tree,
        &[&elsewhere[..], &given, &CHORES].concat(),
        "opens or makes a file by another door than TargetRoot and NewFile",
        |line| !line.test && OPENERS.iter().any(|name| begins_word(&line.bare, name)),
    );
    // Within it, whoever walks a path as a target names it.
    let walkers = ["access", "append", "files", "root", "staging"];
    let walkers = walkers.map(|name| format!("crates/process/src/linux/{name}.rs"));
    let walkers: Vec<&str> = walkers.iter().map(String::as_str).collect();
    found.extend(outside(
        tree,
        &[&walkers[..], &CHORES].concat(),
        "walks a path that a target may name outside crates/process/src/linux/files.rs",
        |line| !line.test && has_any(&line.bare, &["openat2(", "ResolveFlags"]),
    ));
    found
}

pub(super) fn printed_by_the_command_only(tree: &Tree) -> Vec<Finding> {
    const WAYS: [&str; 7] = [
        "print!",
        "println!",
        "eprint!",
        "eprintln!",
        "process::exit",
        "process::abort",
        "io::stdout",
    ];
    outside(
        tree,
        &[&["crates/cli/"], &CHORES[..]].concat(),
        "prints or exits outside crates/cli",
        |line| !line.test && WAYS.iter().any(|way| has_word(&line.bare, way)),
    )
}

/// A write that goes past the one way to stdout is one whose failure nobody would be told of.
pub(super) fn written_to_stdout_in_one_place(tree: &Tree) -> Vec<Finding> {
    const WAYS: [&str; 4] = ["print!", "println!", "io::stdout", "stdout()"];
    let goes_past = |line: &Line| WAYS.iter().any(|way| has_word(&line.bare, way));
    let places = [
        "crates/cli/src/show/delivery.rs",
        "crates/cli/src/top/screen.rs",
    ];
    let all = outside(
        tree,
        &places,
        "goes past the one way to stdout, which is crates/cli/src/show/delivery.rs",
        |line| !line.test && goes_past(line),
    );
    all.into_iter()
        .filter(|finding| finding.path.starts_with("crates/cli/src/"))
        .collect()
}

pub(super) fn no_ignored_tests(tree: &Tree) -> Vec<Finding> {
    outside(
        tree,
        &[],
        "an ignored test: a test runs or is not there",
        |line| line.bare.contains("#[ignore"),
    )
}

pub(super) fn files_of_bearable_length(tree: &Tree) -> Vec<Finding> {
    let code = |path: &str| [".rs", ".py", ".c"].iter().any(|end| path.ends_with(end));
    let files = tree
        .texts
        .iter()
        .filter(|(path, _)| path.starts_with("crates/") && code(path));
    files
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, length)| *length > LONGEST)
        .map(|(path, length)| {
            Finding::new(path, 0, format!("{length} lines; {LONGEST} are enough"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Rule;
    use super::*;

    /// The lines of `text` that the rule finds fault with, if it lies at `path`.
    fn faults(rule: Rule, path: &str, text: &str) -> Vec<usize> {
        let findings = rule(&Tree::of(&[(path, text)]));
        assert!(findings.iter().all(|finding| finding.path == path));
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unsafe_code() {
        let text = "unsafe { f() }\n// unsafe\n#![forbid(unsafe_code)]\n\"unsafe\"";
        assert_eq!(
            faults(unsafe_in_its_place, "crates/image/src/lib.rs", text),
            [1]
        );
        assert_eq!(
            faults(unsafe_in_its_place, "crates/process/src/linux/mod.rs", text),
            [1]
        );
        assert!(faults(unsafe_in_its_place, "crates/process/src/linux/sys.rs", text).is_empty());
    }

    #[test]
    fn crates_that_do_not_forbid_unsafe() {
        assert_eq!(
            faults(
                unsafe_forbidden,
                "crates/a/src/lib.rs",
                "//! #![forbid(unsafe_code)]"
            ),
            [0]
        );
        assert!(
            faults(
                unsafe_forbidden,
                "crates/a/src/main.rs",
                "#![forbid(unsafe_code)]"
            )
            .is_empty()
        );
        assert!(faults(unsafe_forbidden, "crates/process/src/lib.rs", "").is_empty());
    }

    #[test]
    fn operating_systems() {
        let text = "use std::os::fd::OwnedFd;\nlibc::getpid();\nrustix::fs::open();\n\
                    #[cfg(target_os = \"x\")]\nopen(\"/proc/self\");\n// libc::\n\
                    #[cfg(test)]\nuse std::os::unix;\n";
        let rule = system_named_in_process_only;
        assert_eq!(
            faults(rule, "crates/inject/src/a.rs", text),
            [1, 2, 3, 4, 5]
        );
        for allowed in [
            "crates/process/src/a.rs",
            "crates/synth/src/a.rs",
            "crates/inject/tests/a.rs",
        ] {
            assert!(faults(rule, allowed, text).is_empty(), "{allowed}");
        }
    }

    #[test]
    fn versions() {
        let text = "say(\"needs 3.14\");\nif v == (3, 13) {}\nif minor >= 14 {}\nVersion::new(3, 15)\n\
                    f(\"1.3.14\", 3.14, x[3], 13, 4);\n// 3.14\nif minor == 0 {}\n";
        let rule = versions_named_in_layout_only;
        assert_eq!(faults(rule, "crates/inject/src/a.rs", text), [1, 2, 3, 4]);
        assert!(faults(rule, "crates/cpython/src/layout/v314.rs", text).is_empty());
    }

    #[test]
    fn writing() {
        let text = "s.write_many(&[]);\nuse x::WriteRequest;\nw.write_many_more();\nt.while_stopped(d, f);\nt.stand_still(d);";
        assert_eq!(
            faults(written_by_inject_only, "crates/cpython/src/a.rs", text),
            [1, 2, 4, 5]
        );
        assert_eq!(
            faults(written_by_inject_only, "crates/invivo/src/a.rs", text),
            [1, 2]
        );
        assert!(faults(written_by_inject_only, "crates/inject/src/a.rs", text).is_empty());
    }

    #[test]
    fn readers() {
        let text = "use std::fs::File;\nstd::process::id();\nInstant::now();\nuse std::time::SystemTime;\n\
                    use std::time::Duration;\n#[cfg(test)]\nuse std::fs;\n";
        assert_eq!(
            faults(readers_without_side_doors, "crates/image/src/a.rs", text),
            [1, 2, 3, 4]
        );
        assert_eq!(
            faults(readers_without_side_doors, "crates/cpython/src/a.rs", text),
            [1, 2, 3, 4]
        );
        assert!(faults(readers_without_side_doors, "crates/process/src/a.rs", text).is_empty());
    }

    #[test]
    fn opening() {
        let text = "File::open(x);\nfs::read_to_string(x);AppendFile::open(x);\n\"fs::read\";\nroot.read_file(x);\n#[cfg(test)]\nfs::read(x);";
        let rule = files_opened_by_one_door;
        assert_eq!(faults(rule, "crates/invivo/src/a.rs", text), [1, 2]);
        assert_eq!(faults(rule, "crates/cli/src/commands/ps.rs", text), [1, 2]);
        assert!(faults(rule, "crates/cli/src/commands/dump.rs", text).is_empty());
        let walk = "openat2(root, path);";
        assert_eq!(faults(rule, "crates/process/src/linux/maps.rs", walk), [1]);
        assert!(faults(rule, "crates/process/src/linux/files.rs", walk).is_empty());
    }

    #[test]
    fn printing() {
        let text = "println!(\"a\");\neprint!(\"b\");\nstd::process::exit(1);\nwriteln!(f);\n\"println!\";";
        assert_eq!(
            faults(printed_by_the_command_only, "crates/inject/src/a.rs", text),
            [1, 2, 3]
        );
        assert!(faults(printed_by_the_command_only, "crates/cli/src/a.rs", text).is_empty());
    }

    #[test]
    fn writing_to_stdout() {
        let text = "println!(\"a\");\nio::stdout().lock();\nuse x::stdout;\nwrite(stdout());\ns.stdout(b);";
        let rule = written_to_stdout_in_one_place;
        assert_eq!(faults(rule, "crates/cli/src/a.rs", text), [1, 2, 4]);
        assert!(faults(rule, "crates/cli/src/show/delivery.rs", text).is_empty());
        assert!(faults(rule, "crates/xtask/src/a.rs", text).is_empty());
    }

    #[test]
    fn ignored_tests() {
        let text = "#[test]\n#[ignore = \"slow\"]\nfn a() {}\n#[test]\n#[ignore]\nfn b() {}";
        assert_eq!(
            faults(no_ignored_tests, "crates/cli/tests/a.rs", text),
            [2, 5]
        );
    }

    #[test]
    fn long_files() {
        let long = "\n".repeat(LONGEST + 1);
        assert_eq!(
            faults(files_of_bearable_length, "crates/a/src/a.rs", &long),
            [0]
        );
        assert_eq!(
            faults(files_of_bearable_length, "crates/a/src/a.py", &long),
            [0]
        );
        assert!(faults(files_of_bearable_length, "crates/a/src/a.rs", &long[1..]).is_empty());
        assert!(faults(files_of_bearable_length, "crates/a/data.json", &long).is_empty());
    }
}
