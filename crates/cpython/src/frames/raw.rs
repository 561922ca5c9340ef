//! Frames as bytes say them, before their code is known.

use invivo_model::{Address, Slots};

use crate::layout::common::STACK_REFERENCE_TAGS;
use crate::layout::{FramePosition, Layout, StackTop};
use crate::pieces::View;

/// A frame as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawFrame {
    pub(crate) address: Address,
    pub(crate) previous: Address,
    /// Its code object, or what else stands there.
    pub(crate) executable: Address,
    pub(crate) standing: Standing,
    /// Who owns its memory; `None` where it is an object of its own.
    pub(crate) owner: Option<u8>,
    /// Which of the bytecode's copies it runs.
    pub(crate) copy: i32,
    /// Whether it has put away where its value stack ends, as it does before it calls.
    pub(crate) waits: bool,
    /// The function that it runs, where that is looked at.
    pub(crate) function: Address,
    /// Whether it says itself that C code called it.
    pub(crate) is_entry: bool,
}

/// What a frame says of where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// At this byte of its bytecode; before the first where that is negative.
    Byte(i64),
    /// At the instruction here.
    At(Address),
}

impl RawFrame {
    /// The frame at `address`, where `piece` holds all of it up to its variables.
    #[inline]
    pub(crate) fn parse(layout: &Layout, piece: View<'_>, address: Address) -> Option<Self> {
        let frame = &layout.frame;
        let call = layout.instructions.call.as_ref();
        let pointer = |offset| piece.word(address, offset).map(Address);
        let untagged = |word: Address| Address(word.0 & !STACK_REFERENCE_TAGS);
        Some(Self {
            address,
            previous: pointer(frame.previous)?,
            executable: pointer(frame.executable).map(untagged)?,
            standing: match frame.position {
                FramePosition::Index { at, unit } => {
                    Standing::Byte(i64::from(piece.int(address, at)?) * i64::from(unit))
                }
                FramePosition::Previous(at) | FramePosition::Current(at) => {
                    Standing::At(pointer(at)?)
                }
            },
            owner: match frame.owner {
                Some(owner) => Some(piece.byte(address, owner.at)?),
                None => None,
            },
            copy: match frame.tlbc_index {
                Some(at) => piece.int(address, at)?,
                None => 0,
            },
            waits: match frame.stack_top {
                StackTop::Pointer(at) => piece.word(address, at)? != 0,
                StackTop::Count(at) => piece.int(address, at)? >= 0,
                StackTop::Depth { .. } => true,
            },
            function: match call {
                Some(call) => pointer(call.function).map(untagged)?,
                None => Address::NULL,
            },
            is_entry: match call.and_then(|call| call.entry) {
                Some(at) => piece.byte(address, at)? != 0,
                None => false,
            },
        })
    }

    /// Whether it says itself that it is none of Python code, but lies on the C stack where C code
    /// called some, or is a part of the thread state.
    pub(crate) fn is_on_c_stack(&self, layout: &Layout) -> bool {
        let first = layout.frame.owner.map(|owner| owner.first_sentinel);
        let mut sentinel = self.owner.zip(first).into_iter();
        sentinel.any(|(own, first)| own >= first)
    }

    /// Whether it is none of Python code, but where C code called some.
    pub(crate) fn is_sentinel(&self, layout: &Layout) -> bool {
        self.executable.is_null() || self.is_on_c_stack(layout)
    }
}

/// The first `count` variables of the frame at `address`, where `piece` holds them.
pub(crate) fn slots(
    layout: &Layout,
    piece: View<'_>,
    address: Address,
    count: usize,
) -> Option<Slots> {
    let start = address.offset(layout.frame.localsplus)?;
    let words = piece.get(start, count.checked_mul(8)?)?;
    let (words, _) = words.as_chunks();
    let variable = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        // Both tags together mark a number that is no object.
        if word & STACK_REFERENCE_TAGS == STACK_REFERENCE_TAGS {
            Address::NULL
        } else {
            Address(word & !STACK_REFERENCE_TAGS)
        }
    };
    Some(Slots {
        fast: words.iter().map(variable).collect(),
        namespace: Address(piece.word(address, layout.frame.namespace)?),
    })
}
