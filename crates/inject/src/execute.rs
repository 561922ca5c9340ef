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

use crate::ask::{Ask, Asked};
use crate::channel::{self, Decoder, Ending, Parameters, Payload};
use crate::plan::{Plan, Wake};
use crate::protocol::Retraction;
use crate::selection::{self, Selection, ThreadChoice};
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
    /// Whether a thread that waits may be woken for it.
    pub wake: Wake,
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
            wake: Wake::default(),
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

/// How long a target that has taken a request up may need to call us, when our time is up anyway.
const GRACE: Duration = Duration::from_secs(1);

/// How long it may need to say who it is once it has connected.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// How often we look whether the thread still exists, and whether it has gone to sleep, while we
/// wait for it: soon at first, then less and less often.
const LOOKS: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(250));

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
    let plans = plans(target, runtime, request)?;
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
    let (stage, listener) = Stage::new(target, &first.directories, &label, first.path_size())?;
    let parameters = Parameters {
        token: random()?,
        reply: random()?,
        directory: stage.path().as_os_str().as_encoded_bytes().to_vec(),
        script: SCRIPT.into(),
        deadline: label.deadline,
        payload: request.payload(),
        attended: request.attended,
        announce: !runtime.has_protocol(),
    };
    stage.write_script(channel::script(&parameters).as_bytes())?;
    sink(Event::Staged(stage.script()));

    let new = |plan| Ask::new(target, runtime, plan, stage.script(), nonce, request.wake);
    let ask = first_that_can(&plans, new)?;
    let mut call = Call {
        target,
        runtime,
        ask,
        request,
        parameters: &parameters,
        until,
    };
    sink(Event::Plan(call.ask.plan()));
    let begun = call.begin(&listener, &mut sink);
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
            // The script finds no trace of ours, and the target is spared the work.
            drop(stage);
            let ending = call.follow(connection, decoder, &mut sink);
            // Not before: the script waits for its task no longer than it must.
            call.ask.has_begun();
            let ending = ending?;
            let plan = call.ask.plan().clone();
            Ok(Outcome::Finished {
                plan,
                asked,
                ending,
            })
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

/// At most so many threads are tried where any will do.
const CANDIDATES: usize = 32;

/// A plan for the thread that was chosen; where any will do, one for each in turn.
fn plans<M: Memory>(target: &Target, runtime: &Runtime<M>, request: &Request) -> Result<Vec<Plan>> {
    let selection = request.selection;
    if selection.thread != ThreadChoice::Any {
        return Ok(vec![Plan::new(target, runtime, selection, request.wake)?]);
    }
    let places = selection::resolve(target, runtime, selection)?;
    let mut failed = None;
    let mut plans = Vec::new();
    for place in places.into_iter().take(CANDIDATES) {
        let plan = place
            .chosen
            .and_then(|chosen| Plan::for_thread(target, runtime, chosen, request.wake));
        match plan {
            Ok(plan) => plans.push(plan),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        Some(error) if plans.is_empty() => Err(error),
        _ => Ok(plans),
    }
}

/// Asks the first thread to which a way is open; where it is open to none, the first of all is
/// yet to be asked.
fn first_that_can<'p, 'a, M: Memory + Sync>(
    plans: &'p [Plan],
    new: impl Fn(&'p Plan) -> Ask<'a, M>,
) -> Result<Ask<'a, M>> {
    let [first, others @ ..] = plans else {
        return Err(Error::internal("no plan"));
    };
    if !others.is_empty() {
        for plan in plans {
            let mut ask = new(plan);
            ask.make(|| false)?;
            let can = ask.asked().is_some() && ask.obstacle().is_none();
            if can || ask.withdraw()? == Retraction::Begun {
                return Ok(ask);
            }
        }
    }
    Ok(new(first))
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

/// What a request has come to.
enum Begun {
    /// The script runs.
    Running(Box<(Connection, Decoder)>),
    /// Nobody waits for it.
    Left,
    /// It has not begun in time.
    Not,
}

/// A request to the target.
struct Call<'a, M> {
    target: &'a Target,
    runtime: &'a Runtime<M>,
    ask: Ask<'a, M>,
    request: &'a Request,
    parameters: &'a Parameters,
    until: Instant,
}

impl<M: Memory + Sync> Call<'_, M> {
    /// Whether there is time left, and nobody told us to stop.
    fn is_patient(&self) -> bool {
        Instant::now() < self.until && !self.request.cancel.is_set()
    }

    /// Asks the thread and waits until the script calls and proves that it is ours.
    fn begin(&mut self, listener: &Listener, sink: &mut impl FnMut(Event<'_>)) -> Result<Begun> {
        if self.ask.asked().is_none() {
            let (until, cancel) = (self.until, &self.request.cancel);
            self.ask
                .make(|| Instant::now() < until && !cancel.is_set())?;
        }
        let Some(mut asked) = self.ask.asked() else {
            return Ok(Begun::Not);
        };
        sink(Event::Asked(asked));
        if !self.request.attended {
            return Ok(Begun::Left);
        }
        let tid = self.ask.plan().tid;
        let (mut pause, longest) = LOOKS;
        // Asked each time round: callers that are not our script may come without end.
        while self.is_patient() {
            let look_at = Instant::now() + pause;
            if let Some(connection) = listener.accept(self.target, self.until.min(look_at))? {
                if let Some(running) = self.greet(connection)? {
                    return Ok(Begun::Running(Box::new(running)));
                }
                continue;
            }
            pause = longest.min(pause * 2);
            if !self.target.has_thread(tid) {
                return Err(Error::new(
                    ErrorKind::Gone,
                    format!("thread {tid} ended before it ran the script"),
                    "it did not reach a safe point before its end",
                    "nothing ran; choose another thread with --thread",
                ));
            }
            // Its thread lives on when a process runs another program.
            self.runtime.ensure_present()?;
            self.ask.look_again()?;
            if let Some(now) = self.ask.asked().filter(|now| *now != asked) {
                asked = now;
                sink(Event::Woken(asked));
            }
        }
        Ok(Begun::Not)
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
            let look_at = Instant::now() + LOOKS.1;
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
        let withdrawn = match self.ask.withdraw() {
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
            // It is about to read the script, or on its way there: let it find it, and turn it
            // away when it calls. If it calls later, nobody answers and it does nothing either.
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
        let tid = self.ask.plan().tid;
        let activity = self
            .target
            .activity(tid)
            .map_or_else(|_| "unknown".to_owned(), |activity| activity.to_string());
        let thread = self.ask.plan().now(self.target, self.runtime);
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
        let obstacle = self.ask.obstacle();
        let obstacle = obstacle.map_or_else(String::new, |why| format!("; {why}"));
        format!("thread {tid} is {activity}{function}{obstacle}")
    }
}
