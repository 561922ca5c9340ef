//! Greenlets that are suspended, in every interpreter that the package is there for.

mod picture;

use std::collections::BTreeMap;

use invivo_cpython::StackOptions;
use invivo_model::{Address, Greenlet, ValueKind};
use picture::open;
use synth::{Interpreter, Launch, interpreters, packages};

const PROGRAM: &str = include_str!("targets/greenlets.py");

fn names(greenlet: &Greenlet) -> Vec<&str> {
    let frames = greenlet.stack.frames.iter();
    frames.map(|frame| frame.code.name.text.as_str()).collect()
}

fn check(interpreter: &Interpreter, package: &packages::Package) {
    let what = format!("{} with {}", interpreter.name, package.name);
    let process = Launch::new(interpreter, PROGRAM)
        .variable("PYTHONPATH", package.directory.as_os_str())
        .start();
    let runtime = open(&process);
    let options = StackOptions {
        slots: true,
        ..StackOptions::default()
    };
    let main = runtime.interpreters().expect("interpreters");
    let main = main.main().expect("a main one").address;
    let found = runtime.greenlets(main, &options).expect(&what);
    let found = found.expect(&what);
    assert_eq!(found.defects, [], "{what}");
    assert_eq!(found.left_out, 0, "{what}");
    let by_address: BTreeMap<Address, &Greenlet> =
        found.list.iter().map(|one| (one.address, one)).collect();
    let kept = process.ready_ids();
    let expected: [&[&str]; 4] = [
        &["waiting", "plain"],
        &["waiting", "plain", "<lambda>", "below_c"],
        &["waiting", "plain", "inside", "in_generator"],
        &["waiting", "plain", "run"],
    ];
    for (id, expected) in kept.iter().zip(expected) {
        let greenlet = by_address.get(&Address(*id));
        let greenlet = greenlet.unwrap_or_else(|| panic!("{what}: {expected:?} in {found:?}"));
        assert_eq!(greenlet.stack.cut, None, "{what}");
        assert_eq!(names(greenlet), expected, "{what}");
    }
    // The main one, which has begun the one that runs.
    let main = found
        .list
        .iter()
        .find(|one| names(one) == ["main", "<module>"]);
    assert!(main.is_some(), "{what}: {:?}", found.list);
    assert_eq!(found.list.len(), 5, "{what}");
    // One runs, one has not begun, one has ended; the package may have made one of its own.
    assert!((3..=4).contains(&found.not_suspended), "{what}: {found:?}");
    let derived = by_address[&Address(kept[3])];
    let class = derived.class.as_ref().map(|class| class.text.as_str());
    assert_eq!(class, Some("Named"), "{what}");
    let variables = runtime.variables(
        &derived.stack.frames[0],
        &invivo_cpython::ValueLimits::default(),
    );
    let variables = variables.expect(&what);
    let name = variables[0].value.as_ref().map(|value| &value.kind);
    assert!(
        matches!(name, Some(ValueKind::Str(text)) if text.text == "derived"),
        "{what}: {name:?}"
    );
}

#[test]
fn suspended_greenlets_are_found_with_their_frames() {
    let mut checked = 0;
    for interpreter in interpreters() {
        for package in packages::greenlet(interpreter) {
            check(interpreter, &package);
            checked += 1;
        }
    }
    assert!(checked >= 3, "no package was there to be tried");
}

#[test]
fn a_process_without_greenlets_has_none() {
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, synth::samples::SLEEPER).start();
        let runtime = open(&process);
        let main = runtime.interpreters().expect("interpreters");
        let main = main.main().expect("a main one").address;
        let found = runtime.greenlets(main, &StackOptions::default());
        assert_eq!(found.expect("it can be read"), None, "{}", interpreter.name);
    }
}
