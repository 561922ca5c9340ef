//! What a script of ours makes its target do before and after the caller's own code: the system
//! calls, the files, the audit events.

use std::path::Path;

use invivo_cpython::Runtime;
use invivo_process::{Memory, USER_MAP_FILES};

use crate::execute::may_connect;
use crate::plan::Plan;
use crate::stage;

/// How a script is run, as far as it decides what the target does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Nobody waits for it.
    pub unattended: bool,
    /// It is to be ended after some time.
    pub stops: bool,
}

/// What a script makes its target do, the caller's own code left aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The system calls it may make, by their names; of several with one purpose the C library
    /// chooses.
    pub system_calls: Vec<&'static str>,
    /// What it opens, or makes and removes; `*` stands for a name that is made up at the time.
    pub files: Vec<String>,
    /// The audit events it raises (`sys.addaudithook`).
    pub audit_events: Vec<&'static str>,
}

/// Memory (`prctl` names it, in 3.15), the GIL, the clock, the end of a callback, and the wait that a stop has interrupted.
const ALWAYS: [&str; 14] = [
    "brk",
    "clock_gettime",
    "clock_nanosleep",
    "futex",
    "getpid",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "prctl",
    "restart_syscall",
    "rt_sigreturn",
    "sched_yield",
];

/// Reading the script.
const READING: [&str; 9] = [
    "close",
    "fcntl",
    "fstat",
    "ioctl",
    "lseek",
    "newfstatat",
    "openat",
    "read",
    "stat",
];

/// Talking to Invivo; the first of them also where the target's user may be another than ours.
const CONNECTING: [&str; 9] = [
    "geteuid",
    "connect",
    "getsockopt",
    "poll",
    "ppoll",
    "recvfrom",
    "sendto",
    "setsockopt",
    "socket",
];

/// The same in a program without sockets.
const BY_FILES: [&str; 3] = ["rename", "renameat", "write"];

/// Removing what nobody else would, and a note of why the script did not begin.
const REMOVING: [&str; 5] = ["rmdir", "symlink", "symlinkat", "unlink", "unlinkat"];

impl Plan {
    /// What a script makes the target do that runs by this plan.
    pub fn footprint<M: Memory>(&self, runtime: &Runtime<M>, manner: Manner) -> Footprint {
        let connects = may_connect(runtime, self);
        let talk = match (manner.unattended, connects) {
            (true, _) => Talk::None,
            (false, true) => Talk::BySocket,
            (false, false) => Talk::ByFiles,
        };
        Footprint {
            system_calls: system_calls(talk, manner.stops),
            files: self
                .directories
                .first()
                .map_or_else(Vec::new, |place| files(place, talk)),
            audit_events: audit_events(talk, manner.stops),
        }
    }
}

/// How a script talks to Invivo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Talk {
    /// Not at all.
    None,
    BySocket,
    /// By files; by a socket still where the program has the type, but no module for it any more.
    ByFiles,
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list.dedup();
    list
}

fn system_calls(talk: Talk, stops: bool) -> Vec<&'static str> {
    let mut calls = [&ALWAYS[..], &READING, &REMOVING].concat();
    match talk {
        Talk::None => {}
        Talk::BySocket => calls.extend(CONNECTING),
        Talk::ByFiles => calls.extend(BY_FILES.iter().chain(&CONNECTING)),
    }
    if stops {
        calls.push("times");
    }
    sorted(calls)
}

fn files(place: &Path, talk: Talk) -> Vec<String> {
    use stage::{NOTE, PREFIX, SCRIPT, SENT, SOCKET, TAKEN, TASK};
    let names: &[&str] = match talk {
        Talk::None => &[SCRIPT],
        Talk::BySocket => &[SCRIPT, SOCKET, NOTE],
        Talk::ByFiles => &[SCRIPT, SOCKET, TASK, TAKEN, SENT, NOTE],
    };
    let directory = place.join(format!("{PREFIX}*"));
    let path = |name: &&str| directory.join(name).display().to_string();
    let mut files: Vec<String> = names.iter().map(path).collect();
    if talk != Talk::None {
        files.extend(USER_MAP_FILES.map(str::to_owned));
    }
    files
}

fn audit_events(talk: Talk, stops: bool) -> Vec<&'static str> {
    let mut events = vec!["compile", "cpython.remote_debugger_script", "exec", "open"];
    // The last two on the way into versions without the protocol, and where a traceback is told.
    events.extend(["builtins.id", "object.__getattr__"]);
    events.extend(match talk {
        Talk::None => &["os.remove", "os.rmdir"][..],
        Talk::BySocket => &["socket.__new__", "socket.connect", "os.symlink"],
        Talk::ByFiles => &[
            "os.lockf",
            "os.rename",
            "os.symlink",
            "socket.__new__",
            "socket.connect",
        ],
    });
    if stops {
        events.push("sys.settrace");
    }
    sorted(events)
}
