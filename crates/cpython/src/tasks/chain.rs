//! The coroutines that a task is in.

use std::collections::HashSet;

use invivo_model::{Address, Defect, Stack, Trust};
use invivo_process::Memory;

use super::Look;
use super::found::Found;
use crate::frames::{GeneratorFrame, StackOptions};

pub(super) use crate::frames::GeneratorState as Standing;

/// How many objects that merely pass on to another may follow each other.
const MAX_WRAPPERS: usize = 64;
/// Threads in which a task that runs is looked for where it is not known in which it does.
const MAX_THREADS: usize = 64;
/// Bytes that tell most of a coroutine, its frame and variables included where they lie in it.
const COROUTINE: usize = 320;

/// The coroutines of a task as they were read.
#[derive(Default)]
pub(super) struct Chain {
    /// Innermost first.
    pub(super) stack: Stack,
    /// Where the outermost one stands; `None` where that could not be told.
    pub(super) standing: Option<Standing>,
}

impl<M: Memory> Look<'_, M> {
    /// How much is read of a coroutine in advance.
    pub(super) fn coroutine_size(&self) -> usize {
        COROUTINE
    }

    /// The coroutines from `coroutine` in to where it waits.
    pub(super) fn chain(&mut self, coroutine: Address) -> Chain {
        let mut chain = Chain::default();
        let mut seen = HashSet::new();
        let mut next = coroutine;
        while let Some(generator) = self.generator(next) {
            let cut = |what: &str| {
                Some(Defect {
                    address: generator,
                    what: what.to_owned(),
                })
            };
            if !seen.insert(generator) {
                chain.stack.cut = cut("it waits for itself");
                break;
            }
            if self.frames == 0 {
                chain.stack.cut = cut("more coroutines than are looked at");
                break;
            }
            self.frames -= 1;
            let GeneratorFrame {
                state,
                frame,
                awaited,
            } = match self.runtime.generator_frame(generator) {
                Ok(read) => read,
                Err(met) => {
                    chain.stack.cut = cut(&met.to_string());
                    break;
                }
            };
            if chain.stack.frames.is_empty() {
                chain.standing = Some(state);
            }
            chain.stack.frames.extend(frame);
            next = awaited;
        }
        chain.stack.frames.reverse();
        chain
    }

    /// The generator, coroutine or asynchronous generator that an awaited object leads to.
    pub(super) fn generator(&self, object: Address) -> Option<Address> {
        let builtin = &self.layout().builtin;
        let mut object = object;
        for _ in 0..MAX_WRAPPERS {
            let class = self.class_of(object).filter(|class| !class.is_heap())?;
            let inner = match class.name.as_str() {
                "coroutine" | "generator" | "async_generator" => return Some(object),
                "coroutine_wrapper" => builtin.coroutine_wrapper,
                "async_generator_asend" | "async_generator_athrow" => builtin.asend_generator,
                // Of `anext` with a default: first what it awaits.
                "anext_awaitable" => self.layout().object.size,
                _ => return None,
            };
            object = self.memory().read_pointer(object.offset(inner)?).ok()?;
        }
        None
    }

    /// Makes the stack of a task that runs: from its coroutine in, it is that of a thread, first
    /// of all of the one that is `likely`.
    pub(super) fn complete(
        &mut self,
        chain: &mut Chain,
        likely: Option<usize>,
        interpreter: i64,
        found: &Found,
    ) {
        let Some(outermost) = chain.stack.frames.last() else {
            return;
        };
        let coroutine = outermost.address;
        let all = found.threads.iter().enumerate();
        let others = all.filter(|(_, (owner, _))| *owner == interpreter);
        let others = others.map(|(index, _)| index).take(MAX_THREADS);
        for index in likely.into_iter().chain(others) {
            self.read_stack(index, found);
            let inside = self.places.get(&coroutine).and_then(|(thread, depth)| {
                let frames = &self.stacks.get(thread)?.frames;
                frames
                    .get(..=*depth)
                    .filter(|inside| inside.len() <= self.frames)
            });
            if let Some(inside) = inside {
                self.frames -= inside.len();
                chain.stack = Stack {
                    frames: inside.to_vec(),
                    ..Stack::default()
                };
                return;
            }
        }
        // It ran when its coroutine was read, and not when the threads were.
        for frame in &mut chain.stack.frames {
            frame.trust = Trust::Torn;
        }
    }

    /// Reads the stack of one of the threads found, if that was not done yet.
    fn read_stack(&mut self, index: usize, found: &Found) {
        if self.stacks.contains_key(&index) {
            return;
        }
        let thread = found.threads.get(index);
        let read = |(_, thread): &(i64, _)| self.fresh.stack(thread, &StackOptions::default());
        let stack = thread.map(read).unwrap_or_default();
        for (depth, frame) in stack.frames.iter().enumerate() {
            self.places.insert(frame.address, (index, depth));
        }
        self.stacks.insert(index, stack);
    }
}
