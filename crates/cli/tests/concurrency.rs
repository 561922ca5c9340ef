//! Several at once, on one target.

mod support;

use std::process::{Command, Stdio};

use support::{INVIVO, Run, busy, eventually, exec, staged, unharmed};
use synth::{Launch, samples};

#[test]
fn runs_at_the_same_time_come_one_after_the_other_and_none_is_lost() {
    for interpreter in [synth::interpreter("3.14"), synth::interpreter("3.15")] {
        let target = busy(interpreter);
        let pid = target.pid().to_string();
        let runs: Vec<_> = (0..8)
            .map(|number| {
                Command::new(INVIVO)
                    .args([
                        "exec",
                        &pid,
                        "--timeout",
                        "60",
                        "-e",
                        &format!("{number} * {number}"),
                    ])
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("running invivo")
            })
            .collect();
        for (number, run) in runs.into_iter().enumerate() {
            let run = Run::of(run.wait_with_output().expect("its end")).expect(0);
            assert_eq!(run.stdout, format!("{}\n", number * number));
        }
        unharmed(&target);
    }
}

/// `/proc/PID/mem` alone needs the right to attach, which Yama can take from those who may read the
/// others.
#[test]
fn a_lock_on_a_file_that_needs_less_keeps_nobody_out() {
    let target = busy(synth::interpreter("3.14"));
    let open = |name| {
        let path = format!("/proc/{}/{name}", target.pid());
        std::fs::File::open(path).expect("opening a file of the target")
    };
    for name in ["environ", "maps", "status"] {
        let file = open(name);
        file.lock().expect("locking it");
        exec(&target, &["--timeout", "60", "-e", "1"]).expect(0);
    }
    let file = open("mem");
    file.lock().expect("locking it");
    let refused = exec(&target, &["--timeout", "0.2", "-e", "2"]);
    refused.refused(6, "in use by another invivo", "lock");
    drop(file);
    exec(&target, &["--timeout", "60", "-e", "3"]).expect(0);
    unharmed(&target);
}

#[test]
fn a_second_run_that_can_not_wait_long_enough_is_refused() {
    let target = Launch::new(synth::interpreter("3.14"), samples::SLEEPER).start();
    support::asleep_in(&target, "clock_nanosleep");
    let first = Command::new(INVIVO)
        .args([
            "exec",
            &target.pid().to_string(),
            "--wake",
            "never",
            "--timeout",
            "60",
            "-e",
            "1",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut first = first.expect("running invivo");
    eventually("the first is staged", || !staged(&target).is_empty());
    let second = exec(&target, &["--timeout", "0.2", "-e", "2"]);
    second.refused(6, "in use by another invivo", "lock");
    first.kill().expect("killing the first");
    first.wait().expect("its end");
    // Leave the target as it was.
    let words = ["--wake", "never", "--timeout", "0.1", "-e", "3"];
    exec(&target, &words).expect(6);
    assert!(staged(&target).is_empty());
}

#[test]
fn a_request_of_another_tool_is_not_overwritten() {
    let target = Launch::new(synth::interpreter("3.14"), samples::SLEEPER).start();
    support::asleep_in(&target, "clock_nanosleep");
    let script = tempfile::NamedTempFile::new().expect("a file");
    let other = Command::new(&synth::interpreter("3.14").program)
        .args([
            "-c",
            "import sys; sys.remote_exec(int(sys.argv[1]), sys.argv[2])",
        ])
        .arg(target.pid().to_string())
        .arg(script.path())
        .status();
    assert!(other.expect("running python").success());
    exec(&target, &["-e", "1"]).refused(5, "another request waits", "debugger_pending_call");
    exec(&target, &["--dry-run", "-e", "1"]).refused(5, "another request waits", "pending");
}

#[test]
fn where_only_workers_are_left_the_default_says_so_and_a_worker_can_be_chosen() {
    for interpreter in synth::protocol() {
        let target = Launch::new(interpreter, samples::WORKERS_ONLY).start();
        let run = exec(&target, &["-e", "1"]).refused(5, "has finished", "waits for the other");
        for tid in target.ready_ids() {
            assert!(run.stderr.contains(&tid.to_string()), "{run:#?}");
            let words = [
                "--thread",
                &tid.to_string(),
                "-e",
                "__import__('threading').get_native_id()",
            ];
            assert_eq!(exec(&target, &words).expect(0).stdout, format!("{tid}\n"));
        }
        assert_eq!(target.stderr_so_far(), "");
    }
}

/// Two threads compute; the main thread says, when asked, whether its streams are its own.
const TWO_THREADS: &str = "
import os, sys, threading
own = sys.stdout, sys.stderr
ids = []
started = threading.Barrier(3)
def work():
    ids.append(threading.get_native_id())
    started.wait()
    while True:
        sum(range(100))
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
started.wait()
print('ready', *ids, flush=True)
for line in sys.stdin:
    os.write(1, b'own %d\\n' % ((sys.stdout, sys.stderr) == own))
";

#[test]
fn runs_in_two_threads_that_overlap_give_the_streams_back() {
    let target = Launch::new(synth::interpreter("3.14"), TWO_THREADS).start();
    let gate = tempfile::tempdir().expect("a directory");
    let open = |name: &str| std::fs::write(gate.path().join(name), "").expect("the gate");
    let own = || {
        target.send_line("report");
        target.wait_line("own", synth::target::PATIENCE) == "own 1"
    };
    assert!(own());
    // Each runs on beyond the time that is waited for it.
    for (tid, name) in target.ready_ids().iter().zip(["first", "second"]) {
        let file = gate.path().join(name);
        let code = format!(
            "import os, time\nwhile not os.path.exists({file:?}): time.sleep(0.001)\nprint({name:?})"
        );
        exec(
            &target,
            &["--thread", &tid.to_string(), "--timeout", "2", "-c", &code],
        )
        .expect(6);
    }
    assert!(!own());
    // The one that began first ends first: what it replaced must not come back for good later.
    open("first");
    let busy = |number: usize| {
        let tid = target.ready_ids()[number].to_string();
        exec(&target, &["--thread", &tid, "--timeout", "0.1", "-e", "1"]).code
    };
    eventually("the first ends", || busy(0) == Some(0));
    assert!(!own());
    open("second");
    eventually("the streams are the target's own again", own);
    assert_eq!(target.stderr_so_far(), "");
}

#[test]
fn texts_that_are_taken_back_or_wait_use_up_no_room() {
    // The main thread makes its pending calls now and then, and others queue up behind ours.
    let program = "
import ctypes, os, select, threading, time
call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: 0)
add, usleep = ctypes.CDLL(None).Py_AddPendingCall, ctypes.CDLL(None).usleep
def adds():
    while True: add(call, None); time.sleep(0.01)
threading.Thread(target=adds, daemon=True).start()
print('ready', flush=True)
while not select.select([0], [], [], 0)[0]: usleep(250000)
os._exit(0)
";
    let older: Vec<_> = synth::acted_on()
        .into_iter()
        .filter(|python| python.minor() < 14)
        .collect();
    let name = |python: &&synth::Interpreter| python.name.clone();
    support::each(&older, name, |python| {
        let target = Launch::new(python, program).start();
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("ran");
        let code = format!("with open({file:?}, 'a') as f: f.write('x')");
        for number in 0..24 {
            // Of these every fourth is left there.
            let words = match number % 4 {
                0 => ["--timeout", "60", "--no-wait", "-c", &code].to_vec(),
                _ => ["--timeout", "0.04", "-e", "6 * 7"].to_vec(),
            };
            let run = exec(&target, &words);
            match run.code {
                Some(0) => {}
                // It may have begun at the last moment.
                _ => drop(run.refused(6, "the script did not", "")),
            }
        }
        let run = exec(&target, &["--timeout", "60", "-e", "6 * 7"]).expect(0);
        assert_eq!(run.stdout, "42\n");
        eventually("what was left has run", || {
            std::fs::read_to_string(&file).is_ok_and(|text| text == "xxxxxx")
        });
        eventually("nothing is left", || staged(&target).is_empty());
        target.close_input();
        assert!(target.wait_exit(synth::target::PATIENCE).success());
        assert_eq!(target.stderr_so_far(), "");
    });
}
