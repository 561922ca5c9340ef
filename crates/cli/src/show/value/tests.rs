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
        changed: false,
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
fn what_changed_while_it_was_read_says_so() {
    let changed = |value: Value| Value {
        changed: true,
        ..value
    };
    is(&changed(int(7)), "<changing: 7>");
    let items = vec![int(1), changed(string("a"))];
    let list = ValueKind::Sequence {
        form: SequenceForm::List,
        items,
        length: 2,
    };
    is(&of("list", list), "[1, <changing: 'a'>]");
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
    is(
        &of("type", ValueKind::Named(text("Point"))),
        "<class Point>",
    );
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
