//! A result whose reader does not read holds nothing up for longer than was allowed.

mod support;

use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{busy, heedful, not_held, runs_invivo, staged, unharmed};
use synth::target::PATIENCE;
use synth::{Interpreter, Target};

/// More than any pipe takes.
const MUCH: &str = "print('x' * (1 << 21))";

/// Starts `invivo exec` with a stdout that nobody reads beyond the first byte, which is waited for.
fn unread(target: &Target, words: &[&str]) -> Child {
    let mut command = heedful();
    command
        .args(["exec", &target.pid().to_string()])
        .args(words);
    command.stdin(Stdio::null());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("running invivo");
    runs_invivo(&child);
    let mut first = [0];
    let pipe = child.stdout.as_mut().expect("its stdout");
    pipe.read_exact(&mut first).expect("it prints something");
    child
}

/// Its exit code and what it said, with its stdout still open and unread.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("asking for its end") {
            break status;
        }
        assert!(Instant::now() < until, "it waits for its reader");
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("its stderr");
    stderr.read_to_string(&mut said).expect("UTF-8");
    (status.code(), said)
}

fn pythons() -> [&'static Interpreter; 3] {
    ["3.8", "3.12", "3.14"].map(synth::interpreter)
}

fn unhurt(target: &Target) {
    not_held(target);
    unharmed(target);
    assert_eq!(staged(target), Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_time_out_holds_where_nobody_reads() {
    for python in pythons() {
        let target = busy(python);
        for form in [&["-c", MUCH][..], &["--json", "-c", MUCH]] {
            let words = [&["--timeout", "1"], form].concat();
            let (code, said) = ended(unread(&target, &words));
            assert_eq!(code, Some(6), "{}: {said}", python.name);
            assert!(said.contains("written to stdout in time"), "{said}");
        }
        unhurt(&target);
    }
}

#[test]
fn the_first_interruption_holds_where_nobody_reads() {
    for python in pythons() {
        let target = busy(python);
        let child = unread(&target, &["--timeout", "10000", "-c", MUCH]);
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a number");
        kill_process(pid, Signal::INT).expect("interrupting it");
        let (code, said) = ended(child);
        assert_eq!(code, Some(130), "{}: {said}", python.name);
        unhurt(&target);
    }
}
