//! Tasks as one JSON object (docs/json-tasks.md).

use invivo::{Address, Links, Task, TaskDump, TaskState};
use serde_json::{Value as Json, json};

use crate::commands::doctor::error_json;
use crate::commands::dump::json::{LineOf, defect, defects, frames, milliseconds, subject};

pub(super) fn tasks(dump: &TaskDump, line: &mut LineOf<'_>) -> Json {
    let mut report = subject(&dump.subject);
    let links = match dump.tasks.links {
        Links::Recorded => "recorded",
        Links::Computed => "computed",
    };
    let list: Vec<Json> = dump
        .tasks
        .list
        .iter()
        .map(|one| task(dump, one, line))
        .collect();
    let futures = dump.tasks.futures.iter();
    let futures: Vec<Json> = futures
        .map(|(address, waiters)| {
            json!({ "address": address.to_string(), "awaited_by": addresses(waiters) })
        })
        .collect();
    let rest = [
        ("milliseconds", milliseconds(dump.elapsed)),
        ("links", json!(links)),
        ("tasks", json!(list)),
        ("futures", json!(futures)),
        ("defects", json!(defects(&dump.tasks.defects))),
        (
            "incomplete",
            json!(dump.incomplete.as_ref().map(error_json)),
        ),
    ];
    report.extend(rest.map(|(name, value)| (name.to_owned(), value)));
    Json::Object(report)
}

fn task(dump: &TaskDump, task: &Task, line: &mut LineOf<'_>) -> Json {
    let waits_for = task.waits_for.as_ref().map(|waited| {
        json!({
            "address": waited.address.to_string(),
            "class": waited.class.as_ref().map(|class| &class.text),
            "task": waited.is_task,
        })
    });
    json!({
        "address": task.address.to_string(),
        "name": task.name.as_ref().map(|name| &name.text),
        "state": state(task.state),
        "tid": dump.tid(task),
        "native_id": task.native_id,
        "interpreter": task.interpreter,
        "event_loop": (!task.event_loop.is_null()).then(|| task.event_loop.to_string()),
        "coroutines": frames(&task.coroutines, &[], line),
        "cut": task.coroutines.cut.as_ref().map(defect),
        "waits_for": waits_for,
        "awaited_by": addresses(&task.awaited_by),
    })
}

fn addresses(all: &[Address]) -> Vec<String> {
    all.iter().map(Address::to_string).collect()
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
