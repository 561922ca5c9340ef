//! The text that a target runs.

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::Parameters;

/// The bootstrap as it is written. Comments stay in what is staged: leaving them out did not make
/// the target's compiler measurably faster, compiling rarely needed code later did.
const BOOTSTRAP: &str = include_str!("../bootstrap.py");

/// What stands before each part of the bootstrap that is compiled only when it is needed.
const MARKER: &str = "# as text: ";

/// The part that comes before each of [`ENCODING`].
const ENCODE: &str = "encode";

/// The parts that need [`ENCODE`].
const ENCODING: [&str; 2] = ["value", "error"];

/// The bootstrap, taken apart.
static STAGED: LazyLock<Staged> = LazyLock::new(|| Staged::new(BOOTSTRAP));

struct Staged {
    /// What is compiled at once.
    main: String,
    /// A Python dictionary of the other parts, by name.
    texts: String,
}

impl Staged {
    fn new(source: &str) -> Self {
        let (main, rest) = source.split_once(MARKER).unwrap_or((source, ""));
        let parts: Vec<(&str, &str)> = rest
            .split(MARKER)
            .map(|part| {
                let (heading, text) = part.split_once('\n').unwrap_or((part, ""));
                (heading.split(' ').next().unwrap_or(heading), text)
            })
            .collect();
        let encode = parts
            .iter()
            .find(|(name, _)| *name == ENCODE)
            .map_or("", |(_, text)| text);
        let mut texts = String::from("{");
        for (name, text) in parts.iter().filter(|(name, _)| *name != ENCODE) {
            let before = if ENCODING.contains(name) { encode } else { "" };
            let text = literal(format!("{before}{text}").as_bytes());
            // Writing to a String can't fail.
            let _ = write!(texts, "'{name}': {text}, ");
        }
        texts.push('}');
        Self {
            main: main.to_owned(),
            texts,
        }
    }
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
    } = parameters;
    let payload = match payload {
        Some(payload) => literal(&payload.encode()),
        None => "None".to_owned(),
    };
    format!(
        "invivo = ({}, {}, {}, {}, {deadline}, {payload}, {})\n{}",
        literal(token),
        literal(reply),
        literal(directory),
        literal(script),
        STAGED.texts,
        STAGED.main,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_found() {
        let staged = Staged::new(BOOTSTRAP);
        assert!(staged.main.trim_end().ends_with("    globals().clear()"));
        assert_eq!(staged.texts.lines().count(), 1);
        for name in ["load", "connect", "unmapped", "stream", "value", "error"] {
            assert!(
                BOOTSTRAP.contains(&format!("make('{name}')")),
                "{name} is used"
            );
            assert!(
                staged.texts.contains(&format!("'{name}': b'")),
                "{name} is there"
            );
        }
        assert_eq!(staged.texts.matches("def made(").count(), 6);
        assert_eq!(staged.texts.matches("def encode(").count(), 2);
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
