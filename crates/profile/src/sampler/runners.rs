//! Which OS threads run the thread states of a process, asked as often as we can afford.
//!
//! A thread state names the thread that made it, and another may run it. To find out who does takes
//! far longer than a tick, so it is asked of a thread state that is new, or that has left the stack
//! on which it was found.

use std::collections::HashMap;

use invivo_cpython::{Runner, Runtime};
use invivo_model::{Address, Result, ThreadState};
use invivo_process::{Memory, Stacks, Target, clock};

/// Asking may take this part of our time at most: one of so many.
const SHARE: u64 = 50;

/// What a look at a thread state tells of who runs it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trace {
    /// An address on the stack of whoever runs it, where the version tells one.
    pub(super) c_stack: Option<Address>,
    /// Where its outermost frame lies; `None` where it runs no Python code.
    pub(super) outermost: Option<Address>,
}

/// What was found out last.
#[derive(Debug, Default)]
pub(super) struct Runners {
    stacks: Stacks,
    /// Of the thread states of this tick, where it was asked in this one.
    by_state: HashMap<Address, Runner>,
    /// When it may be asked again.
    next: u64,
}

/// The thread that runs a thread state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runs {
    /// Its number as we know it.
    pub(super) tid: u32,
    /// What `threading` knows it by, where that could be told.
    pub(super) ident: Option<u64>,
    /// Whether that is proven; else the thread state's own word, against which nothing speaks.
    pub(super) proven: bool,
}

impl Runners {
    /// A tick begins: what was found out of thread states in earlier ones does not count.
    pub(super) fn begin(&mut self) {
        self.by_state.clear();
    }

    /// Finds out who runs which thread state now, if it may be asked.
    pub(super) fn ask(&mut self, runtime: &Runtime<impl Memory>, target: &Target) {
        let begun = clock::monotonic();
        if begun < self.next {
            return;
        }
        // Not from what is read ahead: this is not going to be read again and again.
        let runtime = runtime.with_memory(target.memory());
        // What can't be found out now may be another time.
        let _ = self.find(&runtime, target);
        let now = clock::monotonic();
        let took = now.saturating_sub(begun);
        self.next = now.saturating_add(took.saturating_mul(SHARE));
    }

    fn find(&mut self, runtime: &Runtime<impl Memory>, target: &Target) -> Result<()> {
        let interpreters = runtime.interpreters()?.list;
        let states = interpreters.iter().flat_map(|one| &one.threads);
        let idents: Vec<u64> = states.map(|state| state.thread_id).collect();
        self.stacks = target.stacks(&idents)?;
        self.by_state = runtime.runners(&interpreters, &self.stacks)?;
        Ok(())
    }

    /// What has been found out in this tick of a thread state.
    pub(super) fn found(&self, state: Address) -> Option<&Runner> {
        self.by_state.get(&state)
    }

    /// The thread that runs a thread state, by what was found out in this tick, or by the stack
    /// that it is on now.
    pub(super) fn of(&mut self, state: Address, trace: Trace, target: &Target) -> Option<Runs> {
        let (tid, proven) = match (self.found(state), trace.c_stack) {
            (Some(Runner::Proven(tid)), _) => (*tid, true),
            (Some(Runner::Maker(tid)), None) => (*tid, false),
            (Some(Runner::Maker(_)) | None, Some(place)) => {
                let owner = self.owner(place)?;
                if !target.has_thread(owner) {
                    // Another may have its stack now.
                    self.stacks.threads.retain(|thread| thread.tid != owner);
                    return None;
                }
                // Who lives has the stack that it had.
                (owner, true)
            }
            (Some(Runner::Unknown(_)), _) | (None, None) => return None,
        };
        let stack = self.stacks.by_tid(tid);
        Some(Runs {
            tid,
            ident: stack.and_then(|stack| stack.pthread),
            proven,
        })
    }

    /// Whether this address is known to be on the stack of this thread.
    pub(super) fn is_on_stack_of(&self, tid: u32, place: Address) -> bool {
        let stack = self.stacks.by_tid(tid);
        stack.is_some_and(|stack| stack.ranges.iter().any(|range| range.contains(&place)))
    }

    /// The thread that had this address on its stack.
    pub(super) fn owner(&self, place: Address) -> Option<u32> {
        self.stacks.owner(place).map(|thread| thread.tid)
    }

    /// What `threading` knows the thread by that a thread state names.
    pub(super) fn named(state: &ThreadState) -> Option<u64> {
        (state.thread_id != 0).then_some(state.thread_id)
    }
}
