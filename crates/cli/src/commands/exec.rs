mod report;
mod several;
mod streams;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args, ValueEnum};
use invivo::audit::{Act, Course, Log};
use invivo::exec::{
    Cancel, Code, Event, InterpreterChoice, Named, Namespace, Outcome, Permit, Request, Selection,
    ThreadChoice, Wake,
};
use invivo::{Attached, Error, ErrorKind, Result, Target, surrogate};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::arguments::seconds;
use crate::exit::Status;
use crate::show::Output;
use crate::signals::catch;
use report::{Planned, Report};
use streams::{Collected, Streams};

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
  invivo exec 4711 --thread all -e '__import__(\"threading\").get_native_id()'
  invivo exec 4711 --dry-run -e 1                     show what would be written

The exit code is 0 when it ran, 1 when it raised, 6 when the thread reached no safe point in time
(nothing is left pending then); all codes are in: invivo --help. Of several threads: 0 when it ran
in all, 1 when it raised in one, else the code of the first in which it could not run."
)]
pub(crate) struct Arguments {
    /// The process.
    #[arg(value_name = "PID")]
    pid: u32,

    /// A file with the script; `-` reads it from stdin.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// The script itself.
    #[arg(short, long, value_name = "CODE")]
    code: Option<String>,

    /// An expression: its value is printed (as `repr`; with --json also as JSON where it can be).
    #[arg(short, long = "eval", value_name = "EXPR")]
    expression: Option<String>,

    /// The thread that shall run it: a TID as `ps -T` shows it, `main`, `any` (the one that can
    /// soonest), or `all`, one after the other, each with its own result.
    #[arg(long, value_name = "TID|main|any|all", default_value = "main", value_parser = thread_choice)]
    thread: ThreadChoice,

    /// Which CPython, where the process has several: a number from `invivo doctor PID`.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    runtime: Option<u32>,

    /// The interpreter, by its id (0 is the main one), or `all`.
    #[arg(long, value_name = "ID|all", default_value = "0", value_parser = interpreter_choice)]
    interpreter: InterpreterChoice,

    /// Whether a thread that waits (asleep, for a lock, for input) may be woken: where it waits in
    /// CPython's own code, and goes on with its wait afterwards; or never.
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    wake: WakeChoice,

    /// Also run it in a process whose threads have a filter of system calls (seccomp): you know that
    /// it allows what a script calls (`--dry-run` lists it), or does not kill.
    #[arg(long)]
    accept_seccomp: bool,

    /// How long to wait for it to begin and end, and for its output to be read, in each thread.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,

    /// End the script when it has run for so long, by a KeyboardInterrupt at the next line of its own
    /// code (not while it waits inside a call). The program's own code is not touched.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    stop_after: Option<Duration>,

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

    /// Record the act in this file, by two lines of JSON: before anything is done, and what came
    /// of it (docs/audit.md). Where that can't be written, nothing is run.
    #[arg(
        long,
        value_name = "FILE",
        env = "INVIVO_AUDIT_LOG",
        hide_env_values = true
    )]
    audit_log: Option<PathBuf>,

    /// Print one JSON object instead (docs/json-exec.md).
    #[arg(long)]
    json: bool,

    /// `sys.argv[1:]` of the script.
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

/// `--wake`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum WakeChoice {
    /// Where that is safe.
    #[default]
    Auto,
    /// Not at all: it begins when the thread runs Python by itself.
    Never,
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
        "any" => Ok(ThreadChoice::Any),
        "all" => Ok(ThreadChoice::All),
        tid => tid
            .parse()
            .map(ThreadChoice::Tid)
            .map_err(|_| "neither a thread's number nor `main`, `any` or `all`".to_owned()),
    }
}

fn interpreter_choice(text: &str) -> Result<InterpreterChoice, String> {
    match text {
        "all" => Ok(InterpreterChoice::All),
        id => id
            .parse()
            .map(InterpreterChoice::Id)
            .map_err(|_| "neither an interpreter's id nor `all`".to_owned()),
    }
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
    let began = Instant::now();
    let failed = |error: Error, output: &mut Output| {
        if arguments.json {
            let fields = report::failed_json(&error, &Collected::default());
            output.document(&report::document(arguments.pid, fields));
        }
        error
    };
    let prepared = prepare(&arguments);
    let (source, request, log) = prepared.map_err(|error| failed(error, output))?;
    let target = Target::open(arguments.pid);
    let mut act = None;
    if let Some(log) = &log {
        let begun = log.begin(
            arguments.pid,
            arguments.runtime,
            target.as_ref().ok(),
            &request,
        );
        act = Some(begun.map_err(|error| failed(error, output))?);
    }
    let job = target.and_then(|target| Job::new(&arguments, began, &source, &request, target));
    let result = match job {
        Ok(job) => job.run(&mut act, output),
        Err(error) => Err(failed(error, output)),
    };
    let Some(act) = act else { return result };
    // What came of it is what whoever started us is told.
    let result = result.and_then(|status| output.ensure_written().map(|()| status));
    let status = result
        .as_ref()
        .map_or_else(|error| error.kind.into(), |status| *status);
    match (act.end(status as u8, result.as_ref().err()), &result) {
        (Ok(()), _) => result,
        (Err(unrecorded), Ok(_)) => Err(unrecorded),
        (Err(unrecorded), Err(error)) => {
            output.error(error);
            Err(unrecorded)
        }
    }
}

/// What can be known before the process is looked at: the script, the request, and the log that
/// both go to.
fn prepare(arguments: &Arguments) -> Result<(Source, Request, Option<Log>)> {
    let source = source(arguments)?;
    let request = request(arguments, &source)?;
    let log = arguments.audit_log.as_deref();
    // Looking is no act.
    let log = log.filter(|_| !arguments.dry_run).map(Log::open);
    Ok((source, request, log.transpose()?))
}

/// A script and where it shall run.
struct Job<'a> {
    arguments: &'a Arguments,
    began: Instant,
    source: &'a Source,
    request: &'a Request,
    attached: Attached,
    /// The threads, where each of several was asked for.
    named: Option<Vec<Named>>,
}

/// How long what remains to be said may wait for its reader when the time of the script is up.
const FOR_THE_REST: Duration = Duration::from_millis(500);

/// What was done.
enum Done {
    /// Only what would be done was looked at.
    Planned(Planned),
    /// It was run, or left to be run.
    Ran(Outcome),
}

impl<'a> Job<'a> {
    fn new(
        arguments: &'a Arguments,
        began: Instant,
        source: &'a Source,
        request: &'a Request,
        target: Target,
    ) -> Result<Self> {
        let attached = invivo::attach_to(target, arguments.runtime)?;
        attached.runtimes.ensure_named(arguments.pid)?;
        let selection = request.selection;
        let named = selection
            .is_several()
            .then(|| selection.each(&attached.target, &attached.runtime))
            .transpose()?;
        Ok(Self {
            arguments,
            began,
            source,
            request,
            attached,
            named,
        })
    }

    fn run(&self, act: &mut Option<Act<'_>>, output: &mut Output) -> Result<Status> {
        output.detail(&format!(
            "CPython {} with PyRuntime at {}, found by {}",
            self.attached.runtime.version(),
            self.attached.location.address,
            self.attached.location.method
        ));
        match &self.named {
            Some(named) => several::run(self, named, act, output),
            None => self.run_one(act, output),
        }
    }

    /// Runs it in the thread that was asked for.
    fn run_one(&self, act: &mut Option<Act<'_>>, output: &mut Output) -> Result<Status> {
        let mut streams = Streams::new(output, self.arguments.json);
        let done = self.carry_out(self.request.selection, act, &mut streams);
        let collected = std::mem::take(&mut streams.collected);
        let report = self.report(self.began, &collected);
        if self.arguments.json {
            let fields = report.json(&done)?;
            output.document(&report::document(self.arguments.pid, fields));
        } else if let Ok(done) = &done {
            report.show(done, &mut streams);
        }
        done.map(|done| report::status(&done))
    }

    /// Runs it in one thread.
    fn carry_out(
        &self,
        selection: Selection,
        act: &mut Option<Act<'_>>,
        streams: &mut Streams<'_>,
    ) -> Result<Done> {
        let Attached {
            target, runtime, ..
        } = &self.attached;
        if self.arguments.dry_run {
            if self.request.attended {
                target.ensure_not_stopped()?;
            }
            return self.plan(selection).map(Done::Planned);
        }
        let request = Request {
            selection,
            ..self.request.clone()
        };
        let (began, mut course) = (Instant::now(), Course::default());
        let until = began + request.timeout + FOR_THE_REST;
        streams.output.wait_until(until, request.cancel.clone());
        let outcome = invivo::exec::execute(target, runtime, &request, |event| {
            course.note(&event);
            pass_on(event, streams);
        });
        if let Some(act) = act {
            act.ran(selection, &course, &outcome, began.elapsed());
        }
        outcome.map(Done::Ran)
    }

    /// Looks at what would be done; where any thread will do, at another one when that has ended.
    fn plan(&self, selection: Selection) -> Result<Planned> {
        let until = self.began + self.request.timeout;
        loop {
            match Planned::new(&self.attached, selection, self.request) {
                Err(error)
                    if error.kind == ErrorKind::Gone
                        && selection.thread == ThreadChoice::Any
                        && self.attached.target.ensure_alive().is_ok()
                        && Instant::now() < until
                        && !self.request.cancel.is_set() => {}
                planned => return planned,
            }
        }
    }

    fn report<'r>(&'r self, since: Instant, collected: &'r Collected) -> Report<'r> {
        Report {
            source: self.source,
            attached: &self.attached,
            elapsed: since.elapsed(),
            collected,
        }
    }
}

fn pass_on(event: Event<'_>, streams: &mut Streams<'_>) {
    let detail = match event {
        Event::Stdout(bytes) => return streams.stdout(&bytes),
        Event::Stderr(bytes) => return streams.stderr(&bytes),
        Event::Plan(plan) => format!(
            "thread {} of interpreter {}: {}",
            plan.tid, plan.interpreter, plan.reason
        ),
        Event::Staged(path) => format!("script at {}", path.display()),
        Event::Asked(asked) => report::asked_text(&asked),
        Event::Woken(asked) => format!("it went to sleep: {}", report::asked_text(&asked)),
        Event::Began => "the script has begun".to_owned(),
    };
    streams.output.detail(&detail);
}

fn request(arguments: &Arguments, source: &Source) -> Result<Request> {
    let argv = std::iter::once(&source.name).chain(&arguments.arguments);
    let (text, name) = (source.text.clone(), source.file.clone());
    Ok(Request {
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
        permit: Permit {
            wake: match arguments.wake {
                WakeChoice::Auto => Wake::Auto,
                WakeChoice::Never => Wake::Never,
            },
            filtered: arguments.accept_seccomp,
        },
        timeout: arguments.timeout,
        attended: !arguments.no_wait,
        wants_json: arguments.json,
        stop_after: arguments.stop_after,
        cancel: on_interrupt()?,
    })
}

/// Ctrl-C and SIGTERM end the waiting, so that the request is withdrawn; the second of them ends
/// Invivo at once.
fn on_interrupt() -> Result<Cancel> {
    catch(|| {
        let cancel = Cancel::default();
        for signal in [SIGINT, SIGTERM] {
            let status = Status::Interrupted as i32;
            // In this order: the first signal sets the flag that the second one looks at.
            flag::register_conditional_shutdown(signal, status, Arc::clone(&cancel.0))?;
            flag::register(signal, Arc::clone(&cancel.0))?;
        }
        Ok(cancel)
    })
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
    let decoded = |path: &Path| surrogate::decode(path.as_os_str().as_encoded_bytes());
    let (text, file) = if path == Path::new("-") {
        let mut text = Vec::new();
        let read = std::io::stdin().read_to_end(&mut text);
        (read.map(|_| text), "<stdin>".to_owned())
    } else {
        let full = fs::canonicalize(path);
        (fs::read(path), decoded(full.as_deref().unwrap_or(path)))
    };
    let text = text.map_err(|error| unreadable(path, &error.to_string()))?;
    let text = String::from_utf8(text).map_err(|error| unreadable(path, &error.to_string()))?;
    Ok(Source {
        evaluate: false,
        text,
        file,
        name: decoded(path),
    })
}

fn unreadable(path: &Path, why: &str) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("the script could not be read from {}", path.display()),
        why,
        "name a readable file in UTF-8, or pass the code itself with -c",
    )
}
