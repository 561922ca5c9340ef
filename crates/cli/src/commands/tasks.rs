mod json;
mod text;

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use invivo::{Result, TaskDump};

use super::doctor::error_json;
use crate::arguments::seconds;
use crate::exit::Status;
use crate::show::Output;

/// List the asyncio tasks of a live process: where each is, and what it waits for.
///
/// The process is neither stopped nor changed. Tasks of every thread and interpreter are there,
/// those of Python's own task class and those of others.
#[derive(Debug, Args)]
#[command(after_help = "\
Columns:
  TASK        its name
  STATE       running, waiting, created (not begun), done
  THREAD      the thread of its event loop: a TID as `ps -T` shows it (above, where all have one)
  COROUTINE   the coroutines it is in, innermost first
  WAITS FOR   a task by name, anything else by its class
  AWAITED BY  the tasks that wait for it

With --tree: the tasks that nobody waits for, and below each what it waits for, with files and lines.

Examples:
  invivo tasks 4711
  invivo tasks 4711 --tree
  invivo tasks 4711 --json | jq -r '.tasks[] | select(.state == \"waiting\") | .name'

The exit code is 6 where not all could be read in time: what there is has been shown.")]
pub(crate) struct Arguments {
    /// The process.
    #[arg(value_name = "PID")]
    pid: u32,

    /// Show who waits for whom, as trees.
    #[arg(long)]
    tree: bool,

    /// Only the tasks of this thread's event loop: a TID as `ps -T` shows it.
    #[arg(long, value_name = "TID")]
    thread: Option<u32>,

    /// Which CPython, where the process has several: a number from `invivo doctor PID`.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    runtime: Option<u32>,

    /// How long to read at most.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    timeout: Duration,

    /// Print one JSON object instead (docs/json-tasks.md).
    #[arg(long, conflicts_with = "tree")]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<Status> {
    let result = perform(arguments, output);
    if let (Err(error), true) = (&result, arguments.json) {
        let report = serde_json::json!({
            "schema": 1,
            "pid": arguments.pid,
            "error": error_json(error),
        });
        output.document(&report);
    }
    result
}

fn perform(arguments: &Arguments, output: &mut Output) -> Result<Status> {
    let attached = invivo::attach_to_runtime(arguments.pid, arguments.runtime)?;
    if let Some(note) = attached.runtimes.unnamed(arguments.pid) {
        output.note(&note);
    }
    let dump: TaskDump = attached.tasks(arguments.thread, arguments.timeout)?;
    output.detail(&format!(
        "read in {:.2} ms",
        dump.elapsed.as_secs_f64() * 1000.0
    ));
    if arguments.json {
        let mut sources = attached.sources();
        let mut line =
            |file: &str, number| sources.line(Path::new(file), number).map(Cow::into_owned);
        output.document(&json::TasksJson::new(&dump, &mut line));
    } else {
        let page = text::Page {
            dump: &dump,
            columns: output.columns(),
            output,
        };
        let text = if arguments.tree {
            page.tree()
        } else {
            page.table()
        };
        output.text(&text);
    }
    output.silence(arguments.pid, attached.target.memory().silent_mapping());
    match &dump.incomplete {
        None => Ok(Status::Done),
        Some(error) => {
            output.error(error);
            Ok(error.kind.into())
        }
    }
}
