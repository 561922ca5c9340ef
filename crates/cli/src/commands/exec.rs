use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args, ValueEnum};
use invivo::exec::{
    Cancel, Code, Ending, Event, Namespace, Outcome, Plan, RemoteException, Request, Selection,
    ThreadChoice, Value,
};
use invivo::{Attached, Error, ErrorKind, Result};
use serde_json::json;

use crate::exit::Status;
use crate::show::{Output, shown};

/// Run a script or an expression inside a live process, and bring back what it prints, its value
/// and its errors.
///
/// It runs in the thread you choose, between two bytecodes of what that thread does anyway, in a
/// namespace of its own. The program goes on afterwards as if nothing had been.
#[derive(Debug, Args)]
#[command(
    override_usage = "invivo exec [OPTIONS] PID (FILE | -c CODE | -e EXPR | -) [-- ARGS...]",
    group(ArgGroup::new("source").required(true).args(["file", "code", "expression"])),
    after_help = "\
Examples:
  invivo exec 4711 -e '__import__(\"threading\").active_count()'
  invivo exec 4711 -c 'import sys; print(sys.path)'
  invivo exec 4711 report.py -- --full /tmp/out
  invivo exec 4711 --namespace main -e 'len(cache)'   a global of the program
  invivo exec 4711 --dry-run -e 1                     show what would be written

The exit code is 0 when it ran, 1 when it raised, 6 when the thread reached no safe point in time
(nothing is left pending then); all codes are in: invivo --help"
)]
pub(crate) struct Arguments {
    /// The process.
    #[arg(value_name = "PID")]
    pid: u32,

    /// A file with the script; `-` reads it from stdin.
    #[arg(value_name = "FILE")]
    file: Option<String>,

    /// The script itself.
    #[arg(short, long, value_name = "CODE")]
    code: Option<String>,

    /// An expression: its value is printed (as `repr`; with --json also as JSON where it can be).
    #[arg(short, long = "eval", value_name = "EXPR")]
    expression: Option<String>,

    /// The thread that shall run it: a TID as `ps -T` shows it, or `main`.
    #[arg(long, value_name = "TID|main", default_value = "main", value_parser = thread_choice)]
    thread: ThreadChoice,

    /// The interpreter, by its id; 0 is the main one.
    #[arg(long, value_name = "ID", default_value_t = 0)]
    interpreter: i64,

    /// How long to wait for it to begin and end.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,

    /// Don't wait: leave the request in the target, and forget its output. It does nothing if it
    /// has not begun when the timeout has passed.
    #[arg(long)]
    no_wait: bool,

    /// Where its names live: a namespace of its own, or that of the program's `__main__`.
    #[arg(long, value_enum, default_value_t)]
    namespace: NamespaceChoice,

    /// Show which thread would run it and what would be written where, and write nothing.
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON object instead (docs/json-exec.md).
    #[arg(long)]
    json: bool,

    /// `sys.argv[1:]` of the script.
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

/// `--namespace`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum NamespaceChoice {
    /// A new one, gone afterwards.
    #[default]
    Fresh,
    /// The globals of `__main__`.
    Main,
}

fn thread_choice(text: &str) -> Result<ThreadChoice, String> {
    match text {
        "main" => Ok(ThreadChoice::Main),
        tid => tid
            .parse()
            .map(ThreadChoice::Tid)
            .map_err(|_| "neither a thread's number nor `main`".to_owned()),
    }
}

/// A day: longer waits are a mistake, and the arithmetic on deadlines stays far from its limits.
const TIMEOUT_MAX: f64 = 86_400.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.001..=TIMEOUT_MAX).contains(&number) {
        return Err(format!("not between 0.001 and {TIMEOUT_MAX} seconds"));
    }
    Ok(Duration::from_secs_f64(number))
}

/// The script as it was given.
struct Source {
    evaluate: bool,
    text: String,
    /// The file name that tracebacks show.
    file: String,
    /// `sys.argv[0]`.
    name: String,
}

pub(crate) fn run(arguments: Arguments, output: &mut Output) -> Result<Status> {
    let started = Instant::now();
    let source = source(&arguments)?;
    let attached = invivo::attach(arguments.pid)?;
    output.detail(&format!(
        "CPython {} with PyRuntime at {}, found by {}",
        attached.runtime.version(),
        attached.location.address,
        attached.location.method
    ));
    let argv = std::iter::once(&source.name).chain(&arguments.arguments);
    let (text, name) = (source.text.clone(), source.file.clone());
    let request = Request {
        code: if source.evaluate {
            Code::Evaluate { source: text, name }
        } else {
            Code::Execute { source: text, name }
        },
        arguments: argv.cloned().collect(),
        namespace: match arguments.namespace {
            NamespaceChoice::Fresh => Namespace::Fresh,
            NamespaceChoice::Main => Namespace::Main,
        },
        selection: Selection {
            interpreter: arguments.interpreter,
            thread: arguments.thread,
        },
        timeout: arguments.timeout,
        attended: !arguments.no_wait,
        cancel: on_interrupt()?,
    };
    if arguments.dry_run {
        return dry_run(&attached, &request, arguments.json, output);
    }
    let mut collected = Collected::default();
    let result =
        invivo::exec::execute(
            &attached.target,
            &attached.runtime,
            &request,
            |event| match event {
                Event::Plan(plan) => output.detail(&format!(
                    "thread {} of interpreter {}: {}",
                    plan.tid, plan.interpreter, plan.reason
                )),
                Event::Staged(path) => output.detail(&format!("script at {}", path.display())),
                Event::Written => output.detail("request written; waiting for a safe point"),
                Event::Began => output.detail("the script has begun"),
                Event::Stdout(bytes) if arguments.json => collected.stdout(&bytes),
                Event::Stderr(bytes) if arguments.json => collected.stderr(&bytes),
                Event::Stdout(bytes) => output.script_stdout(&bytes),
                Event::Stderr(bytes) => output.script_stderr(&bytes),
            },
        );
    let elapsed = started.elapsed();
    match result {
        Ok(outcome) => {
            let report = Report {
                arguments: &arguments,
                source: &source,
                elapsed,
                collected,
            };
            report.show(&attached, outcome, output)
        }
        Err(error) if arguments.json => {
            let report = json!({
                "schema": 1,
                "pid": arguments.pid,
                "outcome": "failed",
                "error": error_json(&error),
                "stdout": collected.stdout.text(),
                "stderr": collected.stderr.text(),
                "output_truncated": collected.truncated(),
            });
            output.line(&report.to_string());
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// Ctrl-C and SIGTERM end the waiting, so that the request is withdrawn; the second of them ends
/// Invivo at once.
fn on_interrupt() -> Result<Cancel> {
    let cancel = Cancel::default();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let status = Status::Interrupted as i32;
        // In this order: the first signal sets the flag that the second one looks at.
        signal_hook::flag::register_conditional_shutdown(signal, status, Arc::clone(&cancel.0))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&cancel.0)))
            .map_err(|error| Error::internal(format!("signals can't be handled: {error}")))?;
    }
    Ok(cancel)
}

fn source(arguments: &Arguments) -> Result<Source> {
    let typed = |evaluate, text: &String| Source {
        evaluate,
        text: text.clone(),
        file: "<invivo>".to_owned(),
        name: "-c".to_owned(),
    };
    if let Some(text) = &arguments.code {
        return Ok(typed(false, text));
    }
    if let Some(text) = &arguments.expression {
        return Ok(typed(true, text));
    }
    let Some(path) = arguments.file.as_deref() else {
        return Err(Error::internal(
            "no source was given, and the command line let it pass",
        ));
    };
    let (text, file) = if path == "-" {
        let mut text = Vec::new();
        let read = std::io::stdin().read_to_end(&mut text);
        (read.map(|_| text), "<stdin>".to_owned())
    } else {
        let full = fs::canonicalize(path);
        let full = full.map_or_else(|_| path.to_owned(), |full| full.to_string_lossy().into());
        (fs::read(path), full)
    };
    let text = text.map_err(|error| unreadable(path, &error.to_string()))?;
    let text = String::from_utf8(text).map_err(|error| unreadable(path, &error.to_string()))?;
    Ok(Source {
        evaluate: false,
        text,
        file,
        name: path.to_owned(),
    })
}

fn unreadable(path: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("the script could not be read from {path}"),
        why,
        "name a readable file in UTF-8, or pass the code itself with -c",
    )
}

fn dry_run(
    attached: &Attached,
    request: &Request,
    json: bool,
    output: &mut Output,
) -> Result<Status> {
    let plan = Plan::new(&attached.target, &attached.runtime, request.selection)?;
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

/// What a script printed, kept for JSON: up to a bound that is said when it is reached.
#[derive(Debug, Default)]
struct Collected {
    stdout: Kept,
    stderr: Kept,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Kept {
    const MAX: usize = 64 << 20;

    fn push(&mut self, bytes: &[u8]) {
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
    fn stdout(&mut self, bytes: &[u8]) {
        self.stdout.push(bytes);
    }

    fn stderr(&mut self, bytes: &[u8]) {
        self.stderr.push(bytes);
    }

    fn truncated(&self) -> bool {
        self.stdout.truncated || self.stderr.truncated
    }
}

struct Report<'a> {
    arguments: &'a Arguments,
    source: &'a Source,
    elapsed: Duration,
    collected: Collected,
}

impl Report<'_> {
    fn show(self, attached: &Attached, outcome: Outcome, output: &mut Output) -> Result<Status> {
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
            files.text(Path::new(file))
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

fn error_json(error: &Error) -> serde_json::Value {
    json!({
        "kind": format!("{:?}", error.kind),
        "what": error.what,
        "why": error.why,
        "try": error.remedy,
    })
}
