//! Programs that have replaced, removed or emptied what a script's way in might rely on, as
//! gevent, eventlet, freezegun, import hooks and sandboxes do.

mod support;

use std::path::PathBuf;

use support::{each, eventually, exec, not_held, staged};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, Target};

/// What a program does to its own modules: a name and the statements. `refuse` raises whatever it
/// is called with.
const PATCHES: [(&str, &str); 12] = [
    (
        "threads",
        "import _thread; _thread.get_ident = _thread.RLock = _thread.allocate_lock = \
         _thread.start_new_thread = refuse",
    ),
    (
        "a thread's number",
        "import _thread; _thread.get_ident = lambda: 7",
    ),
    ("time stands", "import time; time.time = lambda: 0"),
    ("time is far off", "import time; time.time = lambda: 1e15"),
    ("no clock", "import time; del time.time"),
    (
        "open",
        "import builtins, io; builtins.open = io.open = refuse",
    ),
    ("import", "import builtins; builtins.__import__ = refuse"),
    (
        "finders",
        "import sys; sys.meta_path[:] = [Finder()]; sys.path_hooks[:] = [refuse]; \
         sys.path_importer_cache.clear()",
    ),
    (
        "emptied",
        "import sys\nfor name in 'posix time _thread _io _imp builtins sys threading'.split():\n \
         sys.modules.pop(name, None)",
    ),
    ("modules", "import sys; del sys.modules"),
    ("streams", "import sys; sys.stdout = sys.stderr = Stream()"),
    (
        "no streams",
        "import sys; del sys.stdout; sys.stderr = None",
    ),
];

/// It patches itself and then computes, or sleeps, until its input ends.
const PROGRAM: &str = "
import os, select
class Wrong(Exception): pass
def refuse(*arguments, **words):
    os.write(1, b'wrong: what was replaced is called\\n')
    raise Wrong
class Finder:
    find_spec = find_module = invalidate_caches = refuse
class Stream:
    def __getattr__(self, name):
        raise Wrong
wait = select.select
os.write(1, b'ready\\n')
{patch}
while not wait([0], [], [], {pause})[0]: pass
os.write(1, b'over\\n')
os._exit(0)
";

fn start(python: &Interpreter, patch: &str, pause: &str) -> Target {
    let program = PROGRAM.replace("{patch}", patch).replace("{pause}", pause);
    let target = Launch::new(python, program).start();
    if pause != "0" {
        eventually("it sleeps", || {
            target
                .thread_states()
                .iter()
                .all(|(_, state)| *state == 'S')
        });
    }
    target
}

fn ends_well(target: &Target) {
    not_held(target);
    assert_eq!(staged(target), Vec::<PathBuf>::new());
    target.close_input();
    target.wait_line("over", PATIENCE);
    assert!(target.wait_exit(PATIENCE).success());
    let told = (target.stdout_so_far(), target.stderr_so_far());
    assert!(!told.0.contains("wrong"), "{told:?}");
    assert_eq!(told.1, "");
}

/// A patch by a name, in an interpreter, in a thread that pauses so long.
type Cell<'a> = (&'a Interpreter, (&'a str, &'a str), &'a str);

fn cells() -> Vec<Cell<'static>> {
    let pythons = synth::acted_on().into_iter();
    let cells = pythons.flat_map(|python| PATCHES.map(|patch| (python, patch)));
    // CPython 3.14 and later import `_io` themselves to open what they were asked to run.
    let cells = cells.filter(|(python, (patch, _))| python.minor() < 14 || *patch != "import");
    cells
        .flat_map(|(python, patch)| ["0", "1000"].map(|pause| (python, patch, pause)))
        .collect()
}

fn name((python, (patch, _), pause): &Cell<'_>) -> String {
    format!("{} {patch} {pause}", python.name)
}

#[test]
fn what_a_program_has_replaced_is_not_used() {
    each(&cells(), name, |(python, (_, patch), pause)| {
        let target = start(python, patch, pause);
        for _ in 0..2 {
            let run = exec(&target, &["-c", "print('out')\n1 / 0"]).expect(1);
            assert_eq!(run.stdout, "out\n");
            assert!(
                run.stderr
                    .ends_with("ZeroDivisionError: division by zero\n")
            );
            let run = exec(&target, &["--thread", "any", "-e", "6 * 7"]).expect(0);
            assert_eq!(run.stdout, "42\n");
        }
        ends_well(&target);
    });
}

#[test]
fn a_script_that_nobody_waits_for_runs_whatever_the_program_takes_for_the_time() {
    let times = cells().into_iter();
    let times: Vec<_> = times
        .filter(|(_, (patch, _), _)| patch.contains("time") || patch.contains("clock"))
        .collect();
    each(&times, name, |(python, (_, patch), pause)| {
        let target = start(python, patch, pause);
        let place = tempfile::tempdir().expect("a directory");
        let done = place.path().join("done");
        let code = format!("open({done:?}, 'w').close()");
        exec(&target, &["--no-wait", "-c", &code]).expect(0);
        eventually("it ran", || done.exists());
        eventually("it cleaned up", || staged(&target).is_empty());
        ends_well(&target);
    });
}
