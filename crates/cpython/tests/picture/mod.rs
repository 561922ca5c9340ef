//! Pictures of values as the targets of these tests write them.

#![allow(dead_code, reason = "each test uses its part")]

use std::fmt::Write;

use invivo_cpython::{Limits, Location, Runtime, locate};
use invivo_model::{SequenceForm, Text, Value, ValueKind};
use invivo_process::{ProcessMemory, Target};

/// Opens the interpreter of a live target.
pub(crate) fn open(process: &synth::Target) -> Runtime<ProcessMemory> {
    let target = Target::open(process.pid()).expect("it runs");
    let location = locate_in(&target);
    Runtime::open(target.memory(), &location, Limits::default()).expect("a known layout")
}

/// Where the interpreter of a live target is.
pub(crate) fn locate_in(target: &Target) -> Location {
    let modules = target.modules().expect("its modules");
    let found = locate(&target.memory(), &modules, target, &Limits::default());
    found.expect("it is Python")
}

/// A value as the targets write it.
pub(crate) fn shown(value: &Value) -> String {
    let class = value
        .class
        .as_ref()
        .map_or("?", |class| class.text.as_str());
    let row = |items: &[Value], length: u64| {
        let items: Vec<_> = items.iter().map(shown).collect();
        items.join(", ") + &more(items.len(), length)
    };
    let contents = match &value.kind {
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool(true) => "True".to_owned(),
        ValueKind::Bool(false) => "False".to_owned(),
        ValueKind::Int(digits) => digits.clone(),
        ValueKind::LongInt { bits } => format!("{bits} bits"),
        ValueKind::Float(float) => format!("{:016x}", float.to_bits()),
        ValueKind::Complex(real, imaginary) => {
            format!("{:016x}{:016x}", real.to_bits(), imaginary.to_bits())
        }
        ValueKind::Str(text) => escaped(text),
        ValueKind::Bytes { bytes, length } => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            hex + &more(bytes.len(), *length)
        }
        ValueKind::Sequence {
            form,
            items,
            length,
        } => {
            let (open, close) = match form {
                SequenceForm::Tuple => ("(", ")"),
                SequenceForm::List => ("[", "]"),
                SequenceForm::Set => ("{", "}"),
                SequenceForm::FrozenSet => ("f{", "}"),
                SequenceForm::Deque => ("d[", "]"),
            };
            format!("{open}{}{close}", row(items, *length))
        }
        ValueKind::Dict { items, length } => {
            let pairs: Vec<_> = items
                .iter()
                .map(|(key, value)| format!("{}: {}", shown(key), shown(value)))
                .collect();
            format!("{{{}{}}}", pairs.join(", "), more(pairs.len(), *length))
        }
        ValueKind::Instance {
            arguments,
            attributes,
            length,
        } => {
            let arguments = arguments.as_ref().map_or(String::new(), |arguments| {
                format!("({})", row(arguments, arguments.len() as u64))
            });
            let named: Vec<_> = attributes
                .iter()
                .map(|(name, value)| format!("{name}={}", shown(value)))
                .collect();
            let more = more(named.len(), length.expect("how many there are"));
            format!("{arguments}<{}{more}>", named.join(", "))
        }
        ValueKind::Array { element, shape } => format!("{element:?} {shape:?}"),
        ValueKind::Named(name) => format!("@{name}"),
        ValueKind::Opaque => "?".to_owned(),
        ValueKind::Cycle(levels) => format!("^{levels}"),
        ValueKind::Deeper => "...".to_owned(),
        ValueKind::Unreadable(why) => format!("!{why}"),
    };
    let doubt = if value.changed { "changing " } else { "" };
    format!("{doubt}{class}:{contents}")
}

fn more(count: usize, length: u64) -> String {
    if count as u64 == length {
        return String::new();
    }
    format!(" of {length}")
}

fn escaped(text: &Text) -> String {
    let mut escaped = "\"".to_owned();
    for character in text.text.chars() {
        if (' '..='~').contains(&character) && !"\"\\".contains(character) {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(escaped, "\\u{unit:04x}").expect("room for it");
        }
    }
    escaped + if text.truncated { "\"..." } else { "\"" }
}
