//! Which frames of a running thread were live at one moment.
//!
//! Which frame a thread runs is one word, and so of one moment. The newest chunk of its data stack
//! is copied right behind it, and by then the thread may have called and returned. It is the stack
//! of the first moment that is wanted: another choice would favour some frames over others.
//!
//! From the outermost frame in, the copy shows which frames were still in their calls: such a
//! caller has put away where its stack ends, stands at a call, and that call remembers the callee.
//! Frames that had returned have left their bytes behind, until another call needs the place. What
//! they say still fits together, or is not believed: one lies behind the other, and the caller's
//! code has a call of just this callee.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use invivo_model::Address;
use invivo_process::{Fault, Memory};

use super::calls::{self, Says};
use super::raw::{RawFrame, Standing};
use super::walk::Walk;
use super::{OwnCopies, Place};
use crate::code::{CodeFacts, Codes};
use crate::layout::CallLayout;
use crate::patience::Patience;
use crate::pieces::{Piece, length, read_pieces};
use crate::runtime::Runtime;

/// More call sites and functions than this are not remembered.
const MAX_REMEMBERED: usize = 1 << 16;
/// A call site that does not say which function it calls is asked again after so many looks at
/// last.
const MAX_PATIENCE: u64 = 16;
/// Frames that are read a second time at most.
const MAX_AGAIN: usize = 1 << 14;
/// Longer bytecode is not searched for calls.
const MAX_BODY: usize = 1 << 16;

/// What call sites and functions have said before.
#[derive(Debug, Default)]
pub(crate) struct CallMemory {
    /// By where a frame says that it stands.
    sites: HashMap<Address, Site>,
    /// What call sites remember each function by, and its code.
    functions: HashMap<Address, (u32, Address)>,
    /// By where the bytecode begins.
    bodies: HashMap<Address, Body>,
    /// How often frames have been looked at.
    looks: u64,
}

/// A place in bytecode at which frames have been seen to stand.
#[derive(Clone, Copy, Debug)]
struct Site {
    says: Says,
    /// What says nothing of its callee may do so later.
    again: Patience,
}

/// The Python calls in a code object that remember which function they call.
#[derive(Debug)]
struct Body {
    /// By the function's version, and how many bytes behind the first instruction each stands.
    calls: Vec<(u32, u32)>,
    again: Patience,
}

/// Which frames of a walk the thread was in at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    /// The innermost of them.
    pub(super) from: usize,
    /// Whether the innermost of them has called one that is not seen.
    pub(super) doubtful: bool,
    /// Whether another look has told all that it can.
    pub(super) rests: bool,
    /// How many looks in a row have found the same as the first.
    pub(super) same_looks: usize,
    /// What the frames don't say themselves any more that returned meanwhile.
    pub(super) known: HashMap<usize, Known>,
    /// Those that have changed since the first of them was read.
    pub(super) changed: HashSet<usize>,
}

/// What is known of a frame that has returned meanwhile.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Its code.
    pub(super) facts: Option<Arc<CodeFacts>>,
    /// Where it stood then, in bytes from its first instruction.
    pub(super) offset: Option<u32>,
}

impl<M: Memory> Runtime<M> {
    /// Says of every walk where its live frames begin.
    pub(super) fn live(
        &self,
        walks: &[Walk],
        codes: &Codes,
        copies: &OwnCopies,
    ) -> Result<Vec<Live>, Fault> {
        let Some(call) = self.layout.instructions.call else {
            return Ok(vec![Live::default(); walks.len()]);
        };
        let mut asked = Asked::default();
        self.code_cache().calls.looks += 1;
        for walk in walks {
            self.note_unknown(walk, &mut asked);
        }
        self.ask(&call, &asked)?;
        let mut lives = Vec::with_capacity(walks.len());
        let mut asked = Asked::default();
        for walk in walks {
            lives.push(self.judge(walk, codes, copies, &mut asked));
        }
        if asked.is_empty() {
            return Ok(lives);
        }
        self.ask(&call, &asked)?;
        let judge = |walk| self.judge(walk, codes, copies, &mut Asked::default());
        Ok(walks.iter().map(judge).collect())
    }

    /// What is read a second time, where frames are objects of their own and each may have been
    /// read at another moment.
    pub(super) fn places_again(&self, walks: &[Walk]) -> Vec<(Address, usize)> {
        if self.layout.chunk.is_some() {
            return Vec::new();
        }
        let size = length(self.layout.frame.size);
        let frames = walks.iter().flat_map(|walk| &walk.frames);
        let places = frames.map(|frame| (frame.address, size));
        places.take(MAX_AGAIN).collect()
    }

    /// Notes which frames are not what they were, by what was read at [`Runtime::places_again`].
    /// The innermost one goes on as it likes; but its callers wait for it.
    pub(super) fn note_changes(&self, walks: &[Walk], lives: &mut [Live], again: &[Piece]) {
        let mut again = again.iter();
        for (walk, live) in walks.iter().zip(lives) {
            for (index, frame) in walk.frames.iter().enumerate() {
                let Some(piece) = again.next() else {
                    return;
                };
                let now = RawFrame::parse(&self.layout, piece.view(), frame.address);
                let same = now.is_some_and(|now| {
                    let stands = index == 0 || now.standing == frame.standing;
                    stands && now.previous == frame.previous && now.executable == frame.executable
                });
                if !same {
                    live.changed.insert(index);
                }
            }
        }
    }

    /// Notes the call sites that have not been met before, or not for long.
    fn note_unknown(&self, walk: &Walk, asked: &mut Asked) {
        let cache = self.code_cache();
        for frame in &walk.frames {
            let Standing::At(at) = frame.standing else {
                continue;
            };
            if !frame.waits || frame.is_sentinel(&self.layout) {
                continue;
            }
            let looks = cache.calls.looks;
            let again = match cache.calls.sites.get(&at) {
                None => true,
                Some(Site {
                    says: Says::CallOf(..),
                    ..
                }) => false,
                Some(site) => site.again.is_over(looks),
            };
            if again {
                asked.sites.insert(at);
            }
        }
    }

    /// Reads what call sites and functions say now.
    fn ask(&self, call: &CallLayout, asked: &Asked) -> Result<(), Fault> {
        let (first, size) = calls::span(call);
        let sites: Vec<_> = asked.sites.iter().copied().collect();
        let functions: Vec<_> = asked.functions.iter().copied().collect();
        let places = sites.iter().map(|at| {
            (
                at.0.checked_add_signed(first)
                    .map_or(Address::NULL, Address),
                size,
            )
        });
        let end = call.function_version.max(call.function_code) + 8;
        let versions = functions.iter().map(|at| (*at, length(end)));
        let bodies = asked.bodies.iter().map(|(at, size)| (*at, *size));
        let pieces = read_pieces(&self.memory, places.chain(versions).chain(bodies))?;
        let (of_sites, rest) = pieces.split_at_checked(sites.len()).unwrap_or_default();
        let (of_functions, bodies) = rest.split_at_checked(functions.len()).unwrap_or_default();
        let mut cache = self.code_cache();
        let calls = &mut cache.calls;
        if calls.sites.len() + calls.functions.len() + calls.bodies.len() > MAX_REMEMBERED {
            *calls = CallMemory {
                looks: calls.looks,
                ..CallMemory::default()
            };
        }
        for (at, piece) in sites.into_iter().zip(of_sites) {
            let again = calls.sites.get(&at).map(|site| site.again);
            let site = Site {
                says: calls::says(call, first, piece),
                again: renewed(again, calls.looks),
            };
            calls.sites.insert(at, site);
        }
        for (at, piece) in functions.into_iter().zip(of_functions) {
            let version = piece.int(at, call.function_version);
            let code = piece.word(at, call.function_code);
            let said = version.zip(code).unwrap_or_default();
            let said = (said.0.cast_unsigned(), Address(said.1));
            calls.functions.insert(at, said);
        }
        for piece in bodies {
            let again = calls.bodies.get(&piece.start).map(|body| body.again);
            let body = Body {
                calls: calls_in(call, piece),
                again: renewed(again, calls.looks),
            };
            calls.bodies.insert(piece.start, body);
        }
        Ok(())
    }

    /// Goes from the outermost frame in, as far as each has called the next: first those that
    /// were still in these calls when the copy was made, then those that had returned by then and
    /// left their bytes behind.
    fn judge(&self, walk: &Walk, codes: &Codes, copies: &OwnCopies, asked: &mut Asked) -> Live {
        let mut live = Live {
            from: walk.frames.len(),
            ..Live::default()
        };
        let mut chain = Chain::default();
        let mut through_c = false;
        let mut returned = false;
        for (index, frame) in walk.frames.iter().enumerate().rev() {
            let cleared = self.is_pushed(frame) && frame.executable.is_null();
            if !cleared && frame.is_sentinel(&self.layout) {
                through_c = true;
                continue;
            }
            let Some((facts, place)) = self.facts_of(frame, cleared, codes, copies) else {
                break;
            };
            let callee = Callee {
                frame,
                facts: &facts,
                through_c: through_c || frame.is_entry,
            };
            returned = returned || cleared || !self.holds(&chain, walk, &callee, asked);
            if returned {
                let Some(stood) = self.had_called(&chain, walk, &callee, copies, asked) else {
                    break;
                };
                if let Some(stood) = stood {
                    let caller = live.known.entry(live.from).or_default();
                    caller.offset = Some(stood);
                }
                live.known.entry(index).or_default().facts = Some(Arc::clone(&facts));
            }
            let says = self.says(frame, place.offset);
            if self.is_pushed(frame) {
                chain.pushed = Some((*frame, Arc::clone(&facts)));
            }
            chain.innermost = Some(Caller {
                frame: *frame,
                says,
                facts,
            });
            live.from = index;
            through_c = false;
        }
        live.doubtful = live.from > 0 && self.is_calling(&chain, walk);
        live
    }

    /// The code of a frame, and where in it the frame stands. One that has been cleared still
    /// says at which instruction it was.
    fn facts_of(
        &self,
        frame: &RawFrame,
        cleared: bool,
        codes: &Codes,
        copies: &OwnCopies,
    ) -> Option<(Arc<CodeFacts>, Place)> {
        let facts = match (cleared, frame.standing) {
            (false, _) => codes.get(&frame.executable)?.as_ref().ok().cloned()?,
            (true, Standing::At(at)) => self.code_cache().at_instruction(at).cloned()?,
            (true, Standing::Byte(_)) => return None,
        };
        let place = self.place(frame, &facts, copies)?;
        Some((facts, place))
    }

    /// Whether the innermost frame of `chain` had called this one, as far as what both left behind
    /// tells; and where it stood then, if it stands elsewhere now.
    fn had_called(
        &self,
        chain: &Chain,
        walk: &Walk,
        callee: &Callee,
        copies: &OwnCopies,
        asked: &mut Asked,
    ) -> Option<Option<u32>> {
        let caller = chain.innermost.as_ref()?;
        let (below, _) = chain.pushed.as_ref()?;
        let follows = below.address == caller.frame.address
            && self.is_pushed(callee.frame)
            && self.is_behind(chain, walk, callee.frame);
        if callee.through_c || caller.facts.is_shim || !follows {
            return None;
        }
        let function = callee.frame.function;
        let cache = self.code_cache();
        let version = match callee.facts.version {
            0 => match cache.calls.functions.get(&function) {
                Some((version, code)) if *code == callee.facts.code.address => *version,
                _ => {
                    asked.functions.insert(function);
                    return None;
                }
            },
            version => version,
        };
        if caller.frame.waits && matches!(caller.says, Says::CallOf(_, of) if of == version) {
            return Some(None);
        }
        let start = self.bytecode_of(&caller.frame, &caller.facts, copies)?;
        let size = usize::try_from(caller.facts.bytecode_size).ok()?;
        let looks = cache.calls.looks;
        let body = cache.calls.bodies.get(&start);
        let mut ask = body.is_none();
        let mut stood = None;
        if let Some(body) = body {
            let mut calls = body.calls.iter().filter(|(of, _)| *of == version);
            match (calls.next(), calls.next()) {
                (Some((_, offset)), None) => stood = Some(Some(*offset)),
                (None, _) => ask = body.again.is_over(looks),
                (Some(_), Some(_)) => {}
            }
        }
        if ask && size <= MAX_BODY {
            asked.bodies.insert((start, size));
        }
        stood
    }

    /// Whether a frame begins where the innermost one on the data stack ends. Chunks end before
    /// they are full: nothing is said of frames of different ones.
    fn is_behind(&self, chain: &Chain, walk: &Walk, frame: &RawFrame) -> bool {
        let Some((below, facts)) = &chain.pushed else {
            return true;
        };
        let in_one_chunk =
            walk.is_in_newest_chunk(below.address) && walk.is_in_newest_chunk(frame.address);
        !in_one_chunk || below.address.offset(facts.frame_size) == Some(frame.address)
    }

    /// Whether the innermost frame of `chain` has called this one, and it has not returned.
    fn holds(&self, chain: &Chain, walk: &Walk, callee: &Callee, asked: &mut Asked) -> bool {
        let Some(caller) = &chain.innermost else {
            return true;
        };
        let pushed = self.is_pushed(callee.frame);
        if pushed && !self.is_behind(chain, walk, callee.frame) {
            return false;
        }
        if callee.through_c || caller.facts.is_shim {
            return true;
        }
        if !caller.frame.waits {
            return false;
        }
        let version = match caller.says {
            Says::NoCall => return false,
            Says::Call(_) => return true,
            Says::CallOf(_, version) => version,
        };
        if !pushed {
            return false;
        }
        let function = callee.frame.function;
        // One that is just being entered may still have another's code.
        let known = self.code_cache().calls.functions.get(&function).copied();
        let known = known == Some((version, callee.facts.code.address));
        if callee.facts.version == version && version != 0 || known {
            return true;
        }
        if let Standing::At(at) = caller.frame.standing {
            asked.sites.insert(at);
        }
        asked.functions.insert(function);
        false
    }

    /// Whether the innermost frame has called a Python function that is not seen, and that has not
    /// returned as far as can be seen.
    fn is_calling(&self, chain: &Chain, walk: &Walk) -> bool {
        let Some(caller) = &chain.innermost else {
            return false;
        };
        let calls = caller.frame.waits && matches!(caller.says, Says::CallOf(..));
        calls
            && !chain.pushed.as_ref().is_some_and(|(below, facts)| {
                let next = below.address.offset(facts.frame_size).unwrap_or_default();
                let next = walk.in_newest_chunk(&self.layout, next);
                next.is_some_and(|next| {
                    next.previous == caller.frame.address && next.executable.is_null()
                })
            })
    }

    /// What the instruction says that a frame stands at, so many bytes behind the first one.
    fn says(&self, frame: &RawFrame, offset: Option<u32>) -> Says {
        let (Standing::At(at), Some(offset)) = (frame.standing, offset) else {
            return Says::NoCall;
        };
        let site = self.code_cache().calls.sites.get(&at).copied();
        site.map_or(Says::NoCall, |site| site.says).within(offset)
    }

    /// Whether a frame lies on the data stack.
    fn is_pushed(&self, frame: &RawFrame) -> bool {
        let owner = self.layout.frame.owner;
        owner.is_some_and(|owner| frame.owner == Some(owner.thread))
    }
}

/// The frames so far.
#[derive(Default)]
struct Chain {
    innermost: Option<Caller>,
    /// The innermost that lies on the data stack.
    pushed: Option<(RawFrame, Arc<CodeFacts>)>,
}

/// A frame that may have called another.
struct Caller {
    frame: RawFrame,
    says: Says,
    facts: Arc<CodeFacts>,
}

/// A frame that may have been called.
struct Callee<'a> {
    frame: &'a RawFrame,
    facts: &'a CodeFacts,
    /// Whether C code has called it.
    through_c: bool,
}

/// What is to be read anew.
#[derive(Default)]
struct Asked {
    sites: HashSet<Address>,
    functions: HashSet<Address>,
    /// Bytecode, with its size.
    bodies: HashSet<(Address, usize)>,
}

impl Asked {
    fn is_empty(&self) -> bool {
        self.sites.is_empty() && self.functions.is_empty() && self.bodies.is_empty()
    }
}

/// When something is asked again that has just been asked.
fn renewed(before: Option<Patience>, now: u64) -> Patience {
    let mut again = before.unwrap_or_default();
    again.renew(now, false, MAX_PATIENCE);
    again
}

/// The calls in the bytecode that `piece` holds, which remember what they call.
fn calls_in(call: &CallLayout, piece: &Piece) -> Vec<(u32, u32)> {
    // Units of caches are looked at as instructions, too: what they hold is no call's version.
    let units = (0..piece.bytes.len() as u64).step_by(2);
    let remembered = units.filter_map(|offset| {
        let opcode = piece.byte(piece.start, offset)?;
        if !call.remembering.contains(&opcode) {
            return None;
        }
        let version = offset.checked_add_signed(call.version - call.at)?;
        let version = piece.int(piece.start, version)?.cast_unsigned();
        // Where its frame says that it stands meanwhile.
        let stands = offset.checked_add_signed(-call.at)?;
        (version != 0).then_some((version, u32::try_from(stands).ok()?))
    });
    remembered.collect()
}
