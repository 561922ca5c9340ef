//! Threads that wait in a system call: who let them wait, and what may be done to them there.

use invivo_cpython::{Runtime, Standing as State};
use invivo_model::{Address, Interpreter, Result, ThreadState};
use invivo_process::{Argument, Memory, Standing, Suspension, SystemCall, Target};

use crate::callers::{self, Caller};
use crate::calls::Tools;
use crate::plan::PlannedWrite;

/// Whether a thread may be called from where it stands.
#[derive(Debug)]
pub(crate) enum Place {
    /// It waits in a system call, without the GIL, and CPython's own code made the call.
    Waits(Box<Standing>),
    /// It runs, or is about to.
    Runs,
    /// It waits, and must be left alone; why.
    Not(String),
}

/// What a callback changes.
pub(crate) fn planned() -> Vec<PlannedWrite> {
    vec![
        PlannedWrite {
            field: "stack",
            address: None,
            size: 16 << 10,
            change: "frames and a text, below what the thread uses of it",
        },
        PlannedWrite {
            field: "registers",
            address: None,
            size: 27 * 8,
            change: "the thread makes three calls, which end with the registers as they were",
        },
    ]
}

/// What a thread that waits may be called for.
#[derive(Debug)]
pub(crate) enum Wait {
    /// CPython's own code made the call, without the GIL.
    Open,
    /// It waits for its turn to run Python.
    Turn,
    /// It must be left alone; why.
    Closed(String),
    /// It must be left alone as long as no more is known; what is not.
    Unknown(String),
}

/// Looks where a thread stands, with all threads stopped.
///
/// # Errors
/// `Gone`, and what keeps its registers from being read.
pub(crate) fn look<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    stopped: &Suspension<'_>,
    tools: &Tools,
    state: (&Interpreter, &ThreadState),
    tid: u32,
) -> Result<Place> {
    let standing = stopped.standing(tid)?;
    let Some(call) = standing.call() else {
        return Ok(Place::Runs);
    };
    let caller = || callers::caller(runtime, target, &tools.modules, &standing);
    Ok(match judge(runtime, state, tid, call, caller)? {
        Wait::Open => Place::Waits(Box::new(standing)),
        Wait::Turn => Place::Runs,
        Wait::Closed(why) | Wait::Unknown(why) => Place::Not(why),
    })
}

/// Judges a thread that waits in `call`, by who made it.
///
/// # Errors
/// As [`Runtime::standing`].
pub(crate) fn judge<M: Memory>(
    runtime: &Runtime<M>,
    (interpreter, thread): (&Interpreter, &ThreadState),
    tid: u32,
    call: SystemCall,
    caller: impl FnOnce() -> Caller,
) -> Result<Wait> {
    // Who waits for a signal takes an interruption for one, or misses one that comes meanwhile; and
    // `signal.sigtimedwait`, interrupted when its time is up, returns what it never got
    // (`signal_sigtimedwait_impl` of `Modules/signalmodule.c`, in all versions).
    if let Some("pause" | "rt_sigsuspend" | "rt_sigtimedwait") = call.name {
        return Ok(Wait::Closed(format!(
            "thread {tid} waits for a signal, in system call {call}"
        )));
    }
    let state = runtime.standing(interpreter, thread)?;
    if is_turn(&state, call) {
        return Ok(Wait::Turn);
    }
    if state.attached {
        return Ok(Wait::Closed(format!(
            "thread {tid} holds the GIL while it waits in system call {call}"
        )));
    }
    Ok(match caller() {
        Caller::CPython => Wait::Open,
        Caller::Foreign(module) => Wait::Closed(format!(
            "thread {tid} waits in system call {call}, made by {module}, which is not CPython's own"
        )),
        Caller::Unknown(why) => Wait::Unknown(format!(
            "thread {tid} waits in system call {call}, and who made it is unknown: {why}"
        )),
    })
}

/// Whether a thread that waits in `call` waits for its turn to run Python.
pub(crate) fn is_turn(state: &State, call: SystemCall) -> bool {
    is_part_of_gil(state.gil, Address(call.argument))
}

/// Whether a thread that waits at `place` waits for its turn to run Python: what it waits at is
/// one of the GIL's condition variables (`struct _gil_runtime_state`,
/// `Include/internal/pycore_gil.h`). No thread may wait at the same one twice.
fn is_part_of_gil(gil: Address, place: Address) -> bool {
    /// More than the structure has in any version: five words and four objects of at most 48 bytes.
    const SIZE: u64 = 256;
    !gil.is_null() && place.since(gil).is_some_and(|offset| offset < SIZE)
}

/// Makes a thread that waits run `text` as a callback would.
///
/// # Errors
/// `Unsupported` where it can't be steered.
pub(crate) fn run(
    stopped: &Suspension<'_>,
    tools: &Tools,
    standing: &Standing,
    thread: &ThreadState,
    text: &str,
) -> Result<()> {
    let (calls, back) = tools.callback(thread.address, tools.run, Argument::Text)?;
    stopped.detour(standing, &calls, text.as_bytes(), back)
}

/// How a thread was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Its system call returned `EINTR`; CPython looked for a request and waits on.
    Interrupted,
    /// The same, with a pending call that looks for the request: waiting for a lock, CPython makes
    /// only those.
    PendingCall,
    /// It looked for the request as a callback would, and waits on.
    Callback,
}

impl Woken {
    /// Its name, as programs know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::PendingCall => "pending_call",
            Self::Callback => "callback",
        }
    }
}

/// What takes a thread up to a request that stands in its thread state.
pub(crate) fn way_to_wake(standing: &Standing, is_main: bool) -> Woken {
    match standing.call().and_then(|call| call.name) {
        // A call that was interrupted before does not say what it was; it may have been a futex.
        Some("futex" | "restart_syscall") | None if is_main => Woken::PendingCall,
        Some("futex" | "restart_syscall") | None => Woken::Callback,
        Some(_) => Woken::Interrupted,
    }
}
