//! Finding the interpreters of processes that are about to have one, and of their children.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use invivo_cpython::{Limits, Location, Runtime, locate_all};
use invivo_model::{Error, ErrorKind, Result};
use invivo_process::{ProcessMemory, Target, clock, descendants};

const MILLISECOND: u64 = 1_000_000;
/// How often we look for new processes.
const LOOK: u64 = 5 * MILLISECOND;
/// How often we look whether a process has become a Python while it is young, and how long that is.
const YOUNG_LOOK: u64 = MILLISECOND;
const YOUNG: u64 = 300 * MILLISECOND;
/// How often we look whether an older process has become one.
const OLD_LOOK: u64 = 200 * MILLISECOND;
/// Looking may take this part of our time at most: one of so many.
const SHARE: u64 = 20;
/// For how long a new child must have been there before it is believed to be what it looks like:
/// between `vfork` and `exec` it has its parent's memory.
const SETTLED: u64 = 3 * MILLISECOND;
/// Processes that are followed at a time.
const MAX_PROCESSES: usize = 4096;

/// A process with a Python in it.
#[derive(Debug)]
pub struct Subject {
    /// The process.
    pub target: Target,
    /// Its interpreter.
    pub runtime: Runtime<ProcessMemory>,
    /// The number of the process that started it, where that is followed too.
    pub parent: Option<u32>,
}

impl Subject {
    /// The Python in a process: of several the one with this number, from 1 in the order of their
    /// addresses, or the first.
    ///
    /// # Errors
    ///
    /// As [`locate_all`] and [`Runtime::open`]; `Unsupported` where there are several, and none
    /// with this number.
    pub fn new(target: Target, parent: Option<u32>, number: Option<u32>) -> Result<Self> {
        let limits = Limits::default();
        let modules = target.modules()?;
        let all = locate_all(&target.memory(), &modules, &target, &limits)?;
        let index = match number {
            Some(number) if all.len() > 1 => number.saturating_sub(1),
            _ => 0,
        };
        let location = usize::try_from(index).ok().and_then(|index| all.get(index));
        let location = location.ok_or_else(|| no_such_python(target.pid(), &all, index + 1))?;
        let runtime = Runtime::open(target.memory(), location, limits)?;
        Ok(Self {
            target,
            runtime,
            parent,
        })
    }
}

fn no_such_python(pid: u32, all: &[Location], number: u32) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("process {pid} has no CPython number {number}"),
        format!("it has {}", all.len()),
        format!("see which it has: invivo doctor {pid}"),
    )
}

/// Watches a process and, where that is wanted, all that descend from it, from a thread of its own;
/// gives each as soon as it has an interpreter with threads.
#[derive(Debug)]
pub struct Follower {
    found: Receiver<Result<Subject>>,
    /// The thread goes on as long as this is there.
    lost: Option<Sender<u32>>,
    /// Processes that live and may yet have something to be found.
    living: Arc<AtomicUsize>,
    /// It watches nothing but one process that was given beforehand.
    known: bool,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Watches `root`, and with `children` all that descend from it. In a process with several
    /// CPythons `number` says which one, as for [`Subject::new`].
    ///
    /// # Errors
    ///
    /// `Refused` where there can't be another thread.
    pub fn new(root: u32, children: bool, number: Option<u32>) -> Result<Self> {
        Self::start(root, children, false, number)
    }

    /// Watches `root`, whose Python is known, for what it becomes when that is lost
    /// ([`Follower::lost`]).
    ///
    /// # Errors
    ///
    /// As [`Follower::new`].
    pub fn of_known(root: u32, number: Option<u32>) -> Result<Self> {
        Self::start(root, false, true, number)
    }

    fn start(root: u32, children: bool, known: bool, number: Option<u32>) -> Result<Self> {
        let (give, found) = mpsc::channel();
        let (lost, told) = mpsc::channel();
        let living = Arc::new(AtomicUsize::new(1));
        let watch = Watch {
            root,
            children,
            known,
            number,
            seen: HashMap::new(),
            give,
            told,
            living: Arc::clone(&living),
        };
        let thread = thread::Builder::new()
            .name("invivo-follow".to_owned())
            .spawn(move || watch.run());
        let thread = thread.map_err(|error| {
            Error::new(
                ErrorKind::Refused,
                "children can't be followed",
                format!("no thread can be started for it: {error}"),
                "record without following children",
            )
        })?;
        Ok(Self {
            found,
            lost: Some(lost),
            living,
            known,
            thread: Some(thread),
        })
    }

    /// A process with a Python that has not been given yet, if there is one by now; or why the one
    /// in the first process can't be looked into. Never waits.
    pub fn next(&self) -> Option<Result<Subject>> {
        self.found.try_recv().ok()
    }

    /// Whether it watches nothing but one process whose Python was known.
    pub(crate) fn is_of_known(&self) -> bool {
        self.known
    }

    /// Says that a process that was given has ended, or runs another program now: what it has now
    /// is looked for.
    pub fn lost(&self, pid: u32) {
        if let Some(lost) = &self.lost {
            // Where the thread has ended, so have the processes.
            let _ = lost.send(pid);
        }
    }

    /// Whether a process that it watches lives.
    pub fn is_watching(&self) -> bool {
        self.living.load(Ordering::Acquire) > 0
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.lost = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread knows.
struct Watch {
    root: u32,
    children: bool,
    /// Whether the first process has been given already.
    known: bool,
    number: Option<u32>,
    seen: HashMap<u32, Process>,
    give: Sender<Result<Subject>>,
    told: Receiver<u32>,
    living: Arc<AtomicUsize>,
}

/// A process that has been met.
struct Process {
    target: Target,
    parent: Option<u32>,
    /// When it was met.
    since: u64,
    /// When it is looked at next; `None` once it has been given.
    next: Option<u64>,
}

impl Watch {
    fn run(mut self) {
        let first = Target::open(self.root);
        match first {
            Ok(target) => {
                self.meet(target, None);
                let known = self.seen.values_mut().filter(|_| self.known);
                known.for_each(|process| process.next = None);
            }
            Err(error) => {
                let _ = self.give.send(Err(error));
            }
        }
        let mut next_list = 0;
        loop {
            let begun = clock::monotonic();
            if self.children && begun >= next_list {
                self.list();
                let took = clock::monotonic().saturating_sub(begun);
                next_list = begun + LOOK.max(took.saturating_mul(SHARE));
            }
            self.look();
            self.seen
                .retain(|_, process| process.target.ensure_alive().is_ok());
            self.living.store(self.seen.len(), Ordering::Release);
            if self.seen.is_empty() || !self.rest(begun, next_list) {
                return;
            }
        }
    }

    fn meet(&mut self, target: Target, parent: Option<u32>) {
        let now = clock::monotonic();
        let wait = if parent.is_some() { SETTLED } else { 0 };
        let process = Process {
            parent,
            since: now,
            next: Some(now + wait),
            target,
        };
        self.seen.insert(process.target.pid(), process);
    }

    /// Meets new children.
    fn list(&mut self) {
        let known: Vec<u32> = self.seen.keys().copied().collect();
        for (pid, parent) in descendants(&known).unwrap_or_default() {
            if self.seen.len() >= MAX_PROCESSES {
                break;
            }
            // One that has ended meanwhile is none any more.
            if let Ok(target) = Target::open(pid) {
                self.meet(target, Some(parent));
            }
        }
    }

    /// Looks at those that are due.
    fn look(&mut self) {
        let now = clock::monotonic();
        for (pid, process) in &mut self.seen {
            if process.next.is_none_or(|next| next > now) {
                continue;
            }
            let young = now.saturating_sub(process.since) < YOUNG;
            let pause = if young { YOUNG_LOOK } else { OLD_LOOK };
            process.next = Some(now + pause);
            let found = Target::open(*pid)
                .and_then(|target| Subject::new(target, process.parent, self.number));
            let found = match found {
                Ok(subject) if runs(&subject) => Ok(subject),
                // What has just begun is built up bit by bit. What can't be looked into later on
                // stays so: of the first process that is an answer, of a child it is not.
                Err(error)
                    if !young
                        && matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Refused) =>
                {
                    Err(error)
                }
                Ok(_) | Err(_) => continue,
            };
            process.next = None;
            // Where children are followed, it is them that count.
            if found.is_ok() || *pid == self.root && !self.children {
                // Nobody may be there any more to take it.
                let _ = self.give.send(found);
            }
        }
    }

    /// Waits until something is due. `false` where nobody wants to know any more.
    fn rest(&mut self, begun: u64, next_list: u64) -> bool {
        let mut wake = begun + OLD_LOOK;
        if self.children {
            wake = wake.min(next_list);
        }
        let due = self.seen.values().filter_map(|process| process.next);
        wake = due.fold(wake, u64::min).max(begun + YOUNG_LOOK / 4);
        let time = wake.saturating_sub(clock::monotonic());
        match self.told.recv_timeout(Duration::from_nanos(time)) {
            Ok(pid) => {
                if let Some(process) = self.seen.get_mut(&pid) {
                    process.since = begun;
                    process.next = Some(begun);
                }
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }
}

/// Whether the interpreter has a thread.
fn runs(subject: &Subject) -> bool {
    let interpreters = subject.runtime.interpreters();
    interpreters.is_ok_and(|all| all.main().is_some_and(|main| !main.threads.is_empty()))
}
