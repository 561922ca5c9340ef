//! The threads of a process, and what each is doing.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

use invivo_model::{Error, ErrorKind, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::proc::{self, CallState};
use super::{Status, Target, system_calls};
use crate::{Address, Memory, ReadRequest};

/// A thread of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its number in our pid namespace: what `/proc` and system calls of ours know it by.
    pub tid: u32,
    /// Its number in the pid namespace it lives in: what it knows itself by (`gettid`).
    pub native_id: u64,
    /// Its name, at most 15 bytes of any value.
    pub name: Vec<u8>,
    /// The state's letter as `ps` shows it; see [`Status::state`].
    pub state: Option<char>,
    /// How often it has gone to sleep by itself, as in a system call: where that is as often as
    /// before, it did not sleep in between, or slept all the time.
    pub sleeps: Option<u64>,
    /// Its filter of system calls; see [`Status::seccomp`].
    pub seccomp: Option<u32>,
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
    /// Its first argument.
    pub argument: u64,
}

impl SystemCall {
    fn new(number: u32, argument: u64) -> Self {
        Self {
            number,
            name: system_calls::name(number),
            argument,
        }
    }
}

impl Thread {
    fn new(tid: u32, status: Status) -> Self {
        Self {
            tid,
            native_id: u64::from(status.innermost_pid().unwrap_or(tid)),
            state: status.state,
            sleeps: status.sleeps,
            seccomp: status.seccomp,
            name: status.name,
        }
    }
}

/// Where a thread waited at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The system call that it waited in.
    pub call: SystemCall,
    /// Its stack pointer.
    pub stack: Address,
    /// The instruction after that of the call.
    pub instruction: Address,
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
            // On a processor, or waiting for one: that can't be told of a moment.
            'R' => "runnable",
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

/// A thread, held to be asked again and again whether it runs: each time costs one system call.
#[derive(Debug)]
pub struct ThreadWatch(File);

impl ThreadWatch {
    /// Whether the thread runs, or waits for a processor; `None` where it has ended.
    pub fn runs(&self) -> Option<bool> {
        // The state follows the name, which has 64 bytes at most, and only numbers follow it.
        let mut text = [0; 128];
        let came = self.0.read_at(&mut text, 0).ok()?;
        let text = text.get(..came)?;
        let name_end = text.iter().rposition(|byte| *byte == b')')?;
        match text.get(name_end + 2)? {
            b'Z' | b'X' => None,
            state => Some(*state == b'R'),
        }
    }

    /// Where the thread is; `None` where it has ended.
    pub fn place(&self) -> Option<ThreadPlace> {
        /// Of the processor, counted from the state on, which is field 3 (`man 5 proc_pid_stat`).
        const PROCESSOR: usize = 39 - 3;
        // The name, and 51 numbers of which most are short.
        let mut text = [0; 1024];
        let came = self.0.read_at(&mut text, 0).ok()?;
        let text = text.get(..came)?;
        let name_end = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = text.get(name_end + 2..)?.split(|byte| *byte == b' ');
        let state = *fields.next()?.first()?;
        let processor = std::str::from_utf8(fields.nth(PROCESSOR - 1)?).ok()?;
        Some(ThreadPlace {
            processor: processor.parse().ok()?,
            runs: state == b'R',
            stopped: matches!(state, b't' | b'T'),
        })
        .filter(|_| !matches!(state, b'Z' | b'X'))
    }
}

/// Where a thread was at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadPlace {
    /// The processor that it runs on or waits for, or ran on last.
    pub processor: u32,
    /// It runs, or waits for the processor.
    pub runs: bool,
    /// It was made to stand still.
    pub stopped: bool,
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
            match process.read_of_thread(tid, "status") {
                Ok(text) => threads.push(Thread::new(tid, proc::parse_status(&text))),
                // It has ended since.
                Err(Errno::NOENT | Errno::SRCH) => {}
                Err(errno) => return Err(process.failed(what(), errno)),
            }
        }
        self.ensure_alive()?;
        Ok(threads)
    }

    /// Its thread `tid` (see [`Thread::tid`]).
    ///
    /// # Errors
    /// `Refused` where there is no such thread or it can't be looked at, or `Gone`.
    pub fn thread(&self, tid: u32) -> Result<Thread> {
        match self.process.read_of_thread(tid, "status") {
            Ok(text) => Ok(Thread::new(tid, proc::parse_status(&text))),
            Err(errno) => Err(self.not_seen(tid, errno)),
        }
    }

    pub(super) fn not_seen(&self, tid: u32, errno: Errno) -> Error {
        let what = format!("thread {tid} of process {} can't be seen", self.pid());
        self.process.failed(what, errno)
    }

    /// Whether it has a thread `tid` (see [`Thread::tid`]) that has not ended.
    pub fn has_thread(&self, tid: u32) -> bool {
        let stat = self.process.thread_stat(tid);
        stat.is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X'))
    }

    /// Opens what tells whether its thread `tid` (see [`Thread::tid`]) runs, to be asked often.
    ///
    /// # Errors
    /// `Refused` where there is no such thread or it can't be looked at, or `Gone`.
    pub fn watch(&self, tid: u32) -> Result<ThreadWatch> {
        let opened = self
            .process
            .open_file(&format!("task/{tid}/stat"), OFlags::RDONLY);
        let file = opened.map_err(|errno| self.not_seen(tid, errno))?;
        Ok(ThreadWatch(File::from(file)))
    }

    /// The error for what needs it to go on, where a signal has stopped it: which one, and what lets
    /// it go on. A thread that only a tracer holds goes on by itself.
    ///
    /// # Errors
    /// `Unsupported` where it is stopped.
    pub fn ensure_not_stopped(&self) -> Result<()> {
        let pid = self.pid();
        let thread = self.process.living_thread().unwrap_or(pid);
        let stat = self.process.thread_stat(thread);
        if !stat.is_ok_and(|stat| stat.state == 'T') {
            return Ok(());
        }
        let text = self.process.stat().unwrap_or_default();
        let by = match proc::parse_stop_signal(&text) {
            Some(19) => "SIGSTOP".to_owned(),
            Some(20) => "SIGTSTP (Ctrl-Z)".to_owned(),
            Some(21) => "SIGTTIN: it reads from its terminal in the background".to_owned(),
            Some(22) => "SIGTTOU: it uses its terminal in the background".to_owned(),
            Some(other) => format!("signal {other}"),
            None => "a signal (the kernel does not say which)".to_owned(),
        };
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("process {pid} is stopped: none of its threads runs"),
            format!("it was stopped by {by}"),
            format!(
                "let it go on with: kill -CONT {pid}   (or with fg, in the shell it belongs to)"
            ),
        ))
    }

    /// What its thread `tid` (see [`Thread::tid`]) is doing.
    ///
    /// # Errors
    /// `Refused` where there is no such thread or it can't be looked at, or `Gone`.
    pub fn activity(&self, tid: u32) -> Result<Activity> {
        let stat = self.process.thread_stat(tid);
        let stat = stat.map_err(|errno| self.not_seen(tid, errno))?;
        Ok(self.activity_from(tid, stat.state))
    }

    /// Where its thread `tid` (see [`Thread::tid`]) waits, without stopping it: it may go on at any
    /// moment. `None` where it is in no system call, or where that can't be read.
    pub fn waiting(&self, tid: u32) -> Option<Waiting> {
        let text = self.process.read_of_thread(tid, "syscall").ok()?;
        let Some(CallState::Inside(number, argument)) = proc::parse_syscall(&text) else {
            return None;
        };
        let [stack, instruction] = proc::parse_place(&text)?.map(Address);
        Some(Waiting {
            call: SystemCall::new(number, argument),
            stack,
            instruction,
        })
    }

    /// What a thread of it that was just listed is doing; `None` where that could not be told.
    pub fn activity_of(&self, thread: &Thread) -> Option<Activity> {
        Some(self.activity_from(thread.tid, thread.state?))
    }

    fn activity_from(&self, tid: u32, state: char) -> Activity {
        // What the thread does may have changed between the two files: the second decides, where
        // it may be read.
        let call = self.process.read_of_thread(tid, "syscall").ok();
        let call = call.and_then(|text| proc::parse_syscall(&text));
        let system_call = match call {
            Some(CallState::Inside(number, argument)) => Some(SystemCall::new(number, argument)),
            _ => None,
        };
        let running = match call {
            Some(call) => call == CallState::Running,
            None => state == 'R',
        };
        let state = match (state, running) {
            ('R', false) => 'S',
            ('S' | 'D', true) => 'R',
            (state, _) => state,
        };
        Activity {
            state,
            system_call,
            running,
        }
    }
}

/// Where the C library keeps a thread's number in what a `pthread_t` points to: of glibc (`tid` of
/// `struct pthread`, `nptl/descr.h`) and of musl (`tid` of `struct pthread`,
/// `src/internal/pthread_impl.h`).
#[cfg(target_arch = "x86_64")]
pub(super) const TID_OFFSETS: [u64; 2] = [720, 48];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const TID_OFFSETS: [u64; 2] = [208, 32];

/// The numbers ([`Thread::native_id`]) of the threads that these `pthread_t` stand for, by what the
/// target's C library keeps there. `None` where nothing there is one of the `known` numbers.
pub fn native_ids(
    memory: &impl Memory,
    pthreads: &[u64],
    known: &HashSet<u64>,
) -> Vec<Option<u64>> {
    let mut numbers = vec![[[0; 4]; TID_OFFSETS.len()]; pthreads.len()];
    let mut requests: Vec<ReadRequest<'_>> = pthreads
        .iter()
        .zip(&mut numbers)
        .flat_map(|(pthread, numbers)| {
            let places = TID_OFFSETS.map(|offset| Address(pthread.wrapping_add(offset)));
            let pieces = places.into_iter().zip(numbers);
            pieces.map(|(place, number)| ReadRequest::new(place, number))
        })
        .collect();
    if memory.read_many(&mut requests).is_err() {
        return vec![None; pthreads.len()];
    }
    let found = |numbers: &[[u8; 4]; TID_OFFSETS.len()]| {
        let numbers = numbers
            .iter()
            .map(|bytes| u32::from_ne_bytes(*bytes).into());
        numbers.into_iter().find(|number| known.contains(number))
    };
    numbers.iter().map(found).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::thread::JoinHandleExt;
    use std::sync::mpsc;
    use std::thread;

    use rustix::thread::gettid;

    use super::*;

    #[test]
    fn a_watched_thread_runs_sleeps_and_ends() {
        let (say, said) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let other = thread::Builder::new()
            .name("x) R (".to_owned())
            .spawn(move || {
                say.send(gettid().as_raw_nonzero().get().cast_unsigned())
                    .expect("a listener");
                let _ = ended.recv();
            })
            .expect("a thread");
        let tid = said.recv().expect("its number");
        let target = Target::open(std::process::id()).expect("we are there");
        let watch = target.watch(tid).expect("a thread of ours");
        while watch.runs() != Some(false) {
            thread::yield_now();
        }
        let own = gettid().as_raw_nonzero().get().cast_unsigned();
        assert_eq!(target.watch(own).expect("our thread").runs(), Some(true));
        drop(end);
        other.join().expect("its end");
        while watch.runs().is_some() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_thread_is_told_by_what_the_c_library_keeps_of_it() {
        let (say, said) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            say.send(gettid().as_raw_nonzero().get())
                .expect("a listener");
            // It lives until the other end is dropped.
            let _ = ended.recv();
        });
        let number = u64::from(said.recv().expect("its number").cast_unsigned());
        let pthread = other.as_pthread_t() as u64;
        let target = Target::open(std::process::id()).expect("we are there");
        let threads = target.threads().expect("our threads");
        let known: HashSet<u64> = threads.iter().map(|thread| thread.native_id).collect();
        let of_list = threads.iter().find(|thread| thread.native_id == number);
        let alone = target.thread(of_list.expect("the other thread").tid);
        assert_eq!(alone.expect("the other thread").native_id, number);
        let memory = target.memory();
        assert_eq!(
            native_ids(&memory, &[pthread, 8, u64::MAX, pthread], &known),
            [Some(number), None, None, Some(number)]
        );
        assert_eq!(native_ids(&memory, &[pthread], &HashSet::new()), [None]);
        drop(end);
        other.join().expect("its end");
    }
}
