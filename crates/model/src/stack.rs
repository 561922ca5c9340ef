use std::sync::Arc;

use crate::{Address, Defect, Text};

/// How far something that was read from a running target is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// All that was read of it agrees.
    Whole,
    /// The target changed it while it was read: parts may be of two moments.
    Torn,
    /// It could not be read: it was concluded from what lies around it.
    Guessed,
}

/// A code object, as far as a stack tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// Where its `PyCodeObject` lies.
    pub address: Address,
    /// `co_name`.
    pub name: Text,
    /// `co_qualname`; `None` in versions that have none.
    pub qualname: Option<Text>,
    /// `co_filename`.
    pub filename: Text,
    /// `co_firstlineno`.
    pub first_line: i32,
    /// `co_flags`.
    pub flags: u32,
}

impl Code {
    /// What a function is called by: its qualified name where it has one.
    pub fn label(&self) -> &Text {
        self.qualname.as_ref().unwrap_or(&self.name)
    }
}

/// Where in its source a frame stands, as `co_positions()` says it. Each is `None` where the code
/// object does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// The line, counted from 1.
    pub line: Option<u32>,
    /// The line in which the expression ends.
    pub end_line: Option<u32>,
    /// Where in its line the expression begins: bytes of UTF-8, counted from 0.
    pub column: Option<u32>,
    /// Where in its last line it ends, likewise.
    pub end_column: Option<u32>,
}

/// A frame: a call of a Python function that has not returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it lies: an `_PyInterpreterFrame`, or before 3.11 a `PyFrameObject`.
    pub address: Address,
    /// The code it runs.
    pub code: Arc<Code>,
    /// Where in it.
    pub position: Position,
    /// The opcode it stands at, specialized or instrumented as the target has it. Only where it
    /// was asked for.
    pub opcode: Option<u8>,
    /// Whether C code called it; `None` in versions that don't say.
    pub through_c: Option<bool>,
    /// How far all this is to be believed.
    pub trust: Trust,
    /// What its variables lie in. Only where they were asked for.
    pub slots: Option<Slots>,
}

/// A frame's variables as they were read: which objects they are, not yet what those hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// The fast locals in the order of the code object (`co_localsplusnames`; before 3.11
    /// variables, cells, free variables). Null where one is not bound.
    pub fast: Vec<Address>,
    /// `f_locals`: the namespace of a class body or a module; null where there is none.
    pub namespace: Address,
}

/// The frames of a thread, a generator or a coroutine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// Innermost first.
    pub frames: Vec<Frame>,
    /// What kept it from being read to its end, if anything did: then callers are missing.
    pub cut: Option<Defect>,
    /// Frames between those that were read, where there are more than are looked at.
    pub gap: Option<Gap>,
    /// An address on the C stack of whoever runs it: there the innermost evaluation of bytecode
    /// keeps something. `None` where none is under way, and in versions that name no such place.
    pub c_stack: Option<Address>,
}

/// Frames that were counted, and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many of a stack's frames are further in; those behind them are the outermost.
    pub after: usize,
    /// How many there are, or are at least.
    pub frames: u64,
    /// Whether it is just so many, and what follows is the outermost end of the stack.
    pub is_exact: bool,
}
