//! Objects of a target as Python would write them, as far as they were read.

use std::fmt::Write;

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
        Self { items, characters }
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
                Item::One(value) => self.push(out, value),
                Item::Pair(key, value) => {
                    self.push(out, key);
                    out.push_str(": ");
                    self.push(out, value);
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
        for (name, value) in attributes.iter().take(shown) {
            write(out, format_args!(" {name}="));
            self.push(out, value);
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
        if left > 0 {
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

#[cfg(test)]
mod tests {
    use invivo::Address;

    use super::*;

    fn text(text: &str) -> Text {
        Text {
            text: text.to_owned(),
            truncated: false,
        }
    }

    fn of(class: &str, kind: ValueKind) -> Value {
        Value {
            address: Address(0x7f00),
            class: Some(text(class)),
            kind,
        }
    }

    fn int(number: u64) -> Value {
        of("int", ValueKind::Int(number.to_string()))
    }

    fn string(value: &str) -> Value {
        of("str", ValueKind::Str(text(value)))
    }

    #[track_caller]
    fn is(value: &Value, expected: &str) {
        assert_eq!(value_text(value), expected);
    }

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.5, "1.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e-7, "1.25e-07"),
            (0.0001, "0.0001"),
            (1e300, "1e+300"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            is(&of("float", ValueKind::Float(number)), expected);
        }
        is(&of("complex", ValueKind::Complex(1.0, -2.5)), "(1-2.5j)");
        is(&of("complex", ValueKind::Complex(0.0, 2.0)), "2j");
        is(&int(7), "7");
        is(&of("Color", ValueKind::Int("3".into())), "Color(3)");
        is(
            &of("int", ValueKind::LongInt { bits: 90_000 }),
            "<int of 90000 bits>",
        );
        is(&of("bool", ValueKind::Bool(true)), "True");
        is(&of("NoneType", ValueKind::None), "None");
    }

    #[test]
    fn text_is_quoted_as_python_quotes_it() {
        is(&string("it's"), "\"it's\"");
        is(&string("'\"\\"), "'\\'\"\\\\'");
        is(&string("a\n\x1b[0m"), "'a\\n\\x1b[0m'");
        let cut = Text {
            text: "abc".into(),
            truncated: true,
        };
        is(&of("str", ValueKind::Str(cut)), "'abc'…");
        let bytes = |bytes: &[u8], length| ValueKind::Bytes {
            bytes: bytes.to_vec(),
            length,
        };
        is(&of("bytes", bytes(b"a'\x00\xff", 4)), "b\"a'\\x00\\xff\"");
        is(&of("bytes", bytes(b"ab", 1002)), "b'ab'… 1,000 more");
        is(&of("bytearray", bytes(b"ab", 2)), "bytearray(b'ab')");
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let sequence = |form, items, length| ValueKind::Sequence {
            form,
            items,
            length,
        };
        use SequenceForm::{Deque, FrozenSet, List, Set, Tuple};
        is(
            &of("list", sequence(List, vec![int(1), int(2)], 992)),
            "[1, 2, … 990 more]",
        );
        is(&of("list", sequence(List, vec![], 5)), "[… 5 more]");
        is(&of("list", sequence(List, vec![], 0)), "[]");
        is(&of("tuple", sequence(Tuple, vec![int(1)], 1)), "(1,)");
        is(&of("set", sequence(Set, vec![], 0)), "set()");
        is(&of("set", sequence(Set, vec![int(1)], 1)), "{1}");
        is(
            &of("frozenset", sequence(FrozenSet, vec![int(1)], 1)),
            "frozenset({1})",
        );
        is(
            &of("collections.deque", sequence(Deque, vec![int(1)], 1)),
            "collections.deque([1])",
        );
        is(&of("Path", sequence(List, vec![int(1)], 1)), "Path([1])");
        let dict = ValueKind::Dict {
            items: vec![(string("a"), int(1))],
            length: 3,
        };
        is(&of("dict", dict.clone()), "{'a': 1, … 2 more}");
        is(&of("OrderedDict", dict), "OrderedDict({'a': 1, … 2 more})");
    }

    #[test]
    fn instances_show_what_they_hold() {
        let instance = |arguments: Option<Vec<Value>>, length| ValueKind::Instance {
            arguments,
            attributes: vec![(text("x"), int(1)), (text("y"), string("b"))],
            length,
        };
        is(&of("Point", instance(None, Some(2))), "<Point x=1 y='b'>");
        is(
            &of("Point", instance(None, Some(5))),
            "<Point x=1 y='b' … 3 more>",
        );
        is(
            &of("MyError", instance(Some(vec![string("bad")]), Some(2))),
            "<MyError('bad') x=1 y='b'>",
        );
        let empty = |arguments| ValueKind::Instance {
            arguments,
            attributes: vec![],
            length: Some(0),
        };
        is(
            &of("ValueError", empty(Some(vec![string("bad")]))),
            "ValueError('bad')",
        );
        is(&of("Thing", empty(None)), "<Thing at 0x7f00>");
        is(&of("function", ValueKind::Named(text("f"))), "<function f>");
        is(&of("Lock", ValueKind::Opaque), "<Lock at 0x7f00>");
        let array = ValueKind::Array {
            element: Some(text("float64")),
            shape: Some(vec![1000, 3]),
        };
        is(&of("ndarray", array), "<ndarray float64 1000×3>");
    }

    #[test]
    fn a_long_value_is_made_to_fit() {
        let items: Vec<Value> = (100..116).map(int).collect();
        let list = of(
            "list",
            ValueKind::Sequence {
                form: SequenceForm::List,
                items,
                length: 2000,
            },
        );
        let dict = of(
            "dict",
            ValueKind::Dict {
                items: vec![(string("numbers"), list.clone())],
                length: 1,
            },
        );
        assert_eq!(
            value_within(&list, Some(50)),
            "[100, 101, 102, 103, 104, … 1,995 more]"
        );
        assert_eq!(
            value_within(&dict, Some(40)),
            "{'numbers': [100, 101, … 1,998 more]}"
        );
        assert_eq!(value_within(&list, Some(10)), "[100, … 1…");
        let long = string(&"a\u{202e}".repeat(50));
        assert_eq!(
            value_within(&long, Some(60)),
            "'a\\u202ea\\u202ea\\u202ea\\u202ea\\u202ea\\u202e'… 88 more"
        );
        assert_eq!(value_within(&long, None).len(), 50 * 7 + 2);
    }

    #[test]
    fn what_could_not_be_shown_says_so() {
        is(&of("list", ValueKind::Cycle(1)), "<what holds it>");
        is(&of("dict", ValueKind::Deeper), "<dict …>");
        is(
            &of(
                "dict",
                ValueKind::Unreadable("nothing readable at 0x10".into()),
            ),
            "<dict, unreadable: nothing readable at 0x10>",
        );
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
