//! Stacks of more frames than are looked at one by one.

mod picture;

use invivo_cpython::StackOptions;
use invivo_model::Gap;
use picture::open;
use synth::{Launch, interpreters};

/// A thread in more calls than are looked at, with room for them on its C stack.
const PROGRAM: &str = r#"
import sys, threading
sys.setrecursionlimit(10**9)
DEPTH = 70_000
def visit(node, depth=1):
    if depth == DEPTH:
        print("ready", DEPTH, flush=True)
        sys.stdin.read()
    else:
        visit(node, depth + 1)
def begin():
    visit("root")
threading.stack_size(1 << 30)
thread = threading.Thread(target=begin)
thread.start()
thread.join()
"#;

#[test]
fn both_ends_are_shown_and_how_many_frames_lie_between() {
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, PROGRAM).start();
        let depth = usize::try_from(process.ready_ids()[0]).expect("a depth");
        let runtime = open(&process);
        let options = StackOptions {
            slots: true,
            ..StackOptions::default()
        };
        let found = runtime.threads(&options).expect("threads");
        let name = &interpreter.name;
        let mut threads = found[0].threads.iter();
        let stack = threads.find_map(|thread| Some((&thread.stack, thread.stack.gap?)));
        let (stack, gap) = stack.expect(name);
        assert_eq!(stack.cut, None, "{name}");
        let names = stack
            .frames
            .iter()
            .map(|frame| frame.code.name.text.as_str());
        let names: Vec<_> = names.collect();
        let (inner, outer) = names.split_at(gap.after);
        assert!(inner.len() > 500 && outer.len() > 500, "{name}");
        assert!(inner.iter().all(|name| *name == "visit"), "{name}");
        assert_eq!(outer.last(), Some(&"_bootstrap"), "{name}");
        assert!(outer.contains(&"begin"), "{name}");
        let visits = names.iter().filter(|name| **name == "visit").count();
        let expected = Gap {
            after: inner.len(),
            frames: (depth - visits) as u64,
            is_exact: true,
        };
        assert_eq!(gap, expected, "{name}");
    }
}
