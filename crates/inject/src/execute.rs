//! From a request to its result: stage, write, wait, and clean up whatever happens.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use invivo_cpython::Runtime;
use invivo_model::{Error, ErrorKind, Result};
use invivo_process::{
    Connection, Listener, Memory, Target, TargetLock, Transfer, own_pid_namespace, random,
};

use crate::channel::{self, Decoder, Ending, Parameters, Payload};
use crate::plan::{Plan, Retraction};
use crate::selection::Selection;
use crate::stage::{self, Label, SCRIPT, Stage};

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
    /// How long it may take to begin and to end.
    pub timeout: Duration,
    /// Whether to wait for it. If not, it is left in the target, does nothing when it begins after
    /// the timeout, and its output is dropped.
    pub attended: bool,
    /// Whether the value of an expression shall come as JSON too. Leaving it out saves the target
    /// some work.
    pub wants_json: bool,
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
            timeout: Duration::from_secs(10),
            attended: true,
            wants_json: true,
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
    /// The request stands in the target.
    Written,
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
        /// What was done.
        plan: Plan,
    },
    /// It ran to its end.
    Finished {
        /// What was done.
        plan: Plan,
        /// Its value, or what it raised.
        ending: Ending,
    },
}

/// How long a target that has taken a request up may need to call us, when our time is up anyway.
const GRACE: Duration = Duration::from_secs(1);

/// How long it may need to say who it is once it has connected.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// How often we look whether the thread still exists while we wait for it.
const LOOK_EVERY: Duration = Duration::from_millis(250);

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
    let _lock = lock(target, request, until)?;
    stage::sweep(target, runtime, &stage::candidates(target)?)?;
    let plan = Plan::new(target, runtime, request.selection)?;
    sink(Event::Plan(&plan));

    let label = Label {
        namespace: own_pid_namespace()?,
        pid: target.pid(),
        start_time: target.start_time(),
        deadline: stage::now() + u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX / 2),
        attended: request.attended,
        nonce: u32::from_ne_bytes(random()?),
    };
    let (stage, listener) = Stage::new(
        target,
        &plan.directories,
        &label,
        plan.places.script_path_size,
    )?;
    let parameters = Parameters {
        token: random()?,
        reply: random()?,
        directory: stage.path().as_os_str().as_encoded_bytes().to_vec(),
        script: SCRIPT.into(),
        deadline: label.deadline,
        payload: request.payload(),
        attended: request.attended,
    };
    stage.write_script(channel::script(&parameters).as_bytes())?;
    sink(Event::Staged(stage.script()));
    plan.apply(target, runtime, &stage.script())?;
    sink(Event::Written);

    if !request.attended {
        stage.leave();
        return Ok(Outcome::Queued { plan });
    }
    let call = Call {
        target,
        runtime,
        plan: &plan,
        request,
        parameters: &parameters,
        until,
    };
    let (connection, decoder) = match call.wait_for_begin(&listener) {
        Ok(Some(begun)) => begun,
        Ok(None) => return Err(call.give_up(&listener, stage)),
        // Nobody is left who could look for the script.
        Err(error) if error.kind == ErrorKind::Gone => return Err(error),
        // The request still stands: it goes before its script does.
        Err(error) => {
            call.give_up(&listener, stage);
            return Err(error);
        }
    };
    sink(Event::Began);
    // The script finds no trace of ours, and the target is spared the work.
    drop(stage);
    let ending = call.follow(connection, decoder, &mut sink)?;
    Ok(Outcome::Finished { plan, ending })
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

/// A request that stands in the target.
struct Call<'a, M> {
    target: &'a Target,
    runtime: &'a Runtime<M>,
    plan: &'a Plan,
    request: &'a Request,
    parameters: &'a Parameters,
    until: Instant,
}

impl<M: Memory + Sync> Call<'_, M> {
    /// Waits until the script calls and proves that it is ours. `None` when the time is up.
    fn wait_for_begin(&self, listener: &Listener) -> Result<Option<(Connection, Decoder)>> {
        // Asked each time round: callers that are not our script may come without end.
        while Instant::now() < self.until && !self.request.cancel.is_set() {
            let look_at = Instant::now() + LOOK_EVERY;
            if let Some(connection) = listener.accept(self.target, self.until.min(look_at))? {
                if let Some(begun) = self.greet(connection)? {
                    return Ok(Some(begun));
                }
            } else if !self.target.has_thread(self.plan.tid) {
                return Err(Error::new(
                    ErrorKind::Gone,
                    format!("thread {} ended before it ran the script", self.plan.tid),
                    "it did not reach a safe point before its end",
                    "nothing ran; choose another thread with --thread",
                ));
            } else {
                // Its thread lives on when a process runs another program.
                self.runtime.ensure_present()?;
            }
        }
        Ok(None)
    }

    /// Hears a caller out: `None` where it is not our script.
    fn greet(&self, mut connection: Connection) -> Result<Option<(Connection, Decoder)>> {
        let mut decoder = Decoder::new();
        let mut buffer = [0; 4096];
        let until = (Instant::now() + HELLO_WITHIN).min(self.until);
        loop {
            let Transfer::Bytes(count) = connection.receive(self.target, &mut buffer, until)?
            else {
                return Ok(None);
            };
            decoder.push(&buffer[..count]);
            match decoder.next() {
                Ok(None) => {}
                Ok(Some(channel::Event::Hello(hello))) if hello.token == self.parameters.token => {
                    return Ok(Some((connection, decoder)));
                }
                Ok(Some(_)) | Err(_) => return Ok(None),
            }
        }
    }

    /// Hands the script over and passes on what it sends, to its end.
    fn follow(
        &self,
        mut connection: Connection,
        mut decoder: Decoder,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<Ending> {
        let task = channel::task(&self.parameters.reply, &self.parameters.payload);
        match connection.send(&task, self.until)? {
            Transfer::Bytes(_) => {}
            Transfer::Closed => return Err(self.lost()),
            Transfer::TimedOut => return Err(self.still_running()),
        }
        let mut buffer = vec![0; 64 * 1024];
        loop {
            while let Some(event) = decoder.next()? {
                match event {
                    channel::Event::Stdout(bytes) => sink(Event::Stdout(bytes)),
                    channel::Event::Stderr(bytes) => sink(Event::Stderr(bytes)),
                    channel::Event::Ended(ending) => return Ok(ending),
                    // The decoder lets it come first and only once.
                    channel::Event::Hello(_) => {}
                }
            }
            // Asked each time round: what a script prints may come without end.
            if Instant::now() >= self.until || self.request.cancel.is_set() {
                return Err(self.still_running());
            }
            let look_at = Instant::now() + LOOK_EVERY;
            match connection.receive(self.target, &mut buffer, self.until.min(look_at))? {
                Transfer::Bytes(count) => decoder.push(&buffer[..count]),
                Transfer::Closed => return Err(self.lost()),
                Transfer::TimedOut => {}
            }
        }
    }

    /// The connection broke before the script had ended.
    fn lost(&self) -> Error {
        // The socket closes a moment before the process can be seen to have ended.
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            if self.target.ensure_alive().is_err() {
                return Error::new(
                    ErrorKind::Gone,
                    format!(
                        "process {} ended while it ran the script",
                        self.target.pid()
                    ),
                    "the script, or something at the same time, ended it",
                    "look at the program's own logs for the reason",
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Error::new(
            ErrorKind::Gone,
            "the script's connection broke",
            format!(
                "process {} lives, but closed it before the script's end",
                self.target.pid()
            ),
            "the script may have closed all file descriptors, or the program executes another now",
        )
    }

    fn still_running(&self) -> Error {
        let (kind, when) = self.end_of_patience();
        Error::new(
            kind,
            format!("the script did not end {when}"),
            self.whereabouts(),
            "it was left running and its further output is dropped; allow more with --timeout",
        )
    }

    /// Our time is up and the script has not begun: withdraws the request.
    fn give_up(&self, listener: &Listener, stage: Stage) -> Error {
        // Asked first: a thread that has just been stopped runs for a moment.
        let whereabouts = self.whereabouts();
        let withdrawn = match self
            .plan
            .retract(self.target, self.runtime, &stage.script())
        {
            Ok(retraction) => retraction,
            // The target may still look for the script: a later run removes it.
            Err(error) => {
                if error.kind != ErrorKind::Gone {
                    stage.leave();
                }
                return error;
            }
        };
        let remedy = if withdrawn == Retraction::Withdrawn {
            "nothing ran and nothing is pending; choose a thread that runs Python with --thread, or \
             allow more time with --timeout"
        } else {
            // It is about to read the script: let it find it, and turn it away when it calls. If
            // it calls later, nobody answers and it does nothing either.
            match listener.accept(self.target, Instant::now() + GRACE) {
                Ok(Some(_turned_away)) => {}
                _ => stage.leave(),
            }
            "the thread had just taken the request up and was turned away: nothing ran; try again \
             with a longer --timeout"
        };
        let (kind, when) = self.end_of_patience();
        Error::new(
            kind,
            format!("the script did not begin {when}"),
            whereabouts,
            remedy,
        )
    }

    /// Why we wait no longer.
    fn end_of_patience(&self) -> (ErrorKind, String) {
        if self.request.cancel.is_set() {
            return (
                ErrorKind::Interrupted,
                "when Invivo was told to stop".to_owned(),
            );
        }
        (
            ErrorKind::TimedOut,
            format!("within {} s", self.request.timeout.as_secs_f64()),
        )
    }

    /// What the chosen thread does instead, as far as it can be told.
    fn whereabouts(&self) -> String {
        let tid = self.plan.tid;
        let activity = self
            .target
            .activity(tid)
            .map_or_else(|_| "unknown".to_owned(), |activity| activity.to_string());
        let thread = self.plan.now(self.target, self.runtime);
        let function = thread
            .and_then(|(_, thread)| self.runtime.thread_top_function(&thread))
            .ok()
            .flatten();
        let function = function.map_or_else(String::new, |at| {
            format!(
                ", in the Python function {} ({})",
                at.qualname.text, at.filename.text
            )
        });
        format!("thread {tid} is {activity}{function}")
    }
}
