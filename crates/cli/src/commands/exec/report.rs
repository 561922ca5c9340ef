//! How the outcome of a request is shown: as text, and as one JSON object (docs/json-exec.md).

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use invivo::access::CheckVerdict;
use invivo::exec::{
    Asked, Ending, Footprint, Manner, Method, Outcome, Plan, PlannedWrite, RemoteException,
    Request, Selection, Value, Wake, Way, Woken, ways,
};
use invivo::{Attached, Error, Result};
use serde_json::json;

use super::streams::{Collected, Streams};
use super::{Done, Source};
use crate::commands::doctor::{error_json, footprint_json, footprint_lines, way_json};
use crate::exit::Status;
use crate::show::{Output, shown};

/// What is known when a request has been carried out.
pub(super) struct Report<'a> {
    pub(super) source: &'a Source,
    pub(super) attached: &'a Attached,
    pub(super) elapsed: Duration,
    pub(super) collected: &'a Collected,
}

/// The exit code of what was done.
pub(super) fn status(done: &Done) -> Status {
    match done {
        Done::Ran(Outcome::Finished { ending, .. }) => match ending {
            Ending::Returned(_) => Status::Done,
            Ending::Exited(exit) if exit.success => Status::Done,
            Ending::Exited(_) | Ending::Raised(_) => Status::Raised,
        },
        Done::Ran(Outcome::Queued { .. }) | Done::Planned(_) => Status::Done,
    }
}

impl Report<'_> {
    pub(super) fn show(&self, done: &Done, streams: &mut Streams<'_>) {
        match done {
            Done::Planned(planned) => self.plan_text(planned, streams.output),
            Done::Ran(Outcome::Queued { plan, .. }) => {
                let text = format!("queued for thread {}", plan.tid);
                streams.output.detail(&text);
            }
            Done::Ran(Outcome::Finished { ending, .. }) => self.ending_text(ending, streams),
        }
    }

    fn ending_text(&self, ending: &Ending, streams: &mut Streams<'_>) {
        match ending {
            Ending::Returned(None) => {}
            Ending::Returned(Some(value)) => {
                streams.stdout(value.repr.as_bytes());
                let end = if value.truncated {
                    "… (truncated)\n"
                } else {
                    "\n"
                };
                streams.stdout(end.as_bytes());
            }
            Ending::Exited(exit) => {
                let code = exit.code.as_deref().unwrap_or_default();
                let text = format!("the script called sys.exit({})", shown(code));
                streams.output.detail(&text);
                if !exit.success {
                    streams.stderr(format!("SystemExit: {code}\n").as_bytes());
                }
            }
            Ending::Raised(exception) => {
                let text = self.traceback(exception);
                streams.stderr(text.as_bytes());
            }
        }
        streams.output.detail(&format!(
            "{:.1} ms in all",
            self.elapsed.as_secs_f64() * 1000.0
        ));
    }

    /// As Python prints it, with the lines of the script itself and of files that the target sees.
    fn traceback(&self, exception: &RemoteException) -> String {
        let script = self.source.text.clone();
        let mut files = self.attached.sources().with(&self.source.file, script);
        exception.render(&mut |file, line| files.line(Path::new(file), line).map(Cow::into_owned))
    }

    /// The fields of what was done, or of why it was not.
    pub(super) fn json(&self, done: &Result<Done>) -> Result<serde_json::Value> {
        Ok(match done {
            Err(error) => failed_json(error, self.collected),
            Ok(Done::Planned(planned)) => planned.json(),
            Ok(Done::Ran(Outcome::Queued { plan, asked })) => json!({
                "outcome": "queued",
                "interpreter": plan.interpreter,
                "thread": plan.tid,
                "method": asked.method.name(),
                "woken": asked.woken.map(Woken::name),
            }),
            Ok(Done::Ran(Outcome::Finished {
                plan,
                asked,
                ending,
            })) => self.ending_json(plan, asked, ending)?,
        })
    }

    fn ending_json(
        &self,
        plan: &Plan,
        asked: &Asked,
        ending: &Ending,
    ) -> Result<serde_json::Value> {
        let (mut value, mut exit, mut exception) = (None, None, None);
        let outcome = match ending {
            Ending::Returned(returned) => {
                value = returned.as_ref().map(value_json).transpose()?;
                "done"
            }
            Ending::Exited(exited) => {
                exit = Some(json!({"code": exited.code, "success": exited.success}));
                "exited"
            }
            Ending::Raised(raised) => {
                exception = Some(exception_json(raised)?);
                "raised"
            }
        };
        Ok(json!({
            "outcome": outcome,
            "interpreter": plan.interpreter,
            "thread": plan.tid,
            "method": asked.method.name(),
            "woken": asked.woken.map(Woken::name),
            "milliseconds": milliseconds(self.elapsed),
            "stdout": self.collected.stdout.text(),
            "stderr": self.collected.stderr.text(),
            "output_truncated": self.collected.truncated(),
            "value": value,
            "exit": exit,
            "exception": exception,
        }))
    }

    fn plan_text(&self, planned: &Planned, output: &mut Output) {
        let plan = &planned.plan;
        output.line(&format!(
            "CPython {} in process {}: interpreter {}, thread {} ({}), thread state {}",
            self.attached.runtime.version(),
            self.attached.target.pid(),
            plan.interpreter,
            plan.tid,
            plan.reason,
            plan.thread.address
        ));
        let way = match plan.method {
            Method::Protocol => "By the remote debugging protocol",
            Method::PendingCall => "By a pending call",
            Method::Callback => "As a callback of the thread where it waits",
        };
        output.line(&format!(
            "{way}, with all threads stopped for a moment, this would be written:"
        ));
        for write in &planned.writes {
            let at = |address| format!("at {address}, ");
            let place = write.address.map_or_else(String::new, at);
            output.line(&format!(
                "  {:<21} {place}up to {} bytes: {}",
                write.field, write.size, write.change
            ));
        }
        let [_, waiting] = &planned.ways;
        let then = match (waiting.verdict, plan.method) {
            (CheckVerdict::NotDeciding, _) => None,
            _ if planned.wake == Wake::Never => Some("it would be left alone (--wake never)"),
            (CheckVerdict::Refuses, _) => Some("it would be left alone"),
            (CheckVerdict::Unknown, _) => {
                Some("if it is CPython's own code, the script would run there")
            }
            (CheckVerdict::Allows, Method::Protocol) => Some("it would be woken, and wait on"),
            (CheckVerdict::Allows, _) => Some("it would wait on afterwards"),
        };
        if let Some(then) = then {
            output.line(&format!("{}: {then}.", shown(&waiting.fact)));
        }
        output.line(&format!(
            "The script would lie in a private directory in {} of the target's root, removed \
             afterwards.",
            shown(&planned.directory.display().to_string())
        ));
        output.line("Beside what it does itself, it may make the target");
        for line in footprint_lines(&planned.footprint) {
            output.line(&format!("  {}", shown(&line)));
        }
        output.line("Nothing was written.");
    }
}

/// What would be done.
#[derive(Debug)]
pub(super) struct Planned {
    plan: Plan,
    writes: Vec<PlannedWrite>,
    directory: PathBuf,
    ways: [Way; 2],
    footprint: Footprint,
    wake: Wake,
}

impl Planned {
    /// Looks at what would be done in the thread that `selection` names.
    pub(super) fn new(
        attached: &Attached,
        selection: Selection,
        request: &Request,
    ) -> Result<Self> {
        let (target, runtime) = (&attached.target, &attached.runtime);
        let plan = Plan::new(target, runtime, selection, request.permit)?;
        let manner = Manner {
            unattended: !request.attended,
            stops: request.stop_after.is_some(),
        };
        Ok(Self {
            writes: plan.writes(target, runtime)?,
            directory: plan.first_directory(target)?,
            ways: ways(target, runtime, selection)?,
            footprint: plan.footprint(runtime, manner),
            plan,
            wake: request.permit.wake,
        })
    }

    fn json(&self) -> serde_json::Value {
        let plan = &self.plan;
        let write = |write: &PlannedWrite| {
            let address = write.address.map(|address| address.to_string());
            json!({
                "field": write.field,
                "address": address,
                "bytes_at_most": write.size,
                "change": write.change,
            })
        };
        json!({
            "outcome": "dry-run",
            "interpreter": plan.interpreter,
            "thread": plan.tid,
            "reason": plan.reason,
            "method": plan.method.name(),
            "thread_state": plan.thread.address.to_string(),
            "directory": self.directory.display().to_string(),
            "writes": self.writes.iter().map(write).collect::<Vec<_>>(),
            "ways": self.ways.iter().map(way_json).collect::<Vec<_>>(),
            "footprint": footprint_json(&self.footprint),
        })
    }
}

/// How a thread was asked, for `--verbose`.
pub(super) fn asked_text(asked: &Asked) -> String {
    let way = match asked.method {
        Method::Protocol => "a request stands in the thread state",
        Method::PendingCall => "a pending call is queued",
        Method::Callback => "the thread is called back where it waits",
    };
    let woken = match asked.woken {
        Some(Woken::Interrupted) => "; its system call was interrupted",
        Some(Woken::PendingCall) => "; its wait for a lock was interrupted, with a pending call",
        Some(Woken::Callback) => "; it looks for the request where it waits",
        None => "",
    };
    format!("{way}{woken}")
}

/// Milliseconds with three digits behind the point.
pub(super) fn milliseconds(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1e6).round() / 1e3
}

fn value_json(value: &Value) -> Result<serde_json::Value> {
    // Checked when it came from the target; numbers keep every digit (`arbitrary_precision`).
    let json = value
        .json
        .as_deref()
        .map(serde_json::from_str::<serde_json::Value>)
        .transpose()
        .map_err(|error| Error::internal(format!("a value's JSON was not: {error}")))?;
    Ok(json!({"repr": value.repr, "truncated": value.truncated, "json": json}))
}

fn exception_json(exception: &RemoteException) -> Result<serde_json::Value> {
    serde_json::to_value(exception)
        .map_err(|error| Error::internal(format!("an exception could not be written: {error}")))
}

/// The fields where there is no result.
pub(super) fn failed_json(error: &Error, collected: &Collected) -> serde_json::Value {
    json!({
        "outcome": "failed",
        "error": error_json(error),
        "stdout": collected.stdout.text(),
        "stderr": collected.stderr.text(),
        "output_truncated": collected.truncated(),
    })
}

/// What `--json` prints: `fields` below the head that all have.
pub(super) fn document(pid: u32, fields: serde_json::Value) -> serde_json::Value {
    let mut document = json!({ "schema": 1, "pid": pid });
    extend(&mut document, fields);
    document
}

/// Adds the fields of an object to another.
pub(super) fn extend(object: &mut serde_json::Value, fields: serde_json::Value) {
    if let (Some(object), serde_json::Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
}
