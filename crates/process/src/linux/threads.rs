//! The threads of a process, and what each is doing.

use std::fmt;

use invivo_model::Result;
use rustix::io::Errno;

use super::proc::{self, CallState};
use super::{Target, system_calls};

/// A thread of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its number in our pid namespace: what `/proc` and system calls of ours know it by.
    pub tid: u32,
    /// Its number in the pid namespace it lives in: what it knows itself by (`gettid`).
    pub native_id: u64,
    /// Its name, at most 15 bytes of any value.
    pub name: Vec<u8>,
}

/// What a thread was doing at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The state's letter as `ps` shows it; see [`super::Status::state`].
    pub state: char,
    /// The system call it sleeps in. `None` where it sleeps in none or where the kernel does not
    /// tell us.
    pub system_call: Option<SystemCall>,
    /// It runs, or waits for a processor.
    pub running: bool,
}

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemCall {
    /// Its number on this kind of machine.
    pub number: u32,
    /// Its name; `None` for one newer than our table.
    pub name: Option<&'static str>,
}

impl fmt::Display for SystemCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "number {}", self.number),
        }
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = match self.state {
            'R' => "running",
            'S' => "asleep",
            'D' => "in uninterruptible sleep",
            'T' => "stopped by a signal",
            't' => "stopped by a tracer",
            'Z' | 'X' => "ended",
            'I' => "idle",
            'P' => "parked",
            state => return write!(f, "in state {state}"),
        };
        f.write_str(doing)?;
        match &self.system_call {
            Some(call) => write!(f, " in system call {call}"),
            None => Ok(()),
        }
    }
}

impl Target {
    /// Its threads, the first one first. One that starts or ends meanwhile may be missing.
    ///
    /// # Errors
    /// `Refused`, `Gone`, or `Corrupt` where there are more than 65,536.
    pub fn threads(&self) -> Result<Vec<Thread>> {
        let what = || format!("the threads of process {} can't be listed", self.pid());
        let process = &self.process;
        let tids = process
            .thread_ids()
            .map_err(|errno| process.failed(what(), errno))?;
        let mut threads = Vec::with_capacity(tids.len());
        for tid in tids {
            let status = match process.read_of_thread(tid, "status") {
                Ok(text) => proc::parse_status(&text),
                // It has ended since.
                Err(Errno::NOENT | Errno::SRCH) => continue,
                Err(errno) => return Err(process.failed(what(), errno)),
            };
            let native_id = u64::from(status.innermost_pid().unwrap_or(tid));
            threads.push(Thread {
                tid,
                native_id,
                name: status.name,
            });
        }
        self.ensure_alive()?;
        Ok(threads)
    }

    /// Whether it has a thread `tid` (see [`Thread::tid`]) that has not ended.
    pub fn has_thread(&self, tid: u32) -> bool {
        let stat = self.process.thread_stat(tid);
        stat.is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X'))
    }

    /// What its thread `tid` (see [`Thread::tid`]) is doing.
    ///
    /// # Errors
    /// `Refused` where there is no such thread or it can't be looked at, or `Gone`.
    pub fn activity(&self, tid: u32) -> Result<Activity> {
        let process = &self.process;
        let stat = process.thread_stat(tid).map_err(|errno| {
            process.failed(
                format!("thread {tid} of process {} can't be seen", self.pid()),
                errno,
            )
        })?;
        // What the thread does may have changed between the two files: the second decides, where
        // it may be read.
        let call = process.read_of_thread(tid, "syscall").ok();
        let call = call.and_then(|text| proc::parse_syscall(&text));
        let system_call = match call {
            Some(CallState::Inside(number)) => Some(SystemCall {
                number,
                name: system_calls::name(number),
            }),
            _ => None,
        };
        let running = match call {
            Some(call) => call == CallState::Running,
            None => stat.state == 'R',
        };
        let state = match (stat.state, running) {
            ('R', false) => 'S',
            ('S' | 'D', true) => 'R',
            (state, _) => state,
        };
        Ok(Activity {
            state,
            system_call,
            running,
        })
    }
}
