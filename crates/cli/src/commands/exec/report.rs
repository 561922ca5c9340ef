//! How the outcome of a request is shown: as text, and as one JSON object (docs/json-exec.md).

use std::path::Path;
use std::time::Duration;

use invivo::exec::{Ending, Outcome, Plan, RemoteException, Value};
use invivo::{Attached, Error, Result};
use serde_json::json;

use super::{Arguments, Source};
use crate::exit::Status;
use crate::show::{Output, shown};

/// What a script printed, kept for JSON: up to a bound that is said when it is reached.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) stdout: Kept,
    pub(super) stderr: Kept,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Kept {
    const MAX: usize = 64 << 20;

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = Self::MAX - self.bytes.len();
        self.truncated |= bytes.len() > room;
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Collected {
    fn truncated(&self) -> bool {
        self.stdout.truncated || self.stderr.truncated
    }
}

/// What is known when a request has been carried out.
pub(super) struct Report<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) source: &'a Source,
    pub(super) elapsed: Duration,
    pub(super) collected: &'a Collected,
}

impl Report<'_> {
    pub(super) fn show(
        &self,
        attached: &Attached,
        outcome: Outcome,
        output: &mut Output,
    ) -> Result<Status> {
        match outcome {
            Outcome::Queued { plan } if self.arguments.json => {
                let report = json!({
                    "schema": 1,
                    "pid": self.arguments.pid,
                    "outcome": "queued",
                    "interpreter": plan.interpreter,
                    "thread": plan.tid,
                });
                output.line(&report.to_string());
                Ok(Status::Done)
            }
            Outcome::Queued { plan } => {
                output.detail(&format!("queued for thread {}", plan.tid));
                Ok(Status::Done)
            }
            Outcome::Finished { plan, ending } => {
                let status = match &ending {
                    Ending::Returned(_) => Status::Done,
                    Ending::Exited(exit) if exit.success => Status::Done,
                    Ending::Exited(_) | Ending::Raised(_) => Status::Raised,
                };
                if self.arguments.json {
                    output.line(&self.finished_json(&plan, &ending)?);
                } else {
                    self.finished_text(attached, &ending, output);
                }
                Ok(status)
            }
        }
    }

    fn finished_text(&self, attached: &Attached, ending: &Ending, output: &mut Output) {
        match ending {
            Ending::Returned(None) => {}
            Ending::Returned(Some(value)) => {
                output.script_stdout(value.repr.as_bytes());
                output.script_stdout(
                    if value.truncated {
                        "… (truncated)\n"
                    } else {
                        "\n"
                    }
                    .as_bytes(),
                );
            }
            Ending::Exited(exit) => {
                let code = exit.code.as_deref().unwrap_or_default();
                output.detail(&format!("the script called sys.exit({})", shown(code)));
                if !exit.success {
                    output.script_stderr(format!("SystemExit: {code}\n").as_bytes());
                }
            }
            Ending::Raised(exception) => {
                let text = self.traceback(attached, exception);
                output.script_stderr(text.as_bytes());
            }
        }
        output.detail(&format!(
            "{:.1} ms in all",
            self.elapsed.as_secs_f64() * 1000.0
        ));
    }

    /// As Python prints it, with the lines of the script itself and of files that the target sees.
    fn traceback(&self, attached: &Attached, exception: &RemoteException) -> String {
        let mut files = attached.sources();
        exception.render(&mut |file: &str| {
            if file == self.source.file {
                return Some(self.source.text.clone());
            }
            files.text(Path::new(file)).map(str::to_owned)
        })
    }

    fn finished_json(&self, plan: &Plan, ending: &Ending) -> Result<String> {
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
        let report = json!({
            "schema": 1,
            "pid": self.arguments.pid,
            "outcome": outcome,
            "interpreter": plan.interpreter,
            "thread": plan.tid,
            "milliseconds": (self.elapsed.as_secs_f64() * 1e6).round() / 1e3,
            "stdout": self.collected.stdout.text(),
            "stderr": self.collected.stderr.text(),
            "output_truncated": self.collected.truncated(),
            "value": value,
            "exit": exit,
            "exception": exception,
        });
        Ok(report.to_string())
    }
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

/// What `--json` prints where there is no result.
pub(super) fn failed_json(pid: u32, error: &Error, collected: &Collected) -> String {
    json!({
        "schema": 1,
        "pid": pid,
        "outcome": "failed",
        "error": error_json(error),
        "stdout": collected.stdout.text(),
        "stderr": collected.stderr.text(),
        "output_truncated": collected.truncated(),
    })
    .to_string()
}

fn error_json(error: &Error) -> serde_json::Value {
    json!({
        "kind": format!("{:?}", error.kind),
        "what": error.what,
        "why": error.why,
        "try": error.remedy,
    })
}

/// What `--dry-run` shows.
pub(super) fn dry_run(
    attached: &Attached,
    plan: &Plan,
    json: bool,
    output: &mut Output,
) -> Result<Status> {
    let place = plan.first_directory(&attached.target)?;
    if json {
        let writes: Vec<_> = plan
            .writes()
            .iter()
            .map(|write| {
                json!({
                    "field": write.field,
                    "address": write.address.to_string(),
                    "bytes_at_most": write.size,
                    "change": write.change,
                })
            })
            .collect();
        let report = json!({
            "schema": 1,
            "pid": attached.target.pid(),
            "outcome": "dry-run",
            "interpreter": plan.interpreter,
            "thread": plan.tid,
            "reason": plan.reason,
            "thread_state": plan.thread.address.to_string(),
            "directory": place.display().to_string(),
            "writes": writes,
        });
        output.line(&report.to_string());
        return Ok(Status::Done);
    }
    output.line(&format!(
        "CPython {} in process {}: interpreter {}, thread {} ({}), thread state {}",
        attached.runtime.version(),
        attached.target.pid(),
        plan.interpreter,
        plan.tid,
        plan.reason,
        plan.thread.address
    ));
    output.line("With all threads stopped for a moment, this would be written:");
    for write in plan.writes() {
        output.line(&format!(
            "  {:<21} at {}, up to {} bytes: {}",
            write.field, write.address, write.size, write.change
        ));
    }
    output.line(&format!(
        "The script would lie in a private directory in {} of the target's root, removed afterwards.",
        shown(&place.display().to_string())
    ));
    output.line("Nothing was written.");
    Ok(Status::Done)
}
