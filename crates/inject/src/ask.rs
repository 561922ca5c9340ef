//! Asking a thread to run a staged script: by the way that is open where it stands, by another
//! where it has gone to sleep since, and taking back what has not begun.

use std::path::PathBuf;
use std::time::Duration;

use invivo_cpython::{Phase, Queue, Runner, Runtime};
use invivo_model::{Address, Error, ErrorKind, Interpreter, Result, ThreadState};
use invivo_process::{Argument, Memory, Suspension, Target, Waiting};

use crate::calls::{Tools, runner};
use crate::filters;
use crate::pending::{self, Queued};
use crate::plan::{Method, Permit, Plan, STOP_WITHIN, Wake};
use crate::protocol::{self, Retraction};
use crate::waiting::{self, Place, Woken};

/// How long we wait at first before we look at a thread again that can't be asked where it stands;
/// each time twice as long, up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(16));

/// How many calls a thread must be able to nest. Less would make the text fail that runs the
/// script, which the code that it interrupts would see.
const RECURSION: i64 = 100;

/// How a thread was asked in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// By this way.
    pub method: Method,
    /// And woken, where it slept.
    pub woken: Option<Woken>,
}

/// A staged script on its way into a thread.
pub(crate) struct Ask<'a, M> {
    target: &'a Target,
    runtime: &'a Runtime<M>,
    plan: Plan,
    script: PathBuf,
    /// Makes names unique.
    nonce: u32,
    permit: Permit,
    tools: Option<Tools>,
    state: State,
    woken: Option<Woken>,
    /// Whether it was asked a second time.
    repeated: bool,
    /// Why the thread could not be asked or woken when it was last looked at.
    obstacle: Option<String>,
}

/// Where the request stands.
#[derive(Clone, Debug)]
enum State {
    /// Nowhere yet.
    Nowhere,
    /// In the thread state.
    Protocol,
    /// In the queue of pending calls.
    Queued(Queued),
    /// The thread is on its way into the script.
    Called,
}

impl<'a, M: Memory + Sync> Ask<'a, M> {
    pub(crate) fn new(
        target: &'a Target,
        runtime: &'a Runtime<M>,
        plan: Plan,
        script: PathBuf,
        nonce: u32,
        permit: Permit,
    ) -> Self {
        Self {
            target,
            runtime,
            plan,
            nonce,
            script,
            permit,
            tools: None,
            state: State::Nowhere,
            woken: None,
            repeated: false,
            obstacle: None,
        }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The same for a thread that has yet to be asked.
    pub(crate) fn anew(self) -> Self {
        Self {
            state: State::Nowhere,
            woken: None,
            obstacle: None,
            ..self
        }
    }

    /// How the thread was asked. `None` where it has not been.
    pub(crate) fn asked(&self) -> Option<Asked> {
        let method = match &self.state {
            State::Nowhere => return None,
            State::Protocol => Method::Protocol,
            State::Queued(_) => Method::PendingCall,
            State::Called => Method::Callback,
        };
        Some(Asked {
            method,
            woken: self.woken,
        })
    }

    /// Why the thread could not be asked or woken when it was last looked at.
    pub(crate) fn obstacle(&self) -> Option<&str> {
        self.obstacle.as_deref()
    }

    /// Asks the thread, trying until `patient` says no more where it stands at no place for it.
    ///
    /// # Errors
    /// When the target has changed since the plan was made, or can't be stopped or written.
    pub(crate) fn make(&mut self, mut patient: impl FnMut() -> bool) -> Result<()> {
        let (mut pause, longest) = PAUSES;
        loop {
            self.find_tools()?;
            filters::check(self.target, self.plan.tid, self.permit.filtered)?;
            let (target, this) = (self.target, &*self);
            let attempt = target.while_stopped(STOP_WITHIN, |stopped| this.attempt(stopped))??;
            self.take(attempt);
            if !matches!(self.state, State::Nowhere) || !patient() {
                return Ok(());
            }
            std::thread::sleep(pause);
            pause = longest.min(pause * 2);
        }
    }

    /// Whether a request that was taken up and led to nothing may be made again: once, by the
    /// protocol. CPython opens the script with the builtins of whatever function runs, and where
    /// that has none, as the constructor of a named tuple, it can't.
    pub(crate) fn may_repeat(&self) -> bool {
        matches!(self.state, State::Protocol) && !self.repeated
    }

    /// Makes a request again that was taken up.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub(crate) fn repeat(&mut self) -> Result<()> {
        self.repeated = true;
        self.woken = None;
        self.make(|| false)
    }

    /// Whether the thread seems to have taken the request up, and to have gone on: it may be about
    /// to run the script, or have failed to. Does not stop it; `None` where it could not be told.
    pub(crate) fn is_taken_up(&self) -> Option<bool> {
        let (interpreter, thread) = self.plan.now(self.target, self.runtime).ok()?;
        match &self.state {
            State::Nowhere => Some(false),
            State::Protocol => {
                let places = protocol::places(self.target, &thread).ok()?;
                Some(!protocol::is_pending(self.target, &places, &self.script))
            }
            State::Queued(queued) => pending::is_made(self.runtime, &interpreter, queued),
            State::Called => {
                let state = self.runtime.standing(&interpreter, &thread).ok()?;
                // Until it has its turn, it waits for that.
                let waits = |at: Waiting| !waiting::is_turn(&state, at.call);
                let waits = self.target.waiting(self.plan.tid).map(waits);
                Some(state.attached || waits?)
            }
        }
    }

    /// Looks after a request that has not begun: a thread that has gone to sleep since is woken, or
    /// called where it is.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub(crate) fn look_again(&mut self) -> Result<()> {
        let worthwhile = match &self.state {
            State::Called | State::Nowhere => false,
            State::Queued(queued) if queued.queue == Queue::AnyThread => true,
            State::Protocol if self.woken.is_some() => false,
            State::Protocol | State::Queued(_) => self.permit.wake == Wake::Auto && self.sleeps(),
        };
        if !worthwhile {
            return Ok(());
        }
        self.find_tools()?;
        let (target, this) = (self.target, &*self);
        let attempt =
            target.while_stopped(STOP_WITHIN, |stopped| this.attempt_again(stopped))??;
        self.take(attempt);
        Ok(())
    }

    /// The script has begun, and maybe ended, or could not begin: what lies in the target for it is
    /// removed, unless a call that waits still refers to it. Where that fails, nobody minds it, and
    /// the next run takes its place.
    pub(crate) fn clean_up(&self) {
        if let State::Queued(queued) = &self.state {
            let erase = |stopped: &Suspension<'_>| {
                if pending::is_referred_to(self.runtime, queued)? {
                    return self.withdraw_queued(stopped, queued).map(drop);
                }
                pending::erase(stopped, queued)
            };
            let _ = self.target.while_stopped(STOP_WITHIN, erase);
        }
    }

    /// Takes the request back if the target has not taken it up.
    ///
    /// # Errors
    /// `Gone` when the thread is no more, and whatever keeps the target from being stopped.
    pub(crate) fn withdraw(&self) -> Result<Retraction> {
        match &self.state {
            State::Nowhere => Ok(Retraction::Withdrawn),
            State::Called => Ok(Retraction::Begun),
            State::Protocol => self.target.while_stopped(STOP_WITHIN, |stopped| {
                let (_, thread) = self.plan.now(self.target, self.runtime)?;
                let places = protocol::places(self.target, &thread)?;
                protocol::retract(self.target, stopped, &places, &self.script)
            })?,
            State::Queued(queued) => self.target.while_stopped(STOP_WITHIN, |stopped| {
                let (interpreter, _) = self.plan.now(self.target, self.runtime)?;
                pending::withdraw(self.runtime, stopped, &interpreter, queued)
            })?,
        }
    }

    /// Takes back what is left of a request to a thread that has ended: a call in a queue that it
    /// shares with others. (What stood in its thread state is gone with that.)
    ///
    /// # Errors
    /// As [`Self::withdraw`].
    pub(crate) fn forget(&self) -> Result<()> {
        let State::Queued(queued) = &self.state else {
            return Ok(());
        };
        let withdraw = |stopped: &Suspension<'_>| self.withdraw_queued(stopped, queued);
        self.target.while_stopped(STOP_WITHIN, withdraw)??;
        Ok(())
    }

    /// Takes a pending call back, whether its thread is still there or not, with all threads stopped.
    fn withdraw_queued(&self, stopped: &Suspension<'_>, queued: &Queued) -> Result<Retraction> {
        let interpreter = self.plan.interpreter_now(self.target, self.runtime)?;
        pending::withdraw(self.runtime, stopped, &interpreter, queued)
    }

    fn take(&mut self, attempt: Attempt) {
        self.obstacle = attempt.obstacle;
        if let Some(state) = attempt.state {
            self.state = state;
        }
        self.woken = attempt.woken.or(self.woken);
    }

    /// The protocol does without them where the thread does not sleep.
    fn find_tools(&mut self) -> Result<()> {
        let optional = self.runtime.has_protocol();
        if self.tools.is_some() || optional && !self.sleeps() {
            return Ok(());
        }
        match Tools::find(self.target, self.runtime) {
            Ok(tools) => self.tools = Some(tools),
            Err(error) if optional => self.obstacle = Some(error.why),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether the thread is seen to sleep in a system call.
    fn sleeps(&self) -> bool {
        let doing = self.target.activity(self.plan.tid);
        doing.is_ok_and(|doing| doing.system_call.is_some())
    }

    /// Asks the thread where it stands, with all threads stopped.
    fn attempt(&self, stopped: &Suspension<'_>) -> Result<Attempt> {
        let (interpreter, thread) = self.plan.now(self.target, self.runtime)?;
        self.ensure_running(&interpreter)?;
        if !self.target.has_thread(self.plan.tid) {
            // Its thread state may be there a moment longer.
            return Err(self.plan.changed(self.target, "it has ended"));
        }
        // It may have got one since it was looked at.
        filters::check_stopped(self.target, self.plan.tid, self.permit.filtered)?;
        if !self.runtime.has_protocol() {
            return self.attempt_call(stopped, &interpreter, &thread);
        }
        let places = protocol::places(self.target, &thread)?;
        protocol::request(self.target, stopped, &places, self.plan.tid, &self.script)?;
        // The request stands, whatever comes of this.
        let woken = self.wake_up(stopped, &interpreter, &thread);
        let woken = woken.unwrap_or_else(|error| Attempt::not(error.why));
        Ok(woken.standing_in(State::Protocol))
    }

    /// The same in a version without the protocol: by a callback where the thread waits, else by a
    /// pending call.
    fn attempt_call(
        &self,
        stopped: &Suspension<'_>,
        interpreter: &Interpreter,
        thread: &ThreadState,
    ) -> Result<Attempt> {
        let Some(tools) = &self.tools else {
            return Ok(Attempt::not("nothing is known of its functions"));
        };
        let state = self.runtime.standing(interpreter, thread)?;
        if state.recursion_left < RECURSION {
            return Ok(Attempt::not(format!(
                "thread {} can nest only {} more calls before its limit of recursion",
                self.plan.tid, state.recursion_left
            )));
        }
        let obstacle = match self.place(stopped, (interpreter, thread), tools)? {
            Place::Waits(standing) => {
                match waiting::run(stopped, tools, &standing, thread, &self.text(None)) {
                    Ok(()) => return Ok(Attempt::default().standing_in(State::Called)),
                    Err(error) if error.kind == ErrorKind::Unsupported => Some(error.why),
                    Err(error) => return Err(error),
                }
            }
            Place::Not(why) => Some(why),
            Place::Runs => None,
        };
        let queue = match self.queue(state.attached) {
            Ok(queue) => queue,
            Err(why) => return Ok(Attempt::not(obstacle.unwrap_or(why))),
        };
        // Also the main thread's: a text may come to lie where another queue's has just been.
        let any = self.runtime.has_queue(Queue::AnyThread);
        let only = any.then_some(self.plan.ident);
        let (target, runtime) = (self.target, self.runtime);
        let queued = pending::queue(
            target,
            runtime,
            stopped,
            interpreter,
            tools,
            queue,
            &self.text(only),
        )?;
        Ok(match queued {
            Ok(queued) => Attempt {
                state: Some(State::Queued(queued)),
                woken: None,
                obstacle,
            },
            Err(why) => Attempt::not(match obstacle {
                Some(obstacle) => format!("{obstacle}; {why}"),
                None => why,
            }),
        })
    }

    /// What runs the script, where the thread has to be given a text.
    fn text(&self, only: Option<u64>) -> String {
        runner(&self.script, only, self.nonce)
    }

    /// The queue whose calls the thread makes, or why there is none now.
    fn queue(&self, attached: bool) -> Result<Queue, String> {
        let tid = self.plan.tid;
        if self.plan.is_main {
            Ok(Queue::MainThread)
        } else if !self.runtime.has_queue(Queue::AnyThread) {
            let version = self.runtime.version();
            Err(format!(
                "CPython {version} can be asked while it runs only in its main thread"
            ))
        } else if attached {
            // It is the one that runs Python, so that it is most likely the first to look. (The
            // text does nothing in another thread.)
            Ok(Queue::AnyThread)
        } else {
            Err(format!("thread {tid} waits for its turn to run"))
        }
    }

    /// The same for a thread that has been asked and has not begun.
    fn attempt_again(&self, stopped: &Suspension<'_>) -> Result<Attempt> {
        let (interpreter, thread) = self.plan.now(self.target, self.runtime)?;
        let Some(tools) = &self.tools else {
            return Ok(Attempt::not("nothing is known of its functions"));
        };
        match &self.state {
            State::Protocol => {
                let places = protocol::places(self.target, &thread)?;
                if protocol::is_pending(self.target, &places, &self.script) {
                    self.wake_up(stopped, &interpreter, &thread)
                } else {
                    Ok(Attempt::default())
                }
            }
            State::Queued(queued) => match self.place(stopped, (&interpreter, &thread), tools)? {
                Place::Not(why) => Ok(Attempt::not(why)),
                Place::Runs if queued.queue == Queue::MainThread => Ok(Attempt::default()),
                Place::Runs | Place::Waits(_) => {
                    let withdrawn = pending::withdraw(self.runtime, stopped, &interpreter, queued)?;
                    // What any thread may take, another may have taken, and done nothing.
                    let lost = queued.queue == Queue::AnyThread;
                    if lost || withdrawn == Retraction::Withdrawn {
                        self.attempt(stopped)
                    } else {
                        Ok(Attempt::default())
                    }
                }
            },
            State::Nowhere | State::Called => Ok(Attempt::default()),
        }
    }

    /// An interpreter that begins or ends is left alone.
    fn ensure_running(&self, interpreter: &Interpreter) -> Result<()> {
        let why = match self.runtime.phase(interpreter)? {
            Phase::Running => return Ok(()),
            Phase::Uninitialized => "its interpreter is not ready to run Python code",
            Phase::Finalizing => "its interpreter is being shut down",
        };
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "process {} can't be made to run a script",
                self.target.pid()
            ),
            why,
            "nothing was done; look again with: invivo ps",
        ))
    }

    fn place(
        &self,
        stopped: &Suspension<'_>,
        state: (&Interpreter, &ThreadState),
        tools: &Tools,
    ) -> Result<Place> {
        let tid = self.plan.tid;
        let place = waiting::look(self.target, self.runtime, stopped, tools, state, tid)?;
        Ok(match place {
            Place::Waits(_) if self.permit.wake == Wake::Never => {
                Place::Not(format!("thread {tid} is not to be woken (--wake never)"))
            }
            Place::Waits(standing) => match self.unproven(stopped, state)? {
                Some(why) => Place::Not(why),
                None => Place::Waits(standing),
            },
            place => place,
        })
    }

    /// Why it is not proven that the thread may be called with this thread state, with all threads
    /// stopped: it has to be the one that runs it, and nothing else may be attached in it.
    fn unproven(
        &self,
        stopped: &Suspension<'_>,
        (interpreter, thread): (&Interpreter, &ThreadState),
    ) -> Result<Option<String>> {
        let tid = self.plan.tid;
        let mut others = self.runtime.interpreters()?.list;
        for other in &mut others {
            let same = Interpreter {
                threads: Vec::new(),
                ..other.clone()
            };
            let attached = |state: &ThreadState| {
                let standing = self.runtime.standing(&same, state);
                state.address != thread.address && standing.is_ok_and(|one| one.attached)
            };
            other.threads.retain(attached);
        }
        let this = Interpreter {
            threads: vec![thread.clone()],
            ..interpreter.clone()
        };
        let stacks = stopped.stacks(&[self.plan.ident])?;
        let runners = self
            .runtime
            .runners(others.iter().chain([&this]), &stacks)?;
        let attached = others.iter().flat_map(|one| &one.threads);
        let attached = attached.filter_map(|state| runners.get(&state.address)?.tid());
        if attached.into_iter().any(|other| other == tid) {
            return Ok(Some(format!(
                "thread {tid} is attached to Python by another of its thread states"
            )));
        }
        Ok(match runners.get(&thread.address) {
            Some(Runner::Proven(runner)) if *runner == tid => None,
            Some(Runner::Proven(runner)) => Some(format!(
                "its thread state {} is run by thread {runner} now",
                thread.address
            )),
            // At the prompt of a program no Python code runs. Who made the only thread state that may
            // be used there uses it.
            Some(Runner::Maker(_)) => {
                let all = self.runtime.runners([interpreter], &stacks)?;
                let is_it = all.get(&thread.address) == Some(&Runner::Maker(tid));
                let why = || {
                    format!(
                        "thread {tid} is not known to use its thread state {}",
                        thread.address
                    )
                };
                (!is_it).then(why)
            }
            Some(Runner::Unknown(why)) => Some(format!(
                "it is not proven that thread {tid} runs its thread state {}: {why}",
                thread.address
            )),
            None => Some(format!("its thread state {} is gone", thread.address)),
        })
    }

    /// Has the thread look at the request that stands in its thread state, if it waits.
    fn wake_up(
        &self,
        stopped: &Suspension<'_>,
        interpreter: &Interpreter,
        thread: &ThreadState,
    ) -> Result<Attempt> {
        let Some(tools) = &self.tools else {
            return Ok(Attempt::default());
        };
        let standing = match self.place(stopped, (interpreter, thread), tools)? {
            Place::Waits(standing) => standing,
            Place::Runs => return Ok(Attempt::default()),
            Place::Not(why) => return Ok(Attempt::not(why)),
        };
        let way = waiting::way_to_wake(&standing, self.plan.is_main);
        match way {
            Woken::Interrupted => stopped.interrupt(&standing)?,
            Woken::PendingCall => {
                match pending::queue_check(self.runtime, stopped, interpreter, tools)? {
                    Ok(()) => stopped.interrupt(&standing)?,
                    Err(why) => return Ok(Attempt::not(why)),
                }
            }
            Woken::Callback => {
                let nothing = Argument::Value(Address::NULL.0);
                let (calls, back) = tools.callback(thread.address, tools.check, nothing)?;
                stopped.detour(&standing, &calls, b"", back)?;
            }
        }
        Ok(Attempt {
            woken: Some(way),
            ..Attempt::default()
        })
    }
}

/// What came of looking at a stopped thread.
#[derive(Debug, Default)]
struct Attempt {
    /// Where the request stands now, if that has changed.
    state: Option<State>,
    woken: Option<Woken>,
    obstacle: Option<String>,
}

impl Attempt {
    fn not(why: impl Into<String>) -> Self {
        Self {
            obstacle: Some(why.into()),
            ..Self::default()
        }
    }

    fn standing_in(self, state: State) -> Self {
        Self {
            state: Some(state),
            ..self
        }
    }
}
