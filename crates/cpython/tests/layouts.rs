//! Every number of every layout, beside what the headers say and what live objects show.

#[allow(dead_code, reason = "only its numbers are looked at")]
#[path = "../src/layout/common.rs"]
mod common;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use invivo_cpython::{Layout, Limits, locate, locate_with};
use invivo_process::{Fault, Memory, ReadRequest, Target};
use support::{no_file, program};
use synth::image::RUNTIME;
use synth::{Interpreter, Launch, helpers, interpreters, samples};

/// Finds in live objects what no header tells.
const MEASURED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/layouts/measured.py");

/// What lies where, by the name of the field in the layout.
type Fields = BTreeMap<String, i64>;

/// What a program prints: a line for each field, and the table of offsets if it has one.
fn printed(command: &mut Command) -> (Fields, Option<Vec<u8>>) {
    let output = command.output().expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    let (mut fields, mut table) = (Fields::new(), None);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (name, value) = line.split_once('=').expect("a name and a value");
        if name == "table" {
            let byte = |at: usize| u8::from_str_radix(&value[at..at + 2], 16).expect("a byte");
            table = Some((0..value.len()).step_by(2).map(byte).collect());
        } else {
            let known = fields.insert(name.to_owned(), value.parse().expect("a number"));
            assert_eq!(known, None, "{name} twice");
        }
    }
    (fields, table)
}

/// Takes the numbers from what `Debug` prints: of `Layout { frame: FrameLayout { stack_top:
/// Count(64), … } }` it makes `frame.stack_top.Count.0` and so on. Names of structures and `Some`
/// are no part of names, and what has no number is left out.
struct Shown<'a> {
    rest: &'a str,
    fields: Fields,
}

impl Shown<'_> {
    fn fields(layout: &Layout) -> Fields {
        let text = format!("{layout:?}");
        let mut shown = Shown {
            rest: &text,
            fields: Fields::new(),
        };
        shown.value("");
        assert_eq!(shown.rest, "");
        shown.fields
    }

    fn value(&mut self, path: &str) {
        let word = self.word();
        if let Ok(number) = word.parse() {
            self.fields.insert(path.to_owned(), number);
            return;
        }
        let structures = ["Layout", "UnicodeState", "DictKeys"];
        let unnamed = word.is_empty() || structures.iter().any(|end| word.ends_with(end));
        let inside = if unnamed || word == "Some" {
            path.to_owned()
        } else {
            join(path, &word)
        };
        if self.passed(" { ") {
            loop {
                let name = self.word();
                assert!(self.passed(": "), "{}", self.rest);
                self.value(&join(&inside, &name));
                if !self.passed(", ") {
                    break;
                }
            }
            assert!(self.passed(" }"), "{}", self.rest);
        } else if self.passed("(") || self.passed("[") {
            for index in 0.. {
                let single = word == "Some";
                self.value(&if single {
                    inside.clone()
                } else {
                    join(&inside, &index.to_string())
                });
                if !self.passed(", ") {
                    break;
                }
            }
            assert!(self.passed(")") || self.passed("]"), "{}", self.rest);
        }
    }

    fn word(&mut self) -> String {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn passed(&mut self, sign: &str) -> bool {
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// What is said to be the same in every version, by its name in the layout.
fn constants() -> Fields {
    let constants = [
        ("INT_FLAG", common::INT_FLAG),
        ("LIST_FLAG", common::LIST_FLAG),
        ("TUPLE_FLAG", common::TUPLE_FLAG),
        ("BYTES_FLAG", common::BYTES_FLAG),
        ("STRING_FLAG", common::STRING_FLAG),
        ("DICT_FLAG", common::DICT_FLAG),
        ("EXCEPTION_FLAG", common::EXCEPTION_FLAG),
        ("CLASS_FLAG", common::CLASS_FLAG),
        ("HEAP_CLASS_FLAG", common::HEAP_CLASS_FLAG),
        ("READY_FLAG", common::READY_FLAG),
        ("IMMUTABLE_CLASS_FLAG", common::IMMUTABLE_CLASS_FLAG),
        ("MANAGED_DICT_FLAG", common::MANAGED_DICT_FLAG),
        ("INLINE_VALUES_FLAG", common::INLINE_VALUES_FLAG),
        ("KIND_HIDDEN", common::KIND_HIDDEN.into()),
        ("KIND_CELL", common::KIND_CELL.into()),
        ("KIND_FREE", common::KIND_FREE.into()),
        ("DICT_KEYS_GENERAL", common::DICT_KEYS_GENERAL),
        ("DICT_KEYS_UNICODE", common::DICT_KEYS_UNICODE),
        ("DICT_KEYS_SPLIT", common::DICT_KEYS_SPLIT),
        ("CO_OPTIMIZED", common::CO_OPTIMIZED.into()),
        ("CO_VARARGS", common::CO_VARARGS.into()),
        ("CO_VARKEYWORDS", common::CO_VARKEYWORDS.into()),
        ("CALL_FUNCTION", common::CALL_FUNCTION),
        ("CALL_ARGUMENT", common::CALL_ARGUMENT),
        ("CALL_FLAGS_MAIN", common::CALL_FLAGS_MAIN as u64),
        ("CALLS_TO_DO", common::CALLS_TO_DO.into()),
        ("MUTEX_LOCKED", common::MUTEX_LOCKED.into()),
        ("THREAD_ATTACHED", common::THREAD_ATTACHED.into()),
        ("MEMBER_SIZE", common::MEMBER_SIZE as u64),
        ("MEMBER_NAME", common::MEMBER_NAME),
        ("MEMBER_TYPE", common::MEMBER_TYPE),
        ("MEMBER_OFFSET", common::MEMBER_OFFSET),
        ("OBJECT_MEMBERS.0", common::OBJECT_MEMBERS[0].into()),
        ("OBJECT_MEMBERS.1", common::OBJECT_MEMBERS[1].into()),
    ];
    let named = constants.map(|(name, value)| (format!("common.{name}"), value.cast_signed()));
    named.into_iter().collect()
}

/// Compares a layout with what the headers say; gives the fields they don't know.
fn compare(name: &str, layout: &Layout, headers: &Fields) -> Fields {
    let (mut ours, constants) = (Shown::fields(layout), constants());
    for (field, value) in headers {
        let found = match constants.get(field) {
            Some(constant) => Some(*constant),
            None => ours.remove(field),
        };
        assert_eq!(found, Some(*value), "{name}: {field}");
    }
    ours
}

/// The minor version: `3.13` of `3.13t`.
fn minor(interpreter: &Interpreter) -> &str {
    interpreter.name.trim_end_matches(['d', 't'])
}

/// Where an interpreter's headers are, or those of another build of the same minor version.
fn headers(minor_version: &str) -> Option<PathBuf> {
    let builds = interpreters()
        .iter()
        .filter(|it| minor(it) == minor_version);
    let mut places = builds.map(|it| it.include.clone());
    places.find(|place| place.join("Python.h").exists())
}

/// What headers say of a build, release and debug: the two agree in all that both say, and the
/// table is that of the release build.
fn said_by(include: &Path, build: &str) -> (Fields, Option<Vec<u8>>) {
    let said = |macros: &[_]| printed(&mut Command::new(helpers::offsets(include, macros)));
    let (mut fields, table) = said(&[build, "RELEASE"]);
    for (field, value) in said(&[build, "Py_DEBUG"]).0 {
        let known = *fields.entry(field.clone()).or_insert(value);
        assert_eq!(known, value, "{field} with {build} and Py_DEBUG");
    }
    (fields, table)
}

fn live_layout(interpreter: &Interpreter) -> Layout {
    let process = Launch::new(interpreter, samples::SLEEPER).start();
    let target = Target::open(process.pid()).expect("the target");
    let modules = target.modules().expect("its modules");
    let location = locate(&target.memory(), &modules, &target, &Limits::default());
    let location = location.expect("an interpreter");
    location.layout.expect("a known layout")
}

#[test]
fn every_field_lies_where_headers_and_live_objects_say() {
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let layout = live_layout(interpreter);
        let own = Some(interpreter.include.clone()).filter(|it| it.join("Python.h").exists());
        let Some(include) = own.or_else(|| headers(minor(interpreter))) else {
            // Debian has none for it any more; it says most of its layout itself.
            assert_eq!(name, "3.13", "no headers for it");
            continue;
        };
        let build = if interpreter.free_threaded {
            "FREE_THREADED"
        } else {
            "WITH_GIL"
        };
        let (said, _) = said_by(&include, build);
        let left = compare(name, &layout, &said);
        let mut measure = Command::new(&interpreter.program);
        let (measured, _) = printed(measure.args(["-I", "-B", MEASURED]));
        assert_eq!(left, measured, "{name}");
    }
}

/// Memory that holds nothing but a table of offsets.
struct OnlyTable(Vec<u8>);

impl Memory for OnlyTable {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        for request in requests {
            let from = request.address.0.checked_sub(RUNTIME);
            let found = from.and_then(|from| self.0.get(usize::try_from(from).ok()?..));
            let found = found.unwrap_or_default();
            let count = found.len().min(request.buffer.len());
            request.buffer[..count].copy_from_slice(&found[..count]);
            request.filled = count;
        }
        Ok(())
    }
}

#[test]
fn tables_of_builds_that_are_not_here_give_their_layouts_too() {
    for version in ["3.13", "3.14", "3.15"] {
        let Some(include) = headers(version) else {
            assert_eq!(version, "3.13", "no headers for it");
            continue;
        };
        for build in ["WITH_GIL", "FREE_THREADED"] {
            let (said, table) = said_by(&include, build);
            let memory = OnlyTable(table.unwrap());
            let found = locate_with(&memory, &[program("/opt/app")], &Limits::default(), no_file);
            let location = found.unwrap();
            assert_eq!(location.build.free_threaded, Some(build == "FREE_THREADED"));
            let left = compare(
                &format!("{version} {build}"),
                &location.layout.unwrap(),
                &said,
            );
            // What only C files define has been measured in live objects where there are some.
            assert!(left.keys().all(|field| is_in_c_files(field)), "{left:?}");
        }
    }
}

fn is_in_c_files(field: &str) -> bool {
    [
        "task.",
        "builtin.deque.",
        "builtin.asend_generator",
        "builtin.coroutine_wrapper",
        "builtin.proxied_mapping",
        "builtin.viewed_dict",
    ]
    .iter()
    .any(|start| field.starts_with(start))
}
