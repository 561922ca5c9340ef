//! What threads have to do with the GIL and with exceptions.

use std::collections::HashMap;

use invivo_model::{Address, Gil};
use invivo_process::Memory;

use crate::exceptions::{Item, MAX_STEPS};
use crate::gil::GilState;
use crate::interpreters::{Found, FoundInterpreter};
use crate::layout::Layout;
use crate::layout::common::EXCEPTION_FLAG;
use crate::pieces::{Piece, length, read_pieces};
use crate::runtime::Runtime;

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
    Object(Address, Address),
    /// As before; its class says so.
    Class(Address, Address),
    Known(Option<bool>),
}

impl<M: Memory> Runtime<M> {
    /// The status of every thread, in the order of the interpreters and their threads.
    pub(super) fn statuses(&self, found: &Found) -> Vec<Status> {
        let mut searches: Vec<_> = states(found)
            .map(|(_, thread, state)| self.begin_search(thread, state))
            .collect();
        let gils = self.search(&mut searches, &self.gil_places(found));
        let status = |((interpreter, thread, state), search): (State<'_>, Search)| Status {
            gil: match self.build().free_threaded {
                Some(true) => attached(&self.layout, thread, state),
                _ => {
                    let gil = gils.get(&interpreter.gil).copied().or(found.gil);
                    held(&self.layout, thread, state, gil)
                }
            },
            handles_exception: match search {
                Search::Known(known) => known,
                Search::Item(_) | Search::Object(..) | Search::Class(..) => None,
            },
        };
        states(found).zip(searches).map(status).collect()
    }

    /// Where the GILs are that the interpreters point to, each with how much is read of it.
    fn gil_places(&self, found: &Found) -> Vec<(Address, usize)> {
        let size = GilState::size(&self.layout.gil);
        if found.gil.is_some() {
            return Vec::new();
        }
        let pointers = found.list.iter().map(|interpreter| interpreter.gil);
        let mut places: Vec<_> = pointers.filter(|gil| !gil.is_null()).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| (place, size)).collect()
    }

    fn begin_search(&self, thread: Address, state: &Piece) -> Search {
        let raised = state.word(thread, self.layout.thread.current_exception);
        let item = state.word(thread, self.layout.thread.exc_info);
        match (raised, item) {
            (Some(0), Some(item)) => self.first_step(state, Search::start(Address(item))),
            (Some(0), None) | (None, _) => Search::Known(None),
            (Some(_), _) => Search::Known(Some(true)),
        }
    }

    /// The search after its first step, where the outermost item is what it begins with: that lies
    /// in the thread state and has been read with it.
    fn first_step(&self, state: &Piece, search: Search) -> Search {
        let Search::Item(item) = search else {
            return search;
        };
        let known = state
            .get(item, Item::size(&self.layout))
            .map(<[u8]>::to_vec);
        let known = known.map(|bytes| Piece { start: item, bytes });
        known
            .and_then(|piece| search.step(&self.layout, &piece))
            .unwrap_or(search)
    }

    /// Goes every search to its end, all of them a step at a time. With the first step the GILs
    /// are read.
    fn search(
        &self,
        searches: &mut [Search],
        gils: &[(Address, usize)],
    ) -> HashMap<Address, GilState> {
        let mut found = HashMap::new();
        let mut gils = gils;
        for _ in 0..MAX_STEPS {
            let steps = searches
                .iter()
                .filter_map(|search| search.place(&self.layout));
            let places: Vec<_> = gils.iter().copied().chain(steps).collect();
            if places.is_empty() {
                break;
            }
            let Ok(pieces) = read_pieces(&self.memory, places) else {
                break;
            };
            let mut pieces = pieces.iter();
            found.extend(pieces.by_ref().take(gils.len()).filter_map(|piece| {
                let gil = GilState::parse(&self.layout.gil, piece.start, piece.view())?;
                Some((piece.start, gil))
            }));
            gils = &[];
            for search in &mut *searches {
                if search.place(&self.layout).is_some() {
                    let next = pieces
                        .next()
                        .and_then(|piece| search.step(&self.layout, piece));
                    *search = next.unwrap_or(Search::Known(None));
                }
            }
        }
        found
    }
}

/// A thread: its interpreter, its address, and what was read of it.
type State<'a> = (&'a FoundInterpreter, Address, &'a Piece);

/// All threads, in the order of the interpreters.
fn states(found: &Found) -> impl Iterator<Item = State<'_>> {
    found.list.iter().flat_map(|interpreter| {
        let threads = interpreter.interpreter.threads.iter();
        let states = threads.zip(&interpreter.states);
        states.map(move |(thread, state)| (interpreter, thread.address, state))
    })
}

impl Search {
    fn start(item: Address) -> Self {
        if item.is_null() {
            Self::Known(Some(false))
        } else {
            Self::Item(item)
        }
    }

    /// What is to be read for the next step; `None` at the end.
    fn place(self, layout: &Layout) -> Option<(Address, usize)> {
        Some(match self {
            Self::Item(at) => (at, Item::size(layout)),
            Self::Object(at, _) => (at, length(layout.object.type_of) + 8),
            Self::Class(at, _) => (at, length(layout.object.type_flags) + 8),
            Self::Known(_) => return None,
        })
    }

    fn step(self, layout: &Layout, piece: &Piece) -> Option<Self> {
        let word = |offset| piece.word(piece.start, offset);
        Some(match self {
            Self::Item(at) => {
                let item = Item::parse(layout, at, piece.view())?;
                if item.value.is_null() {
                    Self::start(item.previous)
                } else {
                    Self::Object(item.value, item.previous)
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
fn held(layout: &Layout, thread: Address, state: &Piece, gil: Option<GilState>) -> Gil {
    let layout = &layout.thread;
    let is_set = |offset| state.int(thread, offset).map(|value| value != 0);
    let Some(holds) = layout.holds_gil else {
        return match gil {
            Some(gil) if gil.is_held_by(thread) => Gil::Holds,
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
