//! What is read beside the threads: the lists they are in, the garbage collectors, and the GILs.

use invivo_model::Address;

use super::region::Region;
use crate::gil::GilState;
use crate::interpreters::Found;
use crate::layout::{GilLayout, Layout};
use crate::pieces::length;

/// An interpreter, with what was read of it last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadInterpreter {
    /// Where its state lies.
    pub address: Address,
    /// Its number: 0 for the main one.
    pub id: i64,
    /// Whether its garbage collector runs; `None` where the version does not say so.
    pub collecting: Option<bool>,
    /// The frame in which the collection began; `None` where the version does not say so.
    pub collecting_frame: Option<Address>,
    /// How many threads it has.
    pub threads: usize,
}

/// All that is read of interpreters.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) interpreters: Vec<ReadInterpreter>,
    states: Vec<State>,
    gils: Vec<Gil>,
    /// The pointer to the first interpreter.
    first: Region,
    /// Whether a collection runs, where the runtime state says it of all.
    collecting: Region,
    expected: Address,
}

/// What is read of an interpreter state.
#[derive(Debug)]
struct State {
    lists: Region,
    /// The next interpreter, and the first thread.
    expected: (Address, Address),
    collector: Region,
    generation: Region,
    /// The index of the GIL that its threads take.
    gil: Option<usize>,
}

/// A GIL.
#[derive(Debug)]
struct Gil {
    region: Region,
    now: GilState,
    /// How many interpreters' threads take it.
    users: usize,
}

/// What has changed since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// The lists are not as they were, or can't be read.
    pub(super) lists: bool,
    /// Another thread has taken a GIL.
    pub(super) holders: bool,
    /// Code objects have been freed.
    pub(super) codes: bool,
}

impl World {
    /// What is to be read of what was found.
    pub(super) fn new(layout: &Layout, runtime: Address, found: &Found) -> Self {
        let at = |base: Address, offset: u64| base.offset(offset).unwrap_or_default();
        let collecting = layout.runtime.gc_collecting;
        let first = found.list.first();
        let mut world = Self {
            first: Region::new(at(runtime, layout.runtime.interpreters_head), 8),
            collecting: collecting.map_or_else(Region::default, |offset| {
                Region::new(at(runtime, offset), 4)
            }),
            expected: first.map_or(Address::NULL, |first| first.interpreter.address),
            ..Self::default()
        };
        let addresses = found.list.iter().map(|one| one.interpreter.address);
        let nexts = addresses.skip(1).chain([Address::NULL]);
        for (one, next) in found.list.iter().zip(nexts) {
            let fields = &layout.interpreter;
            let address = one.interpreter.address;
            let span = |words: &[u64]| {
                let from = words.iter().min().copied().unwrap_or(0);
                let to = words.iter().max().map_or(0, |last| last + 8);
                Region::new(at(address, from), length(to - from))
            };
            let threads = &one.interpreter.threads;
            let first_thread = threads.first().map_or(Address::NULL, |first| first.address);
            let gil = (!one.gil.is_null()).then(|| world.gil_at(&layout.gil, one.gil));
            world.states.push(State {
                lists: span(&[fields.next, fields.threads_head]),
                expected: (next, first_thread),
                collector: match (fields.gc_collecting, fields.gc_frame) {
                    (None, None) => Region::default(),
                    (Some(at), None) | (None, Some(at)) => span(&[at]),
                    (Some(one), Some(other)) => span(&[one, other]),
                },
                generation: fields
                    .code_object_generation
                    .map_or_else(Region::default, |at| span(&[at])),
                gil,
            });
            world.interpreters.push(ReadInterpreter {
                address,
                id: one.interpreter.id,
                threads: threads.len(),
                ..ReadInterpreter::default()
            });
        }
        world
    }

    /// The index of the GIL at `address`.
    fn gil_at(&mut self, layout: &GilLayout, address: Address) -> usize {
        if let Some(known) = self.gils.iter().position(|gil| gil.region.start == address) {
            if let Some(gil) = self.gils.get_mut(known) {
                gil.users += 1;
            }
            return known;
        }
        self.gils.push(Gil {
            region: Region::new(address, GilState::size(layout)),
            now: GilState::default(),
            users: 1,
        });
        self.gils.len() - 1
    }

    pub(super) fn each<'a>(&'a mut self, to: &mut impl FnMut(&'a mut Region)) {
        to(&mut self.first);
        to(&mut self.collecting);
        // Who has the GIL is read before the threads are: who takes it later is seen next time.
        for gil in &mut self.gils {
            to(&mut gil.region);
        }
        for state in &mut self.states {
            to(&mut state.lists);
            to(&mut state.collector);
            to(&mut state.generation);
        }
    }

    /// Takes what has been read, and says what has changed.
    pub(super) fn take(&mut self, layout: &Layout) -> Changes {
        let mut changes = Changes {
            lists: self.first.word() != Some(self.expected.0),
            ..Changes::default()
        };
        for gil in &mut self.gils {
            let now = GilState::parse(&layout.gil, gil.region.start, gil.region.view());
            changes.lists |= now.is_none();
            let now = now.unwrap_or_default();
            let before = std::mem::replace(&mut gil.now, now);
            changes.holders |= (before.holder, before.switches) != (now.holder, now.switches);
        }
        let all = self.collecting.view().int(self.collecting.start, 0);
        let fields = &layout.interpreter;
        for (state, interpreter) in self.states.iter_mut().zip(&mut self.interpreters) {
            let address = interpreter.address;
            let word = |region: &Region, at| region.view().word(address, at).map(Address);
            let lists = &state.lists;
            let found = word(lists, fields.next).zip(word(lists, fields.threads_head));
            changes.lists |= found != Some(state.expected);
            changes.codes |= state.generation.is_wanted() && !state.generation.is_same();
            state.generation.conclude();
            let collects = fields
                .gc_collecting
                .and_then(|at| state.collector.view().int(address, at));
            interpreter.collecting = collects.or(all).map(|value| value != 0);
            interpreter.collecting_frame =
                fields.gc_frame.and_then(|at| word(&state.collector, at));
        }
        changes
    }

    /// Whether the interpreters count the code objects that are freed.
    pub(super) fn counts_codes(&self) -> bool {
        self.states.iter().all(|state| state.generation.is_wanted())
    }

    /// The GIL that the threads of an interpreter take.
    pub(super) fn gil(&self, interpreter: usize) -> Option<GilState> {
        let gil = self.states.get(interpreter)?.gil?;
        self.gils.get(gil).map(|gil| gil.now)
    }

    /// Whether it can be told which threads have run by who has taken which GIL. A thread may
    /// change from one interpreter to another of the same GIL without taking it anew.
    pub(super) fn tells_who_runs(&self) -> bool {
        let told = self.states.iter().all(|state| state.gil.is_some());
        told && self
            .gils
            .iter()
            .all(|gil| gil.users == 1 && !gil.now.holder.is_null())
    }
}
