//! One target and its scripts, from the target's start to its end.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use synth::Target;
use synth::target::PATIENCE;

use super::ledger::{Entry, Size};
use super::shape::{Aim, Shape, Stage, children};
use crate::bench::reason;
use crate::run::{Doing, Outcome};

/// After so many scripts a target shows that all its parts go on.
const ROUND: usize = 25;
/// Where a script did not run, one is tried again after so many others.
const SELDOM: usize = 20;
/// So many wrong results are enough.
const WRONG_MAX: usize = 10;

/// For so long it is looked at what a target holds, at the least.
const LOOKED_AT: Duration = Duration::from_secs(3);

/// What came of one script.
enum Came {
    Right,
    Refused(String),
    Wrong(String),
}

/// Has `runs` scripts run in the target, fewer if it comes to harm, and notes what became of it.
/// The scripts are numbered from `first`.
pub(super) fn sit(
    invivo: &Path,
    shape: &Shape,
    stage: Stage,
    runs: usize,
    first: usize,
) -> Outcome<Entry> {
    let mut entry = Entry::default();
    let mut unwilling: BTreeSet<&Aim> = BTreeSet::new();
    let begun = Instant::now();
    for number in 0..runs {
        if number % ROUND == 0 {
            entry.harm = works(&stage.target, PATIENCE);
        }
        if number == runs / 4 && entry.harm.is_none() {
            entry.early = size(&stage, None);
        }
        if entry.harm.is_some() || entry.wrong.len() >= WRONG_MAX {
            break;
        }
        let turn = &stage.aims[number % stage.aims.len()];
        let willing = stage.aims.iter().find(|aim| !unwilling.contains(aim));
        let aim = match willing {
            Some(willing) if unwilling.contains(turn) && number % SELDOM != 0 => willing,
            _ => turn,
        };
        match one_run(invivo, &stage, aim, first + number)? {
            Came::Right => {
                unwilling.remove(aim);
                entry.ran += 1;
            }
            Came::Refused(why) => {
                unwilling.insert(aim);
                *entry.refused.entry(why).or_insert(0) += 1;
            }
            Came::Wrong(what) => entry.wrong.push(what),
        }
        if !stage.target.is_running() {
            entry.harm = Some(format!("{} in run {number}", state_of(&stage.target)));
        }
    }
    entry.milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    if entry.harm.is_none() {
        entry.harm = works(&stage.target, PATIENCE);
    }
    if entry.harm.is_none() {
        entry.late = size(&stage, Some(entry.early));
        entry.left = left(stage.temporary.path());
        if !shape.steady {
            (entry.early.threads, entry.early.descriptors) = (0, 0);
            (entry.late.threads, entry.late.descriptors) = (0, 0);
        }
        entry.harm = ended(&stage.target);
    }
    if stage.target.is_running() {
        entry.stacks = stacks(invivo, stage.target.pid());
    }
    entry.ended = how_it_ended(&stage.target);
    entry.last_words = last_words(&stage.target);
    Ok(entry)
}

/// What the target's processes hold at the least, in some seconds: what comes and goes with their
/// work is not of interest. Where it is more than `before`, it gets time to become less: on a loaded
/// machine what goes goes late, and what leaked never does.
fn size(stage: &Stage, before: Option<Size>) -> Size {
    let begun = Instant::now();
    let mut least = look(stage);
    loop {
        std::thread::sleep(Duration::from_millis(5));
        let now = look(stage);
        least.descriptors = least.descriptors.min(now.descriptors);
        least.threads = least.threads.min(now.threads);
        least.memory = now.memory;
        let enough = match before {
            Some(before) if least.holds_more_than(before) => PATIENCE,
            _ => LOOKED_AT,
        };
        if begun.elapsed() > enough {
            return least;
        }
    }
}

/// What they hold now.
fn look(stage: &Stage) -> Size {
    let mut sum = Size::default();
    for pid in stage.pids() {
        let count = |what: &str| {
            let entries = fs::read_dir(format!("/proc/{pid}/{what}"));
            entries.map_or(0, Iterator::count)
        };
        sum.descriptors += count("fd");
        sum.threads += count("task");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let memory = status.lines().find_map(|line| {
            let value = line.strip_prefix("VmRSS:")?.trim();
            value.strip_suffix(" kB")?.parse::<u64>().ok()
        });
        sum.memory += memory.unwrap_or(0);
    }
    sum
}

/// The files of ours in the target's temporary directory. A script's own is removed by the script
/// or soon after it.
fn left(temporary: &Path) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        let entries = fs::read_dir(temporary).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let ours: Vec<String> = names.filter(|name| name.contains("invivo")).collect();
        if ours.is_empty() || Instant::now() > until {
            return ours;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A script of one of four kinds, and what must come of it: the option, the text, the exit status
/// and what is printed.
fn script(number: usize) -> (&'static str, String, i32, String) {
    match number % 4 {
        0 => (
            "-e",
            format!("sum(range({number}))"),
            0,
            format!("{}\n", number * number.saturating_sub(1) / 2),
        ),
        1 => (
            "-c",
            format!("import sys; print('a', {number}); print('b', file=sys.stderr)"),
            0,
            format!("a {number}\n"),
        ),
        2 => ("-c", format!("raise KeyError({number})"), 1, String::new()),
        _ => (
            "-e",
            format!("[list(range(100)) for _ in range(100)] and {number}"),
            0,
            format!("{number}\n"),
        ),
    }
}

fn one_run(invivo: &Path, stage: &Stage, aim: &Aim, number: usize) -> Outcome<Came> {
    // By turns for each aim as well.
    let (option, code, status, printed) = script(number / stage.aims.len() + number);
    let Some(pid) = stage.pid(aim) else {
        return Ok(Came::Refused("the target had no child".to_owned()));
    };
    let mut command = Command::new(invivo);
    command.args(["exec", &pid.to_string(), "--timeout", "2"]);
    match aim {
        Aim::Own(name, value) => command.args([name, value.as_str()]),
        Aim::Borrower(thread) => command.args(["--thread", thread]),
        Aim::Process(_) | Aim::Child => &mut command,
    };
    let output = command
        .args([option, &code])
        .stdin(Stdio::null())
        .output()
        .doing(|| "running invivo".to_owned())?;
    if output.status.code() == Some(status) && output.stdout == printed.as_bytes() {
        return Ok(Came::Right);
    }
    Ok(match refusal(&output, aim) {
        Some(why) => Came::Refused(why),
        None => Came::Wrong(format!(
            "script {number} ({code:?}) for {aim:?} should have printed {printed:?} and ended with \
             {status}: {output:?}"
        )),
    })
}

/// The reason why nothing ran. A script that had begun and did not come back is none.
fn refusal(output: &Output, aim: &Aim) -> Option<String> {
    let code = output.status.code()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    // A child of a pool ends when it has done its tasks.
    let may_end = match aim {
        Aim::Child => matches!(code, 2 | 3),
        Aim::Borrower(_) => code == 2,
        Aim::Own(..) | Aim::Process(_) => false,
    };
    let nothing_ran = matches!(code, 5..=7) && output.stdout.is_empty();
    if nothing_ran && errors.contains("is left running") {
        return None;
    }
    (nothing_ran || may_end)
        .then(|| reason(output))
        .flatten()
        .map(|why| general(&why))
}

/// The reason without the names that belong to one target: `thread N`, not in which function.
fn general(why: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in why.split("; ") {
        let part = part
            .split(", in the Python function")
            .next()
            .unwrap_or(part);
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    let words = parts.join("; ");
    // Addresses, whose digits are N already.
    let words = words.split(' ').map(|word| match word.strip_prefix("Nx") {
        Some(_) => "N",
        None => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether all its parts go on: `None`, or the harm.
pub(super) fn works(target: &Target, patience: Duration) -> Option<String> {
    let counted = || -> Option<u64> {
        if !target.is_running() {
            return None;
        }
        let before = target.stdout_so_far().lines().count();
        target.send_line("report");
        let until = Instant::now() + patience;
        while Instant::now() < until {
            let text = target.stdout_so_far();
            let answer = text
                .lines()
                .skip(before)
                .find_map(|line| line.strip_prefix("checked "));
            if let Some(count) = answer {
                return count.parse().ok();
            }
            if !target.is_running() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    };
    let first = counted();
    let until = Instant::now() + patience;
    while Instant::now() < until {
        match (first, counted()) {
            (Some(first), Some(now)) if now > first => return None,
            (Some(_), Some(_)) => std::thread::sleep(Duration::from_millis(2)),
            _ => break,
        }
    }
    Some(state_of(target))
}

/// How a target came to harm that works no more.
fn state_of(target: &Target) -> String {
    let printed = target.stdout_so_far();
    let wrong = printed.lines().find(|line| line.starts_with("wrong "));
    if let Some(line) = wrong {
        return line.to_owned();
    }
    if target.is_running() {
        "works no more".to_owned()
    } else {
        crashed(target.wait_exit(PATIENCE))
    }
}

fn crashed(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;

    match status.signal() {
        Some(signal) => format!("ended by signal {signal}"),
        None => format!("ended with {status}"),
    }
}

/// Whether it ends as it should: `None`, or the harm.
fn ended(target: &Target) -> Option<String> {
    target.send_line("stop");
    let until = Instant::now() + PATIENCE;
    while target.is_running() {
        if Instant::now() > until {
            return Some("did not end when it was told to".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = target.wait_exit(PATIENCE);
    if !status.success() {
        return Some(state_of(target));
    }
    let errors = target.stderr_so_far();
    let first = errors.lines().next()?;
    Some(format!("wrote on its stderr: {first}"))
}

/// What all threads of a process and its children do: why it does not end.
fn stacks(invivo: &Path, pid: u32) -> String {
    let dump = |pid: &str| {
        let output = Command::new(invivo).args(["dump", pid]).output();
        output.map_or_else(
            |error| error.to_string(),
            |output| {
                let said = [output.stdout, output.stderr].concat();
                String::from_utf8_lossy(&said).into_owned()
            },
        )
    };
    let mut text = dump(&pid.to_string());
    for child in children(pid) {
        text.push_str(&dump(&child));
    }
    text
}

fn how_it_ended(target: &Target) -> String {
    if target.is_running() {
        "was killed by the benchmark".to_owned()
    } else {
        let status = target.wait_exit(PATIENCE);
        if status.success() {
            "ended when it was told to".to_owned()
        } else {
            crashed(status)
        }
    }
}

/// What it said last, on stdout and on stderr.
fn last_words(target: &Target) -> String {
    let said = [target.stdout_so_far(), target.stderr_so_far()];
    let ends = said.map(|text| {
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" / ")
    });
    ends.join(" | ")
}
