//! Generators, coroutines and asynchronous generators: each holds a frame of its own.

use invivo_model::{Address, Frame, Result};
use invivo_process::Memory;

use super::raw::{RawFrame, Standing};
use super::{OwnCopies, frame};
use crate::code::CodeFacts;
use crate::fields::{corrupt, fault};
use crate::layout::common::STACK_REFERENCE_TAGS;
use crate::layout::{self, Delegation, StackTop};
use crate::pieces::{Piece, length, read_pieces, within_page};
use crate::runtime::Runtime;

const WHAT: &str = "cannot read the generator";
/// How much is read of a generator or a frame object before it is known how much it takes.
const WINDOW: usize = 512;
/// Bytes of an instruction without its caches.
const INSTRUCTION: u64 = 2;
/// More values than any frame has on its stack.
const MAX_DEPTH: u64 = 1 << 16;

/// A generator, a coroutine or an asynchronous generator.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GeneratorFrame {
    pub(crate) state: GeneratorState,
    /// Its frame; `None` once it has ended.
    pub(crate) frame: Option<Frame>,
    /// What it awaits or yields from; null where that is nothing, or it runs.
    pub(crate) awaited: Address,
}

/// Where a generator stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GeneratorState {
    /// Before its first instruction.
    Created,
    /// In a `yield`, a `yield from` or an `await`.
    Suspended,
    /// It runs, or what it awaits does.
    Executing,
    /// It has returned, or was closed.
    Ended,
}

impl<M: Memory> Runtime<M> {
    /// The generator, coroutine or asynchronous generator at `address`; it is not checked that it
    /// is one.
    ///
    /// # Errors
    ///
    /// `Corrupt` where there is none or it changes meanwhile, `Gone` or `Refused` where memory
    /// can't be read at all.
    pub(crate) fn generator_frame(&self, address: Address) -> Result<GeneratorFrame> {
        let wrong = || corrupt(WHAT, format!("the one at {address} can't be right"));
        let layout = &self.layout.generator;
        let (inside, least) = match layout.frame {
            layout::GeneratorFrame::Pointer(at) => (None, at + 8),
            layout::GeneratorFrame::Embedded(at) => (Some(at), at + self.layout.frame.size),
        };
        let generator = self.piece(address, length(least))?;
        let (place, piece) = match inside {
            Some(at) => (address.offset(at).ok_or_else(wrong)?, generator.clone()),
            None => {
                let place = Address(generator.word(address, least - 8).ok_or_else(wrong)?);
                if place.is_null() {
                    return Ok(ENDED);
                }
                (place, self.piece(place, length(self.layout.frame.size))?)
            }
        };
        let raw = RawFrame::parse(&self.layout, piece.view(), place).ok_or_else(wrong)?;
        let state = self.state(&generator, &piece, &raw).ok_or_else(wrong)?;
        if state == Said::Ended {
            return Ok(ENDED);
        }
        let facts = self
            .code(raw.executable)
            .map_err(|why| corrupt(WHAT, why))?;
        let copies = self.own_copies_of(&raw, &facts);
        let copies = copies.map_err(|met| fault(WHAT, met))?;
        let delegates = match state {
            Said::Delegating => true,
            Said::Suspended => self.goes_on_with_delegation(&raw, &facts, &copies)?,
            Said::Created | Said::Executing | Said::Ended => false,
        };
        Ok(GeneratorFrame {
            state: state.into(),
            awaited: if delegates {
                self.stack_top(&piece, place)?
            } else {
                Address::NULL
            },
            frame: Some(frame(&raw, &facts, self.place(&raw, &facts, &copies))),
        })
    }

    /// `least` bytes at `address`, and some more where they are at hand.
    fn piece(&self, address: Address, least: usize) -> Result<Piece> {
        let size = within_page(address, least, WINDOW.max(least));
        let pieces = read_pieces(&self.memory, [(address, size)]);
        let piece = pieces.map_err(|met| fault(WHAT, met))?.pop();
        piece
            .filter(|piece| piece.bytes.len() >= least)
            .ok_or_else(|| corrupt(WHAT, format!("nothing readable at {address}")))
    }

    /// What a generator says of where it stands.
    fn state(&self, generator: &Piece, frame: &Piece, raw: &RawFrame) -> Option<Said> {
        let layout = &self.layout.generator;
        let (at, created, suspended, executing) = match layout.state {
            layout::GeneratorState::Running(at) => {
                let runs = generator.byte(generator.start, at)? != 0;
                return Some(match raw.standing {
                    _ if runs => Said::Executing,
                    Standing::Byte(..0) => Said::Created,
                    Standing::Byte(_) | Standing::At(_) => Said::Suspended,
                });
            }
            layout::GeneratorState::Byte {
                at,
                created,
                suspended,
                executing,
            } => (at, created, suspended, executing),
        };
        let said = match layout.frame {
            layout::GeneratorFrame::Pointer(_) => frame.byte(raw.address, at)?,
            layout::GeneratorFrame::Embedded(_) => generator.byte(generator.start, at)?,
        };
        let said = said.cast_signed();
        let [plain, ..] = suspended;
        Some(if said == created {
            Said::Created
        } else if said == executing {
            Said::Executing
        } else if said == plain {
            Said::Suspended
        } else if suspended.contains(&said) {
            Said::Delegating
        } else {
            Said::Ended
        })
    }

    /// Whether the instruction that a suspended frame goes on with is one of a `yield from` or an
    /// `await`.
    fn goes_on_with_delegation(
        &self,
        raw: &RawFrame,
        facts: &CodeFacts,
        copies: &OwnCopies,
    ) -> Result<bool> {
        let Delegation::Next { opcodes, least } = self.layout.instructions.delegation else {
            return Ok(false);
        };
        let next = self
            .place(raw, facts, copies)
            .and_then(|place| place.instruction.offset(INSTRUCTION));
        let next = next.ok_or_else(|| {
            let why = format!("the frame at {} stands outside its code", raw.address);
            corrupt(WHAT, why)
        })?;
        let mut instruction = [0; 2];
        let read = self.memory.read(next, &mut instruction);
        read.map_err(|met| fault(WHAT, met))?;
        let [opcode, argument] = instruction;
        Ok(opcodes.contains(&opcode) && argument >= least)
    }

    /// The topmost object on the stack of a frame that does not run; null where there is none.
    /// Above what a frame delegates to there may be a null or a number: where an iterator that is
    /// no object stands.
    fn stack_top(&self, piece: &Piece, frame: Address) -> Result<Address> {
        let wrong = || corrupt(WHAT, format!("the frame at {frame} can't be right"));
        let layout = &self.layout.frame;
        let count = |at| {
            let count = piece
                .int(frame, at)
                .and_then(|count| u64::try_from(count).ok());
            count.filter(|count| *count <= MAX_DEPTH)
        };
        let (start, count) = match layout.stack_top {
            StackTop::Pointer(at) => (piece.word(frame, at).map(Address), Some(0)),
            StackTop::Depth { depth, values } => {
                (piece.word(frame, values).map(Address), count(depth))
            }
            StackTop::Count(at) => (frame.offset(layout.localsplus), count(at)),
        };
        let end = start
            .zip(count)
            .and_then(|(start, count)| start.offset(count * 8));
        let end = end.ok_or_else(wrong)?;
        for place in [8, 16] {
            let Some(place) = end.0.checked_sub(place).map(Address) else {
                break;
            };
            let value = match piece.word(place, 0) {
                Some(value) => value,
                None => {
                    let read = self.memory.read_u64(place);
                    read.map_err(|met| fault(WHAT, met))?
                }
            };
            let object = value & !STACK_REFERENCE_TAGS;
            if object != 0 && value & STACK_REFERENCE_TAGS != STACK_REFERENCE_TAGS {
                return Ok(Address(object));
            }
        }
        Ok(Address::NULL)
    }
}

/// What a generator says of where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Created,
    Suspended,
    /// And it waits for another object.
    Delegating,
    Executing,
    Ended,
}

impl From<Said> for GeneratorState {
    fn from(said: Said) -> Self {
        match said {
            Said::Created => Self::Created,
            Said::Suspended | Said::Delegating => Self::Suspended,
            Said::Executing => Self::Executing,
            Said::Ended => Self::Ended,
        }
    }
}

const ENDED: GeneratorFrame = GeneratorFrame {
    state: GeneratorState::Ended,
    frame: None,
    awaited: Address::NULL,
};
