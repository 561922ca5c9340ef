//! A dump as one JSON object (docs/json-dump.md): its parts in the order and under the names of the
//! document, borrowed from what was read.

use invivo::{
    Address, Defect, Dump, Frame, Gil, Greenlets, InterpreterDump, OsActivity, OsThread, Result,
    Role, Runner, SequenceForm, Stack, Subject, Text, ThreadDump, Trust, Value, ValueKind,
    Variable,
};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::commands::doctor::{error_json, runtimes_json};
use crate::show::{halt_json, value_text};

/// Gives a line of source text.
pub(crate) type LineOf<'a> = dyn FnMut(&str, u32) -> Option<String> + 'a;

#[derive(Serialize)]
pub(super) struct DumpJson<'a> {
    #[serde(flatten)]
    subject: SubjectJson<'a>,
    blocked: bool,
    read_from: &'static str,
    milliseconds: f64,
    interpreters: Vec<InterpreterJson<'a>>,
    interpreters_left_out: usize,
    without_python: Option<Vec<OsThreadJson<'a>>>,
    incomplete: Option<Json>,
}

impl<'a> DumpJson<'a> {
    pub(super) fn new(dump: &'a Dump, line: &mut LineOf<'_>) -> Self {
        let others = dump.without_python.as_ref();
        let interpreters = dump.interpreters.iter();
        Self {
            subject: SubjectJson::new(&dump.subject),
            blocked: dump.blocked,
            read_from: dump.read_from.name(),
            milliseconds: milliseconds(dump.elapsed),
            interpreters: interpreters
                .map(|one| InterpreterJson::new(one, line))
                .collect(),
            interpreters_left_out: dump.interpreters_left_out,
            without_python: others.map(|all| all.iter().map(OsThreadJson::new).collect()),
            incomplete: dump.incomplete.as_ref().map(error_json),
        }
    }
}

pub(crate) fn milliseconds(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// An address as the documents have it.
#[derive(Clone, Copy)]
pub(crate) struct At(pub(crate) Address);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// What every report on a process begins with.
#[derive(Serialize)]
pub(crate) struct SubjectJson<'a> {
    schema: u32,
    pid: u32,
    command: &'a [String],
    executable: Option<&'a str>,
    version: Option<String>,
    debug: Option<bool>,
    free_threaded: Option<bool>,
    runtime: At,
    runtimes: Option<Vec<Json>>,
    stopped: Option<Json>,
}

impl<'a> SubjectJson<'a> {
    pub(crate) fn new(subject: &'a Subject) -> Self {
        Self {
            schema: 1,
            pid: subject.pid,
            command: &subject.command,
            executable: subject.executable.as_deref(),
            version: subject.version.map(|version| version.to_string()),
            debug: subject.build.debug,
            free_threaded: subject.build.free_threaded,
            runtime: At(subject.runtime),
            runtimes: subject.runtimes.as_deref().map(runtimes_json),
            stopped: halt_json(subject.halt),
        }
    }
}

#[derive(Serialize)]
struct InterpreterJson<'a> {
    id: i64,
    address: At,
    collecting: Option<bool>,
    threads: Vec<ThreadJson<'a>>,
    greenlets: Option<GreenletsJson<'a>>,
    defects: Vec<DefectJson<'a>>,
}

/// Greenlets that are suspended, or why they could not be read.
#[derive(Serialize)]
pub(crate) struct GreenletsJson<'a> {
    suspended: Vec<GreenletJson<'a>>,
    not_suspended: usize,
    left_out: usize,
    defects: Vec<DefectJson<'a>>,
    error: Option<Json>,
}

#[derive(Serialize)]
struct GreenletJson<'a> {
    address: At,
    class: Option<&'a str>,
    frames: Vec<FrameJson<'a>>,
    cut: Option<DefectJson<'a>>,
}

impl<'a> GreenletsJson<'a> {
    pub(crate) fn new(
        found: &'a Result<Greenlets>,
        variables: &'a [Vec<Option<Result<Vec<Variable>>>>],
        line: &mut LineOf<'_>,
    ) -> Self {
        let Ok(found) = found else {
            return Self {
                suspended: Vec::new(),
                not_suspended: 0,
                left_out: 0,
                defects: Vec::new(),
                error: found.as_ref().err().map(error_json),
            };
        };
        let variables = variables.iter().map(Vec::as_slice);
        let variables = variables.chain(std::iter::repeat(&[][..]));
        let list = found.list.iter().zip(variables);
        let list = list.map(|(greenlet, variables)| GreenletJson {
            address: At(greenlet.address),
            class: text(greenlet.class.as_ref()),
            frames: frames(&greenlet.stack, variables, line),
            cut: greenlet.stack.cut.as_ref().map(DefectJson::new),
        });
        Self {
            suspended: list.collect(),
            not_suspended: found.not_suspended,
            left_out: found.left_out,
            defects: found.defects.iter().map(DefectJson::new).collect(),
            error: None,
        }
    }
}

impl<'a> InterpreterJson<'a> {
    fn new(interpreter: &'a InterpreterDump, line: &mut LineOf<'_>) -> Self {
        let threads = interpreter.threads.iter();
        Self {
            id: interpreter.id,
            address: At(interpreter.address),
            collecting: interpreter.collecting,
            threads: threads.map(|dump| ThreadJson::new(dump, line)).collect(),
            greenlets: interpreter
                .greenlets
                .as_ref()
                .map(|found| GreenletsJson::new(found, &interpreter.greenlet_variables, line)),
            defects: interpreter.defects.iter().map(DefectJson::new).collect(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct DefectJson<'a> {
    address: At,
    what: &'a str,
}

impl<'a> DefectJson<'a> {
    pub(crate) fn new(defect: &'a Defect) -> Self {
        Self {
            address: At(defect.address),
            what: &defect.what,
        }
    }
}

#[derive(Serialize)]
struct ThreadJson<'a> {
    tid: Option<u32>,
    tid_proven: bool,
    tid_unknown: Option<&'a str>,
    native_id: Option<u64>,
    ident: Option<u64>,
    address: At,
    name: Option<&'a str>,
    os_name: Option<&'a str>,
    main: bool,
    gil: &'static str,
    os: Option<ActivityJson<'a>>,
    handles_exception: Option<bool>,
    collects_garbage: Option<bool>,
    doing: DoingJson<'a>,
    frames: Vec<FrameJson<'a>>,
    cut: Option<DefectJson<'a>>,
    left_out: Option<GapJson>,
}

/// Frames that are not listed.
#[derive(Serialize)]
struct GapJson {
    after: usize,
    frames: u64,
    exact: bool,
}

#[derive(Serialize)]
struct DoingJson<'a> {
    kind: &'static str,
    sentence: &'a str,
}

impl<'a> ThreadJson<'a> {
    fn new(dump: &'a ThreadDump, line: &mut LineOf<'_>) -> Self {
        let thread = &dump.thread;
        let os = dump.os.as_ref();
        let activity = os.and_then(|os| os.activity.as_ref());
        Self {
            tid: os.map(|os| os.tid),
            tid_proven: matches!(dump.runner, Some(Runner::Proven(_))),
            tid_unknown: match &dump.runner {
                Some(Runner::Unknown(why)) => Some(why),
                _ => None,
            },
            native_id: os.map(|os| os.native_id),
            ident: dump.ident,
            address: At(thread.state.address),
            name: text(thread.name.as_ref()),
            os_name: os.map(|os| os.name.as_str()),
            main: thread.is_main,
            gil: match thread.gil {
                Gil::Holds => "holds",
                Gil::Waits => "waits",
                Gil::Without => "without",
                Gil::Unknown => "unknown",
            },
            os: activity.map(ActivityJson::new),
            handles_exception: thread.handles_exception,
            collects_garbage: thread.collects_garbage,
            doing: DoingJson {
                kind: dump.doing.kind.name(),
                sentence: &dump.doing.sentence,
            },
            frames: frames(&thread.stack, &dump.variables, line),
            cut: thread.stack.cut.as_ref().map(DefectJson::new),
            left_out: thread.stack.gap.map(|gap| GapJson {
                after: gap.after,
                frames: gap.frames,
                exact: gap.is_exact,
            }),
        }
    }
}

/// What was read of a text.
pub(crate) fn text(text: Option<&Text>) -> Option<&str> {
    text.map(|text| text.text.as_str())
}

/// The frames of a stack, innermost first. `variables` may be shorter.
pub(crate) fn frames<'a>(
    stack: &'a Stack,
    variables: &'a [Option<Result<Vec<Variable>>>],
    line: &mut LineOf<'_>,
) -> Vec<FrameJson<'a>> {
    let variables = variables.iter().map(Option::as_ref);
    let variables = variables.chain(std::iter::repeat(None));
    let frames = stack.frames.iter().zip(variables);
    frames
        .map(|(frame, variables)| FrameJson::new(frame, variables, line))
        .collect()
}

#[derive(Serialize)]
pub(crate) struct FrameJson<'a> {
    function: &'a str,
    name: &'a str,
    qualified_name: Option<&'a str>,
    file: &'a str,
    truncated: bool,
    first_line: i32,
    line: Option<u32>,
    end_line: Option<u32>,
    column: Option<u32>,
    end_column: Option<u32>,
    source: Option<String>,
    opcode: Option<u8>,
    trust: &'static str,
    address: At,
    code: At,
    #[serde(skip_serializing_if = "Option::is_none")]
    locals_error: Option<Json>,
    /// Not there where they were not read, and null where they could not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    locals: Option<Option<Vec<VariableJson<'a>>>>,
}

impl<'a> FrameJson<'a> {
    fn new(
        frame: &'a Frame,
        variables: Option<&'a Result<Vec<Variable>>>,
        line: &mut LineOf<'_>,
    ) -> Self {
        let code = &frame.code;
        let position = &frame.position;
        let listed = |read: &'a Result<Vec<Variable>>| {
            let variables = read.as_ref().ok()?;
            Some(variables.iter().map(VariableJson::new).collect())
        };
        Self {
            function: &code.label().text,
            name: &code.name.text,
            qualified_name: text(code.qualname.as_ref()),
            file: &code.filename.text,
            truncated: code.label().truncated || code.filename.truncated,
            first_line: code.first_line,
            line: position.line,
            end_line: position.end_line,
            column: position.column,
            end_column: position.end_column,
            source: position
                .line
                .and_then(|number| line(&code.filename.text, number)),
            opcode: frame.opcode,
            trust: match frame.trust {
                Trust::Whole => "whole",
                Trust::Torn => "torn",
                Trust::Guessed => "guessed",
            },
            address: At(frame.address),
            code: At(code.address),
            locals_error: variables.and_then(|read| read.as_ref().err().map(error_json)),
            locals: variables.map(listed),
        }
    }
}

#[derive(Serialize)]
struct OsThreadJson<'a> {
    tid: u32,
    native_id: u64,
    os_name: &'a str,
    os: Option<ActivityJson<'a>>,
}

impl<'a> OsThreadJson<'a> {
    fn new(thread: &'a OsThread) -> Self {
        Self {
            tid: thread.tid,
            native_id: thread.native_id,
            os_name: &thread.name,
            os: thread.activity.as_ref().map(ActivityJson::new),
        }
    }
}

#[derive(Serialize)]
struct ActivityJson<'a> {
    state: char,
    running: bool,
    system_call: Option<&'a str>,
}

impl<'a> ActivityJson<'a> {
    fn new(activity: &'a OsActivity) -> Self {
        Self {
            state: activity.state,
            running: activity.running,
            system_call: activity.system_call.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct VariableJson<'a> {
    name: &'a str,
    role: &'static str,
    value: Option<ValueJson<'a>>,
}

impl<'a> VariableJson<'a> {
    fn new(variable: &'a Variable) -> Self {
        Self {
            name: &variable.name.text,
            role: match variable.role {
                Role::Argument => "argument",
                Role::Local => "local",
                Role::Cell => "cell",
                Role::Free => "free",
                Role::Name => "name",
            },
            value: variable.value.as_ref().map(|value| ValueJson {
                text: Some(value_text(value)),
                ..ValueJson::new(value)
            }),
        }
    }
}

#[derive(Serialize)]
struct ValueJson<'a> {
    class: Option<&'a str>,
    address: At,
    #[serde(flatten)]
    kind: KindJson<'a>,
    /// Only there where it is true.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// The name of a kind, and what it has besides.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum KindJson<'a> {
    None,
    Bool {
        value: bool,
    },
    Int {
        value: &'a str,
    },
    LongInt {
        bits: u64,
    },
    Float {
        value: Number,
    },
    Complex {
        real: Number,
        imaginary: Number,
    },
    Str {
        value: &'a str,
        truncated: bool,
    },
    Bytes {
        hex: String,
        length: u64,
    },
    Tuple(ItemsJson<'a>),
    List(ItemsJson<'a>),
    Set(ItemsJson<'a>),
    #[serde(rename = "frozenset")]
    FrozenSet(ItemsJson<'a>),
    Deque(ItemsJson<'a>),
    Dict {
        items: Vec<(ValueJson<'a>, ValueJson<'a>)>,
        length: u64,
    },
    Instance {
        arguments: Option<Vec<ValueJson<'a>>>,
        attributes: Vec<(&'a str, ValueJson<'a>)>,
        length: Option<u64>,
    },
    Array {
        element: Option<&'a str>,
        shape: Option<&'a [u64]>,
    },
    Named {
        name: &'a str,
    },
    Opaque,
    Cycle {
        levels: u32,
    },
    Deeper,
    Unreadable {
        why: &'a str,
    },
}

#[derive(Serialize)]
struct ItemsJson<'a> {
    items: Vec<ValueJson<'a>>,
    length: u64,
}

impl<'a> ValueJson<'a> {
    /// The recursion is as deep as the value was read.
    fn new(value: &'a Value) -> Self {
        Self {
            class: text(value.class.as_ref()),
            address: At(value.address),
            kind: KindJson::new(&value.kind),
            changed: value.changed,
            text: None,
        }
    }

    fn all(values: &'a [Value]) -> Vec<Self> {
        values.iter().map(Self::new).collect()
    }
}

impl<'a> KindJson<'a> {
    fn new(kind: &'a ValueKind) -> Self {
        match kind {
            ValueKind::None => Self::None,
            ValueKind::Bool(value) => Self::Bool { value: *value },
            ValueKind::Int(value) => Self::Int { value },
            ValueKind::LongInt { bits } => Self::LongInt { bits: *bits },
            ValueKind::Float(number) => Self::Float {
                value: Number(*number),
            },
            ValueKind::Complex(real, imaginary) => Self::Complex {
                real: Number(*real),
                imaginary: Number(*imaginary),
            },
            ValueKind::Str(text) => Self::Str {
                value: &text.text,
                truncated: text.truncated,
            },
            ValueKind::Bytes { bytes, length } => Self::Bytes {
                hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                length: *length,
            },
            ValueKind::Sequence {
                form,
                items,
                length,
            } => Self::sequence(*form, ValueJson::all(items), *length),
            ValueKind::Dict { items, length } => {
                let items = items.iter();
                Self::Dict {
                    items: items
                        .map(|(key, held)| (ValueJson::new(key), ValueJson::new(held)))
                        .collect(),
                    length: *length,
                }
            }
            ValueKind::Instance {
                arguments,
                attributes,
                length,
            } => Self::Instance {
                arguments: arguments.as_deref().map(ValueJson::all),
                attributes: attributes
                    .iter()
                    .map(|(name, held)| (name.text.as_str(), ValueJson::new(held)))
                    .collect(),
                length: *length,
            },
            ValueKind::Array { element, shape } => Self::Array {
                element: text(element.as_ref()),
                shape: shape.as_deref(),
            },
            ValueKind::Named(name) => Self::Named { name: &name.text },
            ValueKind::Opaque => Self::Opaque,
            ValueKind::Cycle(levels) => Self::Cycle { levels: *levels },
            ValueKind::Deeper => Self::Deeper,
            ValueKind::Unreadable(why) => Self::Unreadable { why },
        }
    }

    fn sequence(form: SequenceForm, items: Vec<ValueJson<'a>>, length: u64) -> Self {
        let items = ItemsJson { items, length };
        match form {
            SequenceForm::Tuple => Self::Tuple(items),
            SequenceForm::List => Self::List(items),
            SequenceForm::Set => Self::Set(items),
            SequenceForm::FrozenSet => Self::FrozenSet(items),
            SequenceForm::Deque => Self::Deque(items),
        }
    }
}

/// A number. JSON has no infinities and no NaN: those come as texts, as Python writes them.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0 {
            number if number.is_finite() => serializer.serialize_f64(number),
            number if number.is_nan() => serializer.serialize_str("nan"),
            number if number > 0.0 => serializer.serialize_str("inf"),
            _ => serializer.serialize_str("-inf"),
        }
    }
}
