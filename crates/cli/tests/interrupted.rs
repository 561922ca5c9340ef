//! Signals that come while `invivo` prepares for them: each ends it.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use support::{INVIVO, Run, each, staged};
use synth::{Launch, Target, samples};

/// How long it would go on if the signal were lost.
const LONG: &str = "5";

/// The words for a command that goes on for long on a target, and what shows that it was ended by a
/// signal. Where the signal came before it was caught, it ends it as any program.
type Case = (&'static str, fn(&Target) -> Vec<String>, fn(&Run) -> bool);

const CASES: [Case; 3] = [
    (
        "exec",
        |target| {
            let pid = target.pid().to_string();
            let words = [
                "exec",
                &pid,
                "--wake",
                "never",
                "--timeout",
                LONG,
                "-e",
                "1",
            ];
            words.map(str::to_owned).into()
        },
        |run| run.code == Some(130),
    ),
    (
        "record",
        |target| {
            let pid = target.pid().to_string();
            let words = [
                "record",
                &pid,
                "--json",
                "-d",
                LONG,
                "-f",
                "table",
                "-o",
                "/dev/null",
            ];
            words.map(str::to_owned).into()
        },
        |run| run.json()["ended_by"] == "signal",
    ),
    (
        "top",
        |target| {
            let pid = target.pid().to_string();
            let words = ["top", &pid, "--once", "-d", LONG];
            words.map(str::to_owned).into()
        },
        |run| run.code == Some(130),
    ),
];

/// What became of a signal.
enum Sent {
    /// It came before it was caught.
    EndedIt,
    Caught(Run),
    /// There are fewer such calls.
    Not,
}

/// Runs it with a signal right after the `number`th call that changes what a signal does.
fn signalled_at(number: u32, signal: Signal, words: &[String], report: &Path) -> Sent {
    // Whoever runs the tests may ignore signals, and all that they start inherits that.
    let run = Command::new("env")
        .arg("--default-signal=HUP,INT,QUIT,TERM")
        .arg(synth::helpers::killat())
        .args(["-s", &signal.as_raw().to_string(), &number.to_string()])
        .arg(report)
        .arg(INVIVO)
        .args(words)
        .stdin(Stdio::null())
        .output();
    let run = Run::of(run.expect("running killat"));
    assert_ne!(run.code, Some(125), "killat could not start it: {run:#?}");
    let report = fs::read_to_string(report).expect("killat's report");
    match report.split(' ').next() {
        Some("ended-by-it") => Sent::EndedIt,
        Some("sent") => Sent::Caught(run),
        _ => Sent::Not,
    }
}

#[test]
fn a_signal_that_comes_while_handlers_are_installed_is_not_lost() {
    let cells: Vec<_> = CASES
        .into_iter()
        .flat_map(|case| [Signal::INT, Signal::TERM].map(|signal| (case, signal)))
        .collect();
    let name = |((name, ..), signal): &(Case, Signal)| format!("{name} {signal:?}");
    each(&cells, name, |((_, words, is_signalled), signal)| {
        let target = Launch::new(synth::interpreter("3.14"), samples::SLEEPER).start();
        support::asleep_in(&target, "clock_nanosleep");
        let words = words(&target);
        let report = tempfile::NamedTempFile::new().expect("a file");
        let (mut by_default, mut caught) = (0, 0);
        for number in 1.. {
            match signalled_at(number, *signal, &words, report.path()) {
                Sent::EndedIt => by_default += 1,
                Sent::Caught(run) => {
                    assert!(is_signalled(&run), "call {number}: {run:#?}");
                    caught += 1;
                }
                Sent::Not => break,
            }
        }
        assert!(by_default > 0 && caught > 0, "{by_default} and {caught}");
        assert!(staged(&target).is_empty());
        assert_eq!(target.stderr_so_far(), "");
    });
}
