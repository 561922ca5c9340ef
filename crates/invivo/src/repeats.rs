//! Frames that say the same again and again.

use std::sync::Arc;

use invivo_model::{Frame, Gap};

/// Some frames in a row, and how often they come: `length` frames from place `start` on, which
/// are there `times` times in all, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The place of the first frame in the stack.
    pub start: usize,
    /// How many frames it is that repeat.
    pub length: usize,
    /// How often they are there.
    pub times: usize,
}

/// The longest circle of calls that is taken for one.
const LENGTH_MAX: usize = 8;
/// How often it has to come for that.
const TIMES_MIN: usize = 4;

/// A stack as runs of frames that repeat: together they are the whole stack, in order. Frames are
/// the same where they stand at the same place in the same code.
pub fn repeats(frames: &[Frame]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut start = 0;
    while start < frames.len() {
        let rest = frames.get(start..).unwrap_or_default();
        let found = (1..=LENGTH_MAX)
            .map(|length| (length, times(rest, length)))
            .find(|(_, times)| *times >= TIMES_MIN);
        let (length, times) = found.unwrap_or((1, 1));
        runs.push(Run {
            start,
            length,
            times,
        });
        start += length * times;
    }
    runs
}

/// The same of frames between which some are left out: those further in, and those further out.
pub fn repeats_around(frames: &[Frame], gap: Option<Gap>) -> [Vec<Run>; 2] {
    let after = gap.map_or(frames.len(), |gap| gap.after);
    let (inner, outer) = frames.split_at_checked(after).unwrap_or((frames, &[]));
    let mut runs = repeats(outer);
    for run in &mut runs {
        run.start += inner.len();
    }
    [repeats(inner), runs]
}

/// How often the first `length` frames are there in a row.
fn times(frames: &[Frame], length: usize) -> usize {
    let again = frames.iter().zip(frames.get(length..).unwrap_or_default());
    let alike = again.take_while(|(one, other)| alike(one, other)).count();
    alike / length + 1
}

fn alike(one: &Frame, other: &Frame) -> bool {
    let same_code = Arc::ptr_eq(&one.code, &other.code) || one.code == other.code;
    same_code
        && one.position == other.position
        && one.opcode == other.opcode
        && one.trust == other.trust
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::frame;

    fn of(names: &str) -> Vec<(usize, usize, usize)> {
        let frames: Vec<Frame> = names
            .chars()
            .map(|name| frame(&name.to_string(), "/f.py", 1))
            .collect();
        let runs = repeats(&frames);
        let covered: usize = runs.iter().map(|run| run.length * run.times).sum();
        assert_eq!(covered, frames.len());
        runs.iter()
            .map(|run| (run.start, run.length, run.times))
            .collect()
    }

    #[test]
    fn circles_of_calls_are_found() {
        assert_eq!(of(""), []);
        assert_eq!(of("aab"), [(0, 1, 1), (1, 1, 1), (2, 1, 1)]);
        assert_eq!(of("xaaaaay"), [(0, 1, 1), (1, 1, 5), (6, 1, 1)]);
        assert_eq!(of("xababababz"), [(0, 1, 1), (1, 2, 4), (9, 1, 1)]);
        assert_eq!(of("abcabcabcabca"), [(0, 3, 4), (12, 1, 1)]);
    }

    #[test]
    fn another_line_is_another_frame() {
        let frames: Vec<Frame> = (1..9).map(|line| frame("f", "/f.py", line)).collect();
        assert_eq!(repeats(&frames).len(), 8);
    }
}
