//! `invivo exec` on CPython before 3.14, which has no protocol for it, and what must hold on every
//! version where nothing but the target itself says how it stands.

mod support;

use std::fs;

use serde_json::json;
use support::{busy, each, eventually, exec, not_held, staged, unharmed, value};
use synth::target::PATIENCE;
use synth::waits::named;
use synth::{Interpreter, Launch, Target, samples};

/// Those without the protocol.
fn older() -> Vec<&'static Interpreter> {
    let all = synth::acted_on().into_iter();
    all.filter(|python| python.minor() < 14).collect()
}

fn name(python: &&Interpreter) -> String {
    python.name.clone()
}

/// A script brings back everything that it brings back on newer versions, and nothing is left.
#[track_caller]
fn works(target: &Target) {
    assert_eq!(
        value(target, "[1, 'ä', None, 2.5]"),
        json!([1, "ä", null, 2.5])
    );
    let code = "import sys; print('out'); print('err', file=sys.stderr)";
    let run = exec(target, &["-c", code]).expect(0);
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str()),
        ("out\n", "err\n")
    );
    let run = exec(target, &["-c", "def f():\n    1 / 0\nf()"]).expect(1);
    assert!(
        run.stderr.contains("File \"<invivo>\", line 2, in f\n"),
        "{run:#?}"
    );
    assert!(
        run.stderr
            .ends_with("ZeroDivisionError: division by zero\n")
    );
    exec(target, &["-c", "import sys; sys.exit(3)"]).expect(1);
    exec(target, &["-c", "raise KeyboardInterrupt"]).expect(1);
    let run = exec(target, &["-c", "this is no Python"]).expect(1);
    assert!(run.stderr.contains("SyntaxError"), "{run:#?}");
    not_held(target);
    assert_eq!(staged(target), Vec::<std::path::PathBuf>::new());
    assert_eq!(target.stderr_so_far(), "");
}

#[test]
fn an_operator_that_opted_out_is_obeyed() {
    each(&older(), name, |python| {
        let variable = "PYTHON_DISABLE_REMOTE_DEBUG";
        for sample in [samples::BUSY, samples::SLEEPER] {
            let launch = Launch::new(python, sample).variable(variable, "1");
            let target = launch.start();
            exec(&target, &["-e", "1"]).refused(5, "switched off", variable);
            not_held(&target);
            assert!(staged(&target).is_empty());
        }
    });
}

#[test]
fn every_way_to_start_an_interpreter() {
    let ways: [(&[&str], &str, &str); 8] = [
        (&["-I"], "", ""),
        (&["-E", "-s"], "", ""),
        (&["-S"], "", ""),
        (&["-I", "-S", "-B"], "", ""),
        (&["-X", "dev"], "", ""),
        (&["-W", "error"], "", ""),
        (&["-OO", "-u"], "", ""),
        (&[], "PYTHONMALLOC", "debug"),
    ];
    let cells: Vec<_> = synth::acted_on()
        .into_iter()
        .flat_map(|python| ways.map(|way| (python, way)))
        .collect();
    let name =
        |(python, way): &(&Interpreter, (&[&str], &str, &str))| format!("{} {way:?}", python.name);
    each(&cells, name, |(python, (options, variable, value))| {
        // While it computes, and while it sleeps.
        for sample in [samples::BUSY, samples::SLEEPER] {
            let mut launch = Launch::new(python, sample).options(options.iter().copied());
            if !variable.is_empty() {
                launch = launch.variable(*variable, *value);
            }
            let target = launch.start();
            let run = exec(&target, &["-c", "print('out')\n1 / 0"]).expect(1);
            assert_eq!(run.stdout, "out\n");
            assert!(
                run.stderr
                    .ends_with("ZeroDivisionError: division by zero\n")
            );
            not_held(&target);
            assert_eq!(target.stderr_so_far(), "");
        }
    });
}

/// What a program's own `__main__` may look like.
const HOSTILE: &str = r#"
from os import *
import os, select, sys
ready = sys.stdout.write
def forbidden(*arguments, **words):
    sys.__stdout__.write("wrong: a name of __main__ was used\n")
    os._exit(3)
"#;

#[test]
fn names_of_the_program_are_neither_used_nor_changed() {
    let names = "open exec eval compile __import__ print repr str int len sys posix socket time \
                 globals getattr type dict invivo BaseException __name__ __file__ \
                 __spec__ __loader__ _ code";
    let mut program = HOSTILE.to_owned();
    let mine: Vec<&str> = names
        .split_whitespace()
        .filter(|name| *name != "sys")
        .collect();
    program.push_str(&format!(
        "print('ready', flush=True)\nglobals().update(dict.fromkeys({mine:?}, forbidden))\n"
    ));
    program.push_str("while not select.select([0], [], [], {pause})[0]: pass\n");
    each(&synth::acted_on(), name, |python| {
        for pause in ["0", "1000"] {
            let target = Launch::new(python, program.replace("{pause}", pause)).start();
            let listed = "sorted(map(str.__str__, __import__('sys').modules['__main__'].__dict__))";
            let before = value(&target, listed);
            works(&target);
            assert_eq!(value(&target, listed), before, "left in __main__");
            let run = exec(&target, &["--namespace", "main", "-e", "ready.__name__"]).expect(0);
            assert_eq!(run.stdout, "'write'\n");
            target.close_input();
            assert!(target.wait_exit(PATIENCE).success());
            assert!(!target.stdout_so_far().contains("wrong"));
        }
    });
}

#[test]
fn builtins_that_the_program_replaced_are_its_own_business() {
    // A program may put what it likes into `builtins`; a script that then fails must not harm it.
    let program = "
import builtins, select
kept = builtins.exec
def refuses(*arguments): raise ZeroDivisionError('a hostile builtin')
print('ready', flush=True)
builtins.exec = builtins.open = builtins.compile = refuses
while not select.select([0], [], [], 0)[0]: pass
";
    each(&older(), name, |python| {
        let target = Launch::new(python, program).start();
        let run = exec(&target, &["--timeout", "1", "-e", "1"]);
        assert!(matches!(run.code, Some(0 | 1 | 5 | 6)), "{run:#?}");
        not_held(&target);
        target.close_input();
        assert!(target.wait_exit(PATIENCE).success());
        assert_eq!(target.stderr_so_far(), "");
    });
}

#[test]
fn a_program_near_its_limit_of_recursion_lives_on() {
    // As deep as it can be, less the argument.
    let program = "
import select, sys
def deepest(depth):
    try:
        return deepest(depth + 1)
    except RecursionError:
        return depth
def down(depth):
    if depth: return down(depth - 1)
    print('ready', flush=True)
    while not select.select([0], [], [], 0)[0]: pass
down(deepest(0) - 8 - int(sys.argv[1]))
";
    let cells: Vec<_> = synth::acted_on()
        .into_iter()
        .flat_map(|python| ["0", "2", "8", "30"].map(|room| (python, room)))
        .collect();
    let name = |(python, room): &(&Interpreter, &str)| format!("{} {room}", python.name);
    each(&cells, name, |(python, room)| {
        let target = Launch::new(python, program).arguments([*room]).start();
        let run = exec(&target, &["--timeout", "3", "-e", "6 * 7"]);
        match run.code {
            Some(0) => assert_eq!(run.stdout, "42\n"),
            Some(1) => assert!(run.stderr.contains("RecursionError"), "{run:#?}"),
            code => assert!(matches!(code, Some(5 | 6)), "{run:#?}"),
        }
        not_held(&target);
        target.close_input();
        assert!(
            target.wait_exit(PATIENCE).success(),
            "{}",
            target.stderr_so_far()
        );
        assert_eq!(target.stderr_so_far(), "");
        assert!(staged(&target).is_empty());
    });
}

#[test]
fn a_program_that_comes_to_its_end_is_left_alone() {
    // A module's names are cleared when finalization has long begun.
    let program = "
import os, sys
class Last:
    def __del__(self, read=os.read, write=os.write):
        write(1, b'ready\\n')
        read(0, 1)
        write(1, b'over\\n')
sys.modules['last'] = type(sys)('last')
sys.modules['last'].last = Last()
";
    each(&synth::acted_on(), name, |python| {
        let target = Launch::new(python, program).start();
        support::asleep_in(&target, "read");
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("ran");
        let code = format!("open({file:?}, 'w')");
        let run = exec(&target, &["--timeout", "1", "-c", &code]);
        assert!(matches!(run.code, Some(5 | 6)), "{run:#?}");
        not_held(&target);
        target.send_line("");
        assert!(target.wait_exit(PATIENCE).success());
        target.wait_line("over", PATIENCE);
        assert_eq!(target.stderr_so_far(), "");
        assert!(!file.exists());
        assert!(staged(&target).is_empty());
    });
}

#[test]
fn a_queue_of_calls_that_is_full_is_said_to_be() {
    let program = "
import ctypes, functools, operator, select
call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: 0)
library = ctypes.PyDLL(None)
# All in C and with the GIL, so that nobody makes the calls meanwhile.
steps = [functools.partial(library.Py_AddPendingCall, call, None)] * 1000
steps.append(functools.partial(library.usleep, 3000000))
print('ready', flush=True)
results = list(map(operator.methodcaller('__call__'), steps))
print('made', results.count(0), flush=True)
while not select.select([0], [], [], 0)[0]: pass
";
    each(&older(), name, |python| {
        let target = Launch::new(python, program).start();
        // It runs when there is room again, or the reason is told.
        let run = exec(&target, &["--timeout", "1", "-e", "6 * 7"]);
        assert!(matches!(run.code, Some(0 | 5 | 6)), "{run:#?}");
        target.wait_line("made", PATIENCE);
        assert_eq!(value(&target, "6 * 7"), 42);
        target.close_input();
        assert!(target.wait_exit(PATIENCE).success());
        assert_eq!(target.stderr_so_far(), "");
    });
}

#[test]
fn a_process_that_forks_meanwhile_runs_a_script_once() {
    // It is in C code for most of its time, on its way to the fork: then the child is born with the
    // request in its memory.
    let program = "
import functools, os, select, sys, time
os.register_at_fork(before=functools.partial(sum, range(200000)))
print('ready', flush=True)
while not select.select([0], [], [], 0)[0]:
    child = os.fork()
    if child == 0:
        for _ in range(2000): pass
        time.sleep(0.02)
        os._exit(0)
    if os.waitpid(child, 0)[1]: os._exit(3)
";
    each(&synth::acted_on(), name, |python| {
        let target = Launch::new(python, program).start();
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("ran");
        for number in 1..=20 {
            let code =
                format!("import os\nwith open({file:?}, 'a') as f: print(os.getpid(), file=f)");
            exec(&target, &["--timeout", "60", "-c", &code]).expect(0);
            let ran = fs::read_to_string(&file).expect("the script's file");
            let own = format!("{}\n", target.pid());
            assert_eq!(ran, own.repeat(number), "a child ran it");
        }
        target.close_input();
        assert!(target.wait_exit(PATIENCE).success());
        assert_eq!(target.stderr_so_far(), "");
        eventually("nothing is left", || staged(&target).is_empty());
    });
}

#[test]
fn a_sleeping_thread_that_is_not_the_main_one() {
    let program = "
import threading, time
begun = time.monotonic()
took = []
def sleeps():
    start = time.monotonic()
    time.sleep(3)
    took.append(time.monotonic() - start)
def waits():
    start = time.monotonic()
    threading.Event().wait(3)
    took.append(time.monotonic() - start)
threads = [threading.Thread(target=one) for one in (sleeps, waits)]
for thread in threads: thread.start()
print('ready', *(thread.native_id for thread in threads), flush=True)
for thread in threads: thread.join()
print('fine' if min(took) >= 3 else 'harm', took, flush=True)
";
    each(&synth::acted_on(), name, |python| {
        let target = Launch::new(python, program).start();
        let own = "__import__('threading').get_native_id()";
        for _ in 0..2 {
            for tid in target.ready_ids() {
                let tid = tid.to_string();
                let run = exec(&target, &["--thread", &tid, "-e", own]);
                // On a slow machine it may have ended meanwhile.
                if target.stdout_so_far().contains("fine") {
                    break;
                }
                assert_eq!(run.expect(0).stdout, format!("{tid}\n"));
            }
        }
        target.wait_line("fine", PATIENCE);
        assert_eq!(target.stderr_so_far(), "");
        assert!(target.wait_exit(PATIENCE).success());
    });
}

#[test]
fn sub_interpreters_of_older_versions_are_not_confused() {
    let program = "
import sys, threading, time
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
work = 'import time\\nwhile True: time.sleep(0.001)'
ids = [interpreters.create() for _ in range(2)]
run = getattr(interpreters, 'run_string')
for one in ids:
    threading.Thread(target=run, args=(one, work), daemon=True).start()
print('ready', flush=True)
while True: sum(range(1000))
";
    each(&older(), name, |python| {
        let target = Launch::new(python, program).start();
        let expression = "__import__('sys').modules['__main__'].__dict__.get('work', 'none')[:6]";
        for _ in 0..20 {
            let run = exec(&target, &["--timeout", "60", "-e", expression]).expect(0);
            assert_eq!(run.stdout, "'import'\n", "that of the main interpreter");
        }
        assert!(target.is_running());
        assert_eq!(target.stderr_so_far(), "");
    });
}

#[test]
fn what_it_computes_is_right_after_many_scripts() {
    each(&older(), name, |python| {
        let target = busy(python);
        works(&target);
        let before = support::state(&target);
        for number in 0..100 {
            assert_eq!(value(&target, &format!("{number} * 2")), number * 2);
        }
        assert_eq!(support::state(&target), before);
        unharmed(&target);
        target.close_input();
        assert!(target.wait_exit(PATIENCE).success());
    });
}

#[test]
fn a_stop_while_others_use_the_queue_of_calls() {
    // Its lock is taken and given back all the time, so that many a stop meets it held.
    let program = "
import ctypes, os, select, threading
call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: 0)
add = ctypes.CDLL(None).Py_AddPendingCall
def adds():
    while True: add(call, None)
for _ in range(2): threading.Thread(target=adds, daemon=True).start()
print('ready', flush=True)
while not select.select([0], [], [], 0)[0]: sum(range(100))
# Python's end frees what the threads still use.
os._exit(0)
";
    each(&older(), name, |python| {
        let target = Launch::new(python, program).start();
        for number in 0..30 {
            let run = exec(
                &target,
                &["--timeout", "60", "-e", &format!("{number} * 2")],
            )
            .expect(0);
            assert_eq!(run.stdout, format!("{}\n", number * 2));
        }
        not_held(&target);
        target.close_input();
        assert!(target.wait_exit(PATIENCE).success());
        assert_eq!(target.stderr_so_far(), "");
    });
}

#[test]
fn a_wait_ends_with_its_value_when_scripts_raise_and_print() {
    each(&synth::acted_on(), name, |python| {
        let wait = named("recv");
        let target = wait.start(python, 1.0);
        works(&target);
        wait.end(&target);
        wait.went_well(&target);
    });
}
