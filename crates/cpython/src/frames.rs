//! Stacks: the frames that a thread is in.

pub(crate) mod calls;
mod deep;
mod generators;
mod live;
mod opcodes;
mod raw;
mod walk;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;

use invivo_model::{Address, Defect, Frame, Result, Slots, Stack, Text, ThreadState, Trust};
use invivo_process::{Fault, Memory};

use crate::code::{CodeFacts, Codes};
use crate::fields::{corrupt, fault};
use crate::pieces::{Piece, View, length, read_pieces};
use crate::runtime::Runtime;

pub(crate) use deep::TOO_DEEP;
pub(crate) use generators::{GeneratorFrame, GeneratorState};
pub(crate) use live::CallMemory;
use live::Live;
pub(crate) use opcodes::Instruction;
pub(crate) use raw::{RawFrame, Standing};
use walk::Walk;
pub(crate) use walk::{AHEAD, Budget, Head, MAX_CHUNK, is_part_of_state};
pub(crate) use watch::{Met, Watch};

const WHAT: &str = "cannot read the thread's frames";
/// Threads whose stacks are read together.
const AT_ONCE: usize = 64;
/// Bytes of memory that are held of so many threads, at most.
const MAX_BYTES: usize = 64 << 20;
/// Bytes of a frame with its variables, where these are read by themselves.
const MAX_VARIABLES: usize = 1 << 20;
/// A stack that leaves something open is looked at so many times again.
const LOOKS_AGAIN: usize = 3;
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
        let mut stacks = self.stacks(&[(thread.address, head)], &StackOptions::default());
        let stack = stacks.pop().unwrap_or_default();
        match (stack.frames.first(), stack.cut) {
            (Some(frame), _) => Ok(Some(Function {
                qualname: frame.code.label().clone(),
                filename: frame.code.filename.clone(),
            })),
            (None, Some(defect)) => Err(corrupt(WHAT, defect.what)),
            (None, None) => Ok(None),
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
            let read = self.read_group(group, options, &mut budget);
            frames = budget.frames;
            match read {
                Ok(read) => stacks.extend(placed(group, read)),
                Err(met) => {
                    let unread = group.iter().map(|(at, _)| cut(*at, met.to_string()));
                    stacks.extend(unread);
                }
            }
        }
        stacks
    }

    /// The stacks of some threads; of those that are too deep to be read whole, both ends.
    fn read_group(
        &self,
        threads: &[(Address, Head)],
        options: &StackOptions,
        budget: &mut Budget,
    ) -> Result<Vec<Stack>, Fault> {
        let deep = self.too_deep(threads)?;
        let all = threads.iter().zip(&deep);
        let others = all.filter(|(_, deep)| !**deep).map(|(thread, _)| *thread);
        let others: Vec<_> = others.collect();
        let read = match self.stacks_once(&others, options) {
            Some(read) => self.with_opcodes(read?, options)?,
            None => self.read_stacks(&others, options, budget, self.limits.frames)?,
        };
        let mut read = read.into_iter();
        let mut stacks = Vec::with_capacity(threads.len());
        for (thread, deep) in threads.iter().zip(deep) {
            let read = if deep { None } else { read.next() };
            let read = read.filter(|stack| {
                let cut = stack.cut.as_ref();
                // All threads together may have too many as well.
                cut.is_none_or(|cut| cut.what != TOO_DEEP) || budget.frames == 0
            });
            stacks.push(match read {
                Some(stack) => stack,
                None => self.deep_stack(*thread, options, budget)?,
            });
        }
        Ok(stacks)
    }

    /// The stacks of threads, each as far as `limit` frames.
    fn read_stacks(
        &self,
        threads: &[(Address, Head)],
        options: &StackOptions,
        budget: &mut Budget,
        limit: usize,
    ) -> Result<Vec<Stack>, Fault> {
        let mut look = self.look(threads, budget, limit)?;
        for _ in 0..LOOKS_AGAIN {
            let unsure: Vec<_> = look.unsure().collect();
            if unsure.is_empty() {
                break;
            }
            if look.has_orphan() {
                self.memory.look_again();
            }
            let again: Vec<_> = unsure
                .iter()
                .filter_map(|index| threads.get(*index).copied())
                .collect();
            look.compare(unsure, self.look(&again, budget, limit)?);
        }
        let stacks = look.walks.iter().map(|(walk, live)| {
            let (mut stack, instructions) =
                self.understand(walk, live, &look.codes, &look.copies, options);
            let root = walk.frames.last();
            let root = root.map_or(Address::NULL, |root| root.address);
            // Where nothing moves, CPython's own stack ends there: 3.9 throws into what a generator
            // waits for without its callers.
            let rests = live.rests
                && !self
                    .memory
                    .has_changed(root, length(self.layout.frame.size));
            if stack.cut.is_none() && !rests && look.is_orphan(walk) {
                stack.cut = Some(Defect {
                    address: root,
                    what: ORPHAN.to_owned(),
                });
            }
            if live.doubtful
                && let Some(innermost) = stack.frames.first_mut()
            {
                innermost.trust = Trust::Torn;
            }
            (stack, instructions)
        });
        let stacks = stacks.collect();
        self.with_opcodes(stacks, options)
    }

    /// The stacks, with the opcodes that their frames stand at where they are asked for.
    fn with_opcodes(
        &self,
        mut stacks: Vec<(Stack, Vec<Option<Instruction>>)>,
        options: &StackOptions,
    ) -> Result<Vec<Stack>, Fault> {
        if options.opcodes {
            self.read_opcodes(&mut stacks)?;
        }
        Ok(stacks.into_iter().map(|(stack, _)| stack).collect())
    }

    /// Follows the frames of threads, and says which are live.
    fn look(
        &self,
        threads: &[(Address, Head)],
        budget: &mut Budget,
        limit: usize,
    ) -> Result<Look, Fault> {
        let walks = self.walks(threads, limit, budget)?;
        let all = walks.iter().flat_map(|walk| &walk.frames);
        let of_code = all.filter(|frame| !frame.is_sentinel(&self.layout));
        let again = self.places_again(&walks);
        let executables = of_code.clone().map(|frame| frame.executable);
        let (codes, again) = self.codes(executables, &again)?;
        let copies = self.own_copies(of_code, &codes)?;
        let mut lives = self.live(&walks, &codes, &copies)?;
        self.note_changes(&walks, &mut lives, &again);
        Ok(Look {
            walks: walks.into_iter().zip(lives).collect(),
            codes,
            copies,
        })
    }

    /// What these frames are, which are innermost first and wait for each other.
    pub(crate) fn stacks_of(
        &self,
        all: &[&[RawFrame]],
        options: &StackOptions,
    ) -> Result<Vec<Stack>, Fault> {
        let of_code = all.iter().copied().flatten();
        let of_code = of_code.filter(|frame| !frame.is_sentinel(&self.layout));
        let executables = of_code.clone().map(|frame| frame.executable);
        let (codes, _) = self.codes(executables, &[])?;
        let copies = self.own_copies(of_code, &codes)?;
        let stacks = all.iter().map(|frames| {
            let walk = Walk::of_frames(frames.to_vec());
            self.understand(&walk, &Live::default(), &codes, &copies, options)
        });
        let stacks = stacks.collect();
        self.with_opcodes(stacks, options)
    }

    /// Makes a stack of those of a walk's frames that the thread was in, and says at which
    /// instruction each stands.
    fn understand(
        &self,
        walk: &Walk,
        live: &Live,
        codes: &Codes,
        copies: &OwnCopies,
        options: &StackOptions,
    ) -> (Stack, Vec<Option<Instruction>>) {
        let mut stack = Stack {
            frames: Vec::new(),
            cut: walk.cut.clone(),
            gap: None,
            c_stack: None,
        };
        let mut instructions = Vec::new();
        for (index, raw) in walk.frames.iter().enumerate().skip(live.from) {
            let known = live.known.get(&index);
            let facts = match (
                known.and_then(|known| known.facts.as_ref()),
                codes.get(&raw.executable),
            ) {
                (Some(facts), _) | (None, Some(Ok(facts))) => facts,
                (None, _) if raw.is_sentinel(&self.layout) => {
                    if stack.c_stack.is_none() && raw.is_on_c_stack(&self.layout) {
                        stack.c_stack = Some(raw.address);
                    }
                    if let Some(called) = stack.frames.last_mut() {
                        called.through_c = Some(true);
                    }
                    continue;
                }
                (None, Some(Err(why))) => {
                    stack.cut = Some(Defect {
                        address: raw.address,
                        what: why.clone(),
                    });
                    break;
                }
                (None, None) => break,
            };
            if facts.is_shim {
                continue;
            }
            let place = match known.and_then(|known| known.offset) {
                Some(offset) => self.bytecode_of(raw, facts, copies).and_then(|start| {
                    Some(Place {
                        instruction: start.offset(u64::from(offset))?,
                        offset: Some(offset),
                    })
                }),
                None => self.place(raw, facts, copies),
            };
            let mut frame = frame(raw, facts, place);
            let tells = self.layout.instructions.call.is_some();
            frame.through_c = tells.then_some(raw.is_entry);
            if live.changed.contains(&index) {
                frame.trust = Trust::Torn;
            }
            // What a frame leaves behind that has returned are no variables any more.
            if options.slots && known.is_none() {
                let size = self.size_with_slots(facts.slots);
                let here = walk.piece(raw.address, size).map(Piece::view);
                frame.slots = Some(self.slots(here, raw.address, facts.slots));
            }
            stack.frames.push(frame);
            instructions.push(place.map(|place| Instruction {
                at: place.instruction,
                code: facts.bytecode,
            }));
        }
        (stack, instructions)
    }

    /// Where in its code a frame stands; `None` where it claims to stand elsewhere.
    fn place(&self, raw: &RawFrame, facts: &CodeFacts, copies: &OwnCopies) -> Option<Place> {
        let (start, at) = match raw.standing {
            Standing::Byte(offset) => {
                let at = facts.bytecode.0.checked_add_signed(offset)?;
                (facts.bytecode, Address(at))
            }
            Standing::At(instruction) => (self.bytecode_of(raw, facts, copies)?, instruction),
        };
        let offset = calls::offset(at, start, facts.bytecode_size)?;
        Some(Place {
            instruction: start.offset(offset.unwrap_or(0).into())?,
            offset,
        })
    }

    /// Where the bytecode begins that a frame runs.
    fn bytecode_of(
        &self,
        raw: &RawFrame,
        facts: &CodeFacts,
        copies: &OwnCopies,
    ) -> Option<Address> {
        match raw.copy {
            0 => Some(facts.bytecode),
            copy => copies.get(&(facts.code.address, copy)).copied(),
        }
    }

    /// The variables of a frame of which `here` has been read.
    pub(crate) fn slots(&self, here: Option<View<'_>>, address: Address, count: usize) -> Slots {
        let slots = |view: View<'_>| raw::slots(&self.layout, view, address, count);
        // A frame that lies by itself may have more variables than were read with it.
        let apart = || {
            let size = self.size_with_slots(count).min(MAX_VARIABLES);
            let read = read_pieces(&self.memory, [(address, size)]);
            let piece = read.ok()?.pop()?;
            slots(piece.view())
        };
        here.and_then(slots).or_else(apart).unwrap_or_default()
    }

    /// Bytes of a frame with so many variables.
    fn size_with_slots(&self, count: usize) -> usize {
        length(self.layout.frame.localsplus).saturating_add(count.saturating_mul(8))
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

/// Why a stack has no callers whose outermost frame can't be the outermost.
pub(crate) const ORPHAN: &str = "who resumed the outermost generator or coroutine is not known: the thread went on while it was read";

/// What a look at some threads gave.
struct Look {
    walks: Vec<(Walk, Live)>,
    codes: Codes,
    copies: OwnCopies,
}

impl Look {
    /// The walks that another look may tell more of: those that don't show the frame that the
    /// thread said it was in, and those that take frames for returned, which they are not where
    /// nothing moves.
    fn unsure(&self) -> impl Iterator<Item = usize> {
        let all = self.walks.iter().enumerate();
        let unsure = all.filter(|(_, (walk, live))| {
            let shown_as_they_are = live.from == 0 && live.known.is_empty();
            !live.rests && (!shown_as_they_are || self.is_orphan(walk)) && !walk.frames.is_empty()
        });
        unsure.map(|(index, _)| index)
    }

    /// Whether the outermost frame is of a generator or a coroutine, which somebody must have
    /// resumed.
    fn is_orphan(&self, walk: &Walk) -> bool {
        // Where C code called it, that may be a trace of a call that is over.
        let codes = walk.frames.iter().rev();
        let mut codes = codes.filter_map(|frame| self.codes.get(&frame.executable));
        let root = codes.next().filter(|_| walk.cut.is_none());
        let code = root.and_then(|facts| facts.as_ref().ok());
        code.is_some_and(|facts| facts.is_resumed())
    }

    /// Whether it is open of any walk who resumed its outermost frame.
    fn has_orphan(&self) -> bool {
        let mut open = self.walks.iter().filter(|(_, live)| !live.rests);
        open.any(|(walk, _)| self.is_orphan(walk))
    }

    /// Takes from `other` what it tells of the walks of these numbers.
    fn compare(&mut self, numbers: Vec<usize>, other: Look) {
        self.codes.extend(other.codes);
        self.copies.extend(other.copies);
        for (number, (walk, live)) in numbers.into_iter().zip(other.walks) {
            let orphan = self.walks.get(number).map(|(walk, _)| self.is_orphan(walk));
            let Some((first_walk, first)) = self.walks.get_mut(number) else {
                continue;
            };
            if first_walk.rests_as(&walk) {
                first.same_looks += 1;
                // Where generators are resumed all the time, two looks may find the same by chance.
                if orphan == Some(false) || first.same_looks == LOOKS_AGAIN {
                    // Nothing moves: the thread is where it says, whatever it does there.
                    *first = Live {
                        rests: true,
                        ..Live::default()
                    };
                }
            } else if first.from == 0 && orphan == Some(false) {
                first.rests = true;
            } else {
                (*first_walk, *first) = (walk, live);
            }
        }
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

/// A frame, without what only some ask for.
fn frame(raw: &RawFrame, facts: &CodeFacts, place: Option<Place>) -> Frame {
    let position = place.map(|place| facts.position(place.offset));
    Frame {
        address: raw.address,
        code: facts.code.clone(),
        position: position.unwrap_or_default(),
        opcode: None,
        through_c: None,
        trust: if place.is_some() {
            Trust::Whole
        } else {
            Trust::Torn
        },
        slots: None,
    }
}

/// The stacks of these threads, where each says an address on the C stack: what the thread state
/// says itself, or where C code called Python code.
fn placed<'a>(
    threads: &'a [(Address, Head)],
    stacks: Vec<Stack>,
) -> impl Iterator<Item = Stack> + 'a {
    let placed = |((thread, head), mut stack): (&(Address, Head), Stack)| {
        let own = (!head.c_stack.is_null()).then_some(head.c_stack);
        let called = stack.c_stack.filter(|at| !is_part_of_state(*thread, *at));
        stack.c_stack = own.or(called);
        stack
    };
    threads.iter().zip(stacks).map(placed)
}

/// A stack of which nothing can be read.
fn cut(address: Address, what: String) -> Stack {
    Stack {
        cut: Some(Defect { address, what }),
        ..Stack::default()
    }
}
