//! Interpreters and their threads: lists that a running process changes while they are read.

use std::collections::HashSet;

use invivo_model::{Address, DebuggerSupport, Defect, Interpreter, Result, ThreadState};
use invivo_process::{Fault, Memory};

use crate::fields::{fault, read_fields};
use crate::layout::{CurrentFrame, Layout};
use crate::limits::Limits;

const WHAT: &str = "cannot list the interpreters";
/// A list read while it changes looks broken: it is read again this often before it counts as so.
const ATTEMPTS: usize = 3;

/// The interpreters of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interpreters {
    /// In CPython's order, the newest first. Empty before Python starts and after it ends.
    pub list: Vec<Interpreter>,
    /// What kept part of the lists from being read.
    pub defects: Vec<Defect>,
}

impl Interpreters {
    /// The main interpreter, wherever it stands in the list.
    pub fn main(&self) -> Option<&Interpreter> {
        self.list.iter().find(|interpreter| interpreter.id == 0)
    }
}

/// Reads all interpreters of the runtime state at `runtime`, and their threads.
pub(crate) fn read_all(
    memory: &impl Memory,
    runtime: Address,
    layout: &Layout,
    limits: &Limits,
) -> Result<Interpreters> {
    let mut result = Interpreters::default();
    for _ in 0..ATTEMPTS {
        let mut walk = Walk {
            memory,
            layout,
            limits,
            threads: 0,
            result: Interpreters::default(),
        };
        walk.interpreters(runtime).map_err(|met| fault(WHAT, met))?;
        result = walk.result;
        if result.defects.is_empty() {
            break;
        }
    }
    Ok(result)
}

/// Whether there is a main interpreter in the runtime state at `runtime`.
pub(crate) fn has_main(
    memory: &impl Memory,
    runtime: Address,
    layout: &Layout,
    limits: &Limits,
) -> bool {
    let fields = [(layout.interpreter.id, 8), (layout.interpreter.next, 8)];
    let head = read_fields(memory, runtime, [(layout.runtime.interpreters_head, 8)]);
    let mut next = head.map_or(Address::NULL, |[head]| Address(head));
    for _ in 0..limits.interpreters {
        if next.is_null() {
            return false;
        }
        match read_fields(memory, next, fields) {
            Ok([0, _]) => return true,
            Ok([_, following]) => next = Address(following),
            Err(_) => return false,
        }
    }
    false
}

/// One pass over the lists. A fault that concerns one address becomes a defect; one that concerns
/// the whole process ends the walk.
struct Walk<'a, M> {
    memory: &'a M,
    layout: &'a Layout,
    limits: &'a Limits,
    /// Of all interpreters so far.
    threads: usize,
    result: Interpreters,
}

impl<M: Memory> Walk<'_, M> {
    fn interpreters(&mut self, runtime: Address) -> Result<(), Fault> {
        let head = [(self.layout.runtime.interpreters_head, 8)];
        let [head] = read_fields(self.memory, runtime, head)?;
        let mut next = Address(head);
        let mut seen = HashSet::new();
        while !next.is_null() {
            if !seen.insert(next) {
                self.defect(next, "the list of interpreters leads back to this one");
                break;
            }
            if seen.len() > self.limits.interpreters {
                self.defect(next, "more interpreters than are looked at");
                break;
            }
            match self.interpreter(next) {
                Ok(following) => next = following,
                Err(met) => {
                    self.note(next, "the interpreter state can't be read", met)?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reads the interpreter at `address` with its threads; gives the next one's address.
    fn interpreter(&mut self, address: Address) -> Result<Address, Fault> {
        let layout = &self.layout.interpreter;
        let enabled = self
            .layout
            .debugger
            .as_ref()
            .map(|debugger| debugger.enabled);
        // A version without a field has another one read in its place, and it is not looked at.
        let fields = [
            (layout.next, 8),
            (layout.id, 8),
            (layout.threads_head, 8),
            (layout.threads_main.unwrap_or(layout.next), 8),
            (enabled.unwrap_or(layout.next), 4),
        ];
        let [next, id, threads_head, threads_main, enabled_value] =
            read_fields(self.memory, address, fields)?;
        let threads = self.threads(address, Address(threads_head))?;
        self.result.list.push(Interpreter {
            address,
            id: id.cast_signed(),
            main_thread: layout.threads_main.map(|_| Address(threads_main)),
            remote_debugging: enabled.map(|_| enabled_value == 1),
            threads,
        });
        Ok(Address(next))
    }

    fn threads(&mut self, owner: Address, head: Address) -> Result<Vec<ThreadState>, Fault> {
        let mut threads = Vec::new();
        let mut seen = HashSet::new();
        let mut next = head;
        while !next.is_null() {
            if !seen.insert(next) {
                self.defect(next, "the list of threads leads back to this one");
                break;
            }
            self.threads += 1;
            if self.threads > self.limits.threads {
                self.defect(next, "more threads than are looked at");
                break;
            }
            let (thread, interpreter, following) = match self.thread(next) {
                Ok(read) => read,
                Err(met) => {
                    self.note(next, "the thread state can't be read", met)?;
                    break;
                }
            };
            if interpreter != owner {
                self.defect(next, "the thread state belongs to another interpreter");
                break;
            }
            threads.push(thread);
            next = following;
        }
        Ok(threads)
    }

    /// The thread state at `address`, the interpreter it belongs to, and the next one's address.
    fn thread(&self, address: Address) -> Result<(ThreadState, Address, Address), Fault> {
        let layout = &self.layout.thread;
        let pending = self
            .layout
            .debugger
            .as_ref()
            .map(|debugger| debugger.pending_call);
        let frame_at = match layout.current_frame {
            CurrentFrame::Direct(at) | CurrentFrame::Through { pointer: at, .. } => at,
        };
        let fields = [
            (layout.next, 8),
            (layout.interpreter, 8),
            (frame_at, 8),
            (layout.thread_id, 8),
            (layout.native_thread_id.unwrap_or(layout.next), 8),
            (pending.unwrap_or(layout.next), 4),
        ];
        let [next, interpreter, frame, thread_id, native_id, pending] =
            read_fields(self.memory, address, fields)?;
        let state = ThreadState {
            address,
            native_id: layout.native_thread_id.map_or(0, |_| native_id),
            thread_id,
            current_frame: self.current_frame(Address(frame)),
            debugger: self.debugger(address, pending)?,
        };
        Ok((state, Address(interpreter), Address(next)))
    }

    /// The frame, by what the thread state says of it. A pointer that leads nowhere belongs to a
    /// thread that is just leaving Python.
    fn current_frame(&self, said: Address) -> Address {
        let CurrentFrame::Through { inside, .. } = self.layout.thread.current_frame else {
            return said;
        };
        let frame = read_fields(self.memory, said, [(inside, 8)]);
        frame.map_or(Address::NULL, |[frame]| Address(frame))
    }

    fn debugger(&self, thread: Address, pending: u64) -> Result<Option<DebuggerSupport>, Fault> {
        let Some(layout) = &self.layout.debugger else {
            return Ok(None);
        };
        let at = |offset| thread.offset(offset).ok_or(Fault::Unmapped(thread));
        Ok(Some(DebuggerSupport {
            pending_call: at(layout.pending_call)?,
            script_path: at(layout.script_path)?,
            script_path_size: layout.script_path_size,
            eval_breaker: at(layout.eval_breaker)?,
            // Read as four bytes.
            pending: u32::try_from(pending).unwrap_or_default().cast_signed(),
        }))
    }

    fn note(&mut self, address: Address, what: &str, met: Fault) -> Result<(), Fault> {
        match met {
            Fault::Unmapped(_) => self.defect(address, &format!("{what}: {met}")),
            Fault::Refused | Fault::Gone | Fault::TimedOut | Fault::Exhausted => return Err(met),
        }
        Ok(())
    }

    fn defect(&mut self, address: Address, what: &str) {
        self.result.defects.push(Defect {
            address,
            what: what.to_owned(),
        });
    }
}
