//! Threads: what each runs, and what it has to do with the GIL, exceptions and garbage.

mod names;
mod runners;
mod standing;
mod status;

use std::collections::HashMap;
use std::iter::repeat;

use invivo_model::{
    Address, Defect, Gil, InterpreterThreads, Result, Stack, Text, Thread, ThreadState,
};
use invivo_process::Memory;

use crate::frames::{Head, StackOptions};
use crate::interpreters::{self, Found, FoundInterpreter};
use crate::runtime::Runtime;

pub use runners::{Runner, runners};
pub use standing::Standing;
use status::Status;

impl<M: Memory> Runtime<M> {
    /// All threads of all interpreters, each with its stack. What keeps a part from being read
    /// stands with that part: a thread that can't be read costs only itself.
    ///
    /// # Errors
    ///
    /// As [`Runtime::interpreters`].
    pub fn threads(&self, options: &StackOptions) -> Result<Vec<InterpreterThreads>> {
        let mut found =
            interpreters::find_all(&self.memory, self.address(), &self.layout, &self.limits)?;
        let stacks = self.stacks(&self.heads(&found), options);
        let statuses = self.statuses(&found);
        // What changes rarely comes last: threads run on meanwhile.
        let names = if options.names {
            self.all_names(&mut found)
        } else {
            HashMap::new()
        };
        let mut parts = stacks.into_iter().zip(statuses);
        let main_thread = found.main_thread;
        let mut list: Vec<_> = found
            .list
            .into_iter()
            .map(|found| together(found, main_thread, &names, &mut parts))
            .collect();
        // Of the list itself: where it breaks off, the last one is the one that was to lead on.
        if let Some(last) = list.last_mut() {
            last.defects.extend(found.defects);
        }
        Ok(list)
    }

    /// The states of the threads that run Python code now, as far as they say so: those that hold
    /// a GIL or, where there is none, are attached to their interpreters.
    ///
    /// # Errors
    ///
    /// As [`Runtime::interpreters`].
    pub fn running(&self) -> Result<Vec<ThreadState>> {
        let found =
            interpreters::find_all(&self.memory, self.address(), &self.layout, &self.limits)?;
        let statuses = self.statuses(&found);
        let threads = found
            .list
            .into_iter()
            .flat_map(|one| one.interpreter.threads);
        let running = threads
            .zip(statuses)
            .filter(|(_, status)| status.gil == Gil::Holds);
        Ok(running.map(|(thread, _)| thread).collect())
    }

    /// What `threading` calls each thread, by its interpreter state and its `thread_id`.
    ///
    /// # Errors
    ///
    /// As [`Runtime::interpreters`].
    pub fn names(&self) -> Result<HashMap<(Address, u64), Text>> {
        let mut found =
            interpreters::find_all(&self.memory, self.address(), &self.layout, &self.limits)?;
        Ok(self.all_names(&mut found))
    }

    /// What `threading` calls each thread, by its interpreter and its `thread_id`.
    fn all_names(&self, found: &mut Found) -> HashMap<(Address, u64), Text> {
        let mut all = HashMap::new();
        for interpreter in &mut found.list {
            let address = interpreter.interpreter.address;
            match self.thread_names(interpreter.modules) {
                Ok(names) => all.extend(names.into_iter().map(|(id, name)| ((address, id), name))),
                Err(error) => interpreter.defects.push(Defect {
                    address,
                    what: format!("the names of its threads can't be read: {}", error.why),
                }),
            }
        }
        all
    }

    /// Every thread state, with what it says of its frames.
    fn heads(&self, found: &Found) -> Vec<(Address, Head)> {
        let all = found.list.iter().flat_map(|interpreter| {
            let threads = interpreter.interpreter.threads.iter();
            let older = interpreter.older.iter().copied().chain(repeat(None));
            threads.zip(&interpreter.states).zip(older)
        });
        all.map(|((thread, piece), older)| {
            let head = Head::parse(&self.layout, thread.address, piece.view());
            let head = head.unwrap_or_default();
            (thread.address, Head { older, ..head })
        })
        .collect()
    }
}

/// Whether a thread that is in these frames collects garbage, by what its interpreter says: whether
/// a collection runs, and in which frame it began; and whether the thread is its only one.
pub(crate) fn collects_garbage(
    collecting: Option<bool>,
    began: Option<Address>,
    alone: bool,
    mut frames: impl Iterator<Item = Address>,
) -> Option<bool> {
    match (collecting?, began) {
        (false, _) => Some(false),
        (true, Some(began)) => Some(frames.any(|frame| frame == began)),
        (true, None) => alone.then_some(true),
    }
}

/// An interpreter's threads with what was read of each: the next of `parts`.
fn together(
    found: FoundInterpreter,
    main_thread: u64,
    names: &HashMap<(Address, u64), Text>,
    parts: &mut impl Iterator<Item = (Stack, Status)>,
) -> InterpreterThreads {
    let alone = found.interpreter.threads.len() == 1;
    let interpreter = found.interpreter.address;
    let threads = found.interpreter.threads.into_iter().map(|state| {
        let (stack, status) = parts.next().unwrap_or_default();
        let frames = stack.frames.iter().map(|frame| frame.address);
        let began = found.collecting_frame;
        let collects_garbage = collects_garbage(found.collecting, began, alone, frames);
        Thread {
            name: names.get(&(interpreter, state.thread_id)).cloned(),
            gil: status.gil,
            handles_exception: status.handles_exception,
            is_main: state.thread_id == main_thread,
            collects_garbage,
            stack,
            state,
        }
    });
    InterpreterThreads {
        address: interpreter,
        id: found.interpreter.id,
        gil: found.gil,
        collecting: found.collecting,
        threads: threads.collect(),
        names: names
            .iter()
            .filter(|((of, _), _)| *of == interpreter)
            .map(|((_, ident), name)| (*ident, name.clone()))
            .collect(),
        main_ident: main_thread,
        defects: found.defects,
    }
}
