use std::time::{Duration, Instant};

use invivo_cpython::{Limits, locate};
use invivo_process::{ProcessMemory, SystemCall};
use synth::{Interpreter, Launch, interpreters, samples};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);
const WAITS: &str = include_str!("waits.py");

/// What waits in `waits.py`, and in which of these system calls.
const OWN: [(&str, &[&str]); 18] = [
    ("sleep", &["clock_nanosleep", "pselect6"]),
    ("select", &["pselect6"]),
    ("select-until", &["pselect6"]),
    ("poll", &["poll", "ppoll"]),
    ("epoll", &["epoll_wait"]),
    ("recv", &["recvfrom"]),
    ("accept", &["accept4"]),
    ("read", &["read"]),
    ("stdin", &["read"]),
    ("lock", &["futex"]),
    ("lock-until", &["futex"]),
    ("condition", &["futex"]),
    ("event", &["futex"]),
    ("queue", &["futex"]),
    ("queue-until", &["futex"]),
    ("waitpid", &["wait4"]),
    ("subprocess", &["wait4"]),
    ("callback", &["clock_nanosleep", "pselect6"]),
];
const FOREIGN: [(&str, &[&str]); 4] = [
    ("usleep", &["clock_nanosleep"]),
    ("foreign-poll", &["poll"]),
    ("pause", &["pause"]),
    ("ssl", &["read"]),
];

/// The main thread joins another.
const MAIN: (&str, &[&str]) = ("join", &["futex"]);

/// A target, looked into.
struct Subject {
    target: Target,
    runtime: Runtime<ProcessMemory>,
    modules: Vec<Module>,
}

impl Subject {
    fn new(pid: u32) -> Self {
        let target = Target::open(pid).unwrap();
        let modules = target.modules().unwrap();
        let location = locate(&target.memory(), &modules, &target, &Limits::default()).unwrap();
        let runtime = Runtime::open(target.memory(), &location, Limits::default()).unwrap();
        Self {
            target,
            runtime,
            modules,
        }
    }

    /// Who called the system calls that these threads sit in, once all sit in one of theirs.
    fn callers(&self, threads: &[(u32, &[&str])]) -> Vec<Caller> {
        let begun = Instant::now();
        loop {
            let elsewhere = threads.iter().find(|(tid, calls)| {
                let activity = self.target.activity(*tid).unwrap();
                !is_one_of(activity.system_call, calls)
            });
            if elsewhere.is_none()
                && let Some(callers) = self.callers_now(threads)
            {
                return callers;
            }
            assert!(begun.elapsed() < PATIENCE, "{elsewhere:?} of {threads:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The same, if they do.
    fn callers_now(&self, threads: &[(u32, &[&str])]) -> Option<Vec<Caller>> {
        let stopped = self.target.while_stopped(PATIENCE, |stopped| {
            let caller = |(tid, calls): &(u32, &[&str])| {
                let standing = stopped.standing(*tid).unwrap();
                is_one_of(standing.call(), calls)
                    .then(|| caller(&self.runtime, &self.target, &self.modules, &standing))
            };
            threads.iter().map(caller).collect()
        });
        stopped.unwrap()
    }
}

fn is_one_of(call: Option<SystemCall>, calls: &[&str]) -> bool {
    let name = call.and_then(|call| call.name);
    // As the kernel names some calls after a stop.
    name.is_some_and(|name| calls.contains(&name) || name == "restart_syscall")
}

/// The callers of each thread of `waits.py`, by what it waits in.
fn all_waits(interpreter: &Interpreter) -> Vec<(&'static str, Caller)> {
    let waits = || [MAIN].iter().chain(&OWN).chain(&FOREIGN);
    let names = waits().map(|(name, _)| *name);
    let process = Launch::new(interpreter, WAITS)
        .arguments(names.clone().skip(1))
        .start();
    let tids: Vec<u64> = process.ready_ids();
    assert_eq!(tids.len(), waits().count());
    let tids = tids.into_iter().map(|tid| u32::try_from(tid).unwrap());
    let threads: Vec<_> = tids.zip(waits().map(|(_, calls)| *calls)).collect();
    let callers = Subject::new(process.pid()).callers(&threads);
    names.zip(callers).collect()
}

#[test]
fn cpython_is_told_from_what_it_calls_on_behalf_of_others() {
    for interpreter in interpreters() {
        let name = &interpreter.name;
        for (wait, caller) in all_waits(interpreter) {
            let right = match (&caller, wait) {
                (Caller::Foreign(file), "ssl") => {
                    file.starts_with("libcrypto") || file.starts_with("libssl")
                }
                (Caller::Foreign(file), "usleep" | "foreign-poll" | "pause") => {
                    file.starts_with("libffi") || file.starts_with("_ctypes")
                }
                (caller, wait) => {
                    *caller == Caller::CPython && FOREIGN.iter().all(|(name, _)| *name != wait)
                }
            };
            assert!(right, "{name}: {wait}: {caller:?}");
        }
    }
}

#[test]
fn a_thread_that_waits_for_the_gil_is_cpythons() {
    const WAITER: &str = "import threading\nprint('ready', flush=True)\n\
        threading.Thread(target=lambda: sum(range(10**15)), daemon=True).start()\n";
    for interpreter in interpreters().iter().filter(|it| !it.free_threaded) {
        let process = Launch::new(interpreter, WAITER).start();
        let main = process.pid();
        let subject = Subject::new(main);
        let sleeps = || subject.target.thread(main).unwrap().sleeps.unwrap();
        // It wakes every few milliseconds to ask for the GIL.
        let (begun, before) = (Instant::now(), sleeps());
        while sleeps() < before + 50 {
            assert!(begun.elapsed() < PATIENCE, "{}", interpreter.name);
            std::thread::sleep(Duration::from_millis(5));
        }
        let callers = subject.callers(&[(main, &["futex"])]);
        assert_eq!(callers, [Caller::CPython], "{}", interpreter.name);
    }
}

#[test]
fn a_prompt_is_cpythons_though_no_bytecode_waits() {
    for interpreter in interpreters() {
        let process = Launch::new(interpreter, "print('ready', flush=True)")
            .options(["-i"])
            .start();
        let subject = Subject::new(process.pid());
        let callers = subject.callers(&[(process.pid(), &["read"])]);
        assert_eq!(callers, [Caller::CPython], "{}", interpreter.name);
    }
}

#[test]
fn who_embeds_cpython_does_not_matter_below_the_evaluation() {
    for interpreter in interpreters().iter().filter(|it| it.library.is_some()) {
        let process = Launch::new(interpreter, samples::SLEEPER)
            .embedded()
            .start();
        let subject = Subject::new(process.pid());
        let calls: &[&str] = &["clock_nanosleep", "pselect6"];
        let callers = subject.callers(&[(process.pid(), calls)]);
        assert_eq!(callers, [Caller::CPython], "{}", interpreter.name);
    }
}
