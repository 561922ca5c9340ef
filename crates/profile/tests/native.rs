//! Where C code called Python code it is marked, and nowhere else.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use invivo_profile::Options;
use support::{alone, sampled, whole_stacks};
use synth::{Launch, interpreters};

/// Stays in a shape of calls for good.
const PROGRAM: &str = r#"
import functools, sys, threading
def spin(*_):
    print("ready", flush=True)
    while True: pass
def generate():
    yield spin()
def relay(*_):
    list(map(spin, [1]))
def plain(): spin()
def by_sorted(): sorted([1], key=spin)
def by_list(): list(generate())
def by_next(): next(generate())
def by_partial(): functools.partial(spin)()
def twice(): sorted([1], key=relay)
def main(shape): globals()[shape]()
main(sys.argv[1])
"#;

/// What is on the stack below `main`.
const SHAPES: [(&str, &[&str]); 6] = [
    ("plain", &["spin"]),
    ("by_sorted", &["<native>", "spin"]),
    ("by_list", &["<native>", "generate", "spin"]),
    ("by_next", &["<native>", "generate", "spin"]),
    ("by_partial", &["<native>", "spin"]),
    ("twice", &["<native>", "relay", "<native>", "spin"]),
];

#[test]
fn calls_by_c_code_are_marked_in_versions_that_tell() {
    let _alone = alone();
    for interpreter in interpreters() {
        let tells = interpreter.minor() >= 11;
        for (shape, below) in SHAPES {
            let process = Launch::new(interpreter, PROGRAM).arguments([shape]).start();
            let mut wanted = vec!["<module>", "main", shape];
            wanted.extend(below.iter().filter(|name| tells || **name != "<native>"));
            for opcodes in [false, true] {
                let options = Options {
                    native: true,
                    opcodes,
                    ..Options::default()
                };
                let profile = sampled(process.pid(), 2000, 50, options);
                let what = format!("{} {shape}, opcodes: {opcodes}", interpreter.name);
                let stacks = whole_stacks(&profile);
                assert_eq!(
                    stacks.keys().collect::<Vec<_>>(),
                    [&wanted],
                    "{what}: {stacks:?}"
                );
            }
        }
    }
}

#[test]
fn nothing_is_marked_where_it_is_not_asked_for() {
    let _alone = alone();
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, PROGRAM)
            .arguments(["twice"])
            .start();
        let profile = sampled(process.pid(), 2000, 50, Options::default());
        let stacks = whole_stacks(&profile);
        let wanted = vec!["<module>", "main", "twice", "relay", "spin"];
        assert_eq!(
            stacks.keys().collect::<Vec<_>>(),
            [&wanted],
            "{}",
            interpreter.name
        );
    }
}
