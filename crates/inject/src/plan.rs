//! Which thread will run a script, by which way, and what that touches, before anything is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use invivo_cpython::{Queue, Runtime};
use invivo_model::{Address, Error, ErrorKind, Interpreter, Result, ThreadState};
use invivo_process::{Activity, Memory, Target};

use crate::calls::Tools;
use crate::filters;
use crate::needs;
use crate::pending;
use crate::protocol;
use crate::selection::{Chosen, Selection, choose};

/// How long the threads may take to stand still. They stand for a tenth of a millisecond; the
/// rest is for a thread that sits in an uninterruptible system call.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(2);

/// The longest path of a script that is given to a target as a text, in bytes, with a NUL: there
/// is not more room than a page for all of it.
const PATH_SIZE: u64 = 512;

/// The environment variable by which an operator opts out.
pub const OPT_OUT_VARIABLE: &str = "PYTHON_DISABLE_REMOTE_DEBUG";

/// The interpreter's option (`-X`) by which an operator opts out.
pub const OPT_OUT_OPTION: &str = "disable-remote-debug";

/// Whether a thread that waits may be woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wake {
    /// Where it waits in CPython's own code, and goes on with its wait afterwards.
    #[default]
    Auto,
    /// Not at all: the script begins when the thread runs Python by itself.
    Never,
}

/// What of a plan takes its maker's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permit {
    /// Whether a thread that waits may be woken.
    pub wake: Wake,
    /// Whether a target with filters of system calls (seccomp) may be made to run a script: its
    /// filters allow what a script calls, or do not kill.
    pub filtered: bool,
}

/// How a thread is made to run a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The remote debugging protocol: a request in its thread state, which it takes up at its next
    /// safe point, or when it is woken.
    Protocol,
    /// A pending call, which the thread makes at its next safe point.
    PendingCall,
    /// It waits in a system call without the GIL, and runs the script as a callback would.
    Callback,
}

impl Method {
    /// Its name, as programs know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::PendingCall => "pending_call",
            Self::Callback => "callback",
        }
    }
}

/// A request to one thread of a target, checked and ready to be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The id of the interpreter.
    pub interpreter: i64,
    /// Where its interpreter state lies.
    pub interpreter_state: Address,
    /// The thread, as the caller's `ps -T` shows it.
    pub tid: u32,
    /// What `threading` knows it by.
    pub ident: u64,
    /// The thread state that it runs, as it was read. (Another thread may have made it, and that is
    /// the one that it names.)
    pub thread: ThreadState,
    /// Why this thread.
    pub reason: &'static str,
    /// How it would be asked now. A thread that goes to sleep or wakes up meanwhile is asked in
    /// another way.
    pub method: Method,
    /// What the thread was doing; `None` where that could not be read.
    pub doing: Option<Activity>,
    /// Where the target will look for the script, the first that works: absolute, in its root.
    pub directories: Vec<PathBuf>,
    /// It is the thread that Python was initialized in, and chosen in the main interpreter.
    pub(crate) is_main: bool,
}

/// A piece of the target's memory, or its registers, that a request changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedWrite {
    /// The field's name in CPython, or what it is.
    pub field: &'static str,
    /// Where it lies; `None` where that is decided when it is written.
    pub address: Option<Address>,
    /// How many bytes at most.
    pub size: u64,
    /// What becomes of it.
    pub change: &'static str,
}

impl Plan {
    /// Checks everything that can be checked without touching the target.
    ///
    /// # Errors
    /// `Unsupported` when the operator opted out, a filter of system calls may end the target,
    /// another request is pending, or no way is open to this thread; `Usage` when there is no such thread or interpreter.
    pub fn new<M: Memory>(
        target: &Target,
        runtime: &Runtime<M>,
        selection: Selection,
        permit: Permit,
    ) -> Result<Self> {
        let chosen = choose(target, runtime, selection)?;
        let interpreter = Arc::clone(&chosen.interpreter);
        let plan = Self::for_thread(target, runtime, chosen, permit)?;
        needs::check(target, runtime, &interpreter)?;
        Ok(plan)
    }

    /// What may keep a script from beginning all the same: what the program has replaced, and what
    /// can't be told from outside.
    ///
    /// # Errors
    /// `Gone` where its interpreter is no more.
    pub fn doubts<M: Memory>(&self, target: &Target, runtime: &Runtime<M>) -> Result<Vec<String>> {
        let interpreter = self.interpreter_now(target, runtime)?;
        Ok(needs::doubts(runtime, &interpreter))
    }

    pub(crate) fn for_thread<M: Memory>(
        target: &Target,
        runtime: &Runtime<M>,
        chosen: Chosen,
        permit: Permit,
    ) -> Result<Self> {
        let wake = permit.wake;
        let is_main = chosen.is_main(runtime)?;
        let Chosen {
            interpreter,
            thread,
            tid,
            ident,
            is_proven: _,
            reason,
        } = chosen;
        check_opt_out(target, runtime, &interpreter)?;
        filters::check(target, tid, permit.filtered)?;
        let doing = target.activity(tid).ok();
        let waits = doing
            .as_ref()
            .is_some_and(|doing| doing.system_call.is_some());
        let method = if runtime.has_protocol() {
            if protocol::places(target, &thread)?.pending != 0 {
                return Err(protocol::already_pending(target, tid));
            }
            Method::Protocol
        } else if wake == Wake::Auto && (waits || pending::hooked(runtime, &interpreter).is_some())
        {
            Method::Callback
        } else if is_main || runtime.has_queue(Queue::AnyThread) {
            Method::PendingCall
        } else if wake == Wake::Auto {
            Method::Callback
        } else {
            return Err(only_main(target, runtime, tid));
        };
        Ok(Self {
            interpreter: interpreter.id,
            interpreter_state: interpreter.address,
            tid,
            ident,
            thread,
            reason,
            method,
            doing,
            directories: crate::stage::candidates(target)?,
            is_main,
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

    /// The longest path of a script that the target takes, in bytes, with a NUL.
    pub(crate) fn path_size(&self) -> u64 {
        let places = self.thread.debugger.as_ref();
        places.map_or(PATH_SIZE, |places| places.script_path_size)
    }

    /// What will be written, in this order, by the way that it would go now.
    ///
    /// # Errors
    /// `Unsupported` where this interpreter lacks what that way takes.
    pub fn writes<M: Memory>(
        &self,
        target: &Target,
        runtime: &Runtime<M>,
    ) -> Result<Vec<PlannedWrite>> {
        match self.method {
            Method::Protocol => Ok(protocol::planned(&protocol::places(target, &self.thread)?)),
            Method::PendingCall => {
                let tools = Tools::find(target, runtime)?;
                let (interpreter, _) = self.now(target, runtime)?;
                let queue = if self.is_main {
                    Queue::MainThread
                } else {
                    Queue::AnyThread
                };
                pending::planned(target, runtime, &interpreter, queue, &tools)
            }
            Method::Callback => {
                Tools::find(target, runtime)?;
                Ok(crate::waiting::planned())
            }
        }
    }

    /// The interpreter and the thread as they are now: memory that was a thread state may be
    /// anything by now.
    ///
    /// # Errors
    /// `Gone`; `Unsupported` where the operator has opted out since.
    pub(crate) fn now<M: Memory>(
        &self,
        target: &Target,
        runtime: &Runtime<M>,
    ) -> Result<(Interpreter, ThreadState)> {
        let interpreter = self.interpreter_now(target, runtime)?;
        let of_it = |one: &&ThreadState| {
            one.address == self.thread.address
                && one.native_id == self.thread.native_id
                && one.thread_id == self.thread.thread_id
        };
        let thread = interpreter.threads.iter().find(of_it).cloned();
        let thread = thread.ok_or_else(|| self.changed(target, "it has ended"))?;
        check_opt_out(target, runtime, &interpreter)?;
        Ok((interpreter, thread))
    }

    /// The interpreter alone as it is now.
    ///
    /// # Errors
    /// `Gone`.
    pub(crate) fn interpreter_now<M: Memory>(
        &self,
        target: &Target,
        runtime: &Runtime<M>,
    ) -> Result<Interpreter> {
        runtime.ensure_present()?;
        let found = runtime.interpreters()?.list;
        let is_it =
            |one: &Interpreter| one.address == self.interpreter_state && one.id == self.interpreter;
        found
            .into_iter()
            .find(is_it)
            .ok_or_else(|| self.changed(target, "its interpreter is gone"))
    }

    /// That the thread, or what it belongs to, is gone.
    pub(crate) fn changed(&self, target: &Target, why: impl Into<String>) -> Error {
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

/// The operator's word: by the interpreter's own flag, and by the variable, which also counts
/// where the interpreter was told to ignore its environment. Versions without the flag may have
/// been given the option all the same.
fn check_opt_out<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    interpreter: &Interpreter,
) -> Result<()> {
    let variable = target.environment_variable(OPT_OUT_VARIABLE)?.is_some();
    let option = || {
        let options = runtime.xoptions(interpreter).unwrap_or_default();
        options.iter().any(|option| option.name == OPT_OUT_OPTION)
    };
    let why = match interpreter.remote_debugging {
        _ if variable => format!("{OPT_OUT_VARIABLE} is in its environment"),
        Some(false) => {
            format!(
                "its interpreter was started with -X {OPT_OUT_OPTION}, or switched it off itself"
            )
        }
        None if option() => format!("its interpreter was started with -X {OPT_OUT_OPTION}"),
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

fn only_main<M: Memory>(target: &Target, runtime: &Runtime<M>, tid: u32) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("thread {tid} of process {} can't be asked", target.pid()),
        format!(
            "CPython {} lets only its main thread be asked at a safe point, and --wake never leaves \
             threads that wait alone",
            runtime.version()
        ),
        "choose the main thread, or allow --wake auto",
    )
}
