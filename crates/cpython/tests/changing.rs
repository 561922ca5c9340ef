//! Values of variables that change while they are read: none is shown as certain that the
//! variable can't have had.

mod picture;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use invivo_cpython::{StackOptions, ValueLimits};
use invivo_model::{Value, ValueKind};
use invivo_process::Affinity;
use picture::{open, shown};
use synth::{Launch, interpreters};

const PROGRAM: &str = include_str!("targets/changing.py");
/// The program stays on the first processor, and lets others have that when they want it.
const STAYS: &str = "\
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
";
/// Looks at each target; as many as `INVIVO_LOOKS` says where it is set.
const LOOKS: usize = 250;
/// For each of them, on a machine that has more to do.
const TIME: Duration = Duration::from_millis(400);

/// Adds the values that are shown as certain and can't be.
fn check(name: &str, value: &Value, total: u64, wrong: &mut Vec<String>) {
    if value.changed {
        return;
    }
    let is_total = |value: &Value| match &value.kind {
        _ if value.changed => true,
        ValueKind::Int(digits) => digits.parse::<u64>().is_ok_and(|found| found % total == 0),
        _ => false,
    };
    let is_right = match (name, &value.kind) {
        ("x" | "shared" | "value" | "number" | "mine", _) => is_total(value),
        ("hot", ValueKind::None) => true,
        ("hot", _) => is_total(value),
        ("text", ValueKind::Str(text)) => text.text.starts_with("text "),
        ("box", ValueKind::Instance { attributes, .. }) => {
            matches!(&attributes[..], [(name, held)] if name.text == "held" && is_total(held))
        }
        ("items", ValueKind::Sequence { items, .. }) => {
            matches!(&items[..], [held] if is_total(held))
        }
        ("table", ValueKind::Dict { items, .. }) => {
            matches!(&items[..], [(_, held)] if is_total(held))
        }
        ("other", ValueKind::Sequence { items, .. }) => {
            matches!(&items[..], [number, _] if is_total(number))
        }
        ("box" | "items" | "table" | "text" | "other", _) => false,
        _ => true,
    };
    if !is_right {
        wrong.push(format!("{name} = {}", shown(value)));
    }
}

#[test]
fn what_is_shown_as_certain_was_there() {
    let wanted = std::env::var("INVIVO_LOOKS").ok();
    let wanted = wanted.map_or(LOOKS, |text| text.parse().expect("a number"));
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, [STAYS, PROGRAM].concat()).start();
        let mut place = Affinity::of_this_thread().expect("where we may run");
        let processor = (0..1024).find(|one| place.allows(*one));
        let processor = processor.expect("a processor that we may run on");
        let total = process.ready_ids()[0];
        let runtime = open(&process);
        let options = StackOptions {
            slots: true,
            ..StackOptions::default()
        };
        let until = Instant::now() + TIME * wanted.try_into().expect("not too many");
        let mut seen = BTreeMap::<String, [usize; 2]>::new();
        let mut wrong = Vec::new();
        let mut looks = 0;
        // Not everything may be given up, whatever else the machine does.
        let is_told = |seen: &BTreeMap<String, [usize; 2]>| {
            ["box", "table", "items", "x"].iter().all(|stable| {
                let counts = seen.get(*stable);
                counts.is_some_and(|[certain, _]| *certain > wanted / 10)
            })
        };
        while looks < wanted || !is_told(&seen) {
            assert!(
                Instant::now() < until,
                "{}: {looks} looks, {seen:?}",
                interpreter.name
            );
            if looks == wanted {
                // From elsewhere nearly all may have changed. Beside it, it stands still for longer.
                assert!(place.pin(processor), "we may run where it does");
            }
            let found = runtime.threads(&options).expect("threads");
            let thread = &found[0].threads[0];
            let places: Vec<_> = (0..thread.stack.frames.len()).collect();
            let read = runtime.variables_of(thread, &places, &ValueLimits::default());
            for variable in read.into_iter().flatten().flatten() {
                let Some(value) = &variable.value else {
                    continue;
                };
                let name = variable.name.text.as_str();
                let counts = seen.entry(name.to_owned()).or_default();
                counts[usize::from(value.changed)] += 1;
                check(name, value, total, &mut wrong);
            }
            looks += 1;
        }
        assert!(process.is_running(), "{}", interpreter.name);
        let name = &interpreter.name;
        assert!(wrong.is_empty(), "{name}: {wrong:?}, of {seen:?}");
        println!("{name}: certain and changing: {seen:?}");
    }
}
