//! How the outcome of a request is shown: as text, and as one JSON object (docs/json-exec.md).

use std::path::Path;
use std::time::Duration;

use invivo::exec::{Ending, Outcome, Plan, RemoteException, Value};
use invivo::{Attached, Error, Result};
use serde_json::json;

use super::streams::{Collected, Streams};
use super::{Done, Source};
use crate::commands::doctor::error_json;
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
    pub(super) fn show(&self, done: &Done, streams: &mut Streams<'_>) -> Result<()> {
        match done {
            Done::Planned(plan) => return self.plan_text(plan, streams.output),
            Done::Ran(Outcome::Queued { plan, .. }) => {
                let text = format!("queued for thread {}", plan.tid);
                streams.output.detail(&text);
            }
            Done::Ran(Outcome::Finished { ending, .. }) => self.ending_text(ending, streams),
        }
        Ok(())
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
        let mut files = self.attached.sources();
        exception.render(&mut |file: &str| {
            if file == self.source.file {
                return Some(self.source.text.clone());
            }
            files.text(Path::new(file)).map(str::to_owned)
        })
    }

    /// The fields of what was done, or of why it was not.
    pub(super) fn json(&self, done: &Result<Done>) -> Result<serde_json::Value> {
        Ok(match done {
            Err(error) => failed_json(error, self.collected),
            Ok(Done::Planned(plan)) => self.plan_json(plan)?,
            Ok(Done::Ran(Outcome::Queued { plan, .. })) => json!({
                "outcome": "queued",
                "interpreter": plan.interpreter,
                "thread": plan.tid,
            }),
            Ok(Done::Ran(Outcome::Finished { plan, ending, .. })) => {
                self.ending_json(plan, ending)?
            }
        })
    }

    fn ending_json(&self, plan: &Plan, ending: &Ending) -> Result<serde_json::Value> {
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
            "milliseconds": milliseconds(self.elapsed),
            "stdout": self.collected.stdout.text(),
            "stderr": self.collected.stderr.text(),
            "output_truncated": self.collected.truncated(),
            "value": value,
            "exit": exit,
            "exception": exception,
        }))
    }

    fn plan_json(&self, plan: &Plan) -> Result<serde_json::Value> {
        let place = plan.first_directory(&self.attached.target)?;
        let writes: Vec<_> = plan
            .writes(&self.attached.target, &self.attached.runtime)?
            .iter()
            .map(|write| {
                json!({
                    "field": write.field,
                    "address": write.address.map(|address| address.to_string()),
                    "bytes_at_most": write.size,
                    "change": write.change,
                })
            })
            .collect();
        Ok(json!({
            "outcome": "dry-run",
            "interpreter": plan.interpreter,
            "thread": plan.tid,
            "reason": plan.reason,
            "thread_state": plan.thread.address.to_string(),
            "directory": place.display().to_string(),
            "writes": writes,
        }))
    }

    fn plan_text(&self, plan: &Plan, output: &mut Output) -> Result<()> {
        let place = plan.first_directory(&self.attached.target)?;
        output.line(&format!(
            "CPython {} in process {}: interpreter {}, thread {} ({}), thread state {}",
            self.attached.runtime.version(),
            self.attached.target.pid(),
            plan.interpreter,
            plan.tid,
            plan.reason,
            plan.thread.address
        ));
        output.line("With all threads stopped for a moment, this would be written:");
        for write in plan.writes(&self.attached.target, &self.attached.runtime)? {
            let place = write
                .address
                .map_or_else(String::new, |address| format!(" at {address},"));
            output.line(&format!(
                "  {:<21}{place} up to {} bytes: {}",
                write.field, write.size, write.change
            ));
        }
        output.line(&format!(
            "The script would lie in a private directory in {} of the target's root, removed \
             afterwards.",
            shown(&place.display().to_string())
        ));
        output.line("Nothing was written.");
        Ok(())
    }
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
pub(super) fn document(pid: u32, fields: serde_json::Value) -> String {
    let mut document = json!({ "schema": 1, "pid": pid });
    extend(&mut document, fields);
    document.to_string()
}

/// Adds the fields of an object to another.
pub(super) fn extend(object: &mut serde_json::Value, fields: serde_json::Value) {
    if let (Some(object), serde_json::Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
}
