//! A request to a target: asking, waiting for the script's call, and following it to its end.

use std::time::{Duration, Instant};

use invivo_cpython::Runtime;
use invivo_model::{Error, ErrorKind, Result};
use invivo_process::{Connection, Listener, Memory, Target, Transfer};

use super::{Event, Request};
use crate::ask::Ask;
use crate::channel::{self, Decoder, Ending, Parameters};
use crate::protocol::Retraction;
use crate::stage::Stage;

/// How long a target that has taken a request up may need to call us, when our time is up anyway.
const GRACE: Duration = Duration::from_secs(1);

/// How long a thread that has taken a request up may need to call, on a machine that has much else
/// to do.
const CALLS_WITHIN: Duration = Duration::from_secs(2);

/// How long it may need to say who it is once it has connected.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// How often we look whether the thread still exists, and whether it has gone to sleep, while we
/// wait for it: soon at first, then less and less often.
const LOOKS: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(250));

/// What a request has come to.
pub(super) enum Begun {
    /// The script runs.
    Running(Box<(Connection, Decoder)>),
    /// Nobody waits for it.
    Left,
    /// It has not begun in time.
    Not,
    /// The thread took it up, and it could not begin: why.
    Failed(String),
}

/// Since when a request has been seen to be taken up.
#[derive(Default)]
struct TakenUp(Option<Instant>);

impl TakenUp {
    /// Whether it has been for so long that no call is to be expected.
    fn lasts(&mut self, is_so: Option<bool>) -> bool {
        match is_so {
            Some(false) => self.0 = None,
            Some(true) => {
                let since = *self.0.get_or_insert_with(Instant::now);
                return since.elapsed() >= CALLS_WITHIN;
            }
            None => {}
        }
        false
    }
}

/// A request to the target.
pub(super) struct Call<'a, M> {
    pub(super) target: &'a Target,
    pub(super) runtime: &'a Runtime<M>,
    pub(super) ask: Ask<'a, M>,
    pub(super) request: &'a Request,
    pub(super) parameters: &'a Parameters,
    pub(super) until: Instant,
}

impl<M: Memory + Sync> Call<'_, M> {
    /// Whether there is time left, and nobody told us to stop.
    fn is_patient(&self) -> bool {
        Instant::now() < self.until && !self.request.cancel.is_set()
    }

    /// Asks the thread and waits until the script calls and proves that it is ours.
    pub(super) fn begin(
        &mut self,
        listener: &Listener,
        stage: &Stage,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<Begun> {
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
        let (mut pause, longest) = LOOKS;
        let mut taken_up = TakenUp::default();
        // Asked each time round: callers that are not our script may come without end.
        while self.is_patient() {
            let look_at = Instant::now() + pause;
            match listener.accept(self.target, self.until.min(look_at)) {
                Ok(Some(connection)) => match self.greet(connection)? {
                    Some(running) => return Ok(Begun::Running(Box::new(running))),
                    None => continue,
                },
                Ok(None) => {}
                // A script without sockets may have run and ended the target by now.
                Err(error) if error.kind == ErrorKind::Gone => {
                    return self.taken(stage)?.ok_or(error);
                }
                Err(error) => return Err(error),
            }
            if let Some(running) = self.taken(stage)? {
                return Ok(running);
            }
            if let Some(note) = stage.note() {
                return Ok(Begun::Failed(format!("it met an error there: {note}")));
            }
            if taken_up.lasts(self.ask.is_taken_up()) {
                if !self.ask.may_repeat() {
                    return Ok(Begun::Failed(self.without_a_word()));
                }
                // Nothing has run: the script gets its task from us, once.
                taken_up = TakenUp::default();
                self.ask.repeat()?;
                sink(Event::Asked(asked));
                continue;
            }
            pause = longest.min(pause * 2);
            match self.look_again() {
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::Gone => {
                    return self.taken(stage)?.ok_or(error);
                }
                Err(error) => return Err(error),
            }
            if let Some(now) = self.ask.asked().filter(|now| *now != asked) {
                asked = now;
                sink(Event::Woken(asked));
            }
        }
        // A script without sockets may have taken its task at this very moment.
        if !stage.revoke() {
            self.until = Instant::now() + GRACE;
            if let Some(running) = self.taken(stage)? {
                return Ok(running);
            }
        }
        Ok(Begun::Not)
    }

    /// The script without sockets that has taken its task, where one has.
    fn taken(&self, stage: &Stage) -> Result<Option<Begun>> {
        let Some(connection) = stage.taken()? else {
            return Ok(None);
        };
        let running = self.greet(connection)?;
        Ok(running.map(|running| Begun::Running(Box::new(running))))
    }

    /// Looks whether the thread can still run the script, and asks it in another way where it has
    /// come to wait since.
    fn look_again(&mut self) -> Result<()> {
        let tid = self.ask.plan().tid;
        if !self.target.has_thread(tid) {
            return Err(Error::new(
                ErrorKind::Gone,
                format!("thread {tid} ended before it ran the script"),
                "it did not reach a safe point before its end",
                "nothing ran; choose another thread with --thread",
            ));
        }
        self.target.ensure_not_stopped()?;
        // Its thread lives on when a process runs another program.
        self.runtime.ensure_present()?;
        self.ask.look_again()
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
    pub(super) fn follow(
        &self,
        mut connection: Connection,
        mut decoder: Decoder,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<Ending> {
        if connection.takes_bytes() {
            let task = channel::task(&self.parameters.reply, &self.parameters.payload);
            match connection.send(&task, self.until)? {
                Transfer::Bytes(_) => {}
                Transfer::Closed => return Err(self.lost()),
                Transfer::TimedOut => return Err(self.still_running()),
            }
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
            "it was left running and its further output is dropped; allow more with --timeout, or \
             let a script be ended with --stop-after",
        )
    }

    /// Our time is up and the script has not begun: withdraws the request.
    pub(super) fn give_up(&self, listener: &Listener, stage: Stage) -> Error {
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
        if let Err(error) = self.revoke(&stage) {
            return error;
        }
        let remedy = if withdrawn == Retraction::Withdrawn {
            "nothing ran and nothing is pending; choose a thread that runs Python with --thread, or \
             allow more time with --timeout"
        } else {
            // It is about to read the script, or on its way there: let it find it, and turn it
            // away when it calls. If it calls later, nobody answers and it does nothing either.
            match listener.accept(self.target, Instant::now() + GRACE) {
                Ok(Some(_turned_away)) => {
                    "the thread had just taken the request up and was turned away: nothing ran; try \
                     again with a longer --timeout"
                }
                _ => {
                    stage.leave();
                    "the thread has taken the request up and the script has not called back: it does \
                     nothing if it still does, and the next invivo exec removes what was staged for \
                     it; try again with a longer --timeout"
                }
            }
        };
        let (kind, when) = self.end_of_patience();
        Error::new(
            kind,
            format!("the script did not begin {when}"),
            whereabouts,
            remedy,
        )
    }

    /// Keeps a script that has its task in a file from beginning from now on.
    ///
    /// # Errors
    /// Where it has begun: it runs on.
    pub(super) fn revoke(&self, stage: &Stage) -> Result<()> {
        if stage.revoke() {
            Ok(())
        } else {
            Err(self.still_running())
        }
    }

    /// The thread took the request up, and the script could not begin.
    pub(super) fn not_begun(&self, why: String) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "thread {} of process {} took the request up, but the script did not begin",
                self.ask.plan().tid,
                self.target.pid()
            ),
            why,
            "nothing ran and nothing is left: try again, since a named tuple that was being made at that \
             moment can be the cause; so can an audit hook, a replaced builtin, or a lack of file \
             descriptors or memory in the program",
        )
    }

    /// What is known of a script that was taken up and has not called.
    fn without_a_word(&self) -> String {
        let seconds = CALLS_WITHIN.as_secs();
        let stderr = if self.runtime.has_protocol() {
            "; CPython writes the reason to the program's stderr"
        } else {
            ""
        };
        let twice = if self.ask.may_repeat() || !self.runtime.has_protocol() {
            ""
        } else {
            ", both times it was asked"
        };
        format!(
            "it has not called back within {seconds} s, though its thread went on{twice}{stderr}"
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
