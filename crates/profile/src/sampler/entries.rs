//! The numbers that functions, frames and stacks have got.

use std::sync::Arc;

use invivo_cpython::Kin;
use invivo_model::{
    Address, Code, FunctionKind, Position, ProfileFrame, ProfileFunction, Result, SampleStatus,
    StackNode, Text, Trust,
};
use rustc_hash::FxHashMap;

use super::{Options, Round};
use crate::sink::Seen;

/// Code objects whose functions are remembered at most.
const MAX_CODES: usize = 1 << 16;

/// What stands for a stack where there is none to be had, though processor time is to be charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The thread runs no Python code.
    WithoutPython,
    /// It was never seen while it ran.
    Unseen,
    /// Threads that have not been looked at while there were any.
    ShortLived,
}

impl Mark {
    fn name(self) -> &'static str {
        match self {
            Self::WithoutPython => "<thread without Python>",
            Self::Unseen => "<ran between samples>",
            Self::ShortLived => "<short-lived threads>",
        }
    }
}

/// The numbers of what has been seen.
#[derive(Debug, Default)]
pub(super) struct Entries {
    codes: FxHashMap<Address, (Arc<Code>, u32)>,
    collector: Option<u32>,
    cut: Option<u32>,
    left_out: Option<u32>,
    native: Option<u32>,
    no_task: Option<u32>,
}

impl Entries {
    /// The stack that `frame` makes on top of its callers'.
    pub(super) fn on_top(caller: Option<u32>, frame: u32, round: &mut Round<'_>) -> Result<u32> {
        round
            .interner
            .stack(StackNode { caller, frame }, round.sink)
    }

    /// A frame of Python code.
    pub(super) fn frame(
        &mut self,
        code: &Arc<Code>,
        position: Position,
        opcode: Option<u8>,
        options: &Options,
        round: &mut Round<'_>,
    ) -> Result<u32> {
        let known = self.codes.get(&code.address);
        let function = match known.filter(|(known, _)| Arc::ptr_eq(known, code)) {
            Some((_, function)) => *function,
            None => self.function(code, round)?,
        };
        let columns = position.column.zip(position.end_column);
        let frame = ProfileFrame {
            function,
            line: position.line.unwrap_or(0),
            columns: columns.filter(|_| options.columns),
            opcode,
        };
        round.interner.frame(frame, round.sink)
    }

    fn function(&mut self, code: &Arc<Code>, round: &mut Round<'_>) -> Result<u32> {
        let function = ProfileFunction {
            name: code.label().clone(),
            file: code.filename.clone(),
            first_line: u32::try_from(code.first_line).unwrap_or(0),
            kind: FunctionKind::Python,
        };
        let number = round.interner.function(&function, round.sink)?;
        if self.codes.len() >= MAX_CODES {
            self.codes.clear();
        }
        self.codes.insert(code.address, (Arc::clone(code), number));
        Ok(number)
    }

    /// The frame that says that garbage is collected.
    pub(super) fn collector(&mut self, round: &mut Round<'_>) -> Result<u32> {
        let (name, kind) = ("<garbage collector>", FunctionKind::Collector);
        mark(&mut self.collector, name, kind, round)
    }

    /// The frame that stands for callers of which nothing is known.
    pub(super) fn cut(&mut self, round: &mut Round<'_>) -> Result<u32> {
        let (name, kind) = ("<callers not known>", FunctionKind::Native);
        mark(&mut self.cut, name, kind, round)
    }

    /// The frame that stands for those between the innermost and the outermost ones of a stack that
    /// is too deep to be looked at whole.
    pub(super) fn left_out(&mut self, round: &mut Round<'_>) -> Result<u32> {
        let (name, kind) = ("<frames left out>", FunctionKind::Native);
        mark(&mut self.left_out, name, kind, round)
    }

    /// The frame that stands for C code.
    pub(super) fn native(&mut self, round: &mut Round<'_>) -> Result<u32> {
        mark(&mut self.native, "<native>", FunctionKind::Native, round)
    }

    /// What a thread is seen in that is on a processor, though nothing is known of its stack.
    pub(super) fn marked(
        &mut self,
        thread: u32,
        mark: Mark,
        round: &mut Round<'_>,
    ) -> Result<Seen> {
        let text = Text {
            text: mark.name().to_owned(),
            truncated: false,
        };
        let frame = marked(text, FunctionKind::Native, round)?;
        Ok(Seen {
            thread,
            stack: Some(Self::on_top(None, frame, round)?),
            status: SampleStatus {
                on_cpu: Some(true),
                waits_for_cpu: Some(false),
                ..SampleStatus::default()
            },
            trust: Trust::Whole,
        })
    }

    /// The frame that stands for a task that is not known.
    pub(super) fn no_task(&mut self, round: &mut Round<'_>) -> Result<u32> {
        let (name, kind) = ("<task not known>", FunctionKind::Task);
        mark(&mut self.no_task, name, kind, round)
    }

    /// The frame that stands for a task.
    pub(super) fn task(&mut self, kin: &Kin, round: &mut Round<'_>) -> Result<u32> {
        let name = kin.task.name.as_ref();
        let text = name.map_or("without a name", |name| &name.text);
        let text = match kin.others {
            0 => format!("<task {text}>"),
            others => format!("<task {text} and {others} more>"),
        };
        let truncated = name.is_some_and(|name| name.truncated);
        marked(Text { text, truncated }, FunctionKind::Task, round)
    }
}

/// The number of a frame that is none of Python code.
fn mark(
    known: &mut Option<u32>,
    name: &str,
    kind: FunctionKind,
    round: &mut Round<'_>,
) -> Result<u32> {
    if let Some(known) = *known {
        return Ok(known);
    }
    let text = Text {
        text: name.to_owned(),
        truncated: false,
    };
    let number = marked(text, kind, round)?;
    *known = Some(number);
    Ok(number)
}

/// The number of a frame of this name and kind.
fn marked(name: Text, kind: FunctionKind, round: &mut Round<'_>) -> Result<u32> {
    let function = ProfileFunction {
        name,
        file: Text::default(),
        first_line: 0,
        kind,
    };
    let frame = ProfileFrame {
        function: round.interner.function(&function, round.sink)?,
        line: 0,
        columns: None,
        opcode: None,
    };
    round.interner.frame(frame, round.sink)
}
