//! Programs in which a script has no sockets, or can't begin at all: it does without, or what it
//! met is told at once.

mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use support::{INVIVO, each, eventually, exec, not_held, staged, value};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, Target};

fn name(python: &&Interpreter) -> String {
    python.name.clone()
}

/// It has no sockets, and its stripped image no module for them.
const WITHOUT_SOCKETS: &str = "
import os, select, sys
sys.path[:] = [place for place in sys.path if 'lib-dynload' not in place]
print('ready', flush=True)
while not select.select([0], [], [], {pause})[0]: pass
assert '_socket' not in sys.modules
os._exit(0)
";

fn without_sockets(python: &Interpreter, pause: &str) -> Target {
    let program = WITHOUT_SOCKETS.replace("{pause}", pause);
    Launch::new(python, program).start()
}

#[test]
fn a_program_that_has_no_sockets_runs_scripts_and_still_has_none() {
    each(&synth::acted_on(), name, |python| {
        for pause in ["0", "1000"] {
            let target = without_sockets(python, pause);
            let before = support::state(&target);
            assert_eq!(value(&target, "[1, 'ä', None]"), json!([1, "ä", null]));
            let code = "import sys; print('out'); print('err', file=sys.stderr)";
            let run = exec(&target, &["-c", code]).expect(0);
            assert_eq!((&*run.stdout, &*run.stderr), ("out\n", "err\n"));
            let run = exec(&target, &["-c", "def f():\n    1 / 0\nf()"]).expect(1);
            assert!(
                run.stderr
                    .ends_with("ZeroDivisionError: division by zero\n")
            );
            // More than what is given back at a time, and more than one read.
            let run = exec(&target, &["-c", "for _ in range(3000): print('x' * 999)"]).expect(0);
            assert_eq!(run.stdout.len(), 3_000_000);
            assert_eq!(support::state(&target), before, "{}", python.name);
            not_held(&target);
            assert_eq!(staged(&target), Vec::<PathBuf>::new());
            target.close_input();
            assert!(target.wait_exit(PATIENCE).success());
            assert_eq!(target.stderr_so_far(), "");
        }
    });
}

#[test]
fn a_script_without_sockets_finds_out_that_nobody_waits_for_it() {
    let python = synth::interpreter("3.12");
    let target = without_sockets(python, "0");
    let place = tempfile::tempdir().expect("a directory");
    let (begun, done) = (place.path().join("begun"), place.path().join("done"));
    // What it prints goes nowhere when it is killed, and fills no file.
    let code = format!(
        "import os\nopen({begun:?}, 'w').close()\nwhile not os.path.exists({done:?}): print('x' * 4096)"
    );
    let mut invivo = Command::new(INVIVO)
        .args([
            "exec",
            &target.pid().to_string(),
            "--timeout",
            "60",
            "-c",
            &code,
        ])
        .stdout(Stdio::null())
        .spawn()
        .expect("running invivo");
    eventually("it has begun", || begun.exists());
    invivo.kill().expect("killing it");
    invivo.wait().expect("its end");
    let written = || {
        let io = std::fs::read_to_string(format!("/proc/{}/io", target.pid())).expect("io");
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        line.expect("a count").parse::<u64>().expect("a number")
    };
    eventually("it writes no more", || {
        let before = written();
        std::thread::sleep(Duration::from_millis(20));
        written() == before
    });
    std::fs::write(done, "").expect("the end");
    assert_eq!(value(&target, "1"), 1);
    not_held(&target);
    assert_eq!(staged(&target), Vec::<PathBuf>::new());
    target.close_input();
    assert!(target.wait_exit(PATIENCE).success());
}

/// What keeps a script from beginning, by a name, and what is said of it.
const OBSTACLES: [(&str, &str, &str); 5] = [
    (
        "audit",
        "sys.addaudithook(lambda name, given: refuse() if name == 'open' and b'invivo' in \
         (given[0] if isinstance(given[0], bytes) else str(given[0]).encode()) else None)",
        "has not called back",
    ),
    (
        "compiling",
        "sys.addaudithook(lambda name, _: refuse() if name in ('compile', 'exec') else None)",
        "has not called back",
    ),
    ("exec", "import builtins; builtins.exec = refuse", ""),
    (
        "connecting",
        "import _socket; sys.addaudithook(lambda name, _: refuse() if name == 'socket.connect' \
         else None)",
        "it met an error there: Wrong: not here",
    ),
    (
        "types",
        "import builtins; builtins.type = refuse",
        "has not called back",
    ),
];

#[test]
fn a_script_that_can_not_begin_is_said_so_at_once() {
    let program = "
import os, sys, select
class Wrong(Exception): pass
def refuse(*_): raise Wrong('not here')
wait = select.select
{patch}
os.write(1, b'ready\\n')
while not wait([0], [], [], {pause})[0]: pass
os._exit(0)
";
    let pythons = synth::acted_on().into_iter();
    let cells: Vec<_> = pythons
        .flat_map(|python| OBSTACLES.map(|obstacle| (python, obstacle)))
        .flat_map(|(python, obstacle)| ["0", "1000"].map(|pause| (python, obstacle, pause)))
        // Where it has a hook and no protocol, one that runs gets no script.
        .filter(|(python, (_, patch, _), pause)| {
            *pause != "0" || python.minor() >= 14 || !patch.contains("addaudithook")
        })
        .collect();
    let name = |(python, (what, ..), pause): &(&Interpreter, (&str, &str, &str), &str)| {
        format!("{} {what} {pause}", python.name)
    };
    each(&cells, name, |(python, (_, patch, why), pause)| {
        let program = program.replace("{patch}", patch).replace("{pause}", pause);
        let target = Launch::new(python, program).start();
        let begun = Instant::now();
        let run = exec(&target, &["--timeout", "60", "-e", "1"]);
        run.refused(5, "took the request up, but the script did not begin", why);
        assert!(begun.elapsed() < Duration::from_secs(30), "not at once");
        not_held(&target);
        assert_eq!(staged(&target), Vec::<PathBuf>::new());
        target.close_input();
        assert!(target.wait_exit(PATIENCE).success());
    });
}

/// It makes no system call until it is told to end, and refuses whatever is compiled or run.
const STRICT: &str = "
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
def hook(name, _):
    if name in ('compile', 'exec'): raise PermissionError('not here')
sys.addaudithook(hook)
os.write(1, b'ready\\n')
while True: pass
";

#[test]
fn a_program_with_a_hook_that_may_refuse_gets_no_pending_call() {
    let pythons = synth::acted_on().into_iter();
    let pythons: Vec<_> = pythons.filter(|python| python.minor() < 14).collect();
    each(&pythons, name, |python| {
        let target = Launch::new(python, STRICT).start();
        let run = exec(&target, &["--timeout", "1", "-e", "1"]);
        run.refused(6, "did not begin", "the program has an audit hook");
        let said = support::invivo(["doctor", "--json", &target.pid().to_string()]);
        assert!(said.stdout.contains("has an audit hook"), "{said:#?}");
        not_held(&target);
        assert_eq!(staged(&target), Vec::<PathBuf>::new());
        target.signal(Signal::TERM);
        assert!(target.wait_exit(PATIENCE).success());
        assert_eq!(target.stderr_so_far(), "");
    });
}

/// It runs code without builtins until it is told of a script that could not be opened.
const BARE: &str = "
import os, select, sys
met = []
sys.unraisablehook = lambda *_: met.append(1)
code = compile('while not met: pass', 'bare', 'exec')
print('ready', flush=True)
exec(code, {'__builtins__': {}, 'met': met})
while not select.select([0], [], [], 0)[0]: pass
os._exit(0)
";

#[test]
fn a_script_that_could_not_be_opened_is_asked_for_again() {
    each(&synth::protocol(), name, |python| {
        let target = Launch::new(python, BARE).start();
        let run = exec(&target, &["--timeout", "60", "-e", "len('met')"]).expect(0);
        assert_eq!(run.stdout, "3\n");
        not_held(&target);
        assert_eq!(staged(&target), Vec::<PathBuf>::new());
        target.close_input();
        assert!(target.wait_exit(PATIENCE).success());
        assert_eq!(target.stderr_so_far(), "");
    });
}
