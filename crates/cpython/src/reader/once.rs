//! Reading the stacks of some threads once.

use std::sync::Arc;

use invivo_model::{Address, Defect, Frame, Stack, ThreadState, Trust};
use invivo_process::{Fault, Memory};

use super::places::{Asked, Places};
use super::region::Region;
use super::regions::Extent;
use super::thread::{Outcome, ReadThread};
use super::{ATTEMPTS, MAX_BYTES, Reader, read_threads};
use crate::frames::{Head, Instruction, StackOptions, Standing};
use crate::pieces::length;
use crate::runtime::Runtime;

/// A stack, and the instruction that each of its frames stands at.
type Understood = (Stack, Vec<Option<Instruction>>);

impl<M: Memory> Runtime<M> {
    /// The stacks of threads whose states said this of their frames, in the same order; `None`
    /// where a [`Reader`] does not serve such an interpreter.
    pub(crate) fn stacks_once(
        &self,
        heads: &[(Address, Head)],
        options: &StackOptions,
    ) -> Option<Result<Vec<Understood>, Fault>> {
        Reader::serves(self).then(|| self.read_once(heads, options))
    }

    fn read_once(
        &self,
        heads: &[(Address, Head)],
        options: &StackOptions,
    ) -> Result<Vec<Understood>, Fault> {
        let mut places = Places::default();
        places.take(&self.layout, true, false);
        let mut left = MAX_BYTES;
        let mut threads: Vec<_> = heads
            .iter()
            .map(|(address, head)| self.thread_once(*address, head, &mut left))
            .collect();
        let mut open: Vec<_> = threads.iter_mut().collect();
        for attempt in 1..=ATTEMPTS {
            read_threads(&self.memory, open.iter_mut().map(|thread| &mut **thread))?;
            let heads = open.iter().filter_map(|thread| thread.heads(&self.layout));
            let heads: Vec<_> = heads.map(|(head, _)| head).collect();
            self.note_reached(&heads);
            for thread in &mut open {
                thread.complete(self)?;
            }
            self.prepare(&open, &mut places)?;
            let mut again = Vec::new();
            for thread in open {
                match thread.look_within(&mut left, self, &mut places)? {
                    Outcome::Done => {}
                    Outcome::Unsure => {
                        read_threads(&self.memory, [&mut *thread])?;
                        thread.look_closer(self, &mut places)?;
                    }
                    Outcome::Again if attempt == ATTEMPTS => thread.lose("its frames move away"),
                    Outcome::Again => again.push(thread),
                }
            }
            open = again;
            if open.is_empty() {
                break;
            }
        }
        let stacks = threads
            .iter()
            .map(|thread| self.understood(thread, &places, options));
        Ok(stacks.collect())
    }

    fn thread_once(&self, address: Address, head: &Head, left: &mut usize) -> ReadThread {
        let state = ThreadState {
            address,
            native_id: 0,
            thread_id: 0,
            current_frame: head.frame,
            debugger: None,
        };
        let mut thread = ReadThread::new(0, state);
        thread.extent = Extent::All;
        thread.allowed = *left;
        let (from, to) = Head::span(&self.layout);
        let start = address.offset(from).unwrap_or_default();
        thread.regions.state = Region::new(start, length(to - from));
        thread.plan(&self.layout, head);
        thread.reach(head, self.reached(head));
        *left = left.saturating_sub(thread.regions.length);
        thread
    }

    /// Reads by few calls what all these threads' frames need to be understood.
    fn prepare(&self, threads: &[&mut ReadThread], places: &mut Places) -> Result<(), Fault> {
        for _ in 0..2 {
            let mut asked = Asked::default();
            let mut codes = Vec::new();
            for thread in threads {
                let limit = self.limits.frames;
                codes.extend(thread.unknown(&self.layout, limit, places, &mut asked));
            }
            if !codes.is_empty() {
                places.look(self, codes)?;
            } else if let Some(call) = self.layout.instructions.call
                && !asked.is_empty()
            {
                return places.ask(self, &call, &mut asked);
            }
        }
        Ok(())
    }

    /// What is known of a thread's stack, as others are told.
    fn understood(
        &self,
        thread: &ReadThread,
        places: &Places,
        options: &StackOptions,
    ) -> Understood {
        let orphan = thread.is_orphan.then_some(crate::frames::ORPHAN);
        let cut = thread.cut.or(orphan).map(|what| Defect {
            address: thread.state.address,
            what: what.to_owned(),
        });
        let (mut frames, mut instructions): (Vec<Frame>, _) = (Vec::new(), Vec::new());
        for link in thread.links().iter().rev() {
            let raw = &link.frame;
            if link.code.is_none()
                && let Some(called) = frames.last_mut()
            {
                called.through_c = Some(true);
            }
            let known = link.code.and_then(|(code, place)| {
                let (facts, place) = (places.facts(code)?, places.get(place)?);
                (!facts.is_shim).then_some((facts, place))
            });
            let Some((facts, place)) = known else {
                continue;
            };
            let piece = thread
                .regions
                .region(raw.address, length(self.layout.frame.size));
            let slots = options.slots.then(|| {
                let here = piece.map(Region::view);
                self.slots(here, raw.address, facts.slots)
            });
            frames.push(Frame {
                address: raw.address,
                code: Arc::clone(&place.code),
                position: place.position,
                opcode: None,
                trust: if place.is_known {
                    Trust::Whole
                } else {
                    Trust::Torn
                },
                slots,
                through_c: Some(raw.is_entry),
            });
            instructions.push(match raw.standing {
                Standing::At(at) if place.is_known => Some(Instruction {
                    at: at.max(facts.bytecode),
                    code: facts.bytecode,
                }),
                Standing::At(_) | Standing::Byte(_) => None,
            });
        }
        if thread.trust != Trust::Whole
            && let Some(innermost) = frames.first_mut()
        {
            innermost.trust = thread.trust;
        }
        let stack = Stack {
            frames,
            cut,
            gap: None,
            c_stack: thread.c_stack(&self.layout),
        };
        (stack, instructions)
    }
}
