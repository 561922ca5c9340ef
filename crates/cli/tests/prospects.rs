//! `invivo doctor` foretells what `invivo exec` then does, in programs of many shapes.

mod support;

use std::process::Command;

use serde_json::Value;
use support::{Run, each, exec, invivo, not_held};
use synth::pair::{pairs, start};
use synth::{Interpreter, Launch, Target, helpers, samples};

/// What comes of a script in a program of some shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    /// It runs.
    Runs,
    /// It is refused before anything is touched, and both say so in the same words.
    Refused(i32),
    /// The program keeps it from beginning; that it may is said by these words.
    MayFail(&'static str),
    /// It runs or is refused; both say the same.
    Same,
}

/// Programs that do something to themselves, by a name: the statements, and what comes of it.
const SHAPES: [(&str, &str, Comes); 10] = [
    ("plain", "", Comes::Runs),
    (
        "threads patched",
        "import _thread; _thread.get_ident = _thread.RLock = _thread.start_new_thread = refuse",
        Comes::Runs,
    ),
    (
        "no sockets",
        "sys.path[:] = [one for one in sys.path if 'lib-dynload' not in one]",
        Comes::Runs,
    ),
    (
        "others never wait",
        "import threading\ndef work():\n while True: pass\n\
         for _ in range(2): threading.Thread(target=work, daemon=True).start()",
        Comes::Runs,
    ),
    (
        "audit hook",
        "sys.addaudithook(lambda name, given: refuse() if name == 'compile' and \
         b'invivo' in (given[0] or b'') else None)",
        Comes::MayFail("an audit hook may refuse"),
    ),
    (
        "exec replaced",
        "import builtins; builtins.exec = refuse",
        Comes::MayFail("replaced builtins that a script uses: exec"),
    ),
    (
        "compile gone",
        "import builtins; del builtins.compile",
        Comes::Refused(5),
    ),
    (
        "no descriptors",
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
        Comes::Refused(5),
    ),
    (
        "short files and no sockets",
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n\
         assert '_socket' not in sys.modules\n\
         resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))",
        Comes::Refused(5),
    ),
    (
        "filter",
        "import ctypes, struct\n\
         code = struct.pack('HBBI', 6, 0, 0, 0x7fff0000)\n\
         code = ctypes.create_string_buffer(code)\n\
         program = struct.pack('HxxxxxxP', 1, ctypes.addressof(code))\n\
         assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0\n\
         assert ctypes.CDLL(None).prctl(22, 2, ctypes.create_string_buffer(program), 0, 0) == 0",
        Comes::Refused(5),
    ),
];

const PROGRAM: &str = "
import os, select, sys
class Wrong(Exception): pass
def refuse(*_): raise Wrong
wait, write = select.select, os.write
{patch}
write(1, b'ready\\n')
while not wait([0], [], [], 0.01)[0]: pass
os._exit(0)
";

/// Each kind of way in.
fn pythons() -> Vec<&'static Interpreter> {
    ["3.8", "3.11", "3.12", "3.14", "3.15"]
        .map(synth::interpreter)
        .to_vec()
}

fn doctor(target: &Target) -> Run {
    invivo(["doctor", &target.pid().to_string(), "--json"])
}

/// Asserts that what doctor says is what comes.
#[track_caller]
fn foretold(target: &Target, comes: Comes) {
    let said = doctor(target);
    let run = exec(target, &["--timeout", "60", "-e", "1"]);
    let report = said.json();
    let execution = &report["execution"];
    match comes {
        Comes::Runs => assert_eq!(run.code, Some(0), "{run:#?}"),
        Comes::Refused(code) => assert_eq!(run.code, Some(code), "{run:#?}"),
        Comes::MayFail(words) => {
            let doubts = execution["doubts"].as_array().expect("a list");
            let text = |doubt: &Value| doubt.as_str().is_some_and(|it| it.contains(words));
            assert!(doubts.iter().any(text), "{report:#}");
            run.refused(5, "took the request up, but the script did not begin", "");
            return;
        }
        Comes::Same => {}
    }
    assert_eq!(said.code, run.code, "{report:#}\n{run:#?}");
    assert_eq!(execution["works"], run.code == Some(0));
    if run.code != Some(0) {
        let part = |name: &str| execution["error"][name].as_str().expect("text");
        let message = format!("error: {}\n  why: {}", part("what"), part("why"));
        assert!(run.stderr.starts_with(&message), "{message}\n{run:#?}");
    }
}

#[test]
fn doctor_foretells_what_comes_of_a_script() {
    let cells: Vec<_> = pythons()
        .into_iter()
        .flat_map(|python| SHAPES.map(|shape| (python, shape)))
        .collect();
    let name = |(python, (shape, ..)): &(&Interpreter, (&str, &str, Comes))| {
        format!("{} {shape}", python.name)
    };
    each(&cells, name, |(python, (_, patch, comes))| {
        let target = Launch::new(python, PROGRAM.replace("{patch}", patch)).start();
        foretold(&target, *comes);
        not_held(&target);
        target.close_input();
        let status = target.wait_exit(synth::target::PATIENCE);
        assert!(status.success(), "it ended by {status}");
    });
}

#[test]
fn doctor_foretells_it_of_threads_and_processes_of_other_shapes() {
    let name = |python: &&Interpreter| python.name.clone();
    each(&pythons(), name, |python| {
        let lent = helpers::lend();
        let lent =
            Launch::new(python, samples::LENT).arguments([lent.as_os_str(), "lent".as_ref()]);
        foretold(&lent.start(), Comes::Same);
        let elsewhere = Launch::new(python, samples::SUBINTERPRETER_ELSEWHERE).start();
        foretold(&elsewhere, Comes::Same);
        foretold(
            &Launch::new(python, samples::MAIN_THREAD_GONE).start(),
            Comes::Refused(5),
        );
        let variable =
            Launch::new(python, samples::SLEEPER).variable("PYTHON_DISABLE_REMOTE_DEBUG", "1");
        foretold(&variable.start(), Comes::Refused(5));
        let stopped = Launch::new(python, samples::SLEEPER).start();
        let signal = |name: &str| {
            let kill = Command::new("kill")
                .args([name, &stopped.pid().to_string()])
                .status();
            assert!(kill.expect("running kill").success());
        };
        signal("-STOP");
        support::eventually("it has stopped", || {
            stopped
                .thread_states()
                .iter()
                .all(|(_, state)| *state == 'T')
        });
        foretold(&stopped, Comes::Refused(5));
        signal("-CONT");
    });
    for pair in pairs() {
        foretold(&start(pair), Comes::Refused(2));
    }
}
