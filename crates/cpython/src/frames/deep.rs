//! Stacks of more frames than are looked at one by one: their two ends, and how many frames lie
//! between.

use std::collections::VecDeque;

use invivo_model::{Address, Defect, Gap, Stack};
use invivo_process::{Fault, Memory};
use rustc_hash::FxHashMap;

use super::walk::{Budget, Head};
use super::{RawFrame, StackOptions};
use crate::pieces::{Piece, length, page_of, read_pieces};
use crate::runtime::Runtime;

/// Why a stack is not followed to its end.
pub(crate) const TOO_DEEP: &str = "more frames than are looked at";
/// Frames that are shown of each end.
const END: usize = 1000;
/// Chunks of a data stack that is followed frame by frame, at most.
const CHUNKS: usize = 500;
/// Bytes that are read at a time.
const BLOCK: u64 = 64 << 10;
/// Bytes of a block before the frame it is read for, where callers are thought to lie behind it.
const BEFORE: u64 = 12 << 10;
/// Bytes of a block from the page on of the frame it is read for, where they lie before it.
const BEHIND: u64 = 8 << 10;
/// Bytes that are read of one stack.
const MAX_BYTES: u64 = 200 << 20;
/// Frames that are counted.
const MAX_FRAMES: u64 = 1 << 24;
/// How often the frames are counted again, where they have changed meanwhile.
const ATTEMPTS: usize = 3;

/// What lies between a frame and the outermost one.
#[derive(Debug, Default)]
struct Survey {
    /// How many frames of each code object, those of `outermost` among them.
    counts: FxHashMap<Address, u64>,
    /// The last ones that were met, innermost first.
    outermost: VecDeque<RawFrame>,
    /// What kept it from reaching the outermost one.
    broken: Option<Defect>,
    /// Whether that is that no more may be read.
    ran_out: bool,
}

impl<M: Memory> Runtime<M> {
    /// Which of these threads have a longer data stack than is followed frame by frame.
    pub(super) fn too_deep(&self, threads: &[(Address, Head)]) -> Result<Vec<bool>, Fault> {
        let mut deep = vec![false; threads.len()];
        let Some(layout) = &self.layout.chunk else {
            return Ok(deep);
        };
        // It may be known already that there is a second one, or none.
        let chunks = threads
            .iter()
            .map(|(_, head)| head.older.unwrap_or(head.chunk));
        let mut open: Vec<_> = chunks.enumerate().collect();
        for _ in 0..CHUNKS {
            open.retain(|(_, chunk)| !chunk.is_null());
            if open.is_empty() {
                return Ok(deep);
            }
            let places = open.iter().map(|(_, chunk)| {
                let at = chunk.offset(layout.previous);
                (at.unwrap_or_default(), 8)
            });
            let pieces = read_pieces(&self.memory, places)?;
            for ((_, chunk), piece) in open.iter_mut().zip(pieces) {
                *chunk = Address(piece.word(piece.start, 0).unwrap_or(0));
            }
        }
        for (index, _) in open {
            if let Some(deep) = deep.get_mut(index) {
                *deep = true;
            }
        }
        Ok(deep)
    }

    /// Both ends of a thread's stack.
    pub(super) fn deep_stack(
        &self,
        thread: (Address, Head),
        options: &StackOptions,
        budget: &mut Budget,
    ) -> Result<Stack, Fault> {
        let mut stack = Stack::default();
        for _ in 0..ATTEMPTS {
            let mut stacks = self.read_stacks(&[thread], options, budget, END)?;
            stack = stacks.pop().unwrap_or_default();
            let is_deep = stack.cut.as_ref().is_some_and(|cut| cut.what == TOO_DEEP);
            let Some(last) = stack.frames.last().filter(|_| is_deep) else {
                return Ok(stack);
            };
            let last = last.address;
            let survey = self.survey(last);
            // Who called a frame does not change while it is in its call.
            if survey.ran_out || self.is_in_call(thread.0, last)? {
                return self.with_survey(stack, survey, options);
            }
        }
        stack.gap = Some(Gap {
            after: stack.frames.len(),
            frames: 0,
            is_exact: false,
        });
        stack.cut = stack.cut.map(|cut| Defect {
            what: "its frames changed while they were counted".to_owned(),
            ..cut
        });
        Ok(stack)
    }

    /// Follows the callers of a frame to the outermost one.
    fn survey(&self, from: Address) -> Survey {
        let mut survey = Survey::default();
        let mut strides = Strides::default();
        let mut next = match self.stride(&mut strides, from) {
            Ok(Some(frame)) => frame.previous,
            _ => from,
        };
        let mut counted = 0_u64;
        let mut landmark = Address::NULL;
        while !next.is_null() {
            let broken = |what: &str| {
                Some(Defect {
                    address: next,
                    what: what.to_owned(),
                })
            };
            if next == landmark {
                survey.broken = broken("the frames lead back to this one");
                break;
            }
            if counted.is_power_of_two() {
                landmark = next;
            }
            if counted == MAX_FRAMES || strides.bytes > MAX_BYTES {
                survey.broken = broken("more frames than are counted");
                break;
            }
            let frame = match self.stride(&mut strides, next) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    survey.broken = broken("the frame can't be read");
                    break;
                }
                Err(met) => {
                    survey.broken = broken(&met.to_string());
                    survey.ran_out = true;
                    break;
                }
            };
            counted += 1;
            if !frame.is_sentinel(&self.layout) {
                *survey.counts.entry(frame.executable).or_default() += 1;
            }
            if survey.outermost.len() == END {
                survey.outermost.pop_front();
            }
            survey.outermost.push_back(frame);
            next = frame.previous;
        }
        survey
    }

    /// Whether a frame is among those that the thread is in now.
    fn is_in_call(&self, thread: Address, frame: Address) -> Result<bool, Fault> {
        let head = self.head_of(thread)?;
        let mut next = head.frame;
        if !head.through.is_null() {
            let pieces = read_pieces(&self.memory, [(head.through, 8)])?;
            let piece = pieces.first();
            next = Address(
                piece
                    .and_then(|piece| piece.word(piece.start, 0))
                    .unwrap_or(0),
            );
        }
        let mut strides = Strides::default();
        for _ in 0..MAX_FRAMES {
            if next == frame {
                return Ok(true);
            }
            if next.is_null() || strides.bytes > MAX_BYTES {
                break;
            }
            let Some(found) = self.stride(&mut strides, next)? else {
                break;
            };
            next = found.previous;
        }
        Ok(false)
    }

    /// Adds what a survey found to the inner end of a stack.
    fn with_survey(
        &self,
        mut stack: Stack,
        survey: Survey,
        options: &StackOptions,
    ) -> Result<Stack, Fault> {
        let codes = self.codes(survey.counts.keys().copied(), &[]);
        let codes = codes.map(|(codes, _)| codes).unwrap_or_default();
        let shown = |executable: &Address| match codes.get(executable) {
            Some(Ok(facts)) => !facts.is_shim,
            _ => true,
        };
        let all = survey.counts.iter().filter(|(code, _)| shown(code));
        let all: u64 = all.map(|(_, count)| *count).sum();
        let mut gap = Gap {
            after: stack.frames.len(),
            frames: all,
            is_exact: survey.broken.is_none(),
        };
        stack.cut = survey.broken;
        // Those that were met last before it broke off are not the outermost ones.
        if gap.is_exact {
            let outermost: Vec<_> = survey.outermost.into();
            let outer = self.stacks_of(&[&outermost], options)?;
            let outer = outer.into_iter().next().unwrap_or_default();
            gap.frames = all.saturating_sub(outer.frames.len() as u64);
            stack.frames.extend(outer.frames);
            stack.cut = outer.cut;
        }
        stack.gap = Some(gap);
        Ok(stack)
    }

    /// The frame at `address`, read with what is likely to be needed next.
    fn stride(&self, strides: &mut Strides, address: Address) -> Result<Option<RawFrame>, Fault> {
        let size = length(self.layout.frame.size);
        if strides.block.get(address, size).is_none() {
            for (start, bytes) in strides.blocks(address, size) {
                let pieces = read_pieces(&self.memory, [(start, length(bytes))])?;
                strides.block = pieces.into_iter().next().unwrap_or_default();
                strides.bytes += strides.block.bytes.len() as u64;
                if strides.block.get(address, size).is_some() {
                    break;
                }
            }
        }
        Ok(RawFrame::parse(&self.layout, strides.block.view(), address))
    }
}

/// Frames that are read a block at a time.
#[derive(Debug, Default)]
struct Strides {
    block: Piece,
    /// How much has been read.
    bytes: u64,
}

impl Strides {
    /// Where to read the frame at `address` and its callers: first where they go on as they have,
    /// then as little as it takes.
    fn blocks(&self, address: Address, size: usize) -> [(Address, u64); 3] {
        let page = page_of(address);
        let start = if address < self.block.start {
            (page.0 + BEHIND).saturating_sub(BLOCK)
        } else {
            page.0.saturating_sub(BEFORE)
        };
        [
            (Address(start), BLOCK),
            (page, BEHIND),
            (address, size as u64),
        ]
    }
}
