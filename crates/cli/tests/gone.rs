//! A target that goes away while `invivo` looks at it: what was read is shown whole, or the exit
//! code says that it has gone.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{INVIVO, Run};
use synth::{Launch, interpreter};

/// Every so many system calls of `invivo` the target is killed at one.
const STEP: usize = 23;

/// Two tasks that wait, one for the other.
const TARGET: &str = r#"
import asyncio
async def sleeper():
    print("ready", flush=True)
    await asyncio.sleep(3600)
async def waiter():
    await asyncio.ensure_future(sleeper())
asyncio.new_event_loop().run_until_complete(waiter())
"#;

/// Runs `invivo` on a new target that is killed at its `number`th system call; `None` where it
/// ended before it came to that.
fn killed_at(number: usize, name: &str, words: &[&str], report: &Path) -> Option<Run> {
    let target = Launch::new(interpreter(name), TARGET).start();
    let pid = target.pid().to_string();
    let output = Command::new(synth::helpers::killat())
        .args(["-p", &pid, &number.to_string()])
        .arg(report)
        .arg(INVIVO)
        .args(words)
        .arg(&pid)
        .stdin(Stdio::null())
        .output()
        .expect("running killat");
    let report = fs::read_to_string(report).expect("killat's report");
    let calls = report.split_whitespace().nth(1);
    let calls: usize = calls.and_then(|calls| calls.parse().ok()).expect("a count");
    (calls >= number).then(|| Run::of(output))
}

/// Kills targets at one system call after the other, and asserts that each run ends with a code
/// that tells so, or shows all of `shows`. Gives how often each code came.
fn killed_everywhere(name: &str, words: &[&str], shows: &[&str]) -> BTreeMap<i32, usize> {
    let place = tempfile::tempdir().expect("a directory");
    let mut codes = BTreeMap::new();
    for number in (1..).step_by(STEP) {
        let Some(run) = killed_at(number, name, words, &place.path().join("report")) else {
            break;
        };
        let code = run.code.expect("no signal ended it");
        *codes.entry(code).or_default() += 1;
        match code {
            0 => assert!(
                shows.iter().all(|word| run.stdout.contains(word)),
                "{number}: {run:#?}"
            ),
            // Before it was opened, and after that.
            3 => drop(run.refused(3, "there is no process", "")),
            7 => drop(run.refused(7, "", "")),
            _ => panic!("{name} {words:?} at {number}: {run:#?}"),
        }
    }
    codes
}

#[test]
fn a_target_that_ends_meanwhile_is_shown_whole_or_said_to_be_gone() {
    let mut whole = 0;
    // One that says where things lie in it, and one that does not.
    for name in ["3.14", "3.11"] {
        for (words, shows) in [
            (
                &["dump", "--locals"][..],
                &["Thread ", "_run_once", "sched_count", "run_until_complete"][..],
            ),
            (&["tasks"], &["sleeper", "waiter", "Task-1", "Task-2"]),
        ] {
            let codes = killed_everywhere(name, words, shows);
            println!("{name} {words:?}: {codes:?}");
            let came = |code| codes.get(&code).copied().unwrap_or(0);
            assert!(came(3) > 0 && came(7) > 2, "{codes:?}");
            whole += came(0);
        }
    }
    // Source lines are read last, and need the target.
    assert!(whole > 0, "none was killed after it had been read");
}
