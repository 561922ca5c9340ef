//! A dump as one JSON object (docs/json-dump.md).

use invivo::{
    Defect, Dump, Frame, Gil, InterpreterDump, OsActivity, OsThread, Result, Role, SequenceForm,
    Stack, Subject, Text, ThreadDump, Trust, Value, ValueKind, Variable,
};
use serde_json::{Map, Value as Json, json};

use crate::commands::doctor::error_json;
use crate::show::value_text;

/// Gives a line of source text.
pub(crate) type LineOf<'a> = dyn FnMut(&str, u32) -> Option<String> + 'a;

pub(super) fn dump(dump: &Dump, line: &mut LineOf<'_>) -> Json {
    let mut report = subject(&dump.subject);
    let interpreters: Vec<Json> = dump
        .interpreters
        .iter()
        .map(|one| interpreter(one, line))
        .collect();
    let others = dump.without_python.as_ref();
    let rest = [
        ("blocked", json!(dump.blocked)),
        ("milliseconds", milliseconds(dump.elapsed)),
        ("interpreters", json!(interpreters)),
        ("interpreters_left_out", json!(dump.interpreters_left_out)),
        (
            "without_python",
            json!(others.map(|all| all.iter().map(os_thread).collect::<Vec<_>>())),
        ),
        (
            "incomplete",
            json!(dump.incomplete.as_ref().map(error_json)),
        ),
    ];
    report.extend(rest.map(|(name, value)| (name.to_owned(), value)));
    Json::Object(report)
}

pub(crate) fn milliseconds(time: std::time::Duration) -> Json {
    json!((time.as_secs_f64() * 1e6).round() / 1e3)
}

/// What every report on a process begins with.
pub(crate) fn subject(subject: &Subject) -> Map<String, Json> {
    let facts = [
        ("schema", json!(1)),
        ("pid", json!(subject.pid)),
        ("command", json!(subject.command)),
        ("executable", json!(subject.executable)),
        (
            "version",
            json!(subject.version.map(|version| version.to_string())),
        ),
        ("debug", json!(subject.build.debug)),
        ("free_threaded", json!(subject.build.free_threaded)),
        ("runtime", json!(subject.runtime.to_string())),
    ];
    let facts = facts.map(|(name, value)| (name.to_owned(), value));
    facts.into_iter().collect()
}

fn interpreter(interpreter: &InterpreterDump, line: &mut LineOf<'_>) -> Json {
    let threads: Vec<Json> = interpreter
        .threads
        .iter()
        .map(|dump| thread(dump, line))
        .collect();
    json!({
        "id": interpreter.id,
        "address": interpreter.address.to_string(),
        "collecting": interpreter.collecting,
        "threads": threads,
        "defects": defects(&interpreter.defects),
    })
}

pub(crate) fn defects(defects: &[Defect]) -> Vec<Json> {
    defects.iter().map(defect).collect()
}

pub(crate) fn defect(defect: &Defect) -> Json {
    json!({ "address": defect.address.to_string(), "what": defect.what })
}

fn thread(dump: &ThreadDump, line: &mut LineOf<'_>) -> Json {
    let thread = &dump.thread;
    let os = dump.os.as_ref();
    let gil = match thread.gil {
        Gil::Holds => "holds",
        Gil::Waits => "waits",
        Gil::Without => "without",
        Gil::Unknown => "unknown",
    };
    let frames = frames(&thread.stack, &dump.variables, line);
    json!({
        "tid": os.map(|os| os.tid),
        "native_id": (thread.state.native_id != 0).then_some(thread.state.native_id),
        "ident": thread.state.thread_id,
        "address": thread.state.address.to_string(),
        "name": thread.name.as_ref().map(|name| &name.text),
        "os_name": os.map(|os| &os.name),
        "main": thread.is_main,
        "gil": gil,
        "os": os.and_then(|os| os.activity.as_ref()).map(activity),
        "handles_exception": thread.handles_exception,
        "collects_garbage": thread.collects_garbage,
        "doing": { "kind": dump.doing.kind.name(), "sentence": dump.doing.sentence },
        "frames": frames,
        "cut": thread.stack.cut.as_ref().map(defect),
    })
}

/// The frames of a stack, innermost first. `variables` may be shorter.
pub(crate) fn frames(
    stack: &Stack,
    variables: &[Option<Result<Vec<Variable>>>],
    line: &mut LineOf<'_>,
) -> Vec<Json> {
    let variables = variables.iter().map(Option::as_ref);
    let variables = variables.chain(std::iter::repeat(None));
    let frames = stack.frames.iter().zip(variables);
    frames
        .map(|(one, variables)| frame(one, variables, line))
        .collect()
}

fn frame(frame: &Frame, variables: Option<&Result<Vec<Variable>>>, line: &mut LineOf<'_>) -> Json {
    let code = &frame.code;
    let trust = match frame.trust {
        Trust::Whole => "whole",
        Trust::Torn => "torn",
        Trust::Guessed => "guessed",
    };
    let number = frame.position.line;
    let mut report = json!({
        "function": code.label().text,
        "name": code.name.text,
        "qualified_name": code.qualname.as_ref().map(|name| &name.text),
        "file": code.filename.text,
        "truncated": code.label().truncated || code.filename.truncated,
        "first_line": code.first_line,
        "line": number,
        "end_line": frame.position.end_line,
        "column": frame.position.column,
        "end_column": frame.position.end_column,
        "source": number.and_then(|number| line(&code.filename.text, number)),
        "opcode": frame.opcode,
        "trust": trust,
        "address": frame.address.to_string(),
        "code": code.address.to_string(),
    });
    let locals = match variables {
        None => return report,
        Some(Ok(variables)) => json!(variables.iter().map(variable).collect::<Vec<_>>()),
        Some(Err(error)) => {
            report["locals_error"] = error_json(error);
            Json::Null
        }
    };
    report["locals"] = locals;
    report
}

fn os_thread(thread: &OsThread) -> Json {
    json!({
        "tid": thread.tid,
        "native_id": thread.native_id,
        "os_name": thread.name,
        "os": thread.activity.as_ref().map(activity),
    })
}

fn activity(activity: &OsActivity) -> Json {
    json!({
        "state": activity.state.to_string(),
        "running": activity.running,
        "system_call": activity.system_call,
    })
}

fn variable(variable: &Variable) -> Json {
    let role = match variable.role {
        Role::Argument => "argument",
        Role::Local => "local",
        Role::Cell => "cell",
        Role::Free => "free",
        Role::Name => "name",
    };
    json!({
        "name": variable.name.text,
        "role": role,
        "value": variable.value.as_ref().map(|one| {
            let mut report = value(one);
            report["text"] = json!(value_text(one));
            report
        }),
    })
}

/// The recursion is as deep as the value was read.
fn value(value: &Value) -> Json {
    let mut report = json!({
        "class": value.class.as_ref().map(|class| &class.text),
        "address": value.address.to_string(),
    });
    let (kind, more) = kind(&value.kind);
    report["kind"] = json!(kind);
    if let (Some(report), Json::Object(more)) = (report.as_object_mut(), more) {
        report.extend(more);
    }
    report
}

fn values(all: &[Value]) -> Vec<Json> {
    all.iter().map(value).collect()
}

/// The name of a kind, and what it has besides.
fn kind(kind: &ValueKind) -> (&'static str, Json) {
    match kind {
        ValueKind::None => ("none", Json::Null),
        ValueKind::Bool(truth) => ("bool", json!({ "value": truth })),
        ValueKind::Int(digits) => ("int", json!({ "value": digits })),
        ValueKind::LongInt { bits } => ("long_int", json!({ "bits": bits })),
        ValueKind::Float(number) => ("float", json!({ "value": float(*number) })),
        ValueKind::Complex(real, imaginary) => (
            "complex",
            json!({ "real": float(*real), "imaginary": float(*imaginary) }),
        ),
        ValueKind::Str(text) => (
            "str",
            json!({ "value": text.text, "truncated": text.truncated }),
        ),
        ValueKind::Bytes { bytes, length } => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            ("bytes", json!({ "hex": hex, "length": length }))
        }
        ValueKind::Sequence {
            form,
            items,
            length,
        } => (
            sequence(*form),
            json!({ "items": values(items), "length": length }),
        ),
        ValueKind::Dict { items, length } => {
            let items: Vec<Json> = items
                .iter()
                .map(|(key, held)| json!([value(key), value(held)]))
                .collect();
            ("dict", json!({ "items": items, "length": length }))
        }
        ValueKind::Instance {
            arguments,
            attributes,
            length,
        } => {
            let pair = |(name, held): &(Text, Value)| json!([name.text, value(held)]);
            let attributes: Vec<Json> = attributes.iter().map(pair).collect();
            let more = json!({
                "arguments": arguments.as_deref().map(values),
                "attributes": attributes,
                "length": length,
            });
            ("instance", more)
        }
        ValueKind::Array { element, shape } => (
            "array",
            json!({ "element": element.as_ref().map(|one| &one.text), "shape": shape }),
        ),
        ValueKind::Named(name) => ("named", json!({ "name": name.text })),
        ValueKind::Opaque => ("opaque", Json::Null),
        ValueKind::Cycle(levels) => ("cycle", json!({ "levels": levels })),
        ValueKind::Deeper => ("deeper", Json::Null),
        ValueKind::Unreadable(why) => ("unreadable", json!({ "why": why })),
    }
}

fn sequence(form: SequenceForm) -> &'static str {
    match form {
        SequenceForm::Tuple => "tuple",
        SequenceForm::List => "list",
        SequenceForm::Set => "set",
        SequenceForm::FrozenSet => "frozenset",
        SequenceForm::Deque => "deque",
    }
}

/// JSON has no infinities and no NaN: those come as Python writes them.
fn float(number: f64) -> Json {
    if number.is_finite() {
        json!(number)
    } else {
        let text = if number.is_nan() {
            "nan"
        } else if number > 0.0 {
            "inf"
        } else {
            "-inf"
        };
        json!(text)
    }
}
