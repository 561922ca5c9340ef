//! What a command prints while the terminal is a screen.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Bytes that are kept.
const KEPT: usize = 4096;

/// The end of what a command prints.
#[derive(Debug)]
pub(crate) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    /// Reads `output` as it comes, in a thread that ends with it. Where there can't be one, nothing
    /// is read.
    pub(crate) fn of(mut output: impl Read + Send + 'static) -> Self {
        let tail = Self(Arc::default());
        let kept = Arc::clone(&tail.0);
        let _ = thread::Builder::new().spawn(move || {
            let mut buffer = [0; KEPT];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&buffer[..count]);
                let surplus = kept.len().saturating_sub(KEPT);
                kept.drain(..surplus);
            }
        });
        tail
    }

    /// The last lines that have come so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        // The first line may be cut.
        let cut = bytes.len() >= KEPT;
        let from = bytes.iter().position(|byte| *byte == b'\n').filter(|_| cut);
        bytes[from.map_or(0, |end| end + 1)..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_lines_are_kept() {
        let text: String = (0..5000).map(|number| format!("line {number}\n")).collect();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let tail = Tail::of(reader);
        std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap();
        drop(writer);
        // The thread lets go of what it shares when it has read all.
        while Arc::strong_count(&tail.0) > 1 {
            thread::yield_now();
        }
        let kept = String::from_utf8(tail.bytes()).unwrap();
        assert!(text.ends_with(&kept) && kept.starts_with("line "), "{kept}");
        assert!((KEPT - 20..=KEPT).contains(&kept.len()));
    }
}
