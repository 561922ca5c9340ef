//! The text that a target runs.

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::Parameters;

/// The bootstrap as it is written, comments and all.
const BOOTSTRAP: &str = include_str!("../bootstrap.py");

/// The bootstrap as it is staged.
static STAGED: LazyLock<Staged> = LazyLock::new(|| Staged::new(BOOTSTRAP));

/// The parts of the bootstrap, without comments and blank lines, which the target would have to
/// read and skip while its thread stands still.
struct Staged {
    /// What is compiled at once.
    main: String,
    /// A Python dictionary of texts that are compiled when they are needed.
    texts: String,
}

impl Staged {
    fn new(source: &str) -> Self {
        let part = |name: &str| {
            let marker = format!("# as text: {name}\n");
            let rest = source.split_once(&marker).map_or("", |(_, rest)| rest);
            bare(rest.split_once("\n# ").map_or(rest, |(part, _)| part))
        };
        let main = source
            .split_once("# as text: ")
            .map_or(source, |(main, _)| main);
        let shared = part("encode");
        let texts = format!(
            "{{'value': {}, 'error': {}}}",
            literal((shared.clone() + &part("value")).as_bytes()),
            literal((shared + &part("error")).as_bytes()),
        );
        Self {
            main: bare(main),
            texts,
        }
    }
}

/// `source` without the lines that are blank or only a comment.
fn bare(source: &str) -> String {
    let mut kept = String::with_capacity(source.len());
    for line in source.lines() {
        let text = line.trim_start();
        if !text.is_empty() && !text.starts_with('#') {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// `bytes` as a Python literal of type `bytes`, on one line, in ASCII.
fn literal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8 + 3);
    text.push_str("b'");
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\'' => text.push_str("\\'"),
            b'\n' => text.push_str("\\n"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                // Writing to a String can't fail.
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('\'');
    text
}

/// The whole text of a staged script.
pub(crate) fn script(parameters: &Parameters) -> String {
    let staged = &*STAGED;
    let payload = match &parameters.payload {
        Some(payload) => literal(&payload.encode()),
        None => "None".to_owned(),
    };
    format!(
        "invivo = ({}, {}, {}, {}, {}, {payload}, {})\n{}",
        literal(&parameters.token),
        literal(&parameters.reply),
        literal(&parameters.directory),
        literal(&parameters.script),
        parameters.deadline,
        staged.texts,
        staged.main,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_found_and_bare() {
        let staged = Staged::new(BOOTSTRAP);
        assert!(staged.main.starts_with("def run(token, reply,"));
        assert!(staged.main.ends_with("    globals().clear()\n"));
        assert!(!staged.main.contains("def describe"));
        assert_eq!(staged.texts.matches("def encode(").count(), 2);
        assert_eq!(staged.texts.matches("def describe(").count(), 2);
        assert_eq!(staged.texts.lines().count(), 1);
        for text in [&staged.main, &staged.texts] {
            assert!(!text.lines().any(|line| line.trim_start().starts_with('#')));
            assert!(
                !text.contains("# "),
                "a comment at the end of a line would be staged"
            );
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
        let parameters = Parameters {
            token: [1; 16],
            reply: [2; 16],
            directory: b"/tmp/x".to_vec(),
            script: b"run.py".to_vec(),
            deadline: 99,
            payload: None,
        };
        let text = script(&parameters);
        let first = text.lines().next().expect("a line");
        assert!(first.starts_with("invivo = (b'\\x01\\x01"));
        assert!(first.contains("b'/tmp/x', b'run.py', 99, None, {"));
    }
}
