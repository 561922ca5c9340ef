//! What will be written into a target, where and why, before anything is; then writing it, and
//! taking it back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use invivo_cpython::Runtime;
use invivo_model::{Address, DebuggerSupport, Error, ErrorKind, Interpreter, Result, ThreadState};
use invivo_process::{Memory, Suspension, Target, WriteRequest};

use crate::selection::{Chosen, Selection, choose};

/// The bit of the eval breaker that makes a thread look for a request at its next safe point:
/// `_PY_EVAL_PLEASE_STOP_BIT` (`Include/internal/pycore_ceval.h`).
const PLEASE_STOP: u8 = 1 << 5;

/// How long the threads may take to stand still. They stand for a tenth of a millisecond; the
/// rest is for a thread that sits in an uninterruptible system call.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(2);

/// The environment variable by which an operator opts out.
pub const OPT_OUT_VARIABLE: &str = "PYTHON_DISABLE_REMOTE_DEBUG";

/// A request to one thread of a target, checked and ready to be written.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The id of the interpreter.
    pub interpreter: i64,
    /// Where its interpreter state lies.
    pub interpreter_state: Address,
    /// The thread, as the caller's `ps -T` shows it.
    pub tid: u32,
    /// The thread's state as it was read.
    pub thread: ThreadState,
    /// Why this thread.
    pub reason: &'static str,
    /// The places a request is written to.
    pub places: DebuggerSupport,
    /// Where the target will look for the script, the first that works: absolute, in its root.
    pub directories: Vec<PathBuf>,
}

/// A piece of the target's memory that a request changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedWrite {
    /// The field's name in CPython.
    pub field: &'static str,
    /// Where it lies.
    pub address: Address,
    /// How many bytes at most.
    pub size: u64,
    /// What becomes of it.
    pub change: &'static str,
}

/// What became of a request that was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retraction {
    /// It had not begun, and won't.
    Withdrawn,
    /// The target had taken it up already.
    Begun,
}

impl Plan {
    /// Checks everything that can be checked without touching the target.
    ///
    /// # Errors
    /// `Unsupported` when the version has no protocol or the operator opted out, `Usage` when
    /// there is no such thread or interpreter, `Refused` when another request is pending.
    pub fn new<M: Memory>(
        target: &Target,
        runtime: &Runtime<M>,
        selection: Selection,
    ) -> Result<Self> {
        if !runtime.has_protocol() {
            return Err(without_protocol(target, runtime));
        }
        let Chosen {
            interpreter,
            thread,
            tid,
            reason,
        } = choose(target, runtime, selection)?;
        let places = protocol_places(target, runtime, &thread)?;
        check_opt_out(target, &interpreter)?;
        if places.pending != 0 {
            return Err(already_pending(target, tid));
        }
        Ok(Self {
            interpreter: interpreter.id,
            interpreter_state: interpreter.address,
            tid,
            thread,
            reason,
            places,
            directories: crate::stage::candidates(target)?,
        })
    }

    /// The first of its directories in which a script could be placed, as far as that can be told
    /// without trying it.
    ///
    /// # Errors
    /// `Unsupported`, with what is wrong with each.
    pub fn first_directory(&self, target: &Target) -> Result<PathBuf> {
        crate::stage::first_usable(target, &self.directories)
    }

    /// What will be written, in this order.
    pub fn writes(&self) -> [PlannedWrite; 3] {
        [
            PlannedWrite {
                field: "debugger_script_path",
                address: self.places.script_path,
                size: self.places.script_path_size,
                change: "the staged script's path, NUL at its end",
            },
            PlannedWrite {
                field: "debugger_pending_call",
                address: self.places.pending_call,
                size: 4,
                change: "0 becomes 1",
            },
            PlannedWrite {
                field: "eval_breaker",
                address: self.places.eval_breaker,
                size: 1,
                change: "bit 5 is set; the target clears it",
            },
        ]
    }

    /// Stops the target's threads, writes the request for the script at `path`, and lets them go.
    ///
    /// # Errors
    /// When the target has changed since the plan was made, or can't be stopped or written.
    pub(crate) fn apply<M: Memory + Sync>(
        &self,
        target: &Target,
        runtime: &Runtime<M>,
        path: &Path,
    ) -> Result<()> {
        let mut path_bytes = path.as_os_str().as_encoded_bytes().to_vec();
        path_bytes.push(0);
        if path_bytes.len() as u64 > self.places.script_path_size {
            return Err(Error::internal(format!(
                "a staged path of {} bytes does not fit",
                path_bytes.len()
            )));
        }
        target.while_stopped(STOP_WITHIN, |stopped| {
            let places = self.recheck(target, runtime)?;
            if places.pending != 0 {
                return Err(already_pending(target, self.tid));
            }
            let mut breaker = [0];
            target
                .memory()
                .read(places.eval_breaker, &mut breaker)
                .map_err(|fault| self.changed(target, fault.to_string()))?;
            let [breaker] = breaker;
            // One call and this order: whatever cuts it short, the flag never stands before its
            // path, and without the bit it is only looked at later.
            stopped.write_many(&[
                WriteRequest {
                    address: places.script_path,
                    bytes: &path_bytes,
                },
                WriteRequest {
                    address: places.pending_call,
                    bytes: &1_i32.to_ne_bytes(),
                },
                WriteRequest {
                    address: places.eval_breaker,
                    bytes: &[breaker | PLEASE_STOP],
                },
            ])
        })?
    }

    /// Withdraws the request for the script at `path` if the target has not taken it up.
    ///
    /// # Errors
    /// `Gone` when the thread is no more, and whatever keeps the target from being stopped.
    pub(crate) fn retract<M: Memory + Sync>(
        &self,
        target: &Target,
        runtime: &Runtime<M>,
        path: &Path,
    ) -> Result<Retraction> {
        target.while_stopped(STOP_WITHIN, |stopped| {
            let places = self.recheck(target, runtime)?;
            retract_at(target, stopped, &places, path)
        })?
    }

    /// Reads again, with the threads stopped, what the plan rests on: memory that was a thread
    /// state may be anything by now.
    fn recheck<M: Memory>(&self, target: &Target, runtime: &Runtime<M>) -> Result<DebuggerSupport> {
        let (interpreter, thread) = self.now(target, runtime)?;
        check_opt_out(target, &interpreter)?;
        protocol_places(target, runtime, &thread)
    }

    /// The interpreter and the thread as they are now.
    pub(crate) fn now<M: Memory>(
        &self,
        target: &Target,
        runtime: &Runtime<M>,
    ) -> Result<(Interpreter, ThreadState)> {
        runtime.ensure_present()?;
        let found = runtime.interpreters()?;
        let interpreter = found
            .list
            .into_iter()
            .find(|one| one.address == self.interpreter_state && one.id == self.interpreter)
            .ok_or_else(|| self.changed(target, "its interpreter is gone"))?;
        let of_it = |one: &&ThreadState| {
            one.address == self.thread.address && one.native_id == self.thread.native_id
        };
        let thread = interpreter.threads.iter().find(of_it).cloned();
        let thread = thread.ok_or_else(|| self.changed(target, "it has ended"))?;
        Ok((interpreter, thread))
    }

    fn changed(&self, target: &Target, why: impl Into<String>) -> Error {
        Error::new(
            ErrorKind::Gone,
            format!(
                "thread {} of process {} is not there any more",
                self.tid,
                target.pid()
            ),
            why,
            "nothing was run; look again with: invivo ps",
        )
    }
}

/// Withdraws, with the threads stopped, the request that stands at `places` if it is ours.
pub(crate) fn retract_at(
    target: &Target,
    stopped: &Suspension<'_>,
    places: &DebuggerSupport,
    path: &Path,
) -> Result<Retraction> {
    if places.pending == 0 || pending_path(target, places) != path.as_os_str().as_encoded_bytes() {
        return Ok(Retraction::Begun);
    }
    stopped.write_many(&[WriteRequest {
        address: places.pending_call,
        bytes: &0_i32.to_ne_bytes(),
    }])?;
    Ok(Retraction::Withdrawn)
}

/// The path that stands in a thread state's buffer; empty where it can't be read.
pub(crate) fn pending_path(target: &Target, places: &DebuggerSupport) -> Vec<u8> {
    /// No version has a buffer larger than this; what claims to be is not believed.
    const SIZE_MAX: u64 = 4096;
    let mut path = vec![0; usize::try_from(places.script_path_size.min(SIZE_MAX)).unwrap_or(0)];
    if target.memory().read(places.script_path, &mut path).is_err() {
        path.clear();
    }
    let end = path
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(path.len());
    path.truncate(end);
    path
}

fn protocol_places<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    thread: &ThreadState,
) -> Result<DebuggerSupport> {
    let places = thread.debugger.clone();
    places.ok_or_else(|| without_protocol(target, runtime))
}

fn without_protocol<M: Memory>(target: &Target, runtime: &Runtime<M>) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("process {} can't be made to run a script", target.pid()),
        format!(
            "CPython {} has no remote debugging protocol",
            runtime.version()
        ),
        "this release of Invivo runs scripts in CPython versions that have it: invivo ps",
    )
}

/// The operator's word: by the interpreter's own flag, and by the variable, which also counts
/// where the interpreter was told to ignore its environment.
fn check_opt_out(target: &Target, interpreter: &Interpreter) -> Result<()> {
    let variable = target.environment_variable(OPT_OUT_VARIABLE)?.is_some();
    let why = match (interpreter.remote_debugging, variable) {
        (_, true) => format!("{OPT_OUT_VARIABLE} is in its environment"),
        (Some(false), false) => {
            "its interpreter was started with -X disable-remote-debug, or switched it off itself"
                .to_owned()
        }
        _ => return Ok(()),
    };
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "remote debugging is switched off in process {}",
            target.pid()
        ),
        why,
        "Invivo obeys the operator: restart the program without the switch to allow it",
    ))
}

fn already_pending(target: &Target, tid: u32) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "another request waits for thread {tid} of process {}",
            target.pid()
        ),
        "its debugger_pending_call is set: some tool asked for a script that has not begun",
        "wait until it has run, or choose another thread with --thread",
    )
}
