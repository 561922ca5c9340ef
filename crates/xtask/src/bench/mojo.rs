//! MOJO, the form in which austin 4 writes what it sampled (version 3): events of a byte each with
//! what belongs to them.

use std::collections::HashMap;

use super::consistency::Sampled;

/// What stands for a frame that could not be read.
pub(super) const UNREAD: &str = "?";

/// The stacks of all samples; `None` where the bytes are of another form.
pub(super) fn stacks(bytes: &[u8]) -> Option<Sampled> {
    let mut reader = Reader(bytes.strip_prefix(b"MOJ")?);
    if reader.number()? != 3 {
        return None;
    }
    let mut strings = HashMap::new();
    let mut frames = HashMap::new();
    let mut stack: Vec<String> = Vec::new();
    let mut all = Vec::new();
    while let Some(event) = reader.byte() {
        match event {
            // Metadata: a name and a value.
            1 => {
                reader.text()?;
                reader.text()?;
            }
            // A sample begins: process, interpreter, thread.
            2 => {
                reader.number()?;
                reader.number()?;
                reader.text()?;
                stack.clear();
            }
            // A frame is made known: key, file, function, and four numbers of its position.
            3 => {
                let (key, _, function) = (reader.number()?, reader.number()?, reader.number()?);
                for _ in 0..4 {
                    reader.number()?;
                }
                let name = strings.get(&function).cloned().unwrap_or_default();
                frames.insert(key, name);
            }
            // A frame that could not be read.
            4 => stack.push(UNREAD.to_owned()),
            // A frame of the stack, outermost first.
            5 => {
                let name = frames.get(&reader.number()?).cloned();
                stack.push(name.unwrap_or_default());
            }
            // In the garbage collector; idle.
            7 | 8 => {}
            // The sample ends with what it weighs.
            9 | 10 => {
                reader.number()?;
                all.push((std::mem::take(&mut stack), 1));
            }
            // A string is made known.
            11 => {
                let key = reader.number()?;
                strings.insert(key, reader.text()?);
            }
            _ => return None,
        }
    }
    Some(all)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Six bits in the first byte, beside a sign; seven in each further one.
    fn number(&mut self) -> Option<u64> {
        let mut byte = self.byte()?;
        let mut number = u64::from(byte & 0x3f);
        let mut shift = 6;
        while byte & 0x80 != 0 {
            byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
        }
        Some(number)
    }

    /// Up to a NUL.
    fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.get(1..)?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}
