//! `invivo top` in a terminal, and without one.

mod support;

use rustix::process::Signal;
use support::terminal::Terminal;
use support::{INVIVO, busy, invivo, unharmed};
use synth::{Launch, Target};

/// The live view of a target, in a terminal.
fn top(target: &Target) -> Terminal {
    let pid = target.pid().to_string();
    Terminal::start([INVIVO, "top", &pid])
}

#[test]
fn it_shows_the_busy_function_of_every_version_and_leaves_the_terminal_as_it_was() {
    for interpreter in synth::interpreters() {
        let target = busy(interpreter);
        let mut terminal = top(&target);
        let standing = terminal.wait("triangle ");
        standing.taken();
        let version = format!("CPython {}", interpreter.version);
        assert!(
            standing.screen().contains(&version),
            "{}",
            standing.screen()
        );
        terminal.keys("q");
        let standing = terminal.ended();
        standing.as_before();
        assert_eq!(standing.code(), Some(0));
        assert!(
            standing.screen().contains(" of CPU for sampling"),
            "{}",
            standing.screen()
        );
        unharmed(&target);
    }
}

#[test]
fn signals_that_end_it_leave_the_terminal_as_it_was() {
    let target = busy(synth::interpreter("3.14"));
    for (signal, code) in [
        (Signal::TERM, 130),
        (Signal::INT, 130),
        (Signal::HUP, 130),
        (Signal::QUIT, 130),
    ] {
        let mut terminal = top(&target);
        terminal.wait("triangle ").taken();
        terminal.signal(signal.as_raw());
        let standing = terminal.ended();
        standing.as_before();
        assert_eq!(standing.code(), Some(code), "{signal:?}");
    }
    // What Ctrl-C sends is a key here.
    let mut terminal = top(&target);
    terminal.wait("triangle ").taken();
    terminal.keys("\x03");
    let standing = terminal.ended();
    standing.as_before();
    assert_eq!(standing.code(), Some(0));
    unharmed(&target);
}

#[test]
fn the_last_picture_stays_when_the_process_ends() {
    let target = busy(synth::interpreter("3.13"));
    let mut terminal = top(&target);
    terminal.wait("triangle ");
    target.close_input();
    let standing = terminal.wait("the process has ended");
    standing.taken();
    assert!(
        standing.screen().contains("triangle "),
        "{}",
        standing.screen()
    );
    // It can still be looked at.
    terminal.keys("4");
    terminal.wait("▾ ");
    terminal.keys("q");
    let standing = terminal.ended();
    standing.as_before();
    assert_eq!(standing.code(), Some(0));
}

#[test]
fn it_stops_and_goes_on_as_the_shell_wants_it() {
    let target = busy(synth::interpreter("3.14"));
    let mut terminal = top(&target);
    terminal.wait("triangle ");
    for round in 0..2 {
        if round == 0 {
            terminal.keys("\x1a");
        } else {
            terminal.signal(Signal::TSTP.as_raw());
        }
        terminal.stopped().as_before();
        terminal.signal(Signal::CONT.as_raw());
        terminal.wait("triangle ").taken();
    }
    // Nobody asks it before it is stopped this way.
    terminal.signal(Signal::STOP.as_raw());
    terminal.stopped();
    terminal.signal(Signal::CONT.as_raw());
    terminal.keys("3");
    terminal.wait("MOST OFTEN IN").taken();
    terminal.keys("q");
    terminal.ended().as_before();
}

#[test]
fn keys_and_sizes() {
    let target = Launch::new(synth::interpreter("3.14"), synth::samples::THREADS).start();
    let mut terminal = top(&target);
    terminal.wait("FUNCTION");
    for (keys, text) in [
        ("2", "SELF%▼"),
        ("3", "CPU%▼"),
        ("4", "TOTAL%▼"),
        ("?", "sort by the next column"),
        (" ", "TOTAL%▼"),
        ("1m", " all threads"),
        ("s", "TOTAL%▼"),
        ("/nothing so named\r", "Nothing matches"),
        ("\x1b", "SELF%"),
        ("f", "FROZEN"),
        ("f", " all threads"),
        ("3\r", "thread "),
        ("t", " all threads"),
    ] {
        terminal.keys(keys);
        terminal.wait(text);
    }
    for (columns, rows, text) in [
        (20, 24, "too small: 20×24"),
        (120, 40, "TOTAL%▼"),
        (60, 12, "TOTAL%▼"),
        (40, 10, "needs 60×12"),
        (80, 24, "? help"),
    ] {
        terminal.resize(columns, rows);
        terminal.wait(text).taken();
    }
    terminal.keys("q");
    terminal.ended().as_before();
}

#[test]
fn two_hundred_threads() {
    let program = "
import threading, time
def sleep_on():
    while True:
        time.sleep(100)
for number in range(200):
    threading.Thread(target=sleep_on, name=f'pool-{number}', daemon=True).start()
print('ready', flush=True)
def compute():
    while True:
        sum(range(1000))
compute()
";
    let target = Launch::new(synth::interpreter("3.15"), program).start();
    let mut terminal = top(&target);
    terminal.wait("201 threads");
    terminal.wait("compute ");
    terminal.keys("3");
    terminal.wait("pool-");
    terminal.keys("sssssG");
    terminal.wait("sleep_on  target.py");
    terminal.keys("q");
    terminal.ended().as_before();
}

#[test]
fn a_command_is_watched_from_its_start_and_ends_with_the_view() {
    let python = synth::interpreter("3.14");
    let program = "
import sys, time
print('printed by the command', flush=True)
def compute():
    while True:
        sum(range(1000))
compute()
";
    let words = [INVIVO, "top", "--"]
        .map(std::ffi::OsString::from)
        .into_iter();
    let words = words.chain([python.program.clone().into(), "-c".into(), program.into()]);
    let mut terminal = Terminal::start(words);
    let standing = terminal.wait("compute ");
    standing.taken();
    assert!(
        !standing.screen().contains("printed by"),
        "{}",
        standing.screen()
    );
    terminal.keys("q");
    let standing = terminal.ended();
    standing.as_before();
    assert_eq!(standing.code(), Some(0));
    assert!(
        standing.screen().contains("\nprinted by the command"),
        "{}",
        standing.screen()
    );

    // One that ends by itself has its own code.
    let words = [INVIVO, "top", "--"]
        .map(std::ffi::OsString::from)
        .into_iter();
    let program = "import time, sys\ntime.sleep(2)\nsys.exit(37)";
    let words = words.chain([python.program.clone().into(), "-c".into(), program.into()]);
    let mut terminal = Terminal::start(words);
    terminal.wait("the process has ended");
    terminal.keys("q");
    let standing = terminal.ended();
    standing.as_before();
    assert_eq!(standing.code(), Some(37));
}

#[test]
fn without_a_terminal_it_prints_tables_once() {
    for interpreter in synth::interpreters() {
        let target = busy(interpreter);
        let pid = target.pid().to_string();
        let run = invivo(["top", &pid, "-d", "0.7", "-r", "1k"]).expect(0);
        assert!(run.stdout.contains(&format!("process {pid}: ")), "{run:#?}");
        assert!(run.stdout.contains("  main "), "{run:#?}");
        assert!(run.stdout.contains("  MOST OFTEN IN"), "{run:#?}");
        assert!(!run.stdout.contains('\x1b'), "{run:#?}");
        assert!(run.stderr.contains(" of CPU for sampling"), "{run:#?}");
        unharmed(&target);
    }
}

#[test]
fn what_can_not_be_watched_is_refused_before_the_terminal_is_taken() {
    let gone = invivo(["top", "999999999", "--once"]);
    gone.refused(3, "999999999", "nothing runs");
    invivo(["top", "--", "/no/such/program"]).refused(2, "can't be started", "No such file");
    invivo(["top"]).expect(2);
    let run = invivo(["top", "-d", "0.3", "--", "sleep", "100"]);
    assert_eq!(run.code, Some(3), "{run:#?}");
    let mut terminal = Terminal::start([INVIVO, "top", "999999999"]);
    let standing = terminal.ended();
    standing.as_before();
    assert_eq!(standing.code(), Some(3));
    assert!(
        standing.screen().contains("error:"),
        "{}",
        standing.screen()
    );
}

#[test]
fn it_ends_by_itself_when_asked_to() {
    let target = busy(synth::interpreter("3.14"));
    let pid = target.pid().to_string();
    let mut terminal = Terminal::start([INVIVO, "top", &pid, "--duration", "4"]);
    terminal.wait("triangle ");
    let standing = terminal.ended();
    standing.as_before();
    assert_eq!(standing.code(), Some(0));
    assert!(target.is_running());
}
