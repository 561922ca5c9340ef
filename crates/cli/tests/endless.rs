//! Scripts that would never end, and are to be ended.

mod support;

use std::path::PathBuf;

use support::{each, exec, not_held, staged};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch};

/// It has a tracer of its own, and work that must not be left half done.
const PROGRAM: &str = "
import os, select, sys
begun = ended = seen = 0
def work():
    global begun, ended
    begun += 1
    for _ in range(1000): pass
    ended += 1
def tracer(frame, event, argument):
    global seen
    seen += 1
    for _ in range({within}): pass
sys.settrace(tracer)
print('ready', flush=True)
while not select.select([0], [], [], {pause})[0]: work()
print('fine' if begun == ended and sys.gettrace() is tracer else 'harm', flush=True)
os._exit(0)
";

/// The program that waits for so many seconds between its work, and counts so far in its tracer.
fn program(pause: &str, within: &str) -> String {
    let program = PROGRAM.replace("{pause}", pause);
    program.replace("{within}", within)
}

#[test]
fn a_script_without_end_is_ended_in_its_own_frames() {
    let pythons = synth::acted_on().into_iter();
    let cells: Vec<_> = pythons
        .flat_map(|python| ["0", "1000"].map(|pause| (python, pause)))
        .collect();
    let name = |(python, pause): &(&Interpreter, &str)| format!("{} {pause}", python.name);
    each(&cells, name, |(python, pause)| {
        let target = Launch::new(python, program(pause, "0")).start();
        let main = "__import__('sys').modules['__main__']";
        let scripts = [
            "while True: pass".to_owned(),
            format!("main = {main}\nwhile True: main.work()"),
            "def f():\n    while True:\n        try: g()\n        except Exception: pass\n\
             def g(): 1 / 0\nf()"
                .to_owned(),
        ];
        for script in &scripts {
            let words = ["--timeout", "60", "--stop-after", "0.2", "-c", script];
            let run = exec(&target, &words).expect(1);
            let told = &run.stderr;
            assert!(
                told.ends_with("KeyboardInterrupt: stopped, as it was to be after 0.2 s\n"),
                "{run:#?}"
            );
            assert!(!told.contains("in work"), "raised in the program: {run:#?}");
            assert!(told.contains("File \"<invivo>\""), "{run:#?}");
        }
        // One that ends in time is left alone.
        let run = exec(&target, &["--stop-after", "60", "-e", "6 * 7"]).expect(0);
        assert_eq!(run.stdout, "42\n");
        not_held(&target);
        assert_eq!(staged(&target), Vec::<PathBuf>::new());
        target.close_input();
        target.wait_line("fine", PATIENCE);
        assert_eq!(target.stderr_so_far(), "");
    });
}

#[test]
fn a_script_that_runs_in_a_trace_function_is_ended_too() {
    let name = |python: &&Interpreter| python.name.clone();
    each(&synth::acted_on(), name, |python| {
        // It is there for nearly all of its time: code within is not traced.
        let target = Launch::new(python, program("0", "100000")).start();
        for namespace in ["fresh", "main"] {
            for _ in 0..3 {
                let words = ["--timeout", "60", "--stop-after", "0.1"];
                let script = ["--namespace", namespace, "-c", "while True: pass"];
                let run = exec(&target, &[&words[..], &script].concat()).expect(1);
                let told = &run.stderr;
                assert!(
                    told.ends_with("KeyboardInterrupt: stopped, as it was to be after 0.1 s\n"),
                    "{run:#?}"
                );
                assert!(!told.contains("<string>"), "{run:#?}");
            }
            let words = ["--stop-after", "60", "--namespace", namespace];
            let run = exec(&target, &[&words[..], &["-e", "6 * 7"]].concat()).expect(0);
            assert_eq!(run.stdout, "42\n");
            let script = ["-c", "raise StopIteration"];
            let run = exec(&target, &[&words[..], &script].concat()).expect(1);
            assert!(run.stderr.contains("\nStopIteration\n"), "{run:#?}");
        }
        not_held(&target);
        target.close_input();
        target.wait_line("fine", PATIENCE);
        assert_eq!(target.stderr_so_far(), "");
    });
}
