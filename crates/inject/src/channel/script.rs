//! The text that a target runs.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use invivo_model::surrogate;

use super::{Parameters, Payload};

/// The bootstrap as it is written.
const BOOTSTRAP: &str = concat!(
    include_str!("../bootstrap.py"),
    include_str!("../bootstrap/output.py"),
    include_str!("../bootstrap/result.py"),
);

/// What stands before each part of the bootstrap that is compiled only when it is needed.
const MARKER: &str = "# as text: ";

/// What stands before lines that are staged only if a condition holds, up to [`END`].
const IF: &str = "# if ";

/// The end of lines that began with [`IF`].
const END: &str = "# end";

/// The parts that may be needed before the target has its task, in the order in which the
/// bootstrap takes them.
const EARLY: [&str; 5] = ["remove", "note", "files", "connect", "peer"];

/// The parts that go with the task, in the order in which the bootstrap takes them.
const LATE: [&str; 6] = ["stream", "others", "mute", "unchain", "whole", "failure"];

/// The part that comes before each of [`ENCODING`].
const ENCODE: &str = "encode";

/// The parts that need [`ENCODE`].
const ENCODING: [&str; 2] = ["whole", "failure"];

/// What separates the fields of a task: no byte of UTF-8.
const SEPARATOR: u8 = 0xff;

/// The longest `repr()` that goes out without the help of the part `whole`, in bytes.
const SHORT: i32 = 1 << 16;

/// The longest path of a socket that fits into its address, in bytes.
const SOCKET_PATH_MAX: usize = 107;

/// The bootstrap, taken apart.
static STAGED: LazyLock<Staged> = LazyLock::new(|| Staged::new(BOOTSTRAP));

struct Staged {
    /// What is compiled at once.
    main: &'static str,
    /// The other parts, by name.
    parts: HashMap<&'static str, String>,
}

impl Staged {
    fn new(source: &'static str) -> Self {
        let mut sections = source.split(MARKER);
        let main = sections.next().unwrap_or_default();
        let texts: HashMap<_, _> = sections
            .map(|section| {
                let (heading, text) = section.split_once('\n').unwrap_or((section, ""));
                (
                    heading.split(' ').next().unwrap_or(heading),
                    code(text, &[]),
                )
            })
            .collect();
        let encode = texts.get(ENCODE).cloned().unwrap_or_default();
        let parts = texts
            .into_iter()
            .map(|(name, text)| {
                let before = if ENCODING.contains(&name) {
                    encode.as_str()
                } else {
                    ""
                };
                (name, format!("{before}{text}"))
            })
            .collect();
        Self { main, parts }
    }

    fn part(&self, name: &str) -> &str {
        self.parts.get(name).map_or("", String::as_str)
    }
}

/// The lines of `text` that are code, without those whose condition does not hold.
fn code(text: &str, conditions: &[&str]) -> String {
    let mut lines = String::with_capacity(text.len());
    let mut wanted = true;
    for line in text.lines() {
        let bare = line.trim_start();
        if let Some(condition) = bare.strip_prefix(IF) {
            wanted = conditions.contains(&condition);
        } else if bare == END {
            wanted = true;
        } else if wanted && !bare.is_empty() && !bare.starts_with('#') {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    lines
}

/// What the target is told to do: the late parts of the bootstrap, the source, its file name and
/// the arguments; and at the end `reply`, which proves where it comes from.
pub(crate) fn task(reply: &[u8; 16], payload: &Payload) -> Vec<u8> {
    let mut task = Vec::new();
    // As `eval` does with a text.
    let indented = |c: char| payload.evaluate && (c == ' ' || c == '\t');
    let source = payload.source.trim_start_matches(indented);
    let parts = LATE.iter().map(|name| STAGED.part(name));
    let arguments = payload.arguments.iter().map(String::as_str);
    // As Python has the name of a file that is no UTF-8.
    let name = surrogate::pass(&payload.name);
    let arguments = arguments.map(str::as_bytes);
    for field in parts
        .chain([source])
        .map(str::as_bytes)
        .chain([name.as_slice()])
        .chain(arguments)
    {
        task.extend_from_slice(field);
        task.push(SEPARATOR);
    }
    task.pop();
    task.extend_from_slice(reply);
    task
}

/// The names of all parts that are compiled later, and their texts as Python literals.
#[cfg(test)]
pub(super) fn parts() -> impl Iterator<Item = (&'static str, String)> {
    let names = EARLY.iter().chain(&LATE);
    names.map(|name| (*name, literal(STAGED.part(name).as_bytes())))
}

/// `bytes` as a Python literal of type `bytes`, on one line, in ASCII.
pub(crate) fn literal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8 + 3);
    text.push_str("b'");
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\'' => text.push_str("\\'"),
            b'\n' => text.push_str("\\n"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('\'');
    text
}

/// The whole text of a staged script.
pub(crate) fn script(parameters: &Parameters) -> String {
    let Parameters {
        token,
        reply,
        directory,
        script,
        deadline,
        payload,
        attended,
        announce,
        pid,
    } = parameters;
    let hello = [&b"H\0\0\0\x10"[..], token].concat();
    let far = directory.len() + "/s".len() > SOCKET_PATH_MAX;
    let conditions = [
        if *attended { "attended" } else { "unattended" },
        match (attended, far) {
            (false, _) => "",
            (true, false) => "near",
            (true, true) => "far",
        },
        if payload.main_namespace {
            "main"
        } else {
            "fresh"
        },
        if payload.evaluate { "evaluate" } else { "" },
        if *announce { "announce" } else { "" },
        if payload.stop_after.is_some() {
            "stop"
        } else {
            "unbounded"
        },
    ];
    let mut text = format!(
        "invivo = ({}, {}, {}, {}, {deadline}, '{}', {}, {}, {}, {}",
        literal(&hello),
        literal(reply),
        literal(directory),
        literal(script),
        if payload.evaluate { "eval" } else { "exec" },
        if payload.wants_json { -1 } else { SHORT },
        payload.stop_after.map_or(0.0, |after| after.as_secs_f64()),
        if *attended {
            "None".to_owned()
        } else {
            format!("bytearray({})", literal(&task(reply, payload)))
        },
        pid.unwrap_or(0),
    );
    for name in EARLY {
        // Writing to a String can't fail.
        let _ = write!(text, ", {}", literal(STAGED.part(name).as_bytes()));
    }
    text.push_str(")\n");
    text.push_str(&code(STAGED.main, &conditions));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_there_and_used() {
        let staged = Staged::new(BOOTSTRAP);
        for name in EARLY.iter().chain(&LATE) {
            assert!(!staged.part(name).is_empty(), "{name} is there");
            assert!(
                BOOTSTRAP.contains(&format!("exec({name}")),
                "{name} is used"
            );
        }
        assert_eq!(
            staged.parts.len(),
            EARLY.len() + LATE.len() + 1,
            "and `encode`"
        );
        for name in ENCODING {
            assert!(staged.part(name).starts_with("def encode("), "{name}");
        }
    }

    #[test]
    fn conditions_choose_lines() {
        let text = "a\n    # if x\n    b\n    # a comment\n\n    # end\n# if y\nc\n# end\nd\n";
        assert_eq!(code(text, &["x"]), "a\n    b\nd\n");
        assert_eq!(code(text, &["y"]), "a\nc\nd\n");
        let known = [
            "attended",
            "unattended",
            "near",
            "far",
            "main",
            "fresh",
            "evaluate",
            "announce",
            "stop",
            "unbounded",
        ];
        for condition in BOOTSTRAP
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix(IF))
        {
            assert!(known.contains(&condition), "{condition}");
        }
    }

    #[test]
    fn a_literal_is_one_line_of_ascii() {
        let all: Vec<u8> = (0..=255).collect();
        let text = literal(&all);
        assert!(text.is_ascii() && text.lines().count() == 1);
        assert_eq!(literal(b"a'\\\n\0\xff"), r"b'a\'\\\n\x00\xff'");
    }

    #[test]
    fn the_first_line_holds_the_parameters() {
        let payload = Payload {
            evaluate: true,
            source: " 7".to_owned(),
            name: "<here>".to_owned(),
            arguments: vec!["-c".to_owned()],
            main_namespace: false,
            wants_json: true,
            stop_after: None,
        };
        let mut parameters = Parameters {
            token: [1; 16],
            reply: [2; 16],
            directory: b"/tmp/x".to_vec(),
            script: b"run.py".to_vec(),
            deadline: 99,
            payload,
            attended: true,
            announce: false,
            pid: Some(7),
        };
        let text = script(&parameters);
        let first = text.lines().next().expect("a line");
        assert!(first.starts_with("invivo = (b'H\\x00\\x00\\x00\\x10\\x01\\x01"));
        assert!(first.contains("b'/tmp/x', b'run.py', 99, 'eval', -1, 0, None, 7, b'"));
        parameters.attended = false;
        let tail = r"\xff7\xff<here>\xff-c\x02\x02";
        assert!(!text.contains(tail));
        assert!(script(&parameters).contains(tail));
    }
}
