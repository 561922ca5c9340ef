//! From a request to its result: stage, write, wait, and clean up whatever happens.

mod call;
mod candidates;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use invivo_cpython::Runtime;
use invivo_model::{Error, ErrorKind, Interpreter, Result};
use invivo_process::{Memory, Target, TargetLock, own_pid_namespace, random};

use crate::ask::{Ask, Asked};
use crate::channel::{self, Ending, Parameters, Payload};
use crate::plan::{Permit, Plan};
use crate::selection::Selection;
use crate::stage::{self, Label, SCRIPT, Stage};
use call::{Begun, Call};
use candidates::Candidates;

/// What to run. `name` is the file name that tracebacks show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// Statements.
    Execute {
        /// The text.
        source: String,
        /// Shown in tracebacks.
        name: String,
    },
    /// One expression, whose value comes back.
    Evaluate {
        /// The text.
        source: String,
        /// Shown in tracebacks.
        name: String,
    },
}

/// Where the script's names live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Namespace {
    /// In a dictionary of its own.
    #[default]
    Fresh,
    /// In that of the target's `__main__`.
    Main,
}

/// What shall be run, where, and how long it may take.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to run.
    pub code: Code,
    /// All of `sys.argv` while it runs.
    pub arguments: Vec<String>,
    /// Where its names live.
    pub namespace: Namespace,
    /// Which interpreter and thread.
    pub selection: Selection,
    /// What it may do for that.
    pub permit: Permit,
    /// How long it may take to begin and to end.
    pub timeout: Duration,
    /// Whether to wait for it. If not, it is left in the target, does nothing when it begins after
    /// the timeout, and its output is dropped.
    pub attended: bool,
    /// Whether the value of an expression shall come as JSON too. Leaving it out saves the target
    /// some work.
    pub wants_json: bool,
    /// When the script is to be ended by an exception (`KeyboardInterrupt`), raised at the next of its
    /// own lines. A call that does not return to it ends first.
    pub stop_after: Option<Duration>,
    /// Ends the waiting from elsewhere: what has not begun is withdrawn.
    pub cancel: Cancel,
}

/// A switch that ends the waiting for a script. Its clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct Cancel(pub Arc<AtomicBool>);

impl Cancel {
    /// Whether the waiting is to end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Request {
    /// `code`, run by the main thread with a namespace of its own, within ten seconds.
    pub fn new(code: Code) -> Self {
        Self {
            code,
            arguments: vec!["-c".into()],
            namespace: Namespace::Fresh,
            selection: Selection::default(),
            permit: Permit::default(),
            timeout: Duration::from_secs(10),
            attended: true,
            wants_json: true,
            stop_after: None,
            cancel: Cancel::default(),
        }
    }

    fn payload(&self) -> Payload {
        let (evaluate, source, name) = match &self.code {
            Code::Execute { source, name } => (false, source, name),
            Code::Evaluate { source, name } => (true, source, name),
        };
        Payload {
            evaluate,
            source: source.clone(),
            name: name.clone(),
            arguments: self.arguments.clone(),
            main_namespace: self.namespace == Namespace::Main,
            wants_json: self.wants_json,
            stop_after: self.stop_after,
        }
    }
}

/// What happens along the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// This is what will be done.
    Plan(&'a Plan),
    /// The script lies here, as the target sees it.
    Staged(PathBuf),
    /// The thread has been asked, in this way.
    Asked(Asked),
    /// It slept, and was woken or called where it is.
    Woken(Asked),
    /// The target has begun.
    Began,
    /// The script printed this.
    Stdout(Vec<u8>),
    /// The script wrote this to its `sys.stderr`.
    Stderr(Vec<u8>),
}

/// How it came out.
#[derive(Debug)]
pub enum Outcome {
    /// Nobody waits for it: it was left in the target.
    Queued {
        /// What was planned.
        plan: Plan,
        /// What was done.
        asked: Asked,
    },
    /// It ran to its end.
    Finished {
        /// What was planned.
        plan: Plan,
        /// What was done.
        asked: Asked,
        /// Its value, or what it raised.
        ending: Ending,
    },
}

/// Runs `request` in `target` and brings back what it printed (through `sink`, as it comes) and
/// how it ended.
///
/// # Errors
/// Every reason why it can't be run is found before anything is written. `TimedOut` when it did
/// not begin, or not end, in time: the message says which. `Gone` when the target ended.
pub fn execute<M: Memory + Sync>(
    target: &Target,
    runtime: &Runtime<M>,
    request: &Request,
    mut sink: impl FnMut(Event<'_>),
) -> Result<Outcome> {
    let until = Instant::now() + request.timeout;
    check_size(request)?;
    if request.attended {
        target.ensure_not_stopped()?;
    }
    let _lock = lock(target, request, until)?;
    stage::sweep(target, runtime, &stage::candidates(target)?, until)?;
    let mut candidates = Candidates::new(target, runtime, request, until);
    let plans = candidates.plans()?;
    let first = plans.first().ok_or_else(|| Error::internal("no plan"))?;

    let nonce = u32::from_ne_bytes(random()?);
    let label = Label {
        namespace: own_pid_namespace()?,
        pid: target.pid(),
        start_time: target.start_time(),
        deadline: stage::now() + u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX / 2),
        attended: request.attended,
        nonce,
    };
    let may_connect = may_connect(runtime, first);
    let mut parameters = Parameters {
        token: random()?,
        reply: random()?,
        directory: Vec::new(),
        script: SCRIPT.into(),
        deadline: label.deadline,
        payload: request.payload(),
        attended: request.attended,
        announce: !runtime.has_protocol(),
        pid: target.innermost_pid()?,
    };
    let (directories, size) = (&first.directories, first.path_size());
    let (mut stage, listener) = Stage::new(target, directories, &label, size, |stage| {
        parameters.directory = stage.path().as_os_str().as_encoded_bytes().to_vec();
        stage.write_script(channel::script(&parameters).as_bytes())?;
        if request.attended && !may_connect {
            stage.write_task(&channel::task(&parameters.reply, &parameters.payload))?;
        }
        Ok(())
    })?;
    sink(Event::Staged(stage.script()));

    let new = |plan| Ask::new(target, runtime, plan, stage.script(), nonce, request.permit);
    let ask = candidates.ask(plans, new)?;
    let mut call = Call {
        target,
        runtime,
        ask,
        request,
        parameters: &parameters,
        until,
    };
    let begun = loop {
        sink(Event::Plan(call.ask.plan()));
        match call.begin(&listener, &stage, &mut sink) {
            // Where any will do, one that has ended makes way for another.
            Err(error) if error.kind == ErrorKind::Gone => {
                let next = candidates.pass_over(error).and_then(|()| {
                    call.ask.forget()?;
                    let plans = candidates.plans()?;
                    candidates.ask(plans, new)
                });
                match next {
                    Ok(ask) => call.ask = ask,
                    Err(error) => break Err(error),
                }
            }
            begun => break begun,
        }
    };
    let asked = call.ask.asked();
    match (begun, asked) {
        (Ok(Begun::Left), Some(asked)) => {
            stage.leave();
            let plan = call.ask.plan().clone();
            Ok(Outcome::Queued { plan, asked })
        }
        (Ok(Begun::Running(running)), Some(asked)) => {
            let (connection, decoder) = *running;
            sink(Event::Began);
            let _waiting = stage.take_lock();
            // The script finds no trace of ours, and the target is spared the work.
            drop(stage);
            let ending = call.follow(connection, decoder, &mut sink);
            // Not before: the script waits for its task no longer than it must.
            call.ask.clean_up();
            let ending = ending?;
            let plan = call.ask.plan().clone();
            Ok(Outcome::Finished {
                plan,
                asked,
                ending,
            })
        }
        (Ok(Begun::Failed(why)), _) => {
            call.revoke(&stage)?;
            call.ask.clean_up();
            Err(call.not_begun(why))
        }
        (Ok(_), _) => Err(call.give_up(&listener, stage)),
        // Nobody is left who could look for the script.
        (Err(error), _) if error.kind == ErrorKind::Gone => Err(error),
        // The request still stands: it goes before its script does.
        (Err(error), _) => {
            call.give_up(&listener, stage);
            Err(error)
        }
    }
}

/// Whether the script will surely have sockets: in a program that has never loaded them it does
/// without.
pub(crate) fn may_connect<M: Memory>(runtime: &Runtime<M>, plan: &Plan) -> bool {
    let interpreters = runtime.interpreters().map(|found| found.list);
    let interpreters = interpreters.unwrap_or_default();
    let its = |one: &&Interpreter| one.address == plan.interpreter_state;
    let found = interpreters.iter().find(its);
    found.is_some_and(|one| runtime.has_module(one, "_socket").unwrap_or(false))
}

/// The longest script that is sent, with its arguments, in bytes.
const PAYLOAD_MAX: usize = 32 << 20;

fn check_size(request: &Request) -> Result<()> {
    let (Code::Execute { source, .. } | Code::Evaluate { source, .. }) = &request.code;
    let size = source.len() + request.arguments.iter().map(String::len).sum::<usize>();
    if size <= PAYLOAD_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Usage,
        "the script is too long to be sent",
        format!("with its arguments it has {size} bytes; the limit is {PAYLOAD_MAX}"),
        "put most of it into a module that the target can import",
    ))
}

/// Waits until no other Invivo acts on the target.
fn lock(target: &Target, request: &Request, until: Instant) -> Result<TargetLock> {
    loop {
        if let Some(lock) = target.try_lock()? {
            return Ok(lock);
        }
        let (kind, why) = if request.cancel.is_set() {
            (
                ErrorKind::Interrupted,
                "Invivo was told to stop while another held the lock on it",
            )
        } else if Instant::now() >= until {
            (
                ErrorKind::TimedOut,
                "it held the lock on the target until our time was up",
            )
        } else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        return Err(Error::new(
            kind,
            format!("process {} is in use by another invivo", target.pid()),
            why,
            "wait for it to end, or allow more time with --timeout",
        ));
    }
}
