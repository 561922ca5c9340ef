//! A target that does everything at once, and checks all of it, under scripts without end. The
//! long form of this is `cargo xtask bench harm`.

mod support;

use support::{each, exec, unharmed};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, samples};

const RUNS: usize = 60;

/// What memory may grow by meanwhile, in KiB: a leak of a page a run would be less than that, but
/// the long form finds it.
const GROWTH: u64 = 4096;

/// The descriptors that the target's event loop may have open or not.
const OF_A_LOOP: usize = 9;

fn name((interpreter, allocator): &(&Interpreter, &str)) -> String {
    format!("{} PYTHONMALLOC={allocator}", interpreter.name)
}

#[test]
fn scripts_without_end_do_no_harm_to_a_target_at_full_load() {
    // Without the GIL the target's faulthandler may crash by itself.
    let pythons = synth::acted_on()
        .into_iter()
        .filter(|one| !one.free_threaded);
    let cells: Vec<_> = pythons
        .flat_map(|python| ["", "debug"].map(|allocator| (python, allocator)))
        .collect();
    each(&cells, name, |(python, allocator)| {
        let launch = Launch::new(python, samples::FULL_LOAD);
        let target = match *allocator {
            "" => launch,
            allocator => launch.variable("PYTHONMALLOC", allocator),
        }
        .start();
        let threads = target.ready_ids();
        let mut before = None;
        for number in 0..RUNS {
            // Every second one for the main thread.
            let index = if number % 2 == 0 {
                0
            } else {
                number / 2 % threads.len()
            };
            let thread = threads[index].to_string();
            let mut words = ["--thread", &thread, "--timeout", "60"];
            // Before 3.14 one that never waits can't be asked.
            let may_refuse = index > 0 && python.minor() < 14;
            if may_refuse {
                words[3] = "0.5";
                let run = exec(&target, &[&words[..], &["-e", "6 * 7"]].concat());
                match run.code {
                    Some(0) => assert_eq!(run.stdout, "42\n"),
                    _ => drop(run.refused(6, "did not", &format!("thread {thread}"))),
                }
                continue;
            }
            match number % 3 {
                0 => {
                    let code = format!("sum(range({number}))");
                    let run = exec(&target, &[&words[..], &["-e", &code]].concat()).expect(0);
                    assert_eq!(
                        run.stdout,
                        format!("{}\n", number * number.saturating_sub(1) / 2)
                    );
                }
                1 => {
                    let code = format!("print({number})");
                    let run = exec(&target, &[&words[..], &["-c", &code]].concat()).expect(0);
                    assert_eq!(run.stdout, format!("{number}\n"));
                }
                _ => {
                    let code = format!("raise KeyError({number})");
                    let run = exec(&target, &[&words[..], &["-c", &code]].concat()).expect(1);
                    assert!(
                        run.stderr.ends_with(&format!("KeyError: {number}\n")),
                        "{run:#?}"
                    );
                }
            }
            if number == RUNS / 3 {
                before = Some((target.memory(), target.descriptors()));
            }
        }
        let (memory, descriptors) = before.expect("a measure on the way");
        let left = target.descriptors().saturating_sub(descriptors);
        assert!(left <= OF_A_LOOP, "{left} descriptors are left");
        assert!(
            target.memory() < memory + GROWTH,
            "{memory} → {} KiB",
            target.memory()
        );
        unharmed(&target);
        target.close_input();
        assert!(target.wait_exit(PATIENCE).success());
    });
}
