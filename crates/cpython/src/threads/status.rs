//! What threads have to do with the GIL and with exceptions.

use std::collections::HashMap;

use invivo_model::{Address, Gil};
use invivo_process::{Fault, Memory};

use crate::interpreters::{Found, FoundGil};
use crate::layout::Layout;
use crate::layout::common::EXCEPTION_FLAG;
use crate::pieces::{Piece, length, read_pieces};
use crate::runtime::Runtime;

/// How many steps are gone for each thread to find the exception that it handles. Each nested
/// generator that runs takes a few.
const MAX_STEPS: usize = 256;

/// What a thread is doing beside running its frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status {
    pub(super) gil: Gil,
    pub(super) handles_exception: Option<bool>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            gil: Gil::Unknown,
            handles_exception: None,
        }
    }
}

/// How far it is known whether a thread handles an exception.
#[derive(Clone, Copy, Debug)]
enum Search {
    /// This item of its stack of exceptions says so.
    Item(Address),
    /// This object is one, or `None`; if it is none, the item further out says so.
    Object(Address, u64),
    /// As before; its class says so.
    Class(Address, u64),
    Known(Option<bool>),
}

impl<M: Memory> Runtime<M> {
    /// The status of every thread, in the order of the interpreters and their threads.
    pub(super) fn statuses(&self, found: &Found) -> Vec<Status> {
        let gils = self.gils(found).unwrap_or_default();
        let layout = &self.layout.thread;
        let mut statuses = Vec::new();
        let mut searches = Vec::new();
        for interpreter in &found.list {
            let gil = gils.get(&interpreter.gil).copied().or(found.gil);
            let threads = interpreter.interpreter.threads.iter();
            for (thread, state) in threads.zip(&interpreter.states) {
                let gil = match self.build().free_threaded {
                    Some(true) => attached(&self.layout, thread.address, state),
                    _ => held(&self.layout, thread.address, state, gil),
                };
                let raised = state.word(thread.address, layout.current_exception);
                let item = state.word(thread.address, layout.exc_info);
                searches.push(match (raised, item) {
                    (Some(0), item) => item.map_or(Search::Known(None), Search::start),
                    (Some(_), _) => Search::Known(Some(true)),
                    (None, _) => Search::Known(None),
                });
                statuses.push(Status {
                    gil,
                    handles_exception: None,
                });
            }
        }
        self.search(&mut searches);
        for (status, search) in statuses.iter_mut().zip(searches) {
            if let Search::Known(known) = search {
                status.handles_exception = known;
            }
        }
        statuses
    }

    /// What the GILs say that the interpreters point to.
    fn gils(&self, found: &Found) -> Result<HashMap<Address, FoundGil>, Fault> {
        let layout = &self.layout.gil;
        let mut places: Vec<_> = found
            .list
            .iter()
            .map(|interpreter| interpreter.gil)
            .collect();
        places.retain(|place| !place.is_null());
        places.sort_unstable();
        places.dedup();
        let size = length(layout.locked.max(layout.last_holder) + 8);
        let pieces = read_pieces(&self.memory, places.iter().map(|place| (*place, size)))?;
        let gil = |piece: &Piece| {
            let gil = FoundGil {
                locked: piece.int(piece.start, layout.locked)? == 1,
                holder: Address(piece.word(piece.start, layout.last_holder)?),
            };
            Some((piece.start, gil))
        };
        Ok(pieces.iter().filter_map(gil).collect())
    }

    /// Goes every search to its end, all of them a step at a time.
    fn search(&self, searches: &mut [Search]) {
        let layout = &self.layout;
        let item = length(
            layout
                .exception_item
                .value
                .max(layout.exception_item.previous)
                + 8,
        );
        for _ in 0..MAX_STEPS {
            let open = || {
                let open = |search: &Search| !matches!(search, Search::Known(_));
                searches.iter().filter(move |search| open(search))
            };
            let places = open().map(|search| match *search {
                Search::Item(at) => (at, item),
                Search::Object(at, _) => (at, length(layout.object.type_of) + 8),
                Search::Class(at, _) => (at, length(layout.object.type_flags) + 8),
                Search::Known(_) => (Address::NULL, 0),
            });
            let places: Vec<_> = places.collect();
            if places.is_empty() {
                return;
            }
            let Ok(pieces) = read_pieces(&self.memory, places) else {
                return;
            };
            let mut pieces = pieces.iter();
            for search in &mut *searches {
                if let Search::Known(_) = search {
                    continue;
                }
                let next = pieces.next().and_then(|piece| search.step(layout, piece));
                *search = next.unwrap_or(Search::Known(None));
            }
        }
    }
}

impl Search {
    fn start(item: u64) -> Self {
        if item == 0 {
            Self::Known(Some(false))
        } else {
            Self::Item(Address(item))
        }
    }

    fn step(self, layout: &Layout, piece: &Piece) -> Option<Self> {
        let word = |offset| piece.word(piece.start, offset);
        Some(match self {
            Self::Item(_) => {
                let value = Address(word(layout.exception_item.value)?);
                let previous = word(layout.exception_item.previous)?;
                if value.is_null() {
                    Self::start(previous)
                } else {
                    Self::Object(value, previous)
                }
            }
            Self::Object(_, previous) => {
                Self::Class(Address(word(layout.object.type_of)?), previous)
            }
            Self::Class(_, previous) => {
                if word(layout.object.type_flags)? & EXCEPTION_FLAG == 0 {
                    Self::start(previous)
                } else {
                    Self::Known(Some(true))
                }
            }
            Self::Known(known) => Self::Known(known),
        })
    }
}

/// Whether a thread of a build without a GIL is attached, so that it may run Python code.
fn attached(layout: &Layout, thread: Address, state: &Piece) -> Gil {
    let bit = |(at, bit)| {
        let status = state.int(thread, at)?.cast_unsigned();
        Some(status >> bit & 1)
    };
    match layout.thread.status.and_then(bit) {
        Some(1) => Gil::Holds,
        Some(_) => Gil::Without,
        None => Gil::Unknown,
    }
}

/// What a thread has to do with the GIL, by its own state where that says so, else by the GIL's.
fn held(layout: &Layout, thread: Address, state: &Piece, gil: Option<FoundGil>) -> Gil {
    let layout = &layout.thread;
    let is_set = |offset| state.int(thread, offset).map(|value| value != 0);
    let Some(holds) = layout.holds_gil else {
        return match gil {
            Some(gil) if gil.locked && gil.holder == thread => Gil::Holds,
            Some(_) => Gil::Without,
            None => Gil::Unknown,
        };
    };
    match (is_set(holds), layout.gil_requested.and_then(is_set)) {
        (Some(true), _) => Gil::Holds,
        (Some(false), Some(true)) => Gil::Waits,
        (Some(false), _) => Gil::Without,
        (None, _) => Gil::Unknown,
    }
}
