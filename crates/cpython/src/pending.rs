//! Calls that wait until an interpreter makes them at a safe point of its own.
//!
//! What stands in the queues is read and checked, and what a debugger would have to write to add
//! a call or to take one back is told as plain changes. Nothing is written here.

use invivo_model::{Address, Error, ErrorKind, Interpreter, Result};
use invivo_process::{Fault, Memory};

use crate::fields::{corrupt, fault, read_fields};
use crate::layout::common::{
    CALL_ARGUMENT, CALL_FLAGS_MAIN, CALL_FUNCTION, CALLS_TO_DO, MUTEX_LOCKED, QUEUE_AROUND,
};
use crate::layout::{EvalBreaker, MainQueue, QueueCount, QueueLayout, QueueLock};
use crate::pieces::{View, length, read_pieces};
use crate::runtime::Runtime;

const WHAT: &str = "cannot read the calls that wait in the interpreter";

/// Whose calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Those that the main thread of the main interpreter makes: what `Py_AddPendingCall` adds to.
    MainThread,
    /// Those that the interpreter's thread makes that comes first, whichever that is.
    AnyThread,
}

/// A call to a C function that takes a pointer and returns an `int`, 0 where all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingCall {
    /// The function.
    pub function: Address,
    /// What it is called with.
    pub argument: Address,
}

/// Bytes that are to stand in a target's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field's name in CPython.
    pub field: &'static str,
    /// Where it lies.
    pub address: Address,
    /// What is to stand there.
    pub bytes: Vec<u8>,
}

/// The calls that wait in a queue, as they were when they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingCalls {
    /// The calls, the one that is made next first.
    pub calls: Vec<PendingCall>,
    /// How many may wait.
    pub capacity: usize,
    /// Whether a thread is changing the queue: it holds the queue's lock.
    pub locked: bool,
    /// Whether a thread makes such calls right now; `None` where the version does not say.
    pub being_made: Option<bool>,
    /// Whether the interpreter takes no more calls, because it is shutting down.
    pub closed: bool,
    places: Places,
}

/// Where in the target the parts of a queue are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Places {
    start: Address,
    layout: QueueLayout,
    next: u64,
    flags: i32,
    /// What makes the threads look that may make the calls: where it is, and what is to stand
    /// there.
    breakers: Vec<(Address, Vec<u8>)>,
}

impl<M> Runtime<M> {
    /// Whether this version has such a queue.
    pub fn has_queue(&self, queue: Queue) -> bool {
        queue == Queue::MainThread || self.layout.pending.any.is_some()
    }
}

impl<M: Memory> Runtime<M> {
    /// The calls that wait in a queue of `interpreter`.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the version, build or interpreter has no such queue or nobody to make
    /// its calls, `Corrupt` where the queue can't be one, else as [`Runtime::interpreters`].
    pub fn pending_calls(&self, interpreter: &Interpreter, queue: Queue) -> Result<PendingCalls> {
        let layout = &self.layout.pending.queue;
        let (about, around) = self.queue_address(interpreter, queue)?;
        let from = Address(about.0.saturating_sub(around));
        let read = read_pieces(&self.memory, [(from, length(layout.size + 2 * around))]);
        let piece = read.map_err(|met| fault(WHAT, met))?.pop();
        let piece = piece.unwrap_or_default();
        let starts = (0..=2 * around).step_by(8).filter_map(|at| from.offset(at));
        let mut found = starts.filter_map(|start| {
            let ring = Ring {
                layout,
                start,
                piece: piece.view(),
            };
            ring.extent(queue).map(|extent| (ring, extent))
        });
        let (Some((ring, (first, count, capacity))), None) = (found.next(), found.next()) else {
            return Err(damaged(about));
        };
        let start = ring.start;
        let calls = (0..count).map(|index| ring.call((first + index) % layout.places));
        let calls: Option<Vec<_>> = calls.collect();
        Ok(PendingCalls {
            calls: calls.ok_or_else(|| damaged(start))?,
            capacity: length(capacity),
            locked: self.is_locked(&ring)?,
            being_made: self.makes_calls(interpreter)?,
            closed: layout.finishing.is_some_and(|at| ring.int(at) != Some(0)),
            places: Places {
                start,
                layout: layout.clone(),
                next: (first + count) % layout.places,
                flags: match queue {
                    Queue::MainThread => CALL_FLAGS_MAIN,
                    Queue::AnyThread => 0,
                },
                breakers: self.breakers(interpreter, queue)?,
            },
        })
    }

    /// Where a queue begins, give or take some bytes.
    fn queue_address(&self, interpreter: &Interpreter, queue: Queue) -> Result<(Address, u64)> {
        let layout = &self.layout.pending;
        let around = match (queue, layout.queue.count) {
            (Queue::MainThread, QueueCount::Number { .. }) => QUEUE_AROUND,
            _ => 0,
        };
        let (base, offset) = match (queue, layout.main, layout.any) {
            (Queue::MainThread, ..) if interpreter.id != 0 => {
                return Err(without_queue("only the main interpreter has such a queue"));
            }
            (Queue::MainThread, MainQueue::Interpreter(at), _) => (interpreter.address, at),
            (Queue::MainThread, MainQueue::Runtime { release, debug }, _) => {
                let at = match self.build().debug {
                    Some(false) => release,
                    Some(true) => debug,
                    None if release == debug => release,
                    None => {
                        let why = "it can't be told whether it is a debug build, which decides \
                                   where the queue is";
                        return Err(without_queue(why));
                    }
                };
                (self.address(), at)
            }
            (Queue::AnyThread, _, Some(at)) => (interpreter.address, at),
            (Queue::AnyThread, _, None) => {
                return Err(without_queue(
                    "its version has a queue for the main thread only",
                ));
            }
        };
        let address = base.offset(offset);
        let address = address.ok_or_else(|| fault(WHAT, Fault::Unmapped(base)))?;
        Ok((address, around))
    }

    fn is_locked(&self, ring: &Ring<'_>) -> Result<bool> {
        let start = ring.start;
        match ring.layout.lock {
            QueueLock::Mutex(at) => {
                let byte = ring.piece.byte(start, at);
                let byte = byte.ok_or_else(|| damaged(start))?;
                Ok(byte & MUTEX_LOCKED != 0)
            }
            QueueLock::Semaphore(at) => {
                let pointer = ring.piece.word(start, at).unwrap_or(0);
                if pointer == 0 {
                    return Err(without_queue("it has no lock: Python is not initialized"));
                }
                let [value] = read_fields(&self.memory, Address(pointer), [(0, 4)])
                    .map_err(|met| fault(WHAT, met))?;
                match value {
                    0 => Ok(true),
                    1 => Ok(false),
                    _ => Err(damaged(start)),
                }
            }
        }
    }

    /// Whether a thread of the interpreter makes calls of its queues.
    fn makes_calls(&self, interpreter: &Interpreter) -> Result<Option<bool>> {
        let layout = &self.layout.pending;
        let (Some(any), Some((at, width))) = (layout.any, layout.queue.busy) else {
            return Ok(None);
        };
        let [busy] = read_fields(&self.memory, interpreter.address, [(any + at, width)])
            .map_err(|met| fault(WHAT, met))?;
        Ok(Some(busy != 0))
    }

    /// What makes the threads look that may make the calls.
    fn breakers(&self, interpreter: &Interpreter, queue: Queue) -> Result<Vec<(Address, Vec<u8>)>> {
        let main_thread = self.main_thread_id()?;
        let may = |thread_id| queue == Queue::AnyThread || thread_id == main_thread;
        let threads = interpreter.threads.iter();
        let threads: Vec<_> = threads.filter(|thread| may(thread.thread_id)).collect();
        if threads.is_empty() {
            return Err(without_queue("it has no thread that would make the call"));
        }
        let out_of_space = |base| fault(WHAT, Fault::Unmapped(base));
        let (base, at) = match self.layout.pending.breaker {
            EvalBreaker::Runtime(at) => (self.address(), at),
            EvalBreaker::Interpreter(at) => (interpreter.address, at),
            EvalBreaker::Thread(at) => {
                // One that may not take the call clears the bit again at its next safe point.
                let breakers = threads.into_iter().map(|thread| {
                    let [bits] = read_fields(&self.memory, thread.address, [(at, 1)])
                        .map_err(|met| fault(WHAT, met))?;
                    let place = thread.address.offset(at);
                    let place = place.ok_or_else(|| out_of_space(thread.address))?;
                    let [bits, ..] = bits.to_le_bytes();
                    Ok((place, vec![bits | CALLS_TO_DO]))
                });
                return breakers.collect();
            }
        };
        let place = base.offset(at).ok_or_else(|| out_of_space(base))?;
        Ok(vec![(place, 1_i32.to_le_bytes().to_vec())])
    }
}

impl QueueLayout {
    /// What CPython calls the field that says where the next call is put.
    fn next_name(&self) -> &'static str {
        match self.count {
            QueueCount::Flag(_) => "pending.last",
            QueueCount::Number { .. } => "pending.next",
        }
    }
}

impl PendingCalls {
    /// What is to be written, in this order, so that `call` is the last that waits: what
    /// `Py_AddPendingCall` does. It holds as long as all threads of the process stand still since
    /// the queue was read. Whatever comes first of it does no harm: a call that is not counted yet
    /// is made with the next one.
    ///
    /// # Errors
    ///
    /// `Unsupported` where a thread changes the queue, where it is full, and where the interpreter
    /// takes no more calls.
    pub fn entry(&self, call: PendingCall) -> Result<Vec<Change>> {
        if self.closed {
            return Err(not_added("it is shutting down and takes no more calls"));
        }
        if self.locked {
            return Err(not_added(
                "one of its threads is changing the queue of calls",
            ));
        }
        if self.calls.len() >= self.capacity {
            let why = format!("{} calls wait already, as many as may", self.capacity);
            return Err(not_added(why));
        }
        let places = &self.places;
        let layout = &places.layout;
        let behind = (places.next + 1) % layout.places;
        let mut changes = vec![
            places.call(places.next, call, places.flags),
            places.int(layout.next_name(), layout.next, behind),
        ];
        // Until it is counted nobody looks at it.
        changes.push(match layout.count {
            QueueCount::Flag(at) => places.int("pending.calls_to_do", at, 1),
            QueueCount::Number { at, .. } => {
                places.int("pending.npending", at, self.calls.len() as u64 + 1)
            }
        });
        let breakers = places.breakers.iter().cloned();
        changes.extend(breakers.map(|(address, bytes)| Change {
            field: "eval_breaker",
            address,
            bytes,
        }));
        Ok(changes)
    }

    /// What is to be written, in this order, so that `call` waits no more; `None` where it is not
    /// the last that waits, and while a thread changes the queue. Threads that were made to look
    /// find nothing then, and look no more. As with [`PendingCalls::entry`], all threads stand.
    pub fn without_last(&self, call: PendingCall) -> Option<Vec<Change>> {
        if self.locked || self.calls.last() != Some(&call) {
            return None;
        }
        let places = &self.places;
        let layout = &places.layout;
        let last = (places.next + layout.places - 1) % layout.places;
        let mut changes = Vec::new();
        if let QueueCount::Number { at, .. } = layout.count {
            let left = self.calls.len() as u64 - 1;
            changes.push(places.int("pending.npending", at, left));
        }
        changes.push(places.int(layout.next_name(), layout.next, last));
        let nothing = PendingCall {
            function: Address::NULL,
            argument: Address::NULL,
        };
        changes.push(places.call(last, nothing, 0));
        Some(changes)
    }
}

impl Places {
    /// That `call` stands in a place of the ring.
    fn call(&self, place: u64, call: PendingCall, flags: i32) -> Change {
        let mut bytes = vec![0; length(self.layout.call_size)];
        let words = [
            (CALL_FUNCTION, call.function.0.to_le_bytes().to_vec()),
            (CALL_ARGUMENT, call.argument.0.to_le_bytes().to_vec()),
        ];
        let flags = self
            .layout
            .call_flags
            .map(|at| (at, flags.to_le_bytes().to_vec()));
        for (at, value) in words.into_iter().chain(flags) {
            let rest = bytes.get_mut(length(at)..).unwrap_or_default();
            rest.iter_mut()
                .zip(value)
                .for_each(|(byte, new)| *byte = new);
        }
        Change {
            field: "pending.calls",
            address: self.at(self.layout.calls + place * self.layout.call_size),
            bytes,
        }
    }

    /// That an `int` of the queue has this value.
    fn int(&self, field: &'static str, at: u64, value: u64) -> Change {
        let [a, b, c, d, ..] = value.to_le_bytes();
        Change {
            field,
            address: self.at(at),
            bytes: vec![a, b, c, d],
        }
    }

    /// Where this offset is: all of the queue has been read, so it does not leave the address
    /// space.
    fn at(&self, offset: u64) -> Address {
        Address(self.start.0.saturating_add(offset))
    }
}

/// A queue as it was read.
struct Ring<'a> {
    layout: &'a QueueLayout,
    start: Address,
    piece: View<'a>,
}

impl Ring<'_> {
    fn int(&self, at: u64) -> Option<i32> {
        self.piece.int(self.start, at)
    }

    /// An index of a place.
    fn place(&self, at: u64) -> Option<u64> {
        let place = u64::try_from(self.int(at)?).ok()?;
        (place < self.layout.places).then_some(place)
    }

    /// The place of the first call, how many there are and how many there may be; `None` where
    /// that can't be.
    fn extent(&self, queue: Queue) -> Option<(u64, u64, u64)> {
        let places = self.layout.places;
        let first = self.place(self.layout.first)?;
        let next = self.place(self.layout.next)?;
        let between = (next + places - first) % places;
        match self.layout.count {
            QueueCount::Flag(at) => {
                let is_flag = (0..=1).contains(&self.int(at)?);
                is_flag.then_some((first, between, places - 1))
            }
            QueueCount::Number {
                at,
                most,
                round,
                of_main,
                of_any,
            } => {
                let set = match queue {
                    Queue::MainThread => of_main,
                    Queue::AnyThread => of_any,
                };
                let is_set = (self.int(most)?, self.int(round)?) == set;
                let capacity = u64::try_from(set.0).ok()?;
                let count = u64::try_from(self.int(at)?).ok()?;
                let fits = count <= capacity && count % places == between;
                (is_set && fits).then_some((first, count, capacity))
            }
        }
    }

    fn call(&self, place: u64) -> Option<PendingCall> {
        let at = self.layout.calls + place * self.layout.call_size;
        let word = |inside| self.piece.word(self.start, at + inside);
        let call = PendingCall {
            function: Address(word(CALL_FUNCTION)?),
            argument: Address(word(CALL_ARGUMENT)?),
        };
        (!call.function.is_null()).then_some(call)
    }
}

fn damaged(queue: Address) -> Error {
    corrupt(
        WHAT,
        format!("what lies at {queue} can't be a queue of calls"),
    )
}

fn without_queue(why: impl Into<String>) -> Error {
    unsupported("the interpreter has no such queue of calls", why)
}

fn not_added(why: impl Into<String>) -> Error {
    unsupported("the interpreter can't be given a call to make", why)
}

fn unsupported(what: &str, why: impl Into<String>) -> Error {
    let remedy = "try again in a moment, or use another way to act";
    Error::new(ErrorKind::Unsupported, what, why, remedy)
}
