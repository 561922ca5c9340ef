//! What the instructions say at which frames stand: whether they call, and whom.

use invivo_model::Address;

use crate::layout::CallLayout;
use crate::pieces::Piece;

/// What the instruction at which a frame stands says of what the frame has called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// It calls no Python code.
    NoCall,
    /// It is one that may, and begins so many bytes from where the frame says it stands.
    Call(i64),
    /// It calls no other function than that of this version.
    CallOf(i64, u32),
}

impl Says {
    /// The same of a frame that stands so many bytes behind its first instruction.
    pub(crate) fn within(self, offset: u32) -> Self {
        match self {
            // Not before the first instruction.
            Self::Call(begins) | Self::CallOf(begins, _) if i64::from(offset) + begins < 0 => {
                Self::NoCall
            }
            says => says,
        }
    }
}

/// What is read of the surroundings of an instruction: from where on, counted from where its frame
/// says that it stands, and how many bytes.
pub(crate) fn span(call: &CallLayout) -> (i64, usize) {
    let others = call.others.iter().map(|(at, _)| *at);
    let first = others.fold(call.at.min(call.version), i64::min);
    let size = usize::try_from(call.version.max(0) + 4 - first).unwrap_or(0);
    (first, size)
}

/// What the instruction says of which `piece` holds the surroundings, from `first` bytes behind
/// where its frame stands.
pub(crate) fn says(call: &CallLayout, first: i64, piece: &Piece) -> Says {
    let inside = |place: i64| u64::try_from(place - first).ok();
    let opcode = |at| piece.byte(piece.start, inside(at)?);
    if opcode(call.at).is_some_and(|opcode| call.remembering.contains(&opcode))
        && let Some(version) = inside(call.version).and_then(|at| piece.int(piece.start, at))
    {
        return Says::CallOf(call.at, version.cast_unsigned());
    }
    let mut others = call.others.iter();
    let other = others.find(|(at, opcodes)| opcode(*at).is_some_and(|it| opcodes.contains(&it)));
    other.map_or(Says::NoCall, |(at, _)| Says::Call(*at))
}

/// How many bytes `instruction` lies behind the first one of bytecode of this size at `start`:
/// `Some(None)` before the first instruction of those that have just been entered, `None` where it
/// lies elsewhere.
#[allow(clippy::option_option, reason = "one says where, the other whether")]
pub(crate) fn offset(instruction: Address, start: Address, size: u64) -> Option<Option<u32>> {
    let offset = i128::from(instruction.0) - i128::from(start.0);
    if (-2..0).contains(&offset) {
        return Some(None);
    }
    let offset = u64::try_from(offset).ok().filter(|offset| *offset < size)?;
    u32::try_from(offset).ok().map(Some)
}
