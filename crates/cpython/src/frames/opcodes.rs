//! Which opcodes frames stand at.

use std::collections::BTreeMap;

use invivo_model::{Address, Stack};
use invivo_process::{Fault, Memory};

use crate::pieces::{Piece, length, read_pieces};
use crate::runtime::Runtime;

/// Bytes of an instruction, and of each unit of its cache.
const UNIT: u64 = 2;
/// Bytes of bytecode that are gone through for one frame at most.
const MAX_BYTECODE: u64 = 1 << 18;
/// Of so many frames it is read by one call.
const AT_ONCE: usize = 64;

/// Where a frame stands in its bytecode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instruction {
    /// The instruction, or a unit of its cache.
    pub(crate) at: Address,
    /// Where the bytecode begins.
    pub(crate) code: Address,
}

impl<M: Memory> Runtime<M> {
    /// Reads which opcode each frame stands at.
    pub(super) fn read_opcodes(
        &self,
        stacks: &mut [(Stack, Vec<Option<Instruction>>)],
    ) -> Result<(), Fault> {
        // Of each code object as much as the frame that stands furthest needs.
        let mut wanted: BTreeMap<Address, u64> = BTreeMap::new();
        for instruction in stacks.iter().flat_map(|(_, each)| each).flatten() {
            let size = wanted.entry(self.first_needed(instruction)).or_default();
            let end = instruction.at.since(self.first_needed(instruction));
            *size = (*size).max(end.unwrap_or(0).min(MAX_BYTECODE) + UNIT);
        }
        let mut pieces = BTreeMap::new();
        let wanted: Vec<_> = wanted.into_iter().collect();
        for group in wanted.chunks(AT_ONCE) {
            let places = group.iter().map(|(at, size)| (*at, length(*size)));
            for piece in read_pieces(&self.memory, places)? {
                pieces.insert(piece.start, piece);
            }
        }
        for (stack, instructions) in stacks {
            for (frame, instruction) in stack.frames.iter_mut().zip(instructions) {
                frame.opcode = instruction.and_then(|instruction| {
                    let piece = pieces.get(&self.first_needed(&instruction))?;
                    self.opcode(piece, instruction.at)
                });
            }
        }
        Ok(())
    }

    /// From where on bytecode has to be read to know which instruction a frame stands at: where it
    /// may stand in a cache, from the beginning.
    fn first_needed(&self, instruction: &Instruction) -> Address {
        if self.layout.instructions.caches.is_empty() {
            instruction.at
        } else {
            instruction.code
        }
    }

    /// The opcode of the instruction that the unit at `at` belongs to.
    fn opcode(&self, piece: &Piece, at: Address) -> Option<u8> {
        let mut next = piece.start;
        loop {
            let opcode = piece.byte(next, 0)?;
            let following = next.offset(UNIT * (1 + self.cache_units(opcode)))?;
            if at < following {
                return Some(opcode);
            }
            next = following;
        }
    }

    fn cache_units(&self, opcode: u8) -> u64 {
        let caches = self.layout.instructions.caches.iter();
        let mut of_it = caches.filter(|(_, opcodes)| opcodes.contains(&opcode));
        of_it.next().map_or(0, |(units, _)| *units as u64)
    }
}
