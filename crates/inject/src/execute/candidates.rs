//! The threads that may be asked: the one that was chosen, or, where any will do, one after the
//! other until a script begins in one.

use std::time::{Duration, Instant};

use invivo_cpython::Runtime;
use invivo_model::{Error, ErrorKind, Result};
use invivo_process::{Memory, Target};

use super::Request;
use crate::ask::Ask;
use crate::needs;
use crate::plan::Plan;
use crate::protocol::Retraction;
use crate::selection::{self, ThreadChoice};

/// At most so many threads are tried of those that are there at a moment.
const CANDIDATES: usize = 32;

/// How long we wait before we look for threads anew.
const PAUSE: Duration = Duration::from_millis(1);

/// What finds a thread to ask.
pub(super) struct Candidates<'a, M> {
    target: &'a Target,
    runtime: &'a Runtime<M>,
    request: &'a Request,
    until: Instant,
    /// How many were tried that had just ended, or ended before they began.
    ended: usize,
}

impl<'a, M: Memory + Sync> Candidates<'a, M> {
    pub(super) fn new(
        target: &'a Target,
        runtime: &'a Runtime<M>,
        request: &'a Request,
        until: Instant,
    ) -> Self {
        Self {
            target,
            runtime,
            request,
            until,
            ended: 0,
        }
    }

    /// A plan for the thread that was chosen; where any will do, one for each in turn. There is at
    /// least one.
    pub(super) fn plans(&mut self) -> Result<Vec<Plan>> {
        loop {
            match self.plans_now() {
                Err(error) => self.pass_over(error)?,
                plans => return plans,
            }
        }
    }

    fn plans_now(&self) -> Result<Vec<Plan>> {
        let Self {
            target,
            runtime,
            request,
            ..
        } = self;
        let selection = request.selection;
        if selection.thread != ThreadChoice::Any {
            return Ok(vec![Plan::new(target, runtime, selection, request.permit)?]);
        }
        let places = selection::resolve(target, runtime, selection)?;
        let mut failed = None;
        let mut plans = Vec::new();
        for place in places.into_iter().take(CANDIDATES) {
            let plan = place
                .chosen
                .and_then(|chosen| Plan::for_thread(target, runtime, chosen, request.permit));
            match plan {
                Ok(plan) => plans.push(plan),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if plans.is_empty() {
            let none = || Error::internal("a selection came to nothing");
            return Err(failed.unwrap_or_else(none));
        }
        if let Some(first) = plans.first() {
            let interpreter = first.interpreter_now(target, runtime)?;
            needs::check(target, runtime, &interpreter)?;
        }
        Ok(plans)
    }

    /// Asks the first thread to which a way is open; where it is open to none, the first of all is
    /// yet to be asked.
    pub(super) fn ask(
        &mut self,
        mut plans: Vec<Plan>,
        new: impl Fn(Plan) -> Ask<'a, M>,
    ) -> Result<Ask<'a, M>> {
        loop {
            match first_that_can(plans, &new) {
                Err(error) => self.pass_over(error)?,
                asked => return asked,
            }
            plans = self.plans()?;
        }
    }

    /// Goes on to others where any will do, this one ended, and there is time left.
    ///
    /// # Errors
    /// `error` itself where that is not so; that none has begun where the time is up.
    pub(super) fn pass_over(&mut self, error: Error) -> Result<()> {
        let may_pass =
            self.request.selection.thread == ThreadChoice::Any && error.kind == ErrorKind::Gone;
        if !may_pass {
            return Err(error);
        }
        // It was the whole process, or runs another program now.
        self.target.ensure_alive()?;
        self.runtime.ensure_present()?;
        self.ended += 1;
        if self.request.cancel.is_set() {
            return Err(self.none(ErrorKind::Interrupted, "when Invivo was told to stop"));
        }
        if Instant::now() >= self.until {
            let when = format!("within {} s", self.request.timeout.as_secs_f64());
            return Err(self.none(ErrorKind::TimedOut, &when));
        }
        std::thread::sleep(PAUSE);
        Ok(())
    }

    fn none(&self, kind: ErrorKind, when: &str) -> Error {
        Error::new(
            kind,
            format!(
                "no thread of process {} began the script {when}",
                self.target.pid()
            ),
            format!(
                "its threads come and go: {} were tried, and each ended before it began",
                self.ended
            ),
            "nothing ran and nothing is pending; name a thread that lives on with --thread, or \
             allow more time with --timeout",
        )
    }
}

/// Asks the first thread to which a way is open; where it is open to none, the first of those that
/// live on is yet to be asked.
fn first_that_can<'a, M: Memory + Sync>(
    plans: Vec<Plan>,
    new: impl Fn(Plan) -> Ask<'a, M>,
) -> Result<Ask<'a, M>> {
    let mut asks = plans.into_iter().map(new);
    let none = || Error::internal("no plan");
    if asks.len() == 1 {
        return asks.next().ok_or_else(none);
    }
    let (mut first, mut ended) = (None, None);
    for mut ask in asks {
        match ask.make(|| false) {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::Gone => {
                ended = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        }
        if ask.asked().is_some() && ask.obstacle().is_none() {
            return Ok(ask);
        }
        match ask.withdraw() {
            Ok(Retraction::Begun) => return Ok(ask),
            Ok(Retraction::Withdrawn) => first = first.or_else(|| Some(ask.anew())),
            Err(error) if error.kind == ErrorKind::Gone => {
                ask.forget()?;
                ended = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    first.ok_or_else(|| ended.unwrap_or_else(none))
}
