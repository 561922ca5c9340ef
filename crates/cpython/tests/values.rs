//! What objects of every kind hold, in every interpreter there is, as it says of itself.

mod picture;

use std::fmt::Write;

use invivo_cpython::{Runtime, ValueLimits};
use invivo_model::{Address, ValueKind};
use invivo_process::ProcessMemory;
use picture::{open, shown};
use synth::{Interpreter, Launch, interpreters};

const ZOO: &str = include_str!("targets/zoo.py");

/// Limits that nothing in the zoo reaches.
const AMPLE: ValueLimits = ValueLimits {
    depth: 20,
    items: 5000,
    characters: 5000,
    nodes: 20_000,
};

/// A live zoo.
struct Zoo {
    process: synth::Target,
    runtime: Runtime<ProcessMemory>,
}

impl Zoo {
    fn open(interpreter: &Interpreter) -> Zoo {
        let process = Launch::new(interpreter, ZOO).start();
        let runtime = open(&process);
        Zoo { process, runtime }
    }

    /// The objects, and what each is to be shown as.
    fn exhibits(&self) -> Vec<(Address, String)> {
        let text = self.process.stdout_so_far();
        let lines = text.lines().filter_map(|line| line.strip_prefix("value "));
        lines
            .map(|line| {
                let (id, shown) = line.split_once(' ').expect("an id");
                (Address(id.parse().expect("an id")), shown.to_owned())
            })
            .collect()
    }
}

#[test]
fn every_object_is_what_it_says_of_itself() {
    for interpreter in interpreters() {
        let zoo = Zoo::open(interpreter);
        let exhibits = zoo.exhibits();
        assert!(exhibits.len() > 200, "{}", interpreter.name);
        let mut wrong = String::new();
        for (address, expected) in &exhibits {
            let value = zoo.runtime.value(*address, &AMPLE);
            let found = shown(&value);
            if found != *expected {
                writeln!(wrong, "{}: {found}\n    not {expected}", interpreter.name).unwrap();
            }
        }
        assert_eq!(wrong, "");
        let addresses: Vec<_> = exhibits.iter().map(|(address, _)| *address).collect();
        let together = zoo.runtime.values(&addresses, &AMPLE);
        let together: Vec<_> = together.iter().map(shown).collect();
        let expected: Vec<_> = exhibits.into_iter().map(|(_, shown)| shown).collect();
        assert_eq!(together, expected, "{}", interpreter.name);
        let output = zoo.process.stdout_so_far();
        assert!(!output.contains("something ran"), "{output}");
    }
}

/// The objects that the zoo calls big, in its order.
fn big(zoo: &Zoo) -> Vec<Address> {
    let line = zoo.process.stdout_so_far();
    let line = line.lines().find_map(|line| line.strip_prefix("big "));
    let ids = line.expect("the big ones").split(' ');
    ids.map(|id| Address(id.parse().expect("an id"))).collect()
}

#[test]
fn what_is_too_much_is_cut_and_says_how_much_there_is() {
    let limits = ValueLimits {
        depth: 2,
        items: 3,
        characters: 70,
        nodes: 40,
    };
    for interpreter in interpreters() {
        let zoo = Zoo::open(interpreter);
        let found: Vec<_> = big(&zoo)
            .iter()
            .map(|address| shown(&zoo.runtime.value(*address, &limits)))
            .collect();
        let path = found[11].clone();
        let expected = [
            "list:[int:0, int:1, int:2 of 100000]".to_owned(),
            "tuple:(NoneType:None, NoneType:None, NoneType:None of 100000)".to_owned(),
            "set:{int:0, int:1, int:2 of 100000}".to_owned(),
            "dict:{int:0: NoneType:None, int:1: NoneType:None, int:2: NoneType:None of 100000}"
                .to_owned(),
            format!("str:\"{}\"...", "x".repeat(70)),
            format!("bytes:{} of 100000", "79".repeat(70)),
            "deque:d[int:0, int:1, int:2 of 100000]".replace("deque:", "collections.deque:"),
            "int:100020 bits".to_owned(),
            "int:1020 bits".to_owned(),
            "Plain:<a=int:1, attribute0=int:0, attribute1=int:1 of 61>".to_owned(),
            "ValueError:(int:0, int:1, int:2, ?:...)<>".to_owned(),
            path.clone(),
            "dict_keys:[int:0, int:1, int:2 of 100000]".to_owned(),
            "list:[list:[list:...]]".to_owned(),
            "list:[list:[int:0, int:0, int:0 of 10], list:[int:1, int:1, int:1 of 10], \
             list:[int:2, int:2, int:2 of 10] of 100]"
                .to_owned(),
        ];
        assert_eq!(found, expected, "{}", interpreter.name);
        assert!(path.starts_with("PurePosixPath:<"), "{path}");
    }
}

#[test]
fn a_budget_goes_to_what_is_near() {
    let zoo = Zoo::open(synth::interpreter("3.14"));
    let limits = ValueLimits {
        depth: 5,
        items: 1000,
        characters: 10,
        nodes: 103,
    };
    let wide = *big(&zoo).last().unwrap();
    let ValueKind::Sequence { items, length, .. } = zoo.runtime.value(wide, &limits).kind else {
        panic!("a list is none");
    };
    assert_eq!((items.len(), length), (100, 100));
    assert_eq!(shown(&items[0]), "list:[int:0, int:0, int:0 of 10]");
    assert!(items[1..].iter().all(|item| shown(item) == "list:[ of 10]"));
}

#[test]
fn integers_are_written_in_decimal_as_far_as_there_is_room() {
    let zoo = Zoo::open(synth::interpreter("3.12"));
    let negative = big(&zoo)[8];
    let limits = |characters| ValueLimits {
        characters,
        ..ValueLimits::default()
    };
    // -(1 << 1000) takes 302 decimal digits, 251 hexadecimal ones.
    let decimal = shown(&zoo.runtime.value(negative, &limits(302)));
    assert!(decimal.starts_with("int:-10715086071862673209484250490600018105614"));
    assert_eq!(decimal.len(), "int:-".len() + 302);
    let hexadecimal = shown(&zoo.runtime.value(negative, &limits(301)));
    assert_eq!(hexadecimal, format!("int:-0x1{}", "0".repeat(250)));
    assert_eq!(
        shown(&zoo.runtime.value(negative, &limits(200))),
        "int:1020 bits"
    );
}
