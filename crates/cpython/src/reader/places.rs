//! The code objects that threads have been in, and where in them they have stood.

use std::sync::Arc;

use invivo_model::{Address, Code, Position};
use invivo_process::{Fault, Memory};
use rustc_hash::FxHashMap;

use super::region::Region;
use crate::code::CodeFacts;
use crate::frames::calls::{self, Says};
use crate::frames::{RawFrame, Standing};
use crate::layout::{CallLayout, Layout};
use crate::patience::Patience;
use crate::pieces::{length, read_pieces};
use crate::runtime::Runtime;

/// More are not remembered: then all are forgotten.
const MAX_REMEMBERED: usize = 1 << 17;
/// What is asked again and has not changed is asked again after twice as many rounds, up to this.
const MAX_PATIENCE: u64 = 1 << 14;
/// Code objects that are looked at in each round, at most.
const MAX_WATCHED: usize = 512;

/// Which of the places that a [`Reader`](super::Reader) has met. The same number is the same place
/// as long as [`Reader::era`](super::Reader::era) is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlaceId(u32);

impl PlaceId {
    /// Its number: they are given from 0 on.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A place in a code object at which a frame has stood.
#[derive(Debug)]
pub struct Place {
    /// The code object.
    pub code: Arc<Code>,
    /// The lines and columns of the instruction; of the function where none has begun.
    pub position: Position,
    /// What the instruction there says of whom it calls, where it has been asked.
    says: Option<Says>,
    /// Whether it is a place in the code at all, and none that a frame only claims.
    pub is_known: bool,
    offset: Option<u32>,
    asked: Patience,
}

/// A code object as it is known.
#[derive(Debug)]
struct Known {
    facts: Arc<CodeFacts>,
    /// When it was made sure last that it is still this one.
    sure: u64,
    /// Whether it is among those that are looked at in each round.
    is_watched: bool,
}

/// A code object that is looked at in each round.
#[derive(Debug)]
struct Watched {
    code: CodeId,
    /// The words that tell it from others.
    words: Region,
}

/// A function as it was when it was asked.
#[derive(Clone, Copy, Debug, Default)]
struct Function {
    version: u32,
    code: Address,
    asked: Patience,
}

/// What is to be read before more can be said.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Places, and where in the target they are.
    sites: Vec<(PlaceId, Address)>,
    functions: Vec<Address>,
}

impl Asked {
    pub(super) fn is_empty(&self) -> bool {
        self.sites.is_empty() && self.functions.is_empty()
    }
}

/// All that has been met.
#[derive(Debug, Default)]
pub(super) struct Places {
    codes: Vec<Known>,
    by_address: FxHashMap<Address, u32>,
    places: Vec<Place>,
    by_offset: FxHashMap<(CodeId, Stands), PlaceId>,
    functions: FxHashMap<Address, Function>,
    /// Counts how often all has been forgotten.
    pub(super) era: u32,
    /// Code objects that were looked at before this may be others by now.
    sure: u64,
    /// Whether the interpreters count the code objects that are freed.
    counted: bool,
    /// Those that are looked at in each round, where nobody counts.
    watched: Vec<Watched>,
    pub(super) round: u64,
}

/// Where in its code a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stands {
    /// So many bytes behind the first instruction, or before it.
    At(Option<u32>),
    /// Not in it.
    Nowhere,
}

/// A code object, by its number among those met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CodeId(u32);

impl Places {
    /// Forgets all where that is too much.
    pub(super) fn bound(&mut self) {
        let all = self.codes.len() + self.places.len() + self.functions.len();
        if all > MAX_REMEMBERED {
            *self = Self {
                era: self.era.wrapping_add(1),
                sure: self.sure,
                round: self.round,
                ..Self::default()
            };
        }
    }

    /// Goes through all that is read in each round.
    pub(super) fn each<'a>(&'a mut self, to: &mut impl FnMut(&'a mut Region)) {
        self.watched
            .iter_mut()
            .for_each(|watched| to(&mut watched.words));
    }

    /// Takes what has been read, and says whether code objects may have become others. `counted`
    /// is whether the interpreters count those that are freed, `freed` whether there are any.
    pub(super) fn take(&mut self, layout: &Layout, counted: bool, freed: bool) -> bool {
        self.counted = counted;
        if counted {
            self.sure += u64::from(freed);
            return freed;
        }
        self.sure = self.round;
        let before = self.watched.len();
        let codes = &mut self.codes;
        self.watched.retain(|Watched { code, words }| {
            let Some(known) = codes.get_mut(code.0 as usize) else {
                return false;
            };
            known.is_watched = known.facts.is_still(&layout.code, words.view());
            if known.is_watched {
                known.sure = self.round;
            }
            known.is_watched
        });
        self.watched.len() < before
    }

    /// Says that a frame of this code object is there: it is to be known that it is still the same.
    pub(super) fn watch(&mut self, layout: &Layout, id: CodeId) {
        let Some(known) = self.codes.get_mut(id.0 as usize) else {
            return;
        };
        if self.counted || known.is_watched || self.watched.len() >= MAX_WATCHED {
            return;
        }
        known.is_watched = true;
        let (from, to) = CodeFacts::words(&layout.code);
        let start = known.facts.code.address.offset(from).unwrap_or_default();
        let words = Region::new(start, length(to - from));
        self.watched.push(Watched { code: id, words });
    }

    /// Looks no more each time at those that are not in use.
    pub(super) fn tidy(&mut self, used: impl IntoIterator<Item = CodeId>) {
        for known in &mut self.codes {
            known.is_watched = false;
        }
        for CodeId(id) in used {
            if let Some(known) = self.codes.get_mut(id as usize) {
                known.is_watched = true;
            }
        }
        let codes = &self.codes;
        let is_used = |id: CodeId| {
            codes
                .get(id.0 as usize)
                .is_some_and(|known| known.is_watched)
        };
        self.watched.retain(|watched| is_used(watched.code));
        // Only those that there is something to read of are.
        for known in &mut self.codes {
            known.is_watched = false;
        }
        for watched in &self.watched {
            if let Some(known) = self.codes.get_mut(watched.code.0 as usize) {
                known.is_watched = true;
            }
        }
    }

    pub(super) fn get(&self, id: PlaceId) -> Option<&Place> {
        self.places.get(id.index())
    }

    /// The code object at `address`, if it is surely known.
    pub(super) fn code(&self, address: Address) -> Option<CodeId> {
        let id = *self.by_address.get(&address)?;
        let known = self.codes.get(id as usize)?;
        (known.sure >= self.sure).then_some(CodeId(id))
    }

    pub(super) fn facts(&self, id: CodeId) -> Option<&Arc<CodeFacts>> {
        self.codes.get(id.0 as usize).map(|known| &known.facts)
    }

    /// Looks at the code objects at these addresses.
    pub(super) fn look<M: Memory>(
        &mut self,
        runtime: &Runtime<M>,
        addresses: impl IntoIterator<Item = Address>,
    ) -> Result<(), Fault> {
        let (codes, _) = runtime.codes(addresses, &[])?;
        for (address, facts) in codes {
            let before = self.by_address.get(&address).copied();
            let Ok(facts) = facts else {
                self.by_address.remove(&address);
                continue;
            };
            let known = before.and_then(|id| self.codes.get_mut(id as usize));
            if let Some(known) = known
                && Arc::ptr_eq(&known.facts, &facts)
            {
                known.sure = self.sure;
                continue;
            }
            let sure = self.sure;
            self.by_address.insert(address, self.codes.len() as u32);
            self.codes.push(Known {
                facts,
                sure,
                is_watched: false,
            });
        }
        Ok(())
    }

    /// Where in its code a frame stands; `None` where it claims to stand elsewhere.
    pub(super) fn stand(&mut self, code: CodeId, frame: &RawFrame) -> Option<PlaceId> {
        let facts = self.facts(code)?;
        let Standing::At(instruction) = frame.standing else {
            return None;
        };
        let offset = calls::offset(instruction, facts.bytecode, facts.bytecode_size)?;
        self.place(code, Stands::At(offset))
    }

    /// The place of a frame that stands elsewhere than in its code.
    pub(super) fn nowhere(&mut self, code: CodeId) -> Option<PlaceId> {
        self.place(code, Stands::Nowhere)
    }

    fn place(&mut self, code: CodeId, stands: Stands) -> Option<PlaceId> {
        if let Some(id) = self.by_offset.get(&(code, stands)) {
            return Some(*id);
        }
        let facts = self.facts(code)?;
        let (position, offset) = match stands {
            Stands::At(offset) => (facts.position(offset), offset),
            Stands::Nowhere => (Position::default(), None),
        };
        let place = Place {
            code: Arc::clone(&facts.code),
            position,
            is_known: stands != Stands::Nowhere,
            says: None,
            offset,
            asked: Patience::default(),
        };
        let id = PlaceId(u32::try_from(self.places.len()).ok()?);
        self.places.push(place);
        self.by_offset.insert((code, stands), id);
        Some(id)
    }

    /// Looks up what is needed to judge these frames, the outermost first: their code, and what
    /// their calls say.
    pub(super) fn learn<M: Memory>(
        &mut self,
        runtime: &Runtime<M>,
        call: &CallLayout,
        frames: &[RawFrame],
        asked: &mut Asked,
    ) -> Result<(), Fault> {
        let code = frames
            .iter()
            .filter(|frame| !frame.is_sentinel(&runtime.layout));
        let code = code.map(|frame| frame.executable);
        let unknown: Vec<_> = code.filter(|code| self.code(*code).is_none()).collect();
        if !unknown.is_empty() {
            self.look(runtime, unknown)?;
        }
        self.note(frames, asked);
        if asked.is_empty() {
            return Ok(());
        }
        self.ask(runtime, call, asked)
    }

    /// Notes what has to be asked of these frames, the outermost first: what the instructions say
    /// at which they stand, and what calls remember the functions by that they run.
    pub(super) fn note(&mut self, frames: &[RawFrame], asked: &mut Asked) {
        for (index, frame) in frames.iter().enumerate() {
            let (Some(code), Standing::At(at)) = (self.code(frame.executable), frame.standing)
            else {
                continue;
            };
            let version = self.facts(code).map_or(0, |facts| facts.version);
            let function = frame.function;
            if version == 0 && !function.is_null() && !self.functions.contains_key(&function) {
                asked.functions.push(function);
            }
            // The innermost one has called none.
            let calls = frame.waits && index + 1 < frames.len();
            if calls && let Some(place) = self.stand(code, frame) {
                self.says(place, at, asked);
            }
        }
    }

    /// What the instruction says at which a frame stands, which is there. It is noted if that has
    /// to be asked first, or again.
    pub(super) fn says(&self, id: PlaceId, at: Address, asked: &mut Asked) -> Says {
        let Some(place) = self.places.get(id.index()) else {
            return Says::NoCall;
        };
        let settled = matches!(place.says, Some(Says::CallOf(..)));
        if !settled && place.asked.is_over(self.round) {
            asked.sites.push((id, at));
        }
        match (place.says, place.offset) {
            (Some(says), Some(offset)) => says.within(offset),
            _ => Says::NoCall,
        }
    }

    /// Whether `function` is one of this version, and its code is `code`. It is noted if it and the
    /// place that names the version have to be asked again.
    pub(super) fn is_of(
        &self,
        function: Address,
        (version, code): (u32, Address),
        (place, at): (PlaceId, Address),
        asked: &mut Asked,
    ) -> bool {
        let known = self.functions.get(&function);
        if known.is_some_and(|known| known.version == version && known.code == code) {
            return true;
        }
        if known.is_none_or(|known| known.asked.is_over(self.round)) {
            asked.functions.push(function);
        }
        let site = self.places.get(place.index());
        if site.is_some_and(|site| site.asked.is_over(self.round)) {
            asked.sites.push((place, at));
        }
        false
    }

    /// Reads what is asked.
    pub(super) fn ask<M: Memory>(
        &mut self,
        runtime: &Runtime<M>,
        call: &CallLayout,
        asked: &mut Asked,
    ) -> Result<(), Fault> {
        let (first, size) = calls::span(call);
        let start = |at: &Address| {
            at.0.checked_add_signed(first)
                .map_or(Address::NULL, Address)
        };
        let sites = asked.sites.iter().map(|(_, at)| (start(at), size));
        let end = length(call.function_version.max(call.function_code) + 8);
        let functions = asked.functions.iter().map(|at| (*at, end));
        let pieces = read_pieces(&runtime.memory, sites.chain(functions))?;
        let mut pieces = pieces.iter();
        for ((id, _), piece) in asked.sites.iter().zip(pieces.by_ref()) {
            let Some(place) = self.places.get_mut(id.index()) else {
                continue;
            };
            let says = Some(calls::says(call, first, piece));
            place
                .asked
                .renew(self.round, place.says != says, MAX_PATIENCE);
            place.says = says;
        }
        for (at, piece) in asked.functions.iter().zip(pieces) {
            let version = piece.int(*at, call.function_version);
            let code = piece.word(*at, call.function_code);
            let (version, code) = version.zip(code).unwrap_or_default();
            let function = self.functions.entry(*at).or_default();
            let changed = function.version != version.cast_unsigned() || function.code.0 != code;
            function.version = version.cast_unsigned();
            function.code = Address(code);
            function.asked.renew(self.round, changed, MAX_PATIENCE);
        }
        asked.sites.clear();
        asked.functions.clear();
        Ok(())
    }
}
