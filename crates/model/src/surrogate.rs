//! Characters that Python's strings have and Unicode text can't: lone surrogates. `os.fsdecode`
//! makes them of bytes of a file name that are no UTF-8.
//!
//! A [`char`] can't be one, and neither can a text in JSON. So each is kept as the private
//! character that lies 0x100000 further: U+DCFF as U+10DCFF. What is shown to people has it as
//! Python's `repr` writes it: `\udcff`.

use std::fmt::Write;

/// How far behind a surrogate the character lies that is kept for it.
const FURTHER: u32 = 0x10_0000;
/// The surrogate that stands for the byte 0; those below 0x80 are never used.
const BYTE: u32 = 0xDC00;

/// The character that is kept for what Python has as `code`: U+FFFD for what no string has.
pub fn character(code: u32) -> char {
    let kept = match code {
        0xD800..=0xDFFF => code + FURTHER,
        _ => code,
    };
    char::from_u32(kept).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The surrogate that `character` is kept for, if it is.
pub fn surrogate(character: char) -> Option<u32> {
    let code = u32::from(character).checked_sub(FURTHER)?;
    (0xD800..=0xDFFF).contains(&code).then_some(code)
}

/// Bytes as Python's `os.fsdecode` takes them: UTF-8, with a surrogate for each other byte.
pub fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let invalid = chunk.invalid().iter();
        text.extend(invalid.map(|byte| character(BYTE + u32::from(*byte))));
    }
    text
}

/// The bytes that Python's `os.fsencode` makes of a text; `None` where it refuses to.
pub fn encode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match surrogate(character) {
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            Some(code) => {
                let byte = u8::try_from(code.checked_sub(BYTE)?).ok()?;
                bytes.push(Some(byte).filter(|byte| *byte >= 0x80)?);
            }
        }
    }
    Some(bytes)
}

/// The bytes that Python reads a text from by the error handler `surrogatepass`.
pub fn pass(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match surrogate(character) {
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            Some(code) => {
                let [.., high, low] = code.to_be_bytes();
                bytes.push(0xE0 | high >> 4);
                bytes.push(0x80 | (high & 0xF) << 2 | low >> 6);
                bytes.push(0x80 | low & 0x3F);
            }
        }
    }
    bytes
}

/// Writes a surrogate as Python's `repr` does.
pub fn push_escape(text: &mut String, surrogate: u32) {
    // Writing to a String can't fail.
    let _ = write!(text, "\\u{surrogate:04x}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_what_they_were() {
        let name = b"/data/\xff\xc3\xa4\xed\xa0\x80.csv";
        let text = decode(name);
        let expected = "/data/\u{10dcff}\u{e4}\u{10dced}\u{10dca0}\u{10dc80}.csv";
        assert_eq!(text, expected);
        assert_eq!(encode(&text).as_deref(), Some(&name[..]));
        assert_eq!(pass("ä\u{10dcff}"), b"\xc3\xa4\xed\xb3\xbf");
        assert_eq!(encode("größe").as_deref(), Some("größe".as_bytes()));
    }

    #[test]
    fn what_is_no_name_of_a_file_is_refused() {
        for code in [0xD800, 0xDC00, 0xDC7F, 0xDD00, 0xDFFF] {
            let text = String::from(character(code));
            assert_eq!(surrogate(character(code)), Some(code));
            assert_eq!(encode(&text), None, "{code:x}");
        }
        assert_eq!(character(0x11_0000), char::REPLACEMENT_CHARACTER);
        assert_eq!(surrogate('\u{10d7ff}'), None);
        assert_eq!(surrogate('a'), None);
    }
}
