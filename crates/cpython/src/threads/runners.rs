//! Which OS thread runs a thread state.
//!
//! A thread state names a thread, by two numbers; but that is the one that made it. Another may
//! run it: an interpreter is made in one thread and used in others, a C program lends its states to
//! the workers of a pool, and after a `fork` that Python was not told of one of the numbers is of
//! the parent. So what a thread state says is not believed. What proves who runs it is where it
//! keeps what it has in use: on that thread's stack.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use invivo_model::{Address, Interpreter, InterpreterThreads, Result, Stack, ThreadState};
use invivo_process::{Fault, Memory, Stacks, ThreadStack};

use crate::fields::fault;
use crate::frames::{Budget, Head, is_part_of_state};
use crate::pieces::read_pieces;
use crate::runtime::Runtime;

const WHAT: &str = "cannot tell which OS thread runs a thread state";
/// Frames of a thread that are looked for on stacks, from the innermost on and from the outermost
/// on.
const SOUGHT: usize = 32;
/// Bytes of a stack that are searched for them, at its inner and at its outer end.
const SEARCHED: u64 = 128 << 10;
/// How often threads that run on are looked at where it was not found out who they are.
const LOOKS: usize = 4;
/// Bytes of memory that is held of frames while they are followed.
const MAX_BYTES: usize = 16 << 20;

/// Which OS thread runs a thread state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runner {
    /// The thread with this number, as the caller's `ps -T` shows it: what the thread state has in
    /// use is on that thread's stack.
    Proven(u32),
    /// The thread state runs no Python code. The thread with this number made it, and nothing
    /// speaks against its being the one that uses it.
    Maker(u32),
    /// That is not known; why.
    Unknown(String),
}

impl Runner {
    /// The thread's number, as the caller's `ps -T` shows it.
    pub fn tid(&self) -> Option<u32> {
        match self {
            Self::Proven(tid) | Self::Maker(tid) => Some(*tid),
            Self::Unknown(_) => None,
        }
    }
}

/// What is known of a thread state that tells who runs it.
#[derive(Debug)]
struct Evidence<'a> {
    interpreter: Address,
    state: &'a ThreadState,
    /// See [`Stack::c_stack`].
    c_stack: Option<Address>,
    /// Where its frames lie that are objects of their own, the innermost first.
    frames: Vec<Address>,
    /// Whether it is in Python code.
    is_in_use: bool,
}

/// Which OS threads run these thread states, by where each of these lies. The stacks of the
/// threads and the frames should be of about the same moment; where the threads stand still, what
/// is proven is certain.
pub fn runners(
    memory: &impl Memory,
    found: &[InterpreterThreads],
    stacks: &Stacks,
) -> HashMap<Address, Runner> {
    let threads = found
        .iter()
        .flat_map(|one| one.threads.iter().map(|thread| (one.address, thread)));
    let evidence: Vec<_> = threads
        .map(|(interpreter, thread)| Evidence::of_stack(interpreter, &thread.state, &thread.stack))
        .collect();
    decide(memory, &evidence, stacks)
}

impl<M: Memory> Runtime<M> {
    /// Which OS threads run the thread states of these interpreters, by where each of these lies,
    /// as [`runners`] says it.
    ///
    /// # Errors
    ///
    /// `Gone` or `Refused` where memory can't be read at all.
    pub fn runners<'a>(
        &self,
        interpreters: impl IntoIterator<Item = &'a Interpreter>,
        stacks: &Stacks,
    ) -> Result<HashMap<Address, Runner>> {
        let states: Vec<_> = interpreters
            .into_iter()
            .flat_map(|one| one.threads.iter().map(|state| (one.address, state)))
            .collect();
        let mut runners = HashMap::new();
        for _ in 0..LOOKS {
            let evidence = self.evidence(&states).map_err(|met| fault(WHAT, met))?;
            runners = decide(&self.memory, &evidence, stacks);
            // Who runs on meanwhile may have changed what was being read.
            let unsure = |one: &Evidence<'_>| {
                one.is_in_use
                    && runners
                        .get(&one.state.address)
                        .and_then(Runner::tid)
                        .is_none()
            };
            if stacks.still || !evidence.iter().any(unsure) {
                break;
            }
        }
        Ok(runners)
    }

    fn evidence<'a>(
        &self,
        states: &[(Address, &'a ThreadState)],
    ) -> Result<Vec<Evidence<'a>>, Fault> {
        let heads: Vec<(Address, Head)> = states
            .iter()
            .map(|(_, state)| {
                let head = self.head_of(state.address).unwrap_or_default();
                (state.address, head)
            })
            .collect();
        let mut budget = Budget {
            frames: self.limits.frames,
            bytes: MAX_BYTES,
        };
        let limit = self.limits.frames;
        let walks = self.walks(&heads, limit, &mut budget)?;
        let evidence = states.iter().zip(heads).zip(walks);
        Ok(evidence
            .map(|(((interpreter, state), (address, head)), walk)| {
                let is_entry = |at: &Address| !is_part_of_state(address, *at);
                let entries = walk.frames.iter();
                let mut entries = entries.filter(|frame| frame.is_on_c_stack(&self.layout));
                let entry = entries.next().map(|frame| frame.address).filter(is_entry);
                let said = Some(head.c_stack).filter(|at| !at.is_null());
                let python = || {
                    let frames = walk.frames.iter();
                    frames.filter(|frame| !frame.is_sentinel(&self.layout))
                };
                Evidence {
                    interpreter: *interpreter,
                    state,
                    c_stack: said.or(entry),
                    frames: python().map(|frame| frame.address).collect(),
                    is_in_use: python().next().is_some() || walk.cut.is_some(),
                }
            })
            .collect())
    }
}

impl<'a> Evidence<'a> {
    fn of_stack(interpreter: Address, state: &'a ThreadState, stack: &Stack) -> Self {
        Self {
            interpreter,
            state,
            c_stack: stack.c_stack,
            frames: stack.frames.iter().map(|frame| frame.address).collect(),
            is_in_use: !stack.frames.is_empty() || stack.cut.is_some(),
        }
    }
}

fn decide(
    memory: &impl Memory,
    evidence: &[Evidence<'_>],
    stacks: &Stacks,
) -> HashMap<Address, Runner> {
    let apart = |one: &&Evidence<'_>| one.is_in_use && one.c_stack.is_none();
    let sought: Vec<_> = evidence.iter().filter(apart).collect();
    let places = search(memory, &sought, stacks);
    let mut runners: HashMap<Address, Runner> = HashMap::new();
    for one in evidence.iter().filter(|one| one.is_in_use) {
        let runner = match one.c_stack {
            Some(place) => on_stack(place, stacks),
            None => by_frames(&one.frames, &places, stacks.still),
        };
        runners.insert(one.state.address, runner);
    }
    leave_other_stacks(evidence, stacks, &mut runners);
    // The thread states of each interpreter come newest first: of several that a thread made and
    // that are not in use, its own is the oldest.
    let mut taken: HashSet<(Address, u32)> = evidence
        .iter()
        .filter_map(|one| Some((one.interpreter, runners.get(&one.state.address)?.tid()?)))
        .collect();
    for one in evidence.iter().rev().filter(|one| !one.is_in_use) {
        let runner = match maker(one.state, stacks) {
            Some(thread) if taken.insert((one.interpreter, thread.tid)) => {
                Runner::Maker(thread.tid)
            }
            Some(thread) => Runner::Unknown(format!(
                "it runs no Python code, and thread {}, which made it, has another one",
                thread.tid
            )),
            None if one.state.thread_id == 0 => {
                Runner::Unknown("its thread has not begun yet".to_owned())
            }
            None => Runner::Unknown("the thread that made it has ended".to_owned()),
        };
        runners.insert(one.state.address, runner);
    }
    runners
}

/// The thread that made a thread state, where that is known and lives. The number that the C
/// library knows it by tells it also after a `fork`; the kernel's is believed only of a thread of
/// which the former is not known.
fn maker<'a>(state: &ThreadState, stacks: &'a Stacks) -> Option<&'a ThreadStack> {
    let by_pthread = stacks.by_pthread(state.thread_id);
    let mut threads = stacks.threads.iter();
    let by_number =
        || threads.find(|thread| thread.pthread.is_none() && thread.native_id == state.native_id);
    by_pthread.or_else(by_number)
}

fn on_stack(place: Address, stacks: &Stacks) -> Runner {
    match stacks.owner(place) {
        Some(thread) => Runner::Proven(thread.tid),
        None if stacks.threads.iter().any(|one| one.ranges.is_empty()) => {
            Runner::Unknown("where some of the threads have their stacks is not known".to_owned())
        }
        None => Runner::Unknown(format!(
            "what it has in use, at {place}, is on the stack of none of the threads"
        )),
    }
}

/// Of a thread that runs it is not always known which of several stacks it is on. Where the thread
/// state that it made is on one of them, that is the one; others are of threads that are gone.
fn leave_other_stacks(
    evidence: &[Evidence<'_>],
    stacks: &Stacks,
    runners: &mut HashMap<Address, Runner>,
) {
    for thread in stacks.threads.iter().filter(|one| one.ranges.len() > 1) {
        let range_of = |one: &Evidence<'_>| {
            let place = one.c_stack?;
            thread
                .ranges
                .iter()
                .position(|range| range.contains(&place))
        };
        let own = evidence
            .iter()
            .filter(|one| thread.pthread == Some(one.state.thread_id))
            .find_map(range_of);
        for one in evidence {
            if own.is_some() && range_of(one).is_some_and(|range| Some(range) != own) {
                let why = format!("thread {} is on another stack", thread.tid);
                runners.insert(one.state.address, Runner::Unknown(why));
            }
        }
    }
}

/// On which threads' stacks pointers to frames have been found.
type Places = HashMap<Address, HashSet<u32>>;

/// Who runs these frames: on that thread's stack lie pointers to them. What a thread has used before
/// may have been left on its stack, so that of several the one counts that has most of them.
fn by_frames(frames: &[Address], places: &Places, still: bool) -> Runner {
    let found = |frame: &Address| places.get(frame).filter(|threads| !threads.is_empty());
    let innermost = frames.iter().position(|frame| found(frame).is_some());
    let holders = innermost.and_then(|index| found(frames.get(index)?));
    let Some(holders) = holders.filter(|_| !still || innermost == Some(0)) else {
        return Runner::Unknown("its frames are on the stack of none of the threads".to_owned());
    };
    let mut counted: Vec<(usize, u32)> = holders
        .iter()
        .map(|tid| {
            let has = |frame: &&Address| found(frame).is_some_and(|all| all.contains(tid));
            (frames.iter().filter(has).count(), *tid)
        })
        .collect();
    counted.sort_unstable_by(|one, other| other.cmp(one));
    match counted.as_slice() {
        [(most, tid), rest @ ..] if rest.first().is_none_or(|(count, _)| count < most) => {
            Runner::Proven(*tid)
        }
        _ => Runner::Unknown("its frames are on the stacks of several threads".to_owned()),
    }
}

/// Looks for pointers to the frames of these thread states on the stacks of all threads.
fn search(memory: &impl Memory, sought: &[&Evidence<'_>], stacks: &Stacks) -> Places {
    let frames = sought.iter().flat_map(|one| {
        let inner = one.frames.iter().take(SOUGHT);
        inner.chain(one.frames.iter().rev().take(SOUGHT))
    });
    let mut places: Places = frames.map(|frame| (*frame, HashSet::new())).collect();
    let (Some(first), Some(last)) = (places.keys().min().copied(), places.keys().max().copied())
    else {
        return places;
    };
    let pieces = stacks.threads.iter().flat_map(|thread| {
        let pieces = thread
            .ranges
            .iter()
            .flat_map(|range| used(range, thread.pointer));
        pieces.map(|piece| (thread.tid, piece))
    });
    // One by one: what can't be read of one stack is no reason to look at no other.
    for (tid, piece) in pieces {
        let Ok(read) = read_pieces(memory, [piece]) else {
            continue;
        };
        let bytes = read
            .iter()
            .flat_map(|piece| piece.bytes.as_chunks().0.iter());
        let words = bytes.map(|word| Address(u64::from_le_bytes(*word)));
        // Most are none of those by far.
        for word in words.filter(|word| (first..=last).contains(word)) {
            if let Some(threads) = places.get_mut(&word) {
                threads.insert(tid);
            }
        }
    }
    places
}

/// Both ends of what is in use of a piece of stack, where all of it would be too much; the outer
/// one alone where it is not known how much is. Words on it lie at multiples of 8.
fn used(range: &Range<Address>, pointer: Option<Address>) -> Vec<(Address, usize)> {
    let piece = |from: u64, to: u64| {
        let from = from.next_multiple_of(8);
        let size = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        (Address(from), size)
    };
    let end = range.end.0;
    let last = end.saturating_sub(SEARCHED).max(range.start.0);
    match pointer.filter(|at| range.contains(at)) {
        None => vec![piece(last, end)],
        Some(Address(at)) if at >= last => vec![piece(at, end)],
        Some(Address(at)) => vec![piece(at, last.min(at + SEARCHED)), piece(last, end)],
    }
}

#[cfg(test)]
#[path = "runners_tests.rs"]
mod tests;
