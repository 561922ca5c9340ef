//! What a program has started, also what it has lost sight of.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::run::{Doing, Outcome};

/// What marks the environment of all that a program starts.
const MARK: &str = "INVIVO_TEST_PROGRAM";

/// The processes that a program has started: those below it, and those whose parents have gone, by
/// a mark in their environment.
pub(crate) struct Started {
    program: u32,
    mark: String,
}

/// A process that lives.
pub(crate) struct Process {
    pid: u32,
    parent: u32,
    state: char,
    /// When it was started, which no other process of this number has.
    begun: u64,
    command: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            parent,
            state,
            command,
            ..
        } = self;
        write!(f, "{pid} (of {parent}, {state}) {command}")
    }
}

impl Started {
    /// Starts the program.
    pub(crate) fn by(command: &mut Command) -> Outcome<(Child, Self)> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{number}", std::process::id());
        command.env(MARK, &mark);
        let child = command.spawn();
        let child = child.doing(|| format!("starting {}", command.get_program().display()))?;
        let mark = format!("{MARK}={mark}");
        let program = child.id();
        Ok((child, Self { program, mark }))
    }

    /// Those that live, without the program itself.
    pub(crate) fn all(&self) -> Vec<Process> {
        let every = every();
        let is_ours = |process: &Process| {
            let mut above = process.parent;
            // A chain of parents that changes meanwhile has an end all the same.
            for _ in 0..every.len() {
                if above == self.program {
                    return true;
                }
                above = every.get(&above).map_or(0, |process| process.parent);
            }
            let environment = fs::read(format!("/proc/{}/environ", process.pid));
            let environment = environment.unwrap_or_default();
            let mut variables = environment.split(|byte| *byte == 0);
            variables.any(|variable| variable == self.mark.as_bytes())
        };
        let ours = every
            .values()
            .filter(|process| process.pid != self.program && is_ours(process))
            .map(|process| process.pid)
            .collect::<Vec<_>>();
        let ours = ours.into_iter().filter_map(process);
        ours.filter(|process| process.state != 'Z').collect()
    }

    /// Waits until all have ended; gives those that have not after this time.
    pub(crate) fn await_end(&self, within: Duration) -> Vec<Process> {
        let until = Instant::now() + within;
        loop {
            let left = self.all();
            if left.is_empty() || Instant::now() >= until {
                return left;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends all of them, and those that they start meanwhile.
    pub(crate) fn end(&self) {
        for _ in 0..100 {
            let left = self.all();
            if left.is_empty() {
                return;
            }
            left.iter().for_each(kill);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn kill(wanted: &Process) {
    let Some(pid) = Pid::from_raw(wanted.pid.cast_signed()) else {
        return;
    };
    let Ok(held) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    // What the descriptor holds is what was meant, and not another one that has got its number.
    if process(wanted.pid).is_some_and(|now| now.begun == wanted.begun) {
        // One that has ended meanwhile needs no signal.
        let _ = pidfd_send_signal(held, Signal::KILL);
    }
}

fn every() -> BTreeMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, process(pid)?))).collect()
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the parenthesis may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    Some(Process {
        pid,
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        begun: fields.get(19)?.parse().ok()?,
        command: command.escape_debug().take(200).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_process_whose_parent_has_gone_is_known_and_ended() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & (sleep 1000 &) & read line"]);
        command.stdin(Stdio::piped());
        let (mut child, started) = Started::by(&mut command).expect("a shell");
        let until = Instant::now() + synth::target::PATIENCE;
        let sleeping = |started: &Started| {
            let all = started.all();
            all.iter()
                .filter(|one| one.command.starts_with("sleep 1000"))
                .count()
        };
        while sleeping(&started) < 2 {
            assert!(Instant::now() < until, "they do not run");
        }
        drop(child.stdin.take());
        child.wait().expect("its end");
        assert_eq!(sleeping(&started), 2);
        assert_eq!(started.await_end(Duration::ZERO).len(), 2);
        started.end();
        assert_eq!(sleeping(&started), 0);
    }
}
