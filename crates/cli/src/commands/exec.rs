mod report;

use std::fs;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args, ValueEnum};
use invivo::exec::{Cancel, Code, Event, Namespace, Plan, Request, Selection, ThreadChoice};
use invivo::{Error, ErrorKind, Result};

use crate::arguments::seconds;
use crate::exit::Status;
use crate::show::Output;
use report::{Collected, Report};

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
    let mut collected = Collected::default();
    let result = perform(&arguments, &mut collected, output);
    if let (Err(error), true) = (&result, arguments.json) {
        output.line(&report::failed_json(arguments.pid, error, &collected));
    }
    result
}

fn perform(
    arguments: &Arguments,
    collected: &mut Collected,
    output: &mut Output,
) -> Result<Status> {
    let started = Instant::now();
    let source = source(arguments)?;
    let attached = invivo::attach(arguments.pid)?;
    output.detail(&format!(
        "CPython {} with PyRuntime at {}, found by {}",
        attached.runtime.version(),
        attached.location.address,
        attached.location.method
    ));
    let request = request(arguments, &source)?;
    if arguments.dry_run {
        let plan = Plan::new(&attached.target, &attached.runtime, request.selection)?;
        return report::dry_run(&attached, &plan, arguments.json, output);
    }
    let pass_on = |event: Event<'_>| match event {
        Event::Plan(plan) => output.detail(&format!(
            "thread {} of interpreter {}: {}",
            plan.tid, plan.interpreter, plan.reason
        )),
        Event::Staged(path) => output.detail(&format!("script at {}", path.display())),
        Event::Written => output.detail("request written; waiting for a safe point"),
        Event::Began => output.detail("the script has begun"),
        Event::Stdout(bytes) if arguments.json => collected.stdout.push(&bytes),
        Event::Stderr(bytes) if arguments.json => collected.stderr.push(&bytes),
        Event::Stdout(bytes) => output.script_stdout(&bytes),
        Event::Stderr(bytes) => output.script_stderr(&bytes),
    };
    let outcome = invivo::exec::execute(&attached.target, &attached.runtime, &request, pass_on)?;
    let elapsed = started.elapsed();
    let report = Report {
        arguments,
        source: &source,
        elapsed,
        collected,
    };
    report.show(&attached, outcome, output)
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
        timeout: arguments.timeout,
        attended: !arguments.no_wait,
        wants_json: arguments.json,
        cancel: on_interrupt()?,
    })
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
