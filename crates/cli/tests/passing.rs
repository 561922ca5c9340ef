//! `--thread any` in programs whose threads come and go all the time.

mod support;

use std::path::PathBuf;

use support::{each, exec, not_held, staged};
use synth::Launch;
use synth::target::PATIENCE;

/// Two threads start three others each, again and again, that compute for a few milliseconds.
const PROGRAM: &str = "
import os, sys, threading, time
def work():
    until = time.monotonic() + 0.003
    while time.monotonic() < until: sum(range(50))
def start():
    while True:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
for _ in range(2): threading.Thread(target=start, daemon=True).start()
print('ready', flush=True)
sys.stdin.read()
print('over', flush=True)
os._exit(0)
";

#[test]
fn a_thread_that_has_ended_makes_way_for_another() {
    const RUNS: usize = 8;
    each(
        &synth::acted_on(),
        |python| python.name.clone(),
        |python| {
            let target = Launch::new(python, PROGRAM).start();
            let any = |words: &[&str]| {
                let words: Vec<&str> = ["--thread", "any", "--timeout", "60"]
                    .iter()
                    .chain(words)
                    .copied()
                    .collect();
                exec(&target, &words).expect(0)
            };
            for _ in 0..RUNS {
                assert_eq!(any(&["-e", "6 * 7"]).stdout, "42\n");
                any(&["--dry-run", "-e", "1"]);
            }
            not_held(&target);
            assert_eq!(staged(&target), Vec::<PathBuf>::new());
            target.close_input();
            target.wait_line("over", PATIENCE);
            assert!(target.wait_exit(PATIENCE).success());
            assert_eq!(target.stderr_so_far(), "");
        },
    );
}
