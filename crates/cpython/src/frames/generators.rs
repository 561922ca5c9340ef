//! Generators, coroutines and asynchronous generators: each holds a frame of its own.

use invivo_model::{Address, Frame, Result};
use invivo_process::Memory;

use super::StackOptions;
use super::raw::RawFrame;
use super::walk::Walk;
use crate::fields::{corrupt, fault};
use crate::layout::common::STACK_REFERENCE_TAGS;
use crate::layout::{self, StackTop};
use crate::pieces::{Piece, length, read_pieces, within_page};
use crate::runtime::Runtime;

const WHAT: &str = "cannot read the generator";
/// How much is read of a generator or a frame object before it is known how much it takes.
const WINDOW: usize = 512;
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
        let raw = RawFrame::parse(&self.layout, &piece, place).ok_or_else(wrong)?;
        let (state, delegates) = self.state(&generator, &piece, &raw).ok_or_else(wrong)?;
        if state == GeneratorState::Ended {
            return Ok(ENDED);
        }
        let awaited = if delegates {
            self.stack_top(&piece, place)?
        } else {
            Address::NULL
        };
        let mut stacks = self
            .understand_all(vec![Walk::of(raw, piece)], &StackOptions::default())
            .map_err(|met| fault(WHAT, met))?;
        let stack = stacks.pop().unwrap_or_default();
        match stack.cut {
            Some(defect) => Err(corrupt(WHAT, defect.what)),
            None => Ok(GeneratorFrame {
                state,
                frame: stack.frames.into_iter().next(),
                awaited,
            }),
        }
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

    /// Where a generator stands, and whether it waits for another object there.
    fn state(
        &self,
        generator: &Piece,
        frame: &Piece,
        raw: &RawFrame,
    ) -> Option<(GeneratorState, bool)> {
        let layout = &self.layout.generator;
        let layout::GeneratorState::Byte {
            at,
            created,
            suspended,
            executing,
        } = layout.state
        else {
            let layout::GeneratorState::Running(at) = layout.state else {
                return None;
            };
            let runs = generator.byte(generator.start, at)? != 0;
            return Some(if runs {
                (GeneratorState::Executing, false)
            } else if raw.has_begun() {
                (GeneratorState::Suspended, self.delegates(raw))
            } else {
                (GeneratorState::Created, false)
            });
        };
        let said = match layout.frame {
            layout::GeneratorFrame::Pointer(_) => frame.byte(raw.address, at)?,
            layout::GeneratorFrame::Embedded(_) => generator.byte(generator.start, at)?,
        };
        let said = said.cast_signed();
        Some(if said == created {
            (GeneratorState::Created, false)
        } else if said == executing {
            (GeneratorState::Executing, false)
        } else if suspended.contains(&said) {
            let [plain, delegating @ ..] = suspended;
            let tells = !delegating.contains(&plain);
            let delegates = if tells {
                said != plain
            } else {
                self.delegates(raw)
            };
            (GeneratorState::Suspended, delegates)
        } else {
            (GeneratorState::Ended, false)
        })
    }

    /// Whether the instruction that a suspended frame goes on with is one of a `yield from` or an
    /// `await`.
    fn delegates(&self, _raw: &RawFrame) -> bool {
        false
    }

    /// The topmost value on the stack of a frame that does not run; null where there is none.
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
        let Some(last) = end.0.checked_sub(8).map(Address) else {
            return Ok(Address::NULL);
        };
        let value = match piece.word(last, 0) {
            Some(value) => value,
            None => self.memory.read_u64(last).map_err(|met| fault(WHAT, met))?,
        };
        Ok(Address(value & !STACK_REFERENCE_TAGS))
    }
}

const ENDED: GeneratorFrame = GeneratorFrame {
    state: GeneratorState::Ended,
    frame: None,
    awaited: Address::NULL,
};
