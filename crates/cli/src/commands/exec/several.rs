//! The same script in several threads, one after the other.

use std::time::{Duration, Instant};

use invivo::audit::{Act, Course};
use invivo::exec::{InterpreterChoice, Named, Selection, ThreadChoice};
use invivo::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::streams::Streams;
use super::{Done, Job, report};
use crate::exit::Status;
use crate::show::{Output, shown};

/// Runs `job` in each thread that it names, whatever comes of the others.
pub(super) fn run(
    job: &Job<'_>,
    named: &[Named],
    act: &mut Option<Act<'_>>,
    output: &mut Output,
) -> Result<Status> {
    let json = job.arguments.json;
    let mut results = Vec::with_capacity(if json { named.len() } else { 0 });
    let mut statuses = Vec::with_capacity(named.len());
    for one in named {
        let since = Instant::now();
        let mut streams = Streams::below(output, json, heading(one));
        let done = run_in(job, one, act, &mut streams);
        statuses.push(match &done {
            Ok(done) => report::status(done),
            Err(error) => error.kind.into(),
        });
        let collected = std::mem::take(&mut streams.collected);
        let report = job.report(since, &collected);
        if json {
            results.push(entry(one, report.json(&done)?));
            continue;
        }
        match &done {
            Ok(done) => report.show(done, &mut streams),
            Err(error) => {
                streams.head_stderr();
                streams.output.error(error);
            }
        }
        streams.end_line();
    }
    if json {
        let milliseconds = report::milliseconds(job.began.elapsed());
        let fields = json!({
            "outcome": "several",
            "milliseconds": milliseconds,
            "results": results,
        });
        output.document(&report::document(job.arguments.pid, fields));
    }
    Ok(together(&statuses))
}

fn run_in(
    job: &Job<'_>,
    one: &Named,
    act: &mut Option<Act<'_>>,
    streams: &mut Streams<'_>,
) -> Result<Done> {
    let mut selection = Selection {
        interpreter: InterpreterChoice::Id(one.interpreter),
        thread: job.request.selection.thread,
    };
    let not_run = match &one.tid {
        Ok(tid) => {
            selection.thread = ThreadChoice::Tid(*tid);
            if !job.request.cancel.is_set() {
                return job.carry_out(selection, act, streams);
            }
            stopped(*tid)
        }
        Err(error) => error.clone(),
    };
    let outcome = Err(not_run.clone());
    if let Some(act) = act {
        act.ran(selection, &Course::default(), &outcome, Duration::ZERO);
    }
    Err(not_run)
}

fn stopped(tid: u32) -> Error {
    Error::new(
        ErrorKind::Interrupted,
        format!("the script was not run in thread {tid}"),
        "Invivo was told to stop before its turn came",
        "name that thread with --thread to run it there",
    )
}

fn heading(one: &Named) -> String {
    let interpreter = one.interpreter;
    match (&one.tid, &one.name) {
        (Ok(tid), Some(name)) => {
            let name = shown(&name.text);
            format!("thread {tid} \"{name}\" (interpreter {interpreter}):")
        }
        (Ok(tid), None) => format!("thread {tid} (interpreter {interpreter}):"),
        (Err(_), _) => format!("interpreter {interpreter}:"),
    }
}

fn entry(one: &Named, fields: Value) -> Value {
    let mut entry = json!({
        "interpreter": one.interpreter,
        "thread": one.tid.as_ref().ok(),
        "name": one.name.as_ref().map(|name| &name.text),
    });
    report::extend(&mut entry, fields);
    entry
}

/// The exit code of several: that it was stopped, then that it raised, then the first that could
/// not be run.
fn together(statuses: &[Status]) -> Status {
    for first in [Status::Interrupted, Status::Raised] {
        if statuses.contains(&first) {
            return first;
        }
    }
    let failed = statuses.iter().find(|status| **status != Status::Done);
    failed.copied().unwrap_or(Status::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_of_several_is_the_worst_that_matters() {
        use Status::{Done, Gone, Interrupted, Raised, TimedOut};

        assert_eq!(together(&[Done, Done]), Done);
        assert_eq!(together(&[Done, TimedOut, Gone]), TimedOut);
        assert_eq!(together(&[Gone, TimedOut, Done]), Gone);
        assert_eq!(together(&[Gone, Done, Raised]), Raised);
        assert_eq!(together(&[Raised, Gone, Interrupted]), Interrupted);
    }
}
