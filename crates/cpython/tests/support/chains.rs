//! What stacks of [`synth::samples::CHAINS`] can be.

use invivo_model::{Stack, Trust};

/// What many looks at the target gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Stacks read.
    pub(crate) stacks: u64,
    /// Those that the target can't have had, and that were shown as certain.
    pub(crate) impossible: u64,
    /// Those whose functions are possible but whose lines are not, shown as certain.
    pub(crate) misplaced: u64,
    /// Those that were not read to their end, or of which a frame is marked.
    pub(crate) torn: u64,
    /// Those in chain a, and in either chain.
    pub(crate) in_a: u64,
    pub(crate) in_chain: u64,
    /// Those in a leaf.
    pub(crate) in_leaf: u64,
    /// Frames in all.
    pub(crate) frames: u64,
    /// The first impossible ones.
    pub(crate) examples: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, stack: &Stack, depth: usize) {
        self.stacks += 1;
        self.frames += stack.frames.len() as u64;
        if stack.cut.is_some() || stack.frames.iter().any(|frame| frame.trust != Trust::Whole) {
            self.torn += 1;
            return;
        }
        let outermost_first: Vec<_> = stack
            .frames
            .iter()
            .rev()
            .map(|frame| (frame.code.name.text.as_str(), frame.code.first_line, frame))
            .collect();
        let names: Vec<_> = outermost_first.iter().map(|(name, ..)| *name).collect();
        let chain = names.get(2).and_then(|name| name.strip_prefix("hot_"));
        let expected = |at: usize, letter: &str| match at {
            0 => "<module>".to_owned(),
            1 => "main".to_owned(),
            2 => format!("hot_{letter}"),
            at if at == depth + 2 => format!("leaf_{letter}"),
            at => format!("{letter}{}", at - 2),
        };
        let letter = chain.unwrap_or("a");
        let possible = (2..=depth + 3).contains(&names.len())
            && ["a", "b"].contains(&letter)
            && names
                .iter()
                .enumerate()
                .all(|(at, name)| *name == expected(at, letter));
        if !possible {
            self.impossible += 1;
            self.keep(stack);
            return;
        }
        if chain.is_some() {
            self.in_chain += 1;
            self.in_a += u64::from(letter == "a");
        }
        self.in_leaf += u64::from(names.len() == depth + 3);
        let calls = outermost_first.iter().enumerate().skip(1).rev().skip(1);
        let placed = calls.into_iter().all(|(at, (_, first, frame))| {
            let line = frame.position.line.unwrap_or(0).cast_signed() - first;
            line == if at == 1 {
                2 + i32::from(letter == "b")
            } else {
                1
            }
        });
        if !placed {
            self.misplaced += 1;
            self.keep(stack);
        }
    }

    fn keep(&mut self, stack: &Stack) {
        if self.examples.len() < 6 {
            let frame = |frame: &invivo_model::Frame| {
                let line = frame.position.line.unwrap_or(0).cast_signed() - frame.code.first_line;
                format!("{}+{line}", frame.code.name.text)
            };
            let frames: Vec<_> = stack.frames.iter().take(8).map(frame).collect();
            self.examples
                .push(format!("{} of {}", frames.join(" "), stack.frames.len()));
        }
    }
}
