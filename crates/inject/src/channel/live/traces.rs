//! What a run leaves behind, and what it does when things go wrong: nothing.

use super::*;

#[test]
fn a_thousand_runs_leave_nothing() {
    let tasks = [
        payload(true, "1"),
        payload(true, "{'a': [1, 2]}"),
        payload(false, "print('x'); import sys; print('y', file=sys.stderr)"),
        payload(false, "print(1 / 0)"),
        payload(false, "raise SystemExit(3)"),
    ];
    everywhere(|interpreter, target| {
        tell(target, "gc.collect(); gc.disable()");
        let mut before = (String::new(), 0);
        for round in 0..=50 {
            for task in &tasks {
                for _ in 0..4 {
                    perform(target, task);
                }
            }
            let state = ask(target, "state()");
            // Without the GIL, functions and their code wait for the collector.
            let counted = if interpreter.free_threaded {
                "(gc.collect(), len(gc.get_objects()))[1]"
            } else {
                "len(gc.get_objects())"
            };
            let objects: i64 = ask(target, counted).parse().expect("a number");
            if round == 0 {
                before = (state, objects);
            } else {
                assert_eq!(state, before.0, "{}", interpreter.name);
                let grown = objects - before.1;
                assert!(
                    grown < 20,
                    "{}: {grown} objects after {round} rounds",
                    interpreter.name
                );
            }
        }
        assert_eq!(ask(target, "gc.collect() < 20"), "True");
        assert_silent(target);
    });
}

#[test]
fn a_script_that_comes_too_late_does_nothing() {
    everywhere(|_, target| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let passed = u64::try_from(now.as_millis()).expect("before the year 584556019") - 100;
        let task = payload(false, "__import__('__main__').ran = 1");
        let staged = Staged::at("run", passed, &task, false);
        tell(target, &staged.statement());
        assert_eq!(ask(target, "'ran' in globals()"), "False");
        assert!(staged.is_gone());
        // Without a deadline behind it, the same does run, and drops what it prints.
        let mut task = task;
        task.source.push_str("; print('dropped')");
        let staged = Staged::at("run", FOREVER, &task, false);
        tell(target, &staged.statement());
        assert_eq!(ask(target, "'ran' in globals()"), "True");
        assert!(staged.is_gone());
        assert_silent(target);
    });
}

#[test]
fn a_stranger_gets_nothing_run() {
    everywhere(|_, target| {
        let task = payload(false, "__import__('__main__').ran = 1");
        let wrong = super::task(b"0123456789abcdef", &task);
        let right = super::task(&REPLY, &task);
        let short = right.get(..right.len() - 1).expect("shorter");
        for answer in [&wrong[..], b"", &REPLY[..15], short] {
            let staged = Staged::new(&task);
            tell(target, &staged.statement());
            let mut caller = staged.accept();
            caller.greet();
            caller.stream.write_all(answer).expect("answering");
            caller
                .stream
                .shutdown(std::net::Shutdown::Write)
                .expect("ending the answer");
            assert_eq!(caller.next(), Ok(None), "it hangs up");
            assert_eq!(ask(target, "'ran' in globals()"), "False");
            assert!(staged.is_gone());
        }
        let staged = Staged::new(&task);
        let statement = staged.statement();
        let Staged {
            _around: around,
            listener,
            ..
        } = staged;
        drop(listener);
        tell(target, &statement);
        assert_eq!(ask(target, "'ran' in globals()"), "False");
        assert!(!around.path().join("run").exists());
        assert_silent(target);
    });
}

#[test]
fn the_target_goes_on_when_we_are_gone() {
    everywhere(|_, target| {
        tell(
            target,
            "import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)",
        );
        let staged = Staged::new(&payload(
            false,
            "print('go')\nwhile True:\n    try: open('/proc/self/fd/999')\n    except OSError: pass\n    \
             print('x' * 100)\n    import select\n    n = __import__('__main__').n = globals().get('n', 0) + 1\n    \
             if n > 2000: break\n",
        ));
        tell(target, &staged.statement());
        let mut caller = staged.accept();
        caller.greet();
        caller.give();
        assert_eq!(caller.next(), Ok(Some(Event::Stdout(b"go\n".to_vec()))));
        drop(caller);
        assert_eq!(ask(target, "n"), "2001");
        assert_eq!(evaluate(target, "1").repr, "1");
        assert_silent(target);
    });
}

#[test]
fn the_target_goes_on_when_we_are_stopped() {
    everywhere(|_, target| {
        let staged = Staged::new(&payload(
            false,
            "import time\nstart = time.monotonic()\nfor _ in range(100): print('x' * 100000)\n\
             __import__('__main__').took = time.monotonic() - start",
        ));
        tell(target, &staged.statement());
        let mut caller = staged.accept();
        caller.greet();
        caller.give();
        // Nobody reads.
        let took: f64 = ask(target, "took").parse().expect("seconds");
        assert!((1.9..10.0).contains(&took), "{took} s");
        drop(caller);
        assert_silent(target);
    });
}

#[test]
fn two_runs_may_overlap_and_end_in_any_order() {
    everywhere(|_, target| {
        let before = ask(target, "state()");
        for first in [0, 1] {
            let place = tempfile::tempdir().expect("a directory");
            let gates = ["0", "1"].map(|n| place.path().join(n));
            let staged = [0, 1].map(|n: usize| {
                Staged::new(&payload(
                    false,
                    &format!(
                        "import os, sys, time\nprint('in {n}')\n\
                         while not os.path.exists({:?}): time.sleep(.001)\n\
                         print('out {n}', file=sys.stderr)",
                        gates[n]
                    ),
                ))
            });
            let mut callers = Vec::new();
            tell(target, "threads = []");
            for (n, staged) in staged.iter().enumerate() {
                tell(
                    target,
                    &format!(
                        "threads.append(threading.Thread(target=run, args=({:?},))); threads[-1].start()",
                        staged.directory.join("script.py")
                    ),
                );
                let mut caller = staged.accept();
                assert!(matches!(caller.next(), Ok(Some(Event::Hello(_)))));
                caller.give();
                assert_eq!(
                    caller.next(),
                    Ok(Some(Event::Stdout(format!("in {n}\n").into_bytes())))
                );
                callers.push(caller);
            }
            assert_eq!(ask(target, "sys.stdout is streams[0]"), "False");
            let mut callers: Vec<_> = callers.into_iter().map(Some).collect();
            for n in [first, 1 - first] {
                std::fs::write(&gates[n], "").expect("opening the gate");
                let told = follow(callers[n].take().expect("once"));
                assert_eq!(told.output, [('E', format!("out {n}\n"))]);
            }
            tell(target, "for thread in threads: thread.join()");
            tell(target, "del threads, thread");
            assert_eq!(
                ask(
                    target,
                    "[a is b for a, b in zip(streams, (sys.stdout, sys.stderr, sys.argv))]"
                ),
                "[True, True, True]"
            );
        }
        let after = ask(target, "state()");
        let new = |module: &str| after.contains(module) && !before.contains(module);
        assert!(!new("'_socket'"), "{after}");
        assert_silent(target);
    });
}

#[test]
fn a_target_without_streams_stays_so_when_runs_overlap() {
    everywhere(|_, target| {
        tell(
            target,
            "sys.stdout = sys.stderr = None; threads = []; bad = []",
        );
        let place = tempfile::tempdir().expect("a directory");
        let gates = ["0", "1"].map(|n| place.path().join(n));
        let mut callers = Vec::new();
        let staged = [0, 1].map(|n: usize| {
            Staged::new(&payload(
                false,
                &format!(
                    "import os, time\nprint('in')\nwhile not os.path.exists({:?}): time.sleep(.001)",
                    gates[n]
                ),
            ))
        });
        for staged in &staged {
            let path = staged.directory.join("script.py");
            tell(
                target,
                &format!(
                    "t = threading.Thread(target=run, args=({path:?},)); threads.append(t); t.start()"
                ),
            );
            let mut caller = staged.accept();
            caller.greet();
            caller.give();
            assert_eq!(caller.next(), Ok(Some(Event::Stdout(b"in\n".to_vec()))));
            callers.push(caller);
        }
        // The first ends below the second, and what others print still goes nowhere.
        for (gate, caller) in gates.iter().zip(callers) {
            let other = "def other():\n    try: print('nowhere', flush=True)\n    \
                         except BaseException as e: bad.append(e)\n\
                         t = threading.Thread(target=other); t.start(); t.join()";
            tell(target, other);
            std::fs::write(gate, "").expect("opening the gate");
            assert_eq!(follow(caller).ending, Ok(Ending::Returned(None)));
            tell(target, "threads.pop(0).join()");
        }
        tell(
            target,
            "same = sys.stdout is sys.stderr is None; sys.stdout, sys.stderr = streams[:2]",
        );
        assert_eq!(ask(target, "same, bad"), "True []");
        assert_silent(target);
    });
}

#[test]
fn streams_of_any_kind_come_back() {
    everywhere(|_, target| {
        for (stream, other) in [
            ("None", "print('nowhere')"),
            ("open(os.devnull, 'w')", "print('nowhere')"),
            (
                "(lambda f: (f.close(), f)[1])(open(os.devnull, 'w'))",
                "pass",
            ),
            (
                "type('S', (), {'write': lambda s, x: None, 'mark': 7})()",
                "sys.stdout.mark + 1; print(1)",
            ),
        ] {
            tell(
                target,
                &format!("odd = {stream}; sys.stdout = sys.stderr = odd"),
            );
            let source = format!(
                "import sys, threading\ndef other():\n    try:\n        {other}\n    except BaseException as e: bad.append(e)\n\
                 bad = []\nt = threading.Thread(target=other); t.start(); t.join()\nprint('got', bad)"
            );
            let told = execute(target, &source);
            assert_eq!(told.stdout(), "got []\n", "{stream}");
            tell(
                target,
                "same = sys.stdout is odd and sys.stderr is odd; sys.stdout, sys.stderr = streams[:2]",
            );
            assert_eq!(ask(target, "same"), "True", "{stream}");
        }
        // What the script sets itself stays.
        execute(target, "import sys; sys.argv = ['set']; sys.stderr = None");
        assert_eq!(ask(target, "sys.argv, sys.stderr"), "['set'] None");
        tell(target, "sys.argv, sys.stderr = streams[2], streams[1]");
        assert_silent(target);
    });
}

#[test]
fn a_long_path_is_reached() {
    everywhere(|_, target| {
        let staged = Staged::at(&"long".repeat(40), FOREVER, &payload(true, "7"), true);
        tell(target, &staged.statement());
        let mut caller = staged.accept();
        caller.greet();
        caller.give();
        assert_eq!(follow(caller).value().repr, "7");
        assert!(staged.is_gone());
    });
}

#[test]
fn a_forked_child_does_not_speak_for_its_parent() {
    everywhere(|_, target| {
        let told = execute(
            target,
            "import os\nprint('before')\npid = os.fork()\nif not pid:\n    print('answer child', flush=True)\n    os._exit(0)\n\
             os.waitpid(pid, 0)\nprint('after')",
        );
        assert_eq!(told.stdout(), "before\nafter\n");
        assert_eq!(told.ending, Ok(Ending::Returned(None)));
        target.wait_line("answer child", PATIENCE);
        assert_silent(target);
    });
}
