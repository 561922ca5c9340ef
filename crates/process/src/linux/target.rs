//! A process, held so that another one with its number can't be taken for it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use invivo_model::{Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, test_kill_process};

use super::memory::ProcessMemory;
use super::mounts::{self, Doubt, Mounts};
use super::proc::{self, Stat, Status};
use super::{TargetRoot, clock, maps};
use crate::{Mapping, Module};

/// How much of `maps` is read: some 500,000 mappings with names of usual length.
const MAX_MAPS: u64 = 64 << 20;
/// How much of `environ` is read. The kernel allows 6 MiB at `execve`, but a process may point it
/// at more.
const MAX_STRINGS: u64 = 8 << 20;
/// How much of `cmdline` is read: of a list of processes, all of theirs are kept.
const MAX_COMMAND: u64 = 32 << 10;
/// How many words of it: a word may be empty, and takes room nevertheless.
const MAX_WORDS: usize = 2048;
/// How much of every other file is read; none comes near it.
const MAX_SMALL: u64 = 64 << 10;
/// How much is read at first: most files have less.
const SMALL: usize = 4096;
/// How many threads a process may have here.
const MAX_THREADS: usize = 1 << 16;

/// An opened process.
///
/// It is held by a directory descriptor of `/proc/PID` and a pidfd, both of which go on meaning
/// this process when its number is given to another. Memory is read by number, though: who must
/// be sure that it was this process's calls [`Target::ensure_alive`] *afterwards*, since a number
/// stays taken for as long as its process lives.
#[derive(Debug)]
pub struct Target {
    pub(super) process: Arc<Process>,
    memory: ProcessMemory,
}

impl Target {
    /// Opens the process `pid` (a number of our own pid namespace).
    ///
    /// # Errors
    /// `NoSuchProcess` where there is none, where it has ended, or where `pid` is only a thread;
    /// `Refused` where `/proc` does not show it.
    pub fn open(pid: u32) -> Result<Self> {
        Process::open(pid).map(|process| Self::of(Arc::new(process)))
    }

    pub(super) fn of(process: Arc<Process>) -> Self {
        let memory = ProcessMemory::new(Arc::clone(&process));
        Self { process, memory }
    }

    /// Its number in our pid namespace.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`). With the number
    /// it names the process for as long as the machine runs.
    pub fn start_time(&self) -> u64 {
        self.process.start_time
    }

    /// When it started, by the clock of the day: to the hundredth of a second, as far as that clock
    /// has not been set since.
    pub fn started(&self) -> Option<SystemTime> {
        let ticks = u128::from(clock_ticks_per_second());
        let started = u128::from(self.start_time()) * 1_000_000_000;
        let started = u64::try_from(started.checked_div(ticks)?).ok()?;
        let age = clock::since_boot().checked_sub(started)?;
        SystemTime::now().checked_sub(Duration::from_nanos(age))
    }

    /// Makes sure that it has not ended.
    ///
    /// # Errors
    /// `Gone` where it has.
    pub fn ensure_alive(&self) -> Result<()> {
        if self.process.is_alive() {
            Ok(())
        } else {
            Err(Error::gone(self.pid()))
        }
    }

    /// Sends it a signal, as `kill` does.
    ///
    /// # Errors
    /// `Refused` where there is no such signal or the kernel does not let us, or `Gone`.
    pub fn signal(&self, number: i32) -> Result<()> {
        let what = || format!("process {} can't be sent signal {number}", self.pid());
        let signal = Signal::from_named_raw(number).ok_or(Errno::INVAL);
        let sent = signal.and_then(|signal| pidfd_send_signal(&self.process.pidfd, signal));
        sent.map_err(|errno| self.process.failed(what(), errno))
    }

    /// Its memory, for reading. Cheap: all of a target's share what was learned about how to read.
    pub fn memory(&self) -> ProcessMemory {
        self.memory.clone()
    }

    /// What is mapped, in address order.
    ///
    /// # Errors
    /// `Refused` where the kernel does not let us look, `Gone`, or `Corrupt` where there is more
    /// than 64 MiB of it.
    pub fn mappings(&self) -> Result<Vec<Mapping>> {
        let what = || format!("the mappings of process {} can't be read", self.pid());
        let text = self.process.read_of_memory("maps", whole(MAX_MAPS), what)?;
        let mappings = maps::parse(&text).ok_or_else(|| {
            Error::internal(format!("{}: a line of another form than expected", what()))
        })?;
        let doubt = self.doubts(&mappings);
        self.memory.suspect(mounts::suspects(&mappings, doubt));
        Ok(mappings)
    }

    /// What is to be doubted of file systems, by their device; as far as `mappings` have any.
    fn doubts(&self, mappings: &[Mapping]) -> impl Fn((u32, u32)) -> Option<Doubt> {
        let without_disk = |mapping: &Mapping| mapping.inode != 0 && mapping.device.0 == 0;
        let known = mappings.iter().any(without_disk).then(|| {
            let read = |text: Result<Vec<u8>, Errno>| text.unwrap_or_default();
            let own = read(read_at(CWD, "/proc/self/mountinfo", MAX_MAPS));
            let theirs = read(self.process.read("mountinfo", MAX_MAPS));
            let own = Mounts::parse(&own, true);
            (own, Mounts::parse(&theirs, false), mounts::internal())
        });
        move |device| {
            let (own, theirs, internal) = known.as_ref()?;
            mounts::doubt(device, own, theirs, *internal)
        }
    }

    /// The files that are mapped, each with its mappings. A file that was loaded twice (`dlmopen`)
    /// is one module.
    ///
    /// # Errors
    /// As [`Target::mappings`].
    pub fn modules(&self) -> Result<Vec<Module>> {
        self.mappings().map(maps::modules)
    }

    /// What `/proc/PID/status` says: credentials, namespaces' numbers, tracer, seccomp.
    ///
    /// # Errors
    /// `Refused` or `Gone`.
    pub fn status(&self) -> Result<Status> {
        let what = || format!("the status of process {} can't be read", self.pid());
        let status = self.process.status();
        status.map_err(|errno| self.process.failed(what(), errno))
    }

    /// What stands as a word of its own behind the words of a command line, and what was begun of
    /// the next, where more follows.
    pub const COMMAND_GOES_ON: &str = "…";

    /// Its command and arguments, as it shows them now: it may have overwritten them. Empty for a
    /// kernel thread. What follows the first 32 KiB, or 2048 words, is left out, with
    /// [`Self::COMMAND_GOES_ON`] in its place.
    ///
    /// # Errors
    /// `Refused` or `Gone`.
    pub fn command_line(&self) -> Result<Vec<OsString>> {
        let what = || format!("the command line of process {} can't be read", self.pid());
        let mut text = self.process.read_of_memory("cmdline", read_start, what)?;
        let mut goes_on = text.len() as u64 > MAX_COMMAND;
        text.truncate(usize::try_from(MAX_COMMAND).unwrap_or(usize::MAX));
        let mut strings = proc::strings(&text);
        let words = strings.by_ref().take(MAX_WORDS);
        let mut words: Vec<_> = words
            .map(|word| OsStr::from_bytes(word).to_owned())
            .collect();
        goes_on |= strings.next().is_some();
        if goes_on {
            words.push(Self::COMMAND_GOES_ON.into());
        }
        Ok(words)
    }

    /// The value of a variable in the environment it was started with; what it has set for itself
    /// since does not show, and it may have overwritten the memory it stands in.
    ///
    /// # Errors
    /// As [`Target::mappings`].
    pub fn environment_variable(&self, name: &str) -> Result<Option<OsString>> {
        let what = || format!("the environment of process {} can't be read", self.pid());
        let text = self
            .process
            .read_of_memory("environ", whole(MAX_STRINGS), what)?;
        Ok(proc::strings(&text).find_map(|entry| {
            let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(OsStr::from_bytes(value).to_owned())
        }))
    }

    /// The program it runs, as the kernel names it: seen from our root, and with ` (deleted)`
    /// behind it where the file is gone. For showing; to open it use its module.
    ///
    /// # Errors
    /// `Refused` where the kernel does not let us look or where there is none (a kernel thread),
    /// or `Gone`.
    pub fn executable(&self) -> Result<PathBuf> {
        let what = || format!("the program of process {} can't be told", self.pid());
        self.process
            .read_link("exe")
            .map_err(|errno| self.process.failed(what(), errno))
    }

    /// Its root directory, to open files under.
    ///
    /// # Errors
    /// `Refused` or `Gone`.
    pub fn root(&self) -> Result<TargetRoot> {
        TargetRoot::open(&self.process)
    }
}

/// The handles of a process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// `/proc/PID`, opened for nothing but finding what is in it.
    dir: OwnedFd,
    pub(super) pidfd: OwnedFd,
    start_time: u64,
}

impl Process {
    fn open(pid: u32) -> Result<Self> {
        ensure_own_proc(pid)?;
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.ok_or_else(|| no_such_process(pid, "no process can have this number"))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())
            .map_err(|errno| not_shown(pid, raw, errno))?;
        let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Err(has_ended(pid)),
            Err(Errno::INVAL | Errno::NOENT) => {
                return Err(match process_of(&dir) {
                    Some(process) if process != pid => is_a_thread(pid, process),
                    _ => has_ended(pid),
                });
            }
            Err(errno) => return Err(cannot_open(pid, format!("pidfd_open says: {errno}"))),
        };
        // The directory still answers, so its process has not been reaped: the number was its own
        // when the pidfd was opened.
        let stat = read_at(&dir, "stat", MAX_SMALL).map_err(|errno| match errno {
            Errno::SRCH | Errno::NOENT => has_ended(pid),
            errno => cannot_open(pid, format!("/proc/{pid}/stat can't be read: {errno}")),
        })?;
        let stat = proc::parse_stat(&stat)
            .ok_or_else(|| Error::internal(format!("/proc/{pid}/stat has an unexpected form")))?;
        let process = Self {
            pid,
            dir,
            pidfd,
            start_time: stat.start_time,
        };
        if process.is_alive() {
            Ok(process)
        } else {
            Err(has_ended(pid))
        }
    }

    /// Whether it has a thread that lives. Its number stays its own until then.
    pub(super) fn is_alive(&self) -> bool {
        let mut pidfd = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        loop {
            match poll(&mut pidfd, Some(&at_once)) {
                Err(Errno::INTR) => {}
                ready => return ready == Ok(0),
            }
        }
    }

    /// Reads a file of `/proc/PID`; `TOOBIG` where it is longer than `limit`.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, Errno> {
        read_at(&self.dir, name, limit)
    }

    /// What `status` says, of a process that has ended too, for as long as it was not collected.
    pub(super) fn status(&self) -> Result<Status, Errno> {
        Ok(proc::parse_status(&self.read("status", MAX_SMALL)?))
    }

    /// Reads a small file of one of its threads.
    pub(super) fn read_of_thread(&self, tid: u32, name: &str) -> Result<Vec<u8>, Errno> {
        let file = open_at(&self.dir, &format!("task/{tid}/{name}"))?;
        let mut text = vec![0; SMALL];
        let came = rustix::io::read(&file, &mut text)?;
        text.truncate(came);
        // The kernel writes such a file at once: what leaves room is all of it.
        if came == SMALL {
            read_rest(file, &mut text, MAX_SMALL)?;
        }
        Ok(text)
    }

    pub(super) fn read_link(&self, name: &str) -> Result<PathBuf, Errno> {
        self.at_living_thread(name, |dir, path| {
            let text = readlinkat(dir, path, Vec::new())?;
            Ok(PathBuf::from(OsString::from_vec(text.into_bytes())))
        })
    }

    /// Opens a file of `/proc/PID`.
    pub(super) fn open_file(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.at_living_thread(name, |dir, path| {
            openat(dir, path, flags | OFlags::CLOEXEC, Mode::empty())
        })
    }

    /// Reads a file of `/proc/PID` that tells of its memory.
    fn read_of_memory(
        &self,
        name: &str,
        read: impl Fn(BorrowedFd<'_>, &str) -> Result<Vec<u8>, Errno>,
        what: impl Fn() -> String,
    ) -> Result<Vec<u8>> {
        let outcome = self.at_living_thread(name, |dir, path| match read(dir, path)? {
            // What a first thread that has ended shows on some kernels.
            text if text.is_empty() => Err(Errno::SRCH),
            text => Ok(text),
        });
        match outcome {
            Err(Errno::SRCH) if self.is_alive() => Ok(Vec::new()),
            outcome => outcome.map_err(|errno| self.failed(what(), errno)),
        }
    }

    /// Does `access` with the directory of the process, or, where its first thread has ended and
    /// taken its view of memory, root and files with it, with the directory of one that lives.
    fn at_living_thread<T>(
        &self,
        name: &str,
        access: impl Fn(BorrowedFd<'_>, &str) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let outcome = access(self.dir.as_fd(), name);
        let Err(Errno::SRCH | Errno::NOENT | Errno::ACCESS) = outcome else {
            return outcome;
        };
        if self.has_ended(self.pid) != Ok(true) {
            return outcome;
        }
        match self.living_thread() {
            Some(tid) => access(self.dir.as_fd(), &format!("task/{tid}/{name}")),
            None => outcome,
        }
    }

    /// Its first thread, or another where that has ended.
    pub(super) fn living_thread(&self) -> Option<u32> {
        let tids = self.thread_ids().ok()?;
        tids.into_iter()
            .find(|tid| self.has_ended(*tid) == Ok(false))
    }

    /// Whether it has a thread that lives and is not on its way to its end.
    fn has_running_thread(&self) -> bool {
        let tids = self.thread_ids().unwrap_or_default();
        tids.into_iter().any(|tid| {
            let stat = self.read_of_thread(tid, "stat").ok();
            let is_exiting = stat.and_then(|stat| proc::parse_is_exiting(&stat));
            is_exiting == Some(false) && self.has_ended(tid) == Ok(false)
        })
    }

    /// The numbers of its threads, the first thread's first. One that starts or ends meanwhile may
    /// be in the list or not.
    pub(super) fn thread_ids(&self) -> Result<Vec<u32>, Errno> {
        thread_ids(&self.dir)
    }

    /// The numbers of the file descriptors that it has open.
    pub(super) fn descriptor_numbers(&self) -> Result<Vec<u32>, Errno> {
        numbers_in(&self.dir, "fd")
    }

    pub(super) fn thread_stat(&self, tid: u32) -> Result<Stat, Errno> {
        proc::parse_stat(&self.read_of_thread(tid, "stat")?).ok_or(Errno::IO)
    }

    /// Its own `stat`, of all its threads together.
    pub(super) fn stat(&self) -> Result<Vec<u8>, Errno> {
        self.read("stat", MAX_SMALL)
    }

    /// Whether the thread `tid` has ended, or is none of its threads.
    pub(super) fn has_ended(&self, tid: u32) -> Result<bool, Errno> {
        match self.thread_stat(tid) {
            Ok(stat) => Ok(matches!(stat.state, 'Z' | 'X')),
            Err(Errno::NOENT | Errno::SRCH) => Ok(true),
            Err(errno) => Err(errno),
        }
    }

    /// How many threads it has, those that have ended but were not yet collected included.
    pub(super) fn thread_count(&self) -> Result<u64, Errno> {
        proc::parse_stat(&self.stat()?)
            .map(|stat| stat.threads)
            .ok_or(Errno::IO)
    }

    /// The error for an access that the kernel answered with `errno`.
    pub(super) fn failed(&self, what: impl Into<String>, errno: Errno) -> Error {
        let pid = self.pid;
        let (kind, why, remedy) = match errno {
            Errno::SRCH | Errno::NOENT if !self.is_alive() || !self.has_running_thread() => {
                return Error::gone(pid);
            }
            Errno::SRCH | Errno::NOENT => (
                ErrorKind::Refused,
                format!("the kernel shows nothing there ({errno})"),
                "a kernel thread has none; look at it with: invivo ps".to_owned(),
            ),
            Errno::TOOBIG => (
                ErrorKind::Corrupt,
                "there is more of it than any sound process has".to_owned(),
                "look at it with other tools".to_owned(),
            ),
            errno => (
                ErrorKind::Refused,
                format!("the kernel says: {errno}"),
                format!("see which rule refuses with: invivo doctor {pid}"),
            ),
        };
        Error::new(kind, what, why, remedy)
    }
}

/// The number as the system calls want it.
pub(super) fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// The numbers of the threads of the process with the directory `dir`.
pub(super) fn thread_ids(dir: impl AsFd) -> Result<Vec<u32>, Errno> {
    numbers_in(dir, "task")
}

/// The numbers that are names in the directory `name` under `dir`; `TOOBIG` where there are more
/// than [`MAX_THREADS`].
fn numbers_in(dir: impl AsFd, name: &str) -> Result<Vec<u32>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut numbers = Vec::new();
    for entry in Dir::new(openat(dir, name, flags, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name().to_str().ok();
        let Some(number) = name.and_then(|name| name.parse().ok()) else {
            continue;
        };
        if numbers.len() == MAX_THREADS {
            return Err(Errno::TOOBIG);
        }
        numbers.push(number);
    }
    Ok(numbers)
}

/// Reads a file under `dir`; `TOOBIG` where it is longer than `limit`.
pub(super) fn read_at(dir: impl AsFd, name: &str, limit: u64) -> Result<Vec<u8>, Errno> {
    // Most of these files fit, and the kernel gives a page of `maps` at a time.
    let mut text = Vec::with_capacity(SMALL);
    read_rest(open_at(dir, name)?, &mut text, limit)?;
    Ok(text)
}

/// [`read_at`] for [`Process::read_of_memory`].
fn whole(limit: u64) -> impl Fn(BorrowedFd<'_>, &str) -> Result<Vec<u8>, Errno> {
    move |dir, name| read_at(dir, name, limit)
}

/// The first [`MAX_COMMAND`] bytes of a file, and one more where it has more.
fn read_start(dir: BorrowedFd<'_>, name: &str) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::with_capacity(SMALL);
    let mut start = File::from(open_at(dir, name)?).take(MAX_COMMAND + 1);
    start.read_to_end(&mut text).map_err(errno)?;
    Ok(text)
}

fn open_at(dir: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Appends what is left of a file to `text`, which then has `limit` bytes at most.
fn read_rest(file: OwnedFd, text: &mut Vec<u8>, limit: u64) -> Result<(), Errno> {
    let room = limit.saturating_sub(text.len() as u64);
    File::from(file)
        .take(room.saturating_add(1))
        .read_to_end(text)
        .map_err(errno)?;
    if text.len() as u64 > limit {
        Err(Errno::TOOBIG)
    } else {
        Ok(())
    }
}

// As `map_err` passes it.
#[allow(clippy::needless_pass_by_value)]
fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Makes sure that `/proc` counts processes as our system calls do: another pid namespace's would
/// show us somebody else's process under every number.
fn ensure_own_proc(pid: u32) -> Result<()> {
    let own = std::process::id().to_string();
    let why = match readlinkat(CWD, "/proc/self", Vec::new()) {
        Ok(shown) if shown.to_bytes() == own.as_bytes() => return Ok(()),
        Ok(_) => "/proc belongs to another pid namespace than ours".to_owned(),
        Err(errno) => format!("/proc is not there: {errno}"),
    };
    Err(Error::new(
        ErrorKind::Refused,
        format!("process {pid} can't be looked at"),
        why,
        "mount the proc file system of this pid namespace: mount -t proc proc /proc",
    ))
}

/// The process that the thread with the directory `dir` belongs to.
fn process_of(dir: impl AsFd) -> Option<u32> {
    proc::parse_status(&read_at(dir, "status", MAX_SMALL).ok()?).process
}

fn no_such_process(pid: u32, why: &str) -> Error {
    Error::new(
        ErrorKind::NoSuchProcess,
        format!("there is no process {pid}"),
        why,
        "list the Python processes with: invivo ps",
    )
}

fn has_ended(pid: u32) -> Error {
    no_such_process(pid, "it has ended")
}

fn is_a_thread(pid: u32, process: u32) -> Error {
    Error::new(
        ErrorKind::NoSuchProcess,
        format!("there is no process {pid}"),
        format!("the number is that of a thread of process {process}"),
        format!("give the process instead: {process}"),
    )
}

fn cannot_open(pid: u32, why: String) -> Error {
    Error::new(
        ErrorKind::Refused,
        format!("process {pid} can't be opened"),
        why,
        "Linux 5.6 or later is needed, and a container's system call filter must allow it",
    )
}

/// Why `/proc/PID` could not be opened.
fn not_shown(pid: u32, raw: Pid, errno: Errno) -> Error {
    let exists = !matches!(test_kill_process(raw), Err(Errno::SRCH));
    if matches!(errno, Errno::NOENT | Errno::SRCH) && !exists {
        return no_such_process(pid, "nothing runs under this number");
    }
    Error::new(
        ErrorKind::Refused,
        format!("process {pid} can't be looked at"),
        format!("it exists, but /proc does not show it to us ({errno})"),
        "/proc is mounted with hidepid: run as its user or as root",
    )
}
