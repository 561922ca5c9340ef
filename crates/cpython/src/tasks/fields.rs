//! What a task, or another future, holds.

use invivo_model::Address;
use invivo_process::Memory;

use super::Look;
use super::classes::Native;
use super::links::{Awaiters, Callbacks, Party};
use crate::layout::asyncio::{CALLBACK_BEHIND_LOOP, CALLBACKS_BEHIND_LOOP};
use crate::pieces::{Piece, length, read_pieces};

/// What a task holds, as it was read at one moment.
pub(super) struct Fields {
    pub(super) event_loop: Address,
    /// Whether it has ended; `None` where that could not be told.
    pub(super) done: Option<bool>,
    /// What it waits for; null where it does not.
    pub(super) waiter: Address,
    pub(super) coroutine: Address,
    /// The object that names it.
    pub(super) name: Address,
    /// What it has to do with others.
    pub(super) party: Party,
}

impl<M: Memory> Look<'_, M> {
    /// Bytes of a task.
    pub(super) fn task_size(&self) -> usize {
        length(self.task.size)
    }

    /// What the tasks at `addresses` hold; `None` for one that is none, or none any more.
    pub(super) fn fields(&self, addresses: &[Address]) -> Vec<Option<Fields>> {
        let is_native = |address: &Address| {
            self.class_of(*address)
                .is_some_and(|class| class.native == Some(Native::Task))
        };
        let native: Vec<_> = addresses.iter().map(is_native).collect();
        let others = addresses
            .iter()
            .zip(&native)
            .filter(|(_, native)| !**native);
        let others: Vec<_> = others.map(|(address, _)| *address).collect();
        let mut others = self.python_fields(&others).into_iter();
        let both = addresses.iter().zip(native);
        both.map(|(address, native)| match native {
            true => self.native_fields(*address),
            false => others.next().flatten(),
        })
        .collect()
    }

    /// What the future at `address` has to do with others, if it is one.
    pub(super) fn party(&self, address: Address) -> Option<Party> {
        let class = self.class_of(address)?;
        match class.native {
            // What they have to do with others lies before what only tasks have.
            Some(Native::Task | Native::Future) => {
                let piece = self.piece(address, length(self.task.waiter))?;
                self.native_party(&piece)
            }
            None if class.is_heap() => self.python_parties(&[address]).pop(),
            None => None,
        }
    }

    fn piece(&self, address: Address, length: usize) -> Option<Piece> {
        let pieces = read_pieces(self.memory(), [(address, length)]).ok()?;
        let piece = pieces.into_iter().next()?;
        (piece.bytes.len() == length).then_some(piece)
    }

    fn native_fields(&self, address: Address) -> Option<Fields> {
        let layout = &self.task;
        let piece = self.piece(address, length(layout.size))?;
        let pointer = |offset| piece.word(address, offset).map(Address);
        let event_loop = pointer(layout.event_loop)?;
        // What has ended leaves a loop no more, or the place to others.
        if !self.class_of(event_loop)?.is_of_a_module() {
            return None;
        }
        Some(Fields {
            event_loop,
            done: Some(piece.int(address, layout.state)? != 0),
            waiter: pointer(layout.waiter)?,
            coroutine: pointer(layout.coroutine)?,
            name: pointer(layout.name)?,
            party: self.native_party(&piece)?,
        })
    }

    fn native_party(&self, piece: &Piece) -> Option<Party> {
        let at = piece.start;
        let pointer = |offset| piece.word(at, offset).map(Address);
        let awaiters = match self.task.links {
            Some(links) => {
                let awaiters = pointer(links.awaited_by)?;
                match piece.byte(at, links.awaited_by_is_set)? {
                    _ if awaiters.is_null() => Awaiters::None,
                    0 => Awaiters::One(awaiters),
                    _ => Awaiters::Set(awaiters),
                }
            }
            None => Awaiters::None,
        };
        Some(Party {
            awaiters,
            callbacks: Callbacks {
                first: pointer(self.task.event_loop + CALLBACK_BEHIND_LOOP)?,
                list: pointer(self.task.event_loop + CALLBACKS_BEHIND_LOOP)?,
            },
            is_native: true,
        })
    }

    /// Tasks of Python code hold in attributes what native ones hold in fields.
    fn python_fields(&self, tasks: &[Address]) -> Vec<Option<Fields>> {
        let [loops, states, waiters] =
            ["_loop", "_state", "_fut_waiter"].map(|name| self.attributes(tasks, name));
        let [coroutines, names] = ["_coro", "_name"].map(|name| self.attributes(tasks, name));
        let columns = loops.into_iter().zip(states).zip(waiters);
        let columns = columns
            .zip(coroutines)
            .zip(names)
            .zip(self.python_parties(tasks));
        let fields = columns.map(
            |(((((event_loop, state), waiter), coroutine), name), party)| {
                // A pending one has no state of its own: its class has it.
                let state = state.map(|state| self.runtime.string(state));
                let done = match state {
                    Some(Ok(state)) => Some(state.text != "PENDING"),
                    Some(Err(_)) => None,
                    None => coroutine.map(|_| false),
                };
                Some(Fields {
                    event_loop: event_loop.unwrap_or(Address::NULL),
                    done,
                    waiter: waiter.unwrap_or(Address::NULL),
                    coroutine: coroutine.unwrap_or(Address::NULL),
                    name: name.unwrap_or(Address::NULL),
                    party,
                })
            },
        );
        fields.collect()
    }

    fn python_parties(&self, futures: &[Address]) -> Vec<Party> {
        let awaiters = self.attributes(futures, "_Future__asyncio_awaited_by");
        let callbacks = self.attributes(futures, "_callbacks");
        let parties = awaiters.into_iter().zip(callbacks);
        let parties = parties.map(|(awaiters, callbacks)| Party {
            awaiters: awaiters.map_or(Awaiters::None, Awaiters::Set),
            callbacks: Callbacks {
                first: Address::NULL,
                list: callbacks.unwrap_or(Address::NULL),
            },
            is_native: false,
        });
        parties.collect()
    }
}
