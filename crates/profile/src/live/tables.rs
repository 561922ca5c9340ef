//! What samples refer to, in bounded memory.

use std::sync::Arc;

use invivo_model::{FunctionKind, ProfileFrame, ProfileFunction, StackNode, Text};
use rustc_hash::FxHashMap;

use crate::intern::MAX_STACKS;

/// What functions may take.
const MAX_FUNCTION_BYTES: usize = 16 << 20;
/// Places in functions that are told apart at most.
const MAX_PLACES: usize = 1 << 18;
/// Numbers that are known at most: what comes after them is not told apart any more.
const MAX_NUMBERS: usize = 1 << 22;

/// What is not told apart: function and place 0.
const OTHERS: u32 = 0;

/// A line of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LineOf {
    pub(super) function: u32,
    pub(super) line: u32,
}

/// Functions, lines and stacks. The same function and the same line have one number here, however
/// often they are announced.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    functions: Vec<Arc<ProfileFunction>>,
    function_numbers: FxHashMap<Arc<ProfileFunction>, u32>,
    function_bytes: usize,
    announced_functions: Vec<u32>,
    places: Vec<LineOf>,
    place_numbers: FxHashMap<LineOf, u32>,
    announced_frames: Vec<u32>,
    stacks: Stacks,
}

impl Tables {
    pub(super) fn new() -> Self {
        let others = Arc::new(ProfileFunction {
            name: Text {
                text: "<others>".to_owned(),
                truncated: false,
            },
            file: Text::default(),
            first_line: 0,
            kind: FunctionKind::Place,
        });
        Self {
            functions: vec![others],
            function_numbers: FxHashMap::default(),
            function_bytes: 0,
            announced_functions: Vec::new(),
            places: vec![LineOf {
                function: OTHERS,
                line: 0,
            }],
            place_numbers: FxHashMap::default(),
            announced_frames: Vec::new(),
            stacks: Stacks::default(),
        }
    }

    pub(super) fn add_function(&mut self, function: ProfileFunction) {
        let number = match self.function_numbers.get(&function) {
            Some(number) => *number,
            None => self.new_function(function),
        };
        push_bounded(&mut self.announced_functions, number);
    }

    fn new_function(&mut self, function: ProfileFunction) -> u32 {
        let bytes =
            function.name.text.len() + function.file.text.len() + size_of::<ProfileFunction>();
        if self.function_bytes + bytes > MAX_FUNCTION_BYTES {
            return OTHERS;
        }
        self.function_bytes += bytes;
        let number = self.functions.len() as u32;
        let function = Arc::new(function);
        self.functions.push(Arc::clone(&function));
        self.function_numbers.insert(function, number);
        number
    }

    pub(super) fn add_frame(&mut self, frame: ProfileFrame) {
        let function = announced(&self.announced_functions, frame.function);
        let line = if function == OTHERS { 0 } else { frame.line };
        let place = LineOf { function, line };
        let known = self.place_numbers.get(&place).copied();
        let number = match known {
            Some(number) => number,
            None if function == OTHERS || self.places.len() >= MAX_PLACES => OTHERS,
            None => {
                let number = self.places.len() as u32;
                self.places.push(place);
                self.place_numbers.insert(place, number);
                number
            }
        };
        push_bounded(&mut self.announced_frames, number);
    }

    pub(super) fn add_stack(&mut self, stack: StackNode) {
        let frame = announced(&self.announced_frames, stack.frame);
        self.stacks.push(StackNode { frame, ..stack });
    }

    /// Lets go of stacks that nothing refers to any more, where there are too many.
    pub(super) fn make_room(&mut self, used: impl Iterator<Item = u32>) {
        if self.stacks.are_many() {
            self.stacks.forget(used);
        }
    }

    pub(super) fn function(&self, number: u32) -> &Arc<ProfileFunction> {
        let others = &self.functions[OTHERS as usize];
        self.functions.get(number as usize).unwrap_or(others)
    }

    pub(super) fn place(&self, number: u32) -> LineOf {
        let others = self.places[OTHERS as usize];
        self.places.get(number as usize).copied().unwrap_or(others)
    }

    /// The places of a stack, innermost first.
    pub(super) fn places_of(&self, stack: u32) -> impl Iterator<Item = u32> {
        let mut next = Some(stack);
        std::iter::from_fn(move || {
            let number = next?;
            let Some(node) = self.stacks.get(number) else {
                next = None;
                return Some(OTHERS);
            };
            next = node.caller.filter(|caller| *caller < number);
            Some(node.frame)
        })
    }
}

fn push_bounded(numbers: &mut Vec<u32>, number: u32) {
    if numbers.len() < MAX_NUMBERS {
        numbers.push(number);
    }
}

fn announced(numbers: &[u32], number: u32) -> u32 {
    numbers.get(number as usize).copied().unwrap_or(OTHERS)
}

/// Stacks by number, whose frames are places. Of those announced long ago only what is still used.
#[derive(Clone, Debug, Default)]
struct Stacks {
    /// The number of the first in `recent`.
    base: u32,
    recent: Vec<StackNode>,
    older: FxHashMap<u32, StackNode>,
}

impl Stacks {
    fn push(&mut self, stack: StackNode) {
        self.recent.push(stack);
    }

    fn get(&self, number: u32) -> Option<StackNode> {
        match number.checked_sub(self.base) {
            Some(index) => self.recent.get(index as usize).copied(),
            None => self.older.get(&number).copied(),
        }
    }

    fn are_many(&self) -> bool {
        self.recent.len() > 2 * MAX_STACKS
    }

    /// What announces stacks has forgotten all but the newest `MAX_STACKS` itself, and announces
    /// them anew if they come again: of older ones, only those stay that are callers of newer ones
    /// or among `used`.
    fn forget(&mut self, used: impl Iterator<Item = u32>) {
        let from = self.recent.len().saturating_sub(MAX_STACKS);
        let base = self.base.saturating_add(from as u32);
        let mut kept = FxHashMap::default();
        let callers = self.recent[from..].iter().filter_map(|node| node.caller);
        for start in used.chain(callers) {
            let mut next = Some(start);
            while let Some(number) = next
                && number < base
                && let Some(node) = self.get(number)
                && kept.insert(number, node).is_none()
            {
                next = node.caller.filter(|caller| *caller < number);
            }
            // One that is newer may have a caller that is older: it is among the callers above.
        }
        self.older = kept;
        self.recent.drain(..from);
        self.base = base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str) -> ProfileFunction {
        ProfileFunction {
            name: Text {
                text: name.to_owned(),
                truncated: false,
            },
            file: Text::default(),
            first_line: 1,
            kind: FunctionKind::Python,
        }
    }

    fn frame(function: u32, line: u32) -> ProfileFrame {
        ProfileFrame {
            function,
            line,
            columns: None,
            opcode: None,
        }
    }

    #[test]
    fn what_is_announced_again_is_the_same() {
        let mut tables = Tables::new();
        for _ in 0..2 {
            tables.add_function(function("f"));
        }
        for function in 0..2 {
            tables.add_frame(frame(function, 7));
        }
        for frame in 0..2 {
            tables.add_stack(StackNode {
                caller: None,
                frame,
            });
        }
        let places = |stack| tables.places_of(stack).collect::<Vec<_>>();
        assert_eq!(places(0), places(1));
        let place = tables.place(places(0)[0]);
        assert_eq!(
            (
                tables.function(place.function).name.text.as_str(),
                place.line
            ),
            ("f", 7)
        );
    }

    #[test]
    fn stacks_that_are_used_survive_any_number_of_others() {
        let mut tables = Tables::new();
        tables.add_function(function("f"));
        for line in 1..4 {
            tables.add_frame(frame(0, line));
        }
        // A stack that is in use, and one that is not but has a caller that others have as well.
        let node = |caller, frame| StackNode { caller, frame };
        tables.add_stack(node(None, 0));
        tables.add_stack(node(Some(0), 1));
        let whole: Vec<u32> = tables.places_of(1).collect();
        for number in 2..6 * MAX_STACKS as u32 {
            tables.add_stack(node(Some(0), 2));
            if number % (1 << 16) == 0 {
                tables.make_room([1].into_iter());
            }
            assert!(tables.stacks.recent.len() <= 2 * MAX_STACKS + (1 << 16));
        }
        assert_eq!(tables.places_of(1).collect::<Vec<_>>(), whole);
        let newest = 6 * MAX_STACKS as u32 - 1;
        assert_eq!(tables.places_of(newest).count(), 2);
        assert!(tables.stacks.older.len() <= 2);
        // One that nobody used is not told apart any more.
        assert_eq!(tables.places_of(5).collect::<Vec<_>>(), [OTHERS]);
    }

    #[test]
    fn functions_without_end_become_others() {
        let mut tables = Tables::new();
        let long = "x".repeat(1 << 16);
        for number in 0..1000 {
            tables.add_function(function(&format!("{long}{number}")));
            tables.add_frame(frame(number, 1));
        }
        assert!(tables.function_bytes <= MAX_FUNCTION_BYTES);
        assert_eq!(tables.announced_frames.last(), Some(&OTHERS));
        assert_ne!(tables.announced_frames.first(), Some(&OTHERS));
    }
}
