//! Interpreters and their threads: lists that a running process changes while they are read.

use std::collections::HashSet;

use invivo_model::{Address, DebuggerSupport, Defect, Interpreter, Result, ThreadState};
use invivo_process::{Fault, Memory};

use crate::fields::{fault, read_fields};
use crate::frames::Head;
use crate::gil::GilState;
use crate::layout::{CurrentFrame, Layout};
use crate::limits::Limits;
use crate::pieces::{Piece, length, read_pieces};

const WHAT: &str = "cannot list the interpreters";
/// A list read while it changes looks broken: it is read again this often before it counts as so.
const ATTEMPTS: usize = 3;
/// Bytes read of a thread state behind all that is asked of it: what it says of exceptions while
/// none is handled lies there or before.
const BEHIND: u64 = 64;
/// Bytes read before a thread state with it: the list leads from the newest to the oldest, and
/// those mostly lie in a row.
const NEIGHBOURS: u64 = 16 << 10;

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

/// The interpreters, with what their states say beside who they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) list: Vec<FoundInterpreter>,
    /// `thread_id` of the thread in which Python was initialized.
    pub(crate) main_thread: u64,
    /// The GIL, where all interpreters share one.
    pub(crate) gil: Option<GilState>,
    /// What kept the list of interpreters from being read.
    pub(crate) defects: Vec<Defect>,
}

/// An interpreter, with what its state says beside who it is.
#[derive(Clone, Debug)]
pub(crate) struct FoundInterpreter {
    pub(crate) interpreter: Interpreter,
    /// What was read of each thread state, in the order of the threads.
    pub(crate) states: Vec<Piece>,
    /// The chunk before the newest one of each thread's data stack, where that has been read.
    pub(crate) older: Vec<Option<Address>>,
    /// Where its GIL is; null where the version does not say so.
    pub(crate) gil: Address,
    pub(crate) collecting: Option<bool>,
    /// The frame in which the running collection began; `None` where the version does not say so.
    pub(crate) collecting_frame: Option<Address>,
    /// The dictionary `sys.modules`.
    pub(crate) modules: Address,
    /// What kept its threads from being read.
    pub(crate) defects: Vec<Defect>,
}

/// Reads all interpreters of the runtime state at `runtime`, and their threads.
pub(crate) fn read_all(
    memory: &impl Memory,
    runtime: Address,
    layout: &Layout,
    limits: &Limits,
) -> Result<Interpreters> {
    let found = find_all(memory, runtime, layout, limits)?;
    let mut result = Interpreters {
        list: Vec::with_capacity(found.list.len()),
        defects: Vec::new(),
    };
    for interpreter in found.list {
        result.list.push(interpreter.interpreter);
        result.defects.extend(interpreter.defects);
    }
    result.defects.extend(found.defects);
    Ok(result)
}

/// As [`read_all`], with all that was read.
pub(crate) fn find_all(
    memory: &impl Memory,
    runtime: Address,
    layout: &Layout,
    limits: &Limits,
) -> Result<Found> {
    let mut found = Found::default();
    for _ in 0..ATTEMPTS {
        let mut walk = Walk {
            memory,
            layout,
            limits,
            threads: 0,
            defects: Vec::new(),
        };
        found = walk.interpreters(runtime).map_err(|met| fault(WHAT, met))?;
        let mut all = found.list.iter().map(|interpreter| &interpreter.defects);
        if found.defects.is_empty() && all.all(Vec::is_empty) {
            break;
        }
    }
    Ok(found)
}

/// Where the main interpreter of the runtime state at `runtime` is, if there is one.
pub(crate) fn main(
    memory: &impl Memory,
    runtime: Address,
    layout: &Layout,
    limits: &Limits,
) -> Option<Address> {
    let fields = [(layout.interpreter.id, 8), (layout.interpreter.next, 8)];
    let head = [(layout.runtime.interpreters_head, 8)];
    let [head] = read_fields(memory, runtime, head).ok()?;
    let mut next = Address(head);
    for _ in 0..limits.interpreters {
        if next.is_null() {
            break;
        }
        let [id, following] = read_fields(memory, next, fields).ok()?;
        if id == 0 {
            return Some(next);
        }
        next = Address(following);
    }
    None
}

/// One pass over the lists. A fault that concerns one address becomes a defect; one that concerns
/// the whole process ends the walk.
struct Walk<'a, M> {
    memory: &'a M,
    layout: &'a Layout,
    limits: &'a Limits,
    /// Of all interpreters so far.
    threads: usize,
    /// Of the list that is walked.
    defects: Vec<Defect>,
}

/// What the runtime state says of all interpreters.
struct Top {
    head: Address,
    main_thread: u64,
    /// The GIL and where it is, where all interpreters share one.
    gil: Option<(Address, GilState)>,
    collecting: Option<bool>,
}

impl<M: Memory> Walk<'_, M> {
    fn interpreters(&mut self, runtime: Address) -> Result<Found, Fault> {
        let top = self.top(runtime)?;
        let mut list: Vec<FoundInterpreter> = Vec::new();
        let mut next = top.head;
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
            match self.interpreter(next, &top) {
                Ok((mut interpreter, following)) => {
                    interpreter.defects = std::mem::take(&mut self.defects);
                    list.push(interpreter);
                    next = following;
                }
                Err(met) => {
                    self.note(next, "the interpreter state can't be read", met)?;
                    break;
                }
            }
        }
        let defects = std::mem::take(&mut self.defects);
        self.follow_current_frames(&mut list)?;
        Ok(Found {
            list,
            main_thread: top.main_thread,
            gil: top.gil.map(|(_, gil)| gil),
            defects,
        })
    }

    fn top(&self, runtime: Address) -> Result<Top, Fault> {
        let layout = &self.layout.runtime;
        let sizes = [
            (Some(layout.interpreters_head), 8),
            (Some(layout.main_thread), 8),
            (layout.gil, GilState::size(&self.layout.gil)),
            (layout.gc_collecting, 4),
        ];
        // Of what a version does not have, nothing is read.
        let places = sizes.map(|(offset, size)| match offset {
            Some(offset) => (runtime.offset(offset).unwrap_or_default(), size),
            None => (Address::NULL, 0),
        });
        let pieces = read_pieces(self.memory, places)?;
        let [head, main_thread, gil, collecting] = &*pieces else {
            return Err(Fault::Unmapped(runtime));
        };
        let word = |piece: &Piece| {
            piece
                .word(piece.start, 0)
                .ok_or(Fault::Unmapped(piece.start))
        };
        let state = GilState::parse(&self.layout.gil, gil.start, gil.view());
        let collecting = collecting.int(collecting.start, 0);
        Ok(Top {
            head: Address(word(head)?),
            main_thread: word(main_thread)?,
            gil: state.map(|state| (gil.start, state)),
            collecting: collecting.map(|collecting| collecting != 0),
        })
    }

    /// Reads the interpreter at `address` with its threads; gives the next one's address.
    fn interpreter(
        &mut self,
        address: Address,
        top: &Top,
    ) -> Result<(FoundInterpreter, Address), Fault> {
        let layout = &self.layout.interpreter;
        let debugger = self.layout.debugger.as_ref();
        let enabled = debugger.map(|debugger| debugger.enabled);
        // As above.
        let fields = [
            (layout.next, 8),
            (layout.id, 8),
            (layout.threads_head, 8),
            (layout.threads_main.unwrap_or(layout.next), 8),
            (enabled.unwrap_or(layout.next), 4),
            (layout.modules, 8),
            (layout.gil.unwrap_or(layout.next), 8),
            (layout.gc_collecting.unwrap_or(layout.next), 4),
            (layout.gc_frame.unwrap_or(layout.next), 8),
        ];
        let [
            next,
            id,
            threads_head,
            threads_main,
            enabled_value,
            modules,
            gil,
            collecting,
            frame,
        ] = read_fields(self.memory, address, fields)?;
        let (threads, states) = self.threads(address, Address(threads_head))?;
        let interpreter = Interpreter {
            address,
            id: id.cast_signed(),
            main_thread: layout.threads_main.map(|_| Address(threads_main)),
            remote_debugging: enabled.map(|_| enabled_value == 1),
            threads,
        };
        let found = FoundInterpreter {
            interpreter,
            older: Vec::new(),
            states,
            gil: match layout.gil {
                Some(_) => Address(gil),
                None => top.gil.map_or(Address::NULL, |(at, _)| at),
            },
            collecting: layout
                .gc_collecting
                .map(|_| collecting != 0)
                .or(top.collecting),
            collecting_frame: layout.gc_frame.map(|_| Address(frame)),
            modules: Address(modules),
            defects: Vec::new(),
        };
        Ok((found, Address(next)))
    }

    fn threads(
        &mut self,
        owner: Address,
        head: Address,
    ) -> Result<(Vec<ThreadState>, Vec<Piece>), Fault> {
        let mut threads = Vec::new();
        let mut pieces = Vec::new();
        let mut seen = HashSet::new();
        let mut next = head;
        let mut neighbours = Piece::default();
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
            // Most processes have one thread, which has no neighbours.
            let alone = threads.is_empty();
            let read = self.state(next, alone, &mut neighbours);
            let read = read.and_then(|piece| self.thread(next, piece));
            let (thread, interpreter, following, piece) = match read {
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
            pieces.push(piece);
            next = following;
        }
        Ok((threads, pieces))
    }

    /// What is asked of the thread state at `address`: from among the `neighbours` of one that was
    /// read before, or read, and with it its own unless it is `alone`.
    fn state(&self, address: Address, alone: bool, neighbours: &mut Piece) -> Result<Piece, Fault> {
        let (from, to) = thread_span(self.layout);
        let start = address.offset(from).ok_or(Fault::Unmapped(address))?;
        let size = length(to - from);
        if let Some(bytes) = neighbours.get(start, size) {
            let bytes = bytes.to_vec();
            return Ok(Piece { start, bytes });
        }
        let before = if alone { 0 } else { NEIGHBOURS.min(start.0) };
        let around = (Address(start.0 - before), length(before));
        let mut pieces = read_pieces(self.memory, [(start, size), around])?;
        *neighbours = pieces.pop().unwrap_or_default();
        Ok(pieces.pop().unwrap_or_default())
    }

    /// The thread state at `address`, the interpreter it belongs to, the next one's address, and
    /// the `piece` that holds it.
    fn thread(
        &self,
        address: Address,
        piece: Piece,
    ) -> Result<(ThreadState, Address, Address, Piece), Fault> {
        let layout = &self.layout.thread;
        let word = |offset| piece.word(address, offset).ok_or(Fault::Unmapped(address));
        let state = ThreadState {
            address,
            native_id: layout.native_thread_id.map_or(Ok(0), word)?,
            thread_id: word(layout.thread_id)?,
            current_frame: match layout.current_frame {
                CurrentFrame::Direct(at) => Address(word(at)?),
                CurrentFrame::Through { .. } => Address::NULL,
            },
            debugger: self.debugger(address, &piece)?,
        };
        let (interpreter, next) = (word(layout.interpreter)?, word(layout.next)?);
        Ok((state, Address(interpreter), Address(next), piece))
    }

    /// Fills in the current frames that other structures say. A pointer that leads nowhere belongs
    /// to a thread that is just leaving Python. By the same call comes what tells how long their
    /// data stacks are.
    fn follow_current_frames(&self, list: &mut [FoundInterpreter]) -> Result<(), Fault> {
        let CurrentFrame::Through { pointer, inside } = self.layout.thread.current_frame else {
            return Ok(());
        };
        let place = |(thread, piece): (&ThreadState, &Piece)| {
            let said = piece.word(thread.address, pointer).map(Address);
            (
                said.and_then(|said| said.offset(inside))
                    .unwrap_or_default(),
                8,
            )
        };
        let previous = |(thread, piece): (&ThreadState, &Piece)| {
            let chunk = piece.word(thread.address, self.layout.thread.datastack_chunk?)?;
            let at = Address(chunk).offset(self.layout.chunk.as_ref()?.previous)?;
            (chunk != 0).then_some((at, 8))
        };
        let places = list.iter().flat_map(|found| {
            let threads = found.interpreter.threads.iter().zip(&found.states);
            threads.flat_map(|one| [place(one), previous(one).unwrap_or_default()])
        });
        let mut read = read_pieces(self.memory, places)?.into_iter();
        for found in list {
            for thread in &mut found.interpreter.threads {
                let mut next = || read.next().and_then(|piece| piece.word(piece.start, 0));
                thread.current_frame = Address(next().unwrap_or_default());
                found.older.push(next().map(Address));
            }
        }
        Ok(())
    }

    fn debugger(&self, thread: Address, piece: &Piece) -> Result<Option<DebuggerSupport>, Fault> {
        let Some(layout) = &self.layout.debugger else {
            return Ok(None);
        };
        let at = |offset| thread.offset(offset).ok_or(Fault::Unmapped(thread));
        let pending = piece.int(thread, layout.pending_call);
        Ok(Some(DebuggerSupport {
            pending_call: at(layout.pending_call)?,
            script_path: at(layout.script_path)?,
            script_path_size: layout.script_path_size,
            eval_breaker: at(layout.eval_breaker)?,
            pending: pending.ok_or(Fault::Unmapped(thread))?,
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
        self.defects.push(Defect {
            address,
            what: what.to_owned(),
        });
    }
}

/// Which bytes of a thread state hold all that is asked of it.
pub(crate) fn thread_span(layout: &Layout) -> (u64, u64) {
    let thread = &layout.thread;
    let (head_from, head_to) = Head::span(layout);
    let debugger = layout.debugger.as_ref();
    let words = [
        Some(thread.next),
        Some(thread.interpreter),
        Some(thread.thread_id),
        thread.native_thread_id,
        thread.holds_gil,
        thread.gil_requested,
        thread.status.map(|(at, _)| at),
        Some(thread.current_exception),
        Some(thread.exc_info),
    ];
    let words = words.into_iter().flatten().map(|at| (at, at + 8));
    let flags = debugger.map(|debugger| (debugger.pending_call, debugger.pending_call + 4));
    let all = words.chain(flags);
    let (from, to) = all.fold((head_from, head_to), |(from, to), (first, end)| {
        (from.min(first), to.max(end))
    });
    (from, to + BEHIND)
}
