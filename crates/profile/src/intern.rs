//! Giving each thing one number.

use std::hash::Hash;

use invivo_model::{
    Error, ErrorKind, ProfileFrame, ProfileFunction, ProfileProcess, ProfileThread, Result,
    StackNode,
};
use rustc_hash::FxHashMap;

use crate::sink::Sink;

/// Bytes that are kept of what has been numbered.
const MAX_KEPT: usize = 16 << 20;
/// What an entry of a table takes beside what it holds: its number, and its part of what the
/// table has free.
const PER_ENTRY: usize = 8;
/// Stacks that are known at a time at most: of all that have been told of, only the last so many
/// come again under their number.
pub(crate) const MAX_STACKS: usize = MAX_KEPT / (size_of::<StackNode>() + PER_ENTRY);

/// Numbers functions, frames and stacks, and tells a sink of those that are new.
///
/// What it keeps is bounded: when it has become too much, all is forgotten, and what comes again
/// gets a new number. Numbers that were given stay good.
#[derive(Debug, Default)]
pub struct Interner {
    functions: FxHashMap<ProfileFunction, u32>,
    frames: FxHashMap<ProfileFrame, u32>,
    stacks: FxHashMap<StackNode, u32>,
    given: Given,
    /// What the tables take, about.
    kept: usize,
}

/// How many numbers of each kind have been given.
#[derive(Debug, Default)]
struct Given {
    functions: u32,
    frames: u32,
    stacks: u32,
    threads: u32,
    processes: u32,
}

impl Interner {
    /// Nothing numbered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of a function.
    ///
    /// # Errors
    ///
    /// `Unsupported` where numbers have run out: there are 2³² of each kind.
    pub fn function(&mut self, function: &ProfileFunction, sink: &mut dyn Sink) -> Result<u32> {
        if let Some(number) = self.functions.get(function) {
            return Ok(*number);
        }
        let text = function.name.text.len() + function.file.text.len();
        self.make_room(text + size_of::<ProfileFunction>());
        let number = next(&mut self.given.functions)?;
        self.functions.insert(function.clone(), number);
        sink.function(function);
        Ok(number)
    }

    /// The number of a frame.
    ///
    /// # Errors
    ///
    /// As [`Interner::function`].
    pub fn frame(&mut self, frame: ProfileFrame, sink: &mut dyn Sink) -> Result<u32> {
        if let Some(number) = known(&self.frames, &frame) {
            return Ok(number);
        }
        self.make_room(size_of::<ProfileFrame>());
        let number = next(&mut self.given.frames)?;
        self.frames.insert(frame, number);
        sink.frame(frame);
        Ok(number)
    }

    /// The number of a stack.
    ///
    /// # Errors
    ///
    /// As [`Interner::function`].
    pub fn stack(&mut self, stack: StackNode, sink: &mut dyn Sink) -> Result<u32> {
        if let Some(number) = known(&self.stacks, &stack) {
            return Ok(number);
        }
        self.make_room(size_of::<StackNode>());
        let number = next(&mut self.given.stacks)?;
        self.stacks.insert(stack, number);
        sink.stack(stack);
        Ok(number)
    }

    /// A number for a thread, which is a new one.
    ///
    /// # Errors
    ///
    /// As [`Interner::function`].
    pub fn thread(&mut self, thread: &ProfileThread, sink: &mut dyn Sink) -> Result<u32> {
        let number = next(&mut self.given.threads)?;
        sink.thread(thread);
        Ok(number)
    }

    /// A number for a process, which is a new one.
    ///
    /// # Errors
    ///
    /// As [`Interner::function`].
    pub fn process(&mut self, process: &ProfileProcess, sink: &mut dyn Sink) -> Result<u32> {
        let number = next(&mut self.given.processes)?;
        sink.process(process);
        Ok(number)
    }

    fn make_room(&mut self, bytes: usize) {
        let bytes = bytes + PER_ENTRY;
        if self.kept + bytes > MAX_KEPT {
            self.functions.clear();
            self.frames.clear();
            self.stacks.clear();
            self.kept = 0;
        }
        self.kept += bytes;
    }
}

fn known<K: Copy + Eq + Hash>(table: &FxHashMap<K, u32>, key: &K) -> Option<u32> {
    table.get(key).copied()
}

/// The next number that has not been given. The last one is never given: it stays free for those
/// who read.
fn next(given: &mut u32) -> Result<u32> {
    let number = *given;
    let following = number.checked_add(1);
    *given = following.ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            "the recording can't go on",
            "it holds as many different stacks as can be numbered",
            "record for a shorter time, or without columns and opcodes",
        )
    })?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use invivo_model::{FunctionKind, Text};

    use super::*;
    use crate::sink::Collect;

    fn function(name: &str) -> ProfileFunction {
        let text = |text: &str| Text {
            text: text.to_owned(),
            truncated: false,
        };
        ProfileFunction {
            name: text(name),
            file: text("a.py"),
            first_line: 1,
            kind: FunctionKind::Python,
        }
    }

    #[test]
    fn what_is_the_same_has_the_same_number_and_is_told_of_once() {
        let (mut interner, mut sink) = (Interner::new(), Collect::new());
        for _ in 0..3 {
            let f = interner.function(&function("f"), &mut sink).unwrap();
            let g = interner.function(&function("g"), &mut sink).unwrap();
            assert_eq!((f, g), (0, 1));
            let frame = |function, line| ProfileFrame {
                function,
                line,
                columns: None,
                opcode: None,
            };
            let outer = interner.frame(frame(f, 3), &mut sink).unwrap();
            let inner = interner.frame(frame(g, 9), &mut sink).unwrap();
            let root = StackNode {
                caller: None,
                frame: outer,
            };
            let root = interner.stack(root, &mut sink).unwrap();
            let leaf = StackNode {
                caller: Some(root),
                frame: inner,
            };
            assert_eq!(interner.stack(leaf, &mut sink), Ok(1));
        }
        let tables = &sink.profile().tables;
        assert_eq!(tables.functions, [function("f"), function("g")]);
        assert_eq!((tables.frames.len(), tables.stacks.len()), (2, 2));
    }

    /// As with a target that makes up new functions without end.
    #[test]
    fn it_forgets_rather_than_grow_without_bound() {
        /// Only counts.
        #[derive(Default)]
        struct Count(u32);
        impl Sink for Count {
            fn function(&mut self, _: &ProfileFunction) {}
            fn frame(&mut self, _: ProfileFrame) {}
            fn stack(&mut self, _: StackNode) {
                self.0 += 1;
            }
            fn process(&mut self, _: &ProfileProcess) {}
            fn thread(&mut self, _: &ProfileThread) {}
            fn rename(&mut self, _: u32, _: &Text) {}
            fn tick(&mut self, _: &invivo_model::About, _: &[crate::Seen]) -> Result<()> {
                Ok(())
            }
        }
        let (mut interner, mut sink) = (Interner::new(), Count::default());
        let count = (MAX_KEPT / size_of::<StackNode>()) as u32;
        for frame in 0..count {
            let caller = None;
            let number = interner.stack(StackNode { caller, frame }, &mut sink);
            assert_eq!(number, Ok(frame));
        }
        assert!(interner.stacks.len() <= MAX_STACKS);
        // What was forgotten is told of anew, what was not is known.
        let (caller, frame) = (None, count - 1);
        let last = interner.stack(StackNode { caller, frame }, &mut sink);
        assert_eq!((last, sink.0), (Ok(count - 1), count));
        let first = StackNode { caller, frame: 0 };
        assert_eq!(interner.stack(first, &mut sink), Ok(count));
        assert_eq!(sink.0, count + 1);
    }
}
