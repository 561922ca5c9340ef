//! Stacks: the frames that a thread is in.

#[allow(dead_code, reason = "the view of tasks is still to come")]
mod generators;
mod opcodes;
mod raw;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use invivo_model::{Address, Defect, Frame, Result, Slots, Stack, Text, ThreadState, Trust};
use invivo_process::{Fault, Memory};

use crate::code::{CodeFacts, Codes};
use crate::fields::{corrupt, fault};
use crate::pieces::{length, read_pieces};
use crate::runtime::Runtime;

#[allow(unused_imports, reason = "the view of tasks is still to come")]
pub(crate) use generators::{GeneratorFrame, GeneratorState};
use opcodes::Instruction;
use raw::{RawFrame, Standing};
pub(crate) use walk::Head;
use walk::{Budget, Walk};

const WHAT: &str = "cannot read the thread's frames";
/// Threads whose stacks are read together.
const AT_ONCE: usize = 64;
/// Bytes of memory that are held of so many threads, at most.
const MAX_BYTES: usize = 64 << 20;
/// How many times as many frames as one stack may have all stacks may have together.
const ALL_STACKS: usize = 4;

/// What is to be read of stacks beside code and positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackOptions {
    /// The opcode that each frame stands at.
    pub opcodes: bool,
    /// Which objects its variables hold.
    pub slots: bool,
    /// What `threading` calls the threads.
    pub names: bool,
}

/// A Python function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// `co_qualname`, in versions without it `co_name`.
    pub qualname: Text,
    /// `co_filename`.
    pub filename: Text,
}

impl<M: Memory> Runtime<M> {
    /// The frames of one thread. What keeps them from being read stands in [`Stack::cut`].
    ///
    /// The thread runs on meanwhile. A frame of which it shows that it may be of another moment
    /// than the others is marked so.
    pub fn stack(&self, thread: &ThreadState, options: &StackOptions) -> Stack {
        let head = match self.head_of(thread.address) {
            Ok(head) => head,
            Err(met) => return cut(thread.address, met.to_string()),
        };
        let mut stacks = self.stacks(&[(thread.address, head)], options);
        stacks.pop().unwrap_or_default()
    }

    /// The innermost Python function of a thread; `None` where it runs no Python code.
    ///
    /// The thread runs on meanwhile, so this is a hint, not a proof.
    ///
    /// # Errors
    ///
    /// `Corrupt` where frame or code can't be read, which also happens when the thread leaves the
    /// function meanwhile; `Gone` or `Refused` where memory can't be read at all.
    pub fn thread_top_function(&self, thread: &ThreadState) -> Result<Option<Function>> {
        let head = self
            .head_of(thread.address)
            .map_err(|met| fault(WHAT, met))?;
        let mut budget = self.budget();
        let walks = self.walks(
            &[(thread.address, head)],
            self.limits.sentinels,
            &mut budget,
        );
        let walk = walks
            .map_err(|met| fault(WHAT, met))?
            .pop()
            .unwrap_or_default();
        for frame in &walk.frames {
            if frame.is_sentinel(&self.layout) {
                continue;
            }
            let facts = self
                .code(frame.executable)
                .map_err(|why| corrupt(WHAT, why))?;
            if !facts.is_shim {
                return Ok(Some(Function {
                    qualname: facts.code.label().clone(),
                    filename: facts.code.filename.clone(),
                }));
            }
        }
        match walk.cut {
            Some(defect) => Err(corrupt(WHAT, defect.what)),
            None => Ok(None),
        }
    }

    /// The stacks of threads whose states said this of their frames, in the same order.
    pub(crate) fn stacks(&self, threads: &[(Address, Head)], options: &StackOptions) -> Vec<Stack> {
        let mut frames = self.limits.frames.saturating_mul(ALL_STACKS);
        let mut stacks = Vec::with_capacity(threads.len());
        for group in threads.chunks(AT_ONCE) {
            let mut budget = Budget {
                frames,
                bytes: MAX_BYTES,
            };
            let read = self.walks(group, self.limits.frames, &mut budget);
            let read = read.and_then(|walks| self.understand_all(walks, options));
            frames = budget.frames;
            match read {
                Ok(read) => stacks.extend(read),
                Err(met) => {
                    let unread = group.iter().map(|(at, _)| cut(*at, met.to_string()));
                    stacks.extend(unread);
                }
            }
        }
        stacks
    }

    fn budget(&self) -> Budget {
        Budget {
            frames: self.limits.frames,
            bytes: MAX_BYTES,
        }
    }

    fn understand_all(
        &self,
        walks: Vec<Walk>,
        options: &StackOptions,
    ) -> Result<Vec<Stack>, Fault> {
        let all = || walks.iter().flat_map(|walk| &walk.frames);
        let of_code = || all().filter(|frame| !frame.is_sentinel(&self.layout));
        let codes = self.codes(of_code().map(|frame| frame.executable))?;
        let copies = self.own_copies(of_code(), &codes)?;
        let stacks = walks.iter().map(|walk| {
            let frames = walk.frames.iter();
            let frames = frames.filter(|frame| !frame.is_sentinel(&self.layout));
            self.understand(walk, frames, &codes, &copies, options)
        });
        let mut stacks: Vec<_> = stacks.collect();
        if options.opcodes {
            self.read_opcodes(&mut stacks)?;
        }
        Ok(stacks.into_iter().map(|(stack, _)| stack).collect())
    }

    /// Makes a stack of frames, and says at which instruction each stands.
    fn understand<'a>(
        &self,
        walk: &Walk,
        frames: impl Iterator<Item = &'a RawFrame>,
        codes: &Codes,
        copies: &OwnCopies,
        options: &StackOptions,
    ) -> (Stack, Vec<Option<Instruction>>) {
        let mut stack = Stack {
            frames: Vec::new(),
            cut: walk.cut.clone(),
        };
        let mut instructions = Vec::new();
        for raw in frames {
            let facts = match codes.get(&raw.executable) {
                Some(Ok(facts)) => facts,
                Some(Err(why)) => {
                    stack.cut = Some(Defect {
                        address: raw.address,
                        what: why.clone(),
                    });
                    break;
                }
                None => break,
            };
            if facts.is_shim {
                continue;
            }
            let mut frame = self.frame(raw, facts, copies);
            frame.slots = options.slots.then(|| self.slots(walk, raw, facts));
            stack.frames.push(frame);
            let place = self.place(raw, facts, copies);
            instructions.push(place.map(|place| Instruction {
                at: place.instruction,
                code: facts.bytecode,
            }));
        }
        (stack, instructions)
    }

    /// The frame, without what only some ask for.
    fn frame(&self, raw: &RawFrame, facts: &CodeFacts, copies: &OwnCopies) -> Frame {
        let place = self.place(raw, facts, copies);
        let position = place.map(|place| facts.position(place.offset));
        Frame {
            address: raw.address,
            code: facts.code.clone(),
            position: position.unwrap_or_default(),
            opcode: None,
            trust: if place.is_some() {
                Trust::Whole
            } else {
                Trust::Torn
            },
            slots: None,
        }
    }

    /// Where in its code a frame stands; `None` where it claims to stand elsewhere.
    fn place(&self, raw: &RawFrame, facts: &CodeFacts, copies: &OwnCopies) -> Option<Place> {
        let (start, offset) = match raw.standing {
            Standing::Byte(offset) => (facts.bytecode, offset),
            Standing::At(instruction) => {
                let start = match raw.copy {
                    0 => facts.bytecode,
                    copy => *copies.get(&(raw.executable, copy))?,
                };
                let offset = i128::from(instruction.0) - i128::from(start.0);
                (start, i64::try_from(offset).ok()?)
            }
        };
        // Before the first instruction of those that have just been entered.
        if (-2..0).contains(&offset) {
            return Some(Place {
                instruction: start,
                offset: None,
            });
        }
        let offset = u64::try_from(offset)
            .ok()
            .filter(|offset| *offset < facts.bytecode_size)?;
        Some(Place {
            instruction: start.offset(offset)?,
            offset: Some(u32::try_from(offset).ok()?),
        })
    }

    fn slots(&self, walk: &Walk, raw: &RawFrame, facts: &CodeFacts) -> Slots {
        let size =
            length(self.layout.frame.localsplus).saturating_add(facts.slots.saturating_mul(8));
        let at_hand = walk.piece(raw.address, size);
        let at_hand =
            at_hand.and_then(|piece| raw::slots(&self.layout, piece, raw.address, facts.slots));
        // A frame that lies by itself, and has more variables than were read with it.
        at_hand.unwrap_or_else(|| {
            let pieces = read_pieces(&self.memory, [(raw.address, size.min(MAX_BYTES))]);
            let piece = pieces
                .ok()
                .and_then(|mut pieces| pieces.pop())
                .unwrap_or_default();
            raw::slots(&self.layout, &piece, raw.address, facts.slots).unwrap_or_default()
        })
    }

    /// Where the copies of the bytecode begin that these frames run.
    fn own_copies<'a>(
        &self,
        frames: impl Iterator<Item = &'a RawFrame>,
        codes: &Codes,
    ) -> Result<OwnCopies, Fault> {
        let mut wanted: Vec<_> = frames
            .filter(|frame| frame.copy > 0)
            .filter_map(|frame| {
                let facts = codes.get(&frame.executable)?.as_ref().ok()?;
                // The array begins with the number of its entries.
                let entry = u64::try_from(frame.copy)
                    .ok()?
                    .checked_mul(8)?
                    .checked_add(8)?;
                let entry = facts.own_copies.offset(entry)?;
                let key = (frame.executable, frame.copy);
                (!facts.own_copies.is_null()).then_some((key, facts.own_copies, entry))
            })
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let places = wanted
            .iter()
            .flat_map(|(_, array, entry)| [(*array, 8), (*entry, 8)]);
        let pieces = read_pieces(&self.memory, places)?;
        let found = wanted.iter().zip(pieces.as_chunks().0);
        Ok(found
            .filter_map(|(((code, copy), ..), [array, entry]): (_, &[_; 2])| {
                let count = array.word(array.start, 0)?;
                let start = Address(entry.word(entry.start, 0)?);
                let holds = u64::try_from(*copy).is_ok_and(|copy| copy < count);
                (holds && !start.is_null()).then_some(((*code, *copy), start))
            })
            .collect())
    }

    /// As [`Runtime::own_copies`], of one frame.
    fn own_copies_of(&self, raw: &RawFrame, facts: &Arc<CodeFacts>) -> Result<OwnCopies, Fault> {
        let codes = Codes::from([(raw.executable, Ok(Arc::clone(facts)))]);
        self.own_copies([raw].into_iter(), &codes)
    }
}

/// Where threads' own copies of bytecode begin, by code object and number.
type OwnCopies = HashMap<(Address, i32), Address>;

/// Where in its code a frame stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    instruction: Address,
    /// In bytes; `None` before the first instruction.
    offset: Option<u32>,
}

/// A stack of which nothing can be read.
fn cut(address: Address, what: String) -> Stack {
    Stack {
        frames: Vec::new(),
        cut: Some(Defect { address, what }),
    }
}
