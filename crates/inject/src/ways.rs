//! Which ways into a thread are open at this moment, as far as that can be told without stopping
//! it.

use invivo_cpython::{Queue, Runtime};
use invivo_image::Registers;
use invivo_model::{Error, Result};
use invivo_process::access::CheckVerdict;
use invivo_process::{Memory, Target, Waiting};

use crate::callers::{self, Caller};
use crate::calls::Tools;
use crate::selection::{Chosen, Selection, choose};
use crate::waiting::{Wait, judge};
use crate::{pending, protocol};

/// A way to have a thread run a script.
#[derive(Clone, Debug)]
pub struct Way {
    /// What it is called: `protocol`, `pending call`, `callback` or `waking`.
    pub name: &'static str,
    /// Whether it is open.
    pub verdict: CheckVerdict,
    /// The fact that decides.
    pub fact: String,
    /// What to do where it is not open.
    pub remedy: Option<String>,
}

/// The ways into the thread that `selection` names: one for a thread that runs, one for a thread
/// that waits. Reads only; the thread goes on meanwhile.
///
/// # Errors
/// Where there is no such thread, or it can't be read.
pub fn ways<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    selection: Selection,
) -> Result<[Way; 2]> {
    let chosen = choose(target, runtime, selection)?;
    let tools = Tools::find(target, runtime);
    let (running, name) = if runtime.has_protocol() {
        (protocol(target, &chosen), "waking")
    } else {
        (pending_call(target, runtime, &chosen, &tools)?, "callback")
    };
    let waiting = waiting(target, runtime, &chosen, &tools)?;
    Ok([running, Way { name, ..waiting }])
}

impl Way {
    fn new(verdict: CheckVerdict, fact: String) -> Self {
        Self {
            name: "",
            verdict,
            fact,
            remedy: None,
        }
    }

    fn closed(error: &Error) -> Self {
        Self {
            remedy: Some(error.remedy.clone()),
            ..Self::new(CheckVerdict::Refuses, error.why.clone())
        }
    }
}

const ANOTHER: &str = "take the thread that is open soonest: invivo exec --thread any …";

fn protocol(target: &Target, chosen: &Chosen) -> Way {
    let tid = chosen.tid;
    let pending = chosen.thread.debugger.as_ref().map(|places| places.pending);
    let way = match pending {
        Some(0) => Way::new(
            CheckVerdict::Allows,
            format!("thread {tid} takes a request up at its next safe point"),
        ),
        Some(_) => Way::closed(&protocol::already_pending(target, tid)),
        None => Way::new(
            CheckVerdict::Unknown,
            format!("where thread {tid} takes requests is not known"),
        ),
    };
    Way {
        name: "protocol",
        ..way
    }
}

fn pending_call<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    chosen: &Chosen,
    tools: &Result<Tools>,
) -> Result<Way> {
    let tid = chosen.tid;
    let queue = if chosen.is_main(runtime)? {
        Queue::MainThread
    } else {
        Queue::AnyThread
    };
    let planned = |tools| pending::planned(target, runtime, &chosen.interpreter, queue, tools);
    let hooked = pending::hooked(runtime, &chosen.interpreter);
    let way = match tools.as_ref().map_err(Clone::clone).and_then(planned) {
        Ok(_) if let Some(why) = hooked => Way {
            remedy: Some(ANOTHER.to_owned()),
            ..Way::new(CheckVerdict::Refuses, why)
        },
        Err(error) => Way::closed(&error),
        Ok(_) if queue == Queue::MainThread => Way::new(
            CheckVerdict::Allows,
            format!("thread {tid} makes pending calls at its next safe point"),
        ),
        Ok(_) => Way::new(
            CheckVerdict::Unknown,
            format!("thread {tid} is not the main one: it makes those it comes upon while it runs"),
        ),
    };
    Ok(Way {
        name: "pending call",
        ..way
    })
}

fn waiting<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    chosen: &Chosen,
    tools: &Result<Tools>,
) -> Result<Way> {
    let tid = chosen.tid;
    let Some(place) = target.waiting(tid) else {
        let fact = format!("thread {tid} waits in no system call now");
        return Ok(Way::new(CheckVerdict::NotDeciding, fact));
    };
    let tools = match tools {
        Ok(tools) => tools,
        Err(error) => return Ok(Way::closed(error)),
    };
    let state = (&*chosen.interpreter, &chosen.thread);
    let caller = || caller(target, runtime, tools, place);
    Ok(match judge(runtime, state, tid, place.call, caller)? {
        Wait::Open => Way::new(
            CheckVerdict::Allows,
            format!(
                "thread {tid} waits in system call {}, made by CPython's own code",
                place.call
            ),
        ),
        Wait::Turn => Way::new(
            CheckVerdict::NotDeciding,
            format!("thread {tid} waits for its turn to run Python"),
        ),
        Wait::Closed(why) => Way {
            remedy: Some(ANOTHER.to_owned()),
            ..Way::new(CheckVerdict::Refuses, why)
        },
        Wait::Unknown(why) => Way::new(CheckVerdict::Unknown, why),
    })
}

/// Who made the call, while the thread may go on: a frame pointer that nobody has kept on the
/// stack is not known, so that this may be told only of a thread that stands still.
fn caller<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    tools: &Tools,
    place: Waiting,
) -> Caller {
    let registers = Registers {
        ip: place.instruction.0,
        sp: place.stack.0,
        bp: None,
    };
    callers::caller_at(runtime, target, &tools.modules, registers)
}
