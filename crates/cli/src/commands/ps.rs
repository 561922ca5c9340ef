use clap::Args;
use invivo::access::Verdict;
use invivo::{Build, FoundInterpreter, Halt, PythonProcess, Result, python_processes, surrogate};
use serde_json::{Value, json};

use super::doctor::check_json;
use crate::exit::Status;
use crate::show::{Output, Table, halt_json, shown_bytes};

/// List the Python processes here: version, build, and whether one could attach.
///
/// Every process is looked at, whatever its name, since any program may hold a Python. One that
/// may not be looked into is listed if its name begins like Python's.
#[derive(Debug, Args)]
#[command(after_help = "\
Columns:
  VERSION  of CPython, as precisely as it can be told; of another Python, its name as well
  BUILD    release, debug, free-threaded
  REMOTE   whether it takes requests to run something; - where it can't be told or asked
  ATTACH   whether the operating system lets you; `invivo doctor PID` has the details.
           unsupported: a Python that Invivo does not look into; stopped: by a signal
  WHERE    the file that holds the interpreter
A process with several CPythons has a line for each.

Examples:
  invivo ps
  invivo ps --json | jq '.processes[] | select(.access == \"allowed\") | .pid'")]
pub(crate) struct Arguments {
    /// Print one JSON object instead (docs/json-ps.md).
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<Status> {
    let processes = python_processes()?;
    for process in &processes {
        output.silence(process.pid, process.silent_mapping.clone());
    }
    if arguments.json {
        let processes: Vec<Value> = processes.iter().map(process_json).collect();
        output.document(&json!({ "schema": 1, "processes": processes }));
        return Ok(Status::Done);
    }
    let columns = output.columns();
    let mut table = Table::new(&[
        "PID", "USER", "VERSION", "BUILD", "REMOTE", "ATTACH", "WHERE", "COMMAND",
    ]);
    for process in &processes {
        table.row(row(process, process.interpreter.as_ref(), columns));
        for other in &process.other_interpreters {
            table.row(row(process, Some(other), columns));
        }
    }
    output.line(&table.lines(columns).join("\n"));
    for process in &processes {
        let others = process.other_interpreters.len();
        if others > 0 {
            output.note(&format!(
                "process {pid} has {} CPythons, numbered in this order from 1: choose one with \
                 --runtime NUMBER; invivo doctor {pid} has the details",
                others + 1,
                pid = process.pid,
            ));
        }
        if let Some(halt) = stop(process) {
            let remedy = halt.remedy(process.pid);
            output.note(&format!("process {} is {halt}: {remedy}", process.pid));
        }
    }
    if processes.is_empty() {
        output.diagnostic("No Python process is to be seen here.\n");
    }
    Ok(Status::Done)
}

fn row(
    process: &PythonProcess,
    interpreter: Option<&FoundInterpreter>,
    columns: Option<usize>,
) -> Vec<String> {
    let version = interpreter.and_then(|found| found.version);
    let remote = interpreter.and_then(|found| found.remote_debugging);
    let place = interpreter.map(|found| shown_bytes(&found.module));
    let command: Vec<String> = process
        .command
        .iter()
        .map(|word| shown_bytes(word.as_encoded_bytes()))
        .collect();
    vec![
        process.pid.to_string(),
        user(process),
        match (version, &process.unsupported) {
            (Some(version), _) => version.to_string(),
            // CPython is what is meant where nothing is said.
            (None, Some(name)) => {
                shown_bytes(name.strip_prefix("CPython ").unwrap_or(name).as_bytes())
            }
            (None, None) => "unknown".to_owned(),
        },
        interpreter
            .map_or("?", |found| build(found.build))
            .to_owned(),
        remote
            .map_or("-", |on| if on { "on" } else { "off" })
            .to_owned(),
        attach(process)
            + if stop(process).is_some() {
                ", stopped"
            } else {
                ""
            },
        place.map_or_else(|| "?".to_owned(), |place| shortened(place, columns)),
        command.join(" "),
    ]
}

/// The signal that has stopped it. A tracer is the rule that refuses then, and may hold it for a
/// moment only.
fn stop(process: &PythonProcess) -> Option<Halt> {
    process.halt.filter(|halt| matches!(halt, Halt::Signal(_)))
}

fn user(process: &PythonProcess) -> String {
    match (&process.user, process.uid) {
        (Some(name), _) => shown_bytes(name.as_bytes()),
        (None, Some(uid)) => uid.to_string(),
        (None, None) => "?".to_owned(),
    }
}

/// What a build is, in a word or two.
pub(crate) fn build(build: Build) -> &'static str {
    match (build.debug, build.free_threaded) {
        (Some(true), Some(true)) => "debug, free-threaded",
        (Some(true), _) => "debug",
        (_, Some(true)) => "free-threaded",
        (Some(false), _) => "release",
        (None, _) => "?",
    }
}

fn attach(process: &PythonProcess) -> String {
    let rule = process
        .refused_by
        .as_ref()
        .map_or("?", |check| check.rule.label());
    match process.access {
        Verdict::Allowed if process.unsupported.is_some() => "unsupported".to_owned(),
        Verdict::Allowed => "yes".to_owned(),
        Verdict::LookOnly => format!("look only: {rule}"),
        Verdict::Refused => format!("refused: {rule}"),
    }
}

/// A path for a terminal: its end tells more than its beginning, and the command wants room too.
fn shortened(path: String, columns: Option<usize>) -> String {
    let Some(room) = columns.map(|columns| (columns / 4).max(16)) else {
        return path;
    };
    let length = path.chars().count();
    if length <= room {
        return path;
    }
    let end: String = path.chars().skip(length + 1 - room).collect();
    format!("…{end}")
}

fn process_json(process: &PythonProcess) -> Value {
    let text = surrogate::decode;
    let interpreter_json = |found: &FoundInterpreter| {
        json!({
            "version": found.version.map(|version| version.to_string()),
            "debug": found.build.debug,
            "free_threaded": found.build.free_threaded,
            "where": text(&found.module),
            "remote_debugging": found.remote_debugging,
        })
    };
    let interpreter = process.interpreter.as_ref().map(interpreter_json);
    let others: Vec<Value> = process
        .other_interpreters
        .iter()
        .map(interpreter_json)
        .collect();
    let command: Vec<String> = process
        .command
        .iter()
        .map(|word| text(word.as_encoded_bytes()))
        .collect();
    json!({
        "pid": process.pid,
        "uid": process.uid,
        "user": process.user,
        "command": command,
        "interpreter": interpreter,
        "other_interpreters": others,
        "stopped": halt_json(process.halt),
        "unsupported": process.unsupported,
        "access": process.access.name(),
        "refused_by": process.refused_by.as_ref().map(check_json),
    })
}
