//! Threads and their stacks, alive: as the target itself reports them.

use invivo_cpython::{Limits, Runtime, StackOptions, locate};
use invivo_model::Trust;
use invivo_process::{ProcessMemory, Target};
use synth::{Interpreter, Launch, interpreters};

fn open(target: &Target) -> Option<Runtime<ProcessMemory>> {
    let modules = target.modules().expect("the target's modules");
    let location = locate(&target.memory(), &modules, target, &Limits::default());
    let location = location.expect("an interpreter");
    Runtime::open(target.memory(), &location, Limits::default()).ok()
}

/// Goes down some calls and stays there.
const CALLS: &str = "
import time
def recurse(n):
    if n:
        return recurse(n - 1)
    print('ready', flush=True)
    time.sleep(1000)
recurse(3)
";

#[test]
fn calls_are_listed_innermost_first() {
    let known = |interpreter: &&Interpreter| interpreter.version.as_str() >= "3.13";
    for interpreter in interpreters().iter().filter(known) {
        if interpreter.version.starts_with("3.8") || interpreter.version.starts_with("3.9") {
            continue;
        }
        let process = Launch::new(interpreter, CALLS).start();
        let target = Target::open(process.pid()).unwrap();
        let runtime = open(&target).expect("a known layout");
        let found = runtime.threads(&StackOptions::default()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].threads.len(), 1);
        let thread = &found[0].threads[0];
        assert_eq!(thread.stack.cut, None);
        assert!(thread.is_main);
        assert_eq!(thread.handles_exception, Some(false));
        let frames = &thread.stack.frames;
        let names: Vec<_> = frames
            .iter()
            .map(|f| f.code.label().text.as_str())
            .collect();
        assert_eq!(
            names,
            ["recurse", "recurse", "recurse", "recurse", "<module>"]
        );
        assert!(frames.iter().all(|frame| frame.trust == Trust::Whole));
    }
}
