//! Objects of a target as Python would write them, as far as they were read.

use std::fmt::Write;

use invivo::surrogate::{self, surrogate};
use invivo::{SequenceForm, Text, Value, ValueKind};
use unicode_width::UnicodeWidthStr;

use super::{cut, shown};

/// Stands for what is not shown.
const MORE: &str = "…";

/// A value on one line: what Python's `repr` would give, with `…` where something was left out.
/// The result is exact; a terminal's line goes through [`shown`].
pub(crate) fn value_text(value: &Value) -> String {
    Room::ALL.text(value)
}

/// The same for a line of `columns`, escaped: with fewer items and shorter strings where all of
/// them don't fit, and counts of what is left out.
pub(crate) fn value_within(value: &Value, columns: Option<usize>) -> String {
    let mut text = shown(&Room::ALL.text(value)).into_owned();
    let Some(columns) = columns else {
        return text;
    };
    for room in Room::LESS {
        if text.width() <= columns {
            return text;
        }
        text = shown(&room.text(value)).into_owned();
    }
    cut(&text, columns)
}

/// How much of a value is written.
#[derive(Clone, Copy, Debug)]
struct Room {
    items: usize,
    characters: usize,
    /// Whether it is within another value.
    within: bool,
}

impl Room {
    /// All that was read.
    const ALL: Self = Self::of(usize::MAX, usize::MAX);
    /// Less and less.
    const LESS: [Self; 6] = [
        Self::of(12, 80),
        Self::of(8, 60),
        Self::of(5, 40),
        Self::of(4, 30),
        Self::of(2, 20),
        Self::of(1, 12),
    ];

    const fn of(items: usize, characters: usize) -> Self {
        Self {
            items,
            characters,
            within: false,
        }
    }

    /// For what is in a value.
    fn inner(self) -> Self {
        Self {
            within: true,
            ..self
        }
    }

    fn text(self, value: &Value) -> String {
        let mut text = String::new();
        self.push(&mut text, value);
        text
    }
}

impl Room {
    /// The recursion is as deep as the value was read.
    fn push(self, out: &mut String, value: &Value) {
        if value.changed {
            out.push_str("<changing: ");
            self.push_kind(out, value);
            out.push('>');
        } else {
            self.push_kind(out, value);
        }
    }

    fn push_kind(self, out: &mut String, value: &Value) {
        let class = value.class.as_ref();
        match &value.kind {
            ValueKind::None => out.push_str("None"),
            ValueKind::Bool(true) => out.push_str("True"),
            ValueKind::Bool(false) => out.push_str("False"),
            ValueKind::Int(digits) => built(out, class, "int", |out| out.push_str(digits)),
            ValueKind::LongInt { bits } => {
                built(out, class, "int", |out| {
                    write(out, format_args!("<int of {bits} bits>"))
                });
            }
            ValueKind::Float(number) => built(out, class, "float", |out| push_float(out, *number)),
            ValueKind::Complex(real, imaginary) => built(out, class, "complex", |out| {
                push_complex(out, *real, *imaginary);
            }),
            ValueKind::Str(text) => built(out, class, "str", |out| self.push_str(out, text)),
            ValueKind::Bytes { bytes, length } => {
                let array = class.is_some_and(|class| class.text == "bytearray");
                let own = if array { "" } else { "bytes" };
                built(out, class, own, |out| self.push_bytes(out, bytes, *length));
            }
            ValueKind::Sequence {
                form,
                items,
                length,
            } => self.push_sequence(out, class, *form, items, *length),
            ValueKind::Dict { items, length } => built(out, class, "dict", |out| {
                out.push('{');
                let items = items.iter().map(|(key, value)| Item::Pair(key, value));
                self.push_items(out, items, *length);
                out.push('}');
            }),
            ValueKind::Instance {
                arguments,
                attributes,
                length,
            } => self.push_instance(out, value, arguments.as_deref(), attributes, *length),
            ValueKind::Array { element, shape } => {
                write(out, format_args!("<{}", name_of(class)));
                if let Some(element) = element {
                    write(out, format_args!(" {element}"));
                }
                if let Some(shape) = shape {
                    let shape: Vec<String> = shape.iter().map(u64::to_string).collect();
                    write(
                        out,
                        format_args!(
                            " {}",
                            if shape.is_empty() {
                                "scalar".to_owned()
                            } else {
                                shape.join("×")
                            }
                        ),
                    );
                }
                out.push('>');
            }
            ValueKind::Named(name) if class.is_some_and(|class| class.text == "type") => {
                write(out, format_args!("<class {name}>"));
            }
            ValueKind::Named(name) => write(out, format_args!("<{} {name}>", name_of(class))),
            ValueKind::Opaque => write(
                out,
                format_args!("<{} at {}>", name_of(class), value.address),
            ),
            ValueKind::Cycle(1) => out.push_str("<what holds it>"),
            ValueKind::Cycle(levels) => {
                write(out, format_args!("<what holds it, {levels} levels up>"))
            }
            ValueKind::Deeper => match class {
                Some(class) => write(out, format_args!("<{class} {MORE}>")),
                None => out.push_str(MORE),
            },
            ValueKind::Unreadable(why) => match class {
                Some(class) => write(out, format_args!("<{class}, unreadable: {why}>")),
                None => write(out, format_args!("<unreadable: {why}>")),
            },
        }
    }

    fn push_items<'a>(
        self,
        out: &mut String,
        items: impl ExactSizeIterator<Item = Item<'a>>,
        length: u64,
    ) {
        let left = length.saturating_sub(items.len().min(self.items) as u64);
        for (place, item) in items.take(self.items).enumerate() {
            if place > 0 {
                out.push_str(", ");
            }
            match item {
                Item::One(value) => self.inner().push(out, value),
                Item::Pair(key, value) => {
                    self.inner().push(out, key);
                    out.push_str(": ");
                    self.inner().push(out, value);
                }
            }
        }
        if left > 0 {
            if left < length {
                out.push_str(", ");
            }
            write(out, format_args!("{MORE} {} more", grouped(left)));
        }
    }

    fn push_sequence(
        self,
        out: &mut String,
        class: Option<&Text>,
        form: SequenceForm,
        items: &[Value],
        length: u64,
    ) {
        let (own, open, close) = match form {
            SequenceForm::Tuple => ("tuple", "(", ")"),
            SequenceForm::List => ("list", "[", "]"),
            SequenceForm::Set if length == 0 => ("set", "set(", ")"),
            SequenceForm::Set => ("set", "{", "}"),
            SequenceForm::FrozenSet if length == 0 => ("frozenset", "frozenset(", ")"),
            SequenceForm::FrozenSet => ("frozenset", "frozenset({", "})"),
            SequenceForm::Deque if class.is_some_and(|class| class.text.ends_with("deque")) => {
                ("", "[", "]")
            }
            SequenceForm::Deque => ("", "deque([", "])"),
        };
        built(out, class, own, |out| {
            out.push_str(open);
            self.push_items(out, items.iter().map(Item::One), length);
            if form == SequenceForm::Tuple && length == 1 {
                out.push(',');
            }
            out.push_str(close);
        });
    }

    /// `<Point x=1 y=2>`, and for an exception `ValueError('bad')` or `<ValueError('bad') code=1>`.
    fn push_instance(
        self,
        out: &mut String,
        value: &Value,
        arguments: Option<&[Value]>,
        attributes: &[(Text, Value)],
        length: Option<u64>,
    ) {
        if let Some((name, held)) = member(attributes) {
            let class = name_of(value.class.as_ref());
            write(out, format_args!("<{class}.{name}: "));
            self.inner().push(out, held);
            out.push('>');
            return;
        }
        let known = attributes.len();
        let shown = known.min(self.items);
        let left = length.unwrap_or(known as u64).saturating_sub(shown as u64);
        let bare = attributes.is_empty() && left == 0;
        if !(bare && arguments.is_some()) {
            out.push('<');
        }
        out.push_str(&name_of(value.class.as_ref()));
        if let Some(arguments) = arguments {
            out.push('(');
            let items = arguments.iter().map(Item::One);
            self.push_items(out, items, arguments.len() as u64);
            out.push(')');
        } else if bare {
            write(out, format_args!(" at {}", value.address));
        }
        // Where not all are shown, the public ones tell more.
        let private = |(name, _): &&(Text, Value)| shown < known && name.text.starts_with('_');
        let (last, first): (Vec<_>, Vec<_>) = attributes.iter().partition(private);
        for (name, value) in first.into_iter().chain(last).take(shown) {
            write(out, format_args!(" {name}="));
            self.inner().push(out, value);
        }
        if left > 0 {
            write(out, format_args!(" {MORE} {} more", grouped(left)));
        }
        if !(bare && arguments.is_some()) {
            out.push('>');
        }
    }

    /// As Python's `repr` of a string; what was cut off shows behind it.
    fn push_str(self, out: &mut String, text: &Text) {
        let quote = if text.text.contains('\'') && !text.text.contains('"') {
            '"'
        } else {
            '\''
        };
        out.push(quote);
        let mut characters = text.text.chars();
        for character in characters.by_ref().take(self.characters) {
            match character {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c == quote => {
                    out.push('\\');
                    out.push(c);
                }
                c if surrogate(c).is_some() => {
                    surrogate::push_escape(out, surrogate(c).unwrap_or_default());
                }
                c if c.is_control() => {
                    write(out, format_args!("\\x{:02x}", u32::from(c)));
                }
                c => out.push(c),
            }
        }
        out.push(quote);
        let left = characters.count() as u64;
        if text.truncated {
            out.push_str(MORE);
        } else if left > 0 && self.within {
            // A count would be taken for that of what it is in.
            out.push_str(MORE);
        } else if left > 0 {
            write(out, format_args!("{MORE} {} more", grouped(left)));
        }
    }

    fn push_bytes(self, out: &mut String, bytes: &[u8], length: u64) {
        let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
            '"'
        } else {
            '\''
        };
        out.push('b');
        out.push(quote);
        let shown = bytes.get(..self.characters).unwrap_or(bytes);
        for byte in shown {
            match byte {
                b'\\' => out.push_str("\\\\"),
                b'\n' => out.push_str("\\n"),
                b'\r' => out.push_str("\\r"),
                b'\t' => out.push_str("\\t"),
                byte if char::from(*byte) == quote => {
                    out.push('\\');
                    out.push(quote);
                }
                b' '..=b'~' => out.push(char::from(*byte)),
                byte => write(out, format_args!("\\x{byte:02x}")),
            }
        }
        out.push(quote);
        let left = length.saturating_sub(shown.len() as u64);
        if left > 0 && self.within {
            out.push_str(MORE);
        } else if left > 0 {
            write(out, format_args!("{MORE} {} more", grouped(left)));
        }
    }
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = out.write_fmt(text);
}

fn name_of(class: Option<&Text>) -> String {
    class.map_or_else(|| "object".to_owned(), Text::to_string)
}

/// `inner` as it is where the class is the built-in one, otherwise as a call of the class.
fn built(out: &mut String, class: Option<&Text>, own: &str, inner: impl FnOnce(&mut String)) {
    match class.filter(|class| class.text != own) {
        None => inner(out),
        Some(class) => {
            write(out, format_args!("{class}("));
            inner(out);
            out.push(')');
        }
    }
}

/// What stands between commas.
enum Item<'a> {
    One(&'a Value),
    Pair(&'a Value, &'a Value),
}

/// The shortest text that gives the same number back, as Python writes it.
fn push_float(out: &mut String, number: f64) {
    if number.is_nan() {
        return out.push_str("nan");
    }
    if number.is_infinite() {
        return out.push_str(if number < 0.0 { "-inf" } else { "inf" });
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{number}");
        out.push_str(&plain);
        if !plain.contains('.') {
            out.push_str(".0");
        }
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        write(
            out,
            format_args!("{digits}e{sign}{:02}", exponent.unsigned_abs()),
        );
    }
}

fn push_complex(out: &mut String, real: f64, imaginary: f64) {
    let part = |number: f64| {
        let mut text = String::new();
        push_float(&mut text, number);
        match text.strip_suffix(".0") {
            Some(whole) => whole.to_owned(),
            None => text,
        }
    };
    if real == 0.0 && real.is_sign_positive() {
        return write(out, format_args!("{}j", part(imaginary)));
    }
    let sign = if imaginary.is_sign_negative() && !imaginary.is_nan() {
        ""
    } else {
        "+"
    };
    write(
        out,
        format_args!("({}{sign}{}j)", part(real), part(imaginary)),
    );
}

/// A count with commas: `12,345`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The name and the value of a member of an enumeration: `enum` keeps both with it, and its class.
fn member(attributes: &[(Text, Value)]) -> Option<(&Text, &Value)> {
    let find = |wanted| {
        let mut found = attributes.iter().filter(|(name, _)| name.text == wanted);
        found.next().map(|(_, value)| value)
    };
    find("__objclass__")?;
    match (&find("_name_")?.kind, find("_value_")?) {
        (ValueKind::Str(name), value) => Some((name, value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
