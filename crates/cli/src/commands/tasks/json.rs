//! Tasks as one JSON object (docs/json-tasks.md).

use invivo::{Address, Links, Task, TaskDump, TaskState};
use serde::Serialize;
use serde_json::Value as Json;

use crate::commands::doctor::error_json;
use crate::commands::dump::json::{
    At, DefectJson, FrameJson, GreenletsJson, LineOf, SubjectJson, frames, milliseconds, text,
};

#[derive(Serialize)]
pub(super) struct TasksJson<'a> {
    #[serde(flatten)]
    subject: SubjectJson<'a>,
    milliseconds: f64,
    read_from: &'static str,
    links: &'static str,
    tasks: Vec<TaskJson<'a>>,
    futures: Vec<FutureJson>,
    greenlets: Vec<OwnGreenletsJson<'a>>,
    defects: Vec<DefectJson<'a>>,
    incomplete: Option<Json>,
}

impl<'a> TasksJson<'a> {
    pub(super) fn new(dump: &'a TaskDump, line: &mut LineOf<'_>) -> Self {
        let tasks = &dump.tasks;
        let list = tasks.list.iter();
        let future = |(address, waiters): &(Address, Vec<Address>)| FutureJson {
            address: At(*address),
            awaited_by: addresses(waiters),
        };
        let tasks_json = list.map(|one| TaskJson::new(dump, one, line)).collect();
        let greenlets = dump
            .greenlets
            .iter()
            .map(|(interpreter, found)| OwnGreenletsJson {
                interpreter: *interpreter,
                greenlets: GreenletsJson::new(found, &[], line),
            });
        Self {
            subject: SubjectJson::new(&dump.subject),
            milliseconds: milliseconds(dump.elapsed),
            read_from: dump.read_from.name(),
            links: match tasks.links {
                Links::Recorded => "recorded",
                Links::Computed => "computed",
            },
            tasks: tasks_json,
            futures: tasks.futures.iter().map(future).collect(),
            greenlets: greenlets.collect(),
            defects: tasks.defects.iter().map(DefectJson::new).collect(),
            incomplete: dump.incomplete.as_ref().map(error_json),
        }
    }
}

/// The greenlets of an interpreter.
#[derive(Serialize)]
struct OwnGreenletsJson<'a> {
    interpreter: i64,
    #[serde(flatten)]
    greenlets: GreenletsJson<'a>,
}

#[derive(Serialize)]
struct FutureJson {
    address: At,
    awaited_by: Vec<At>,
}

#[derive(Serialize)]
struct TaskJson<'a> {
    address: At,
    name: Option<&'a str>,
    state: &'static str,
    tid: Option<u32>,
    native_id: Option<u64>,
    interpreter: i64,
    event_loop: Option<At>,
    coroutines: Vec<FrameJson<'a>>,
    cut: Option<DefectJson<'a>>,
    waits_for: Option<WaitedJson<'a>>,
    awaited_by: Vec<At>,
}

#[derive(Serialize)]
struct WaitedJson<'a> {
    address: At,
    class: Option<&'a str>,
    task: bool,
}

impl<'a> TaskJson<'a> {
    fn new(dump: &TaskDump, task: &'a Task, line: &mut LineOf<'_>) -> Self {
        Self {
            address: At(task.address),
            name: text(task.name.as_ref()),
            state: state(task.state),
            tid: dump.tid(task),
            native_id: task.native_id,
            interpreter: task.interpreter,
            event_loop: (!task.event_loop.is_null()).then_some(At(task.event_loop)),
            coroutines: frames(&task.coroutines, &[], line),
            cut: task.coroutines.cut.as_ref().map(DefectJson::new),
            waits_for: task.waits_for.as_ref().map(|waited| WaitedJson {
                address: At(waited.address),
                class: text(waited.class.as_ref()),
                task: waited.is_task,
            }),
            awaited_by: addresses(&task.awaited_by),
        }
    }
}

fn addresses(all: &[Address]) -> Vec<At> {
    all.iter().copied().map(At).collect()
}

/// A state's name.
pub(super) fn state(state: TaskState) -> &'static str {
    match state {
        TaskState::Running => "running",
        TaskState::Waiting => "waiting",
        TaskState::Created => "created",
        TaskState::Done => "done",
        TaskState::Unknown => "unknown",
    }
}
