//! The shapes of targets, and where scripts go in each.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use synth::{Interpreter, Launch, Target, helpers, interpreters, samples};

use super::packages;
use crate::run::{Doing, Outcome};

const COMMON: &str = include_str!("programs/common.py");

/// A kind of program that people run.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    kind: Kind,
    /// Whether it always has as many threads and descriptors, so that more are a leak.
    pub(super) steady: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    FullLoad,
    FullLoadDebug,
    Interpreters,
    Lent(&'static str),
    Package(&'static str, &'static str),
    Plain(&'static str),
    Pool,
    Uwsgi,
}

pub(super) static SHAPES: [Shape; 11] = [
    shape(
        "full-load",
        "everything at once, at full load",
        Kind::FullLoad,
    ),
    shape(
        "full-load-debug",
        "the same with `PYTHONMALLOC=debug`",
        Kind::FullLoadDebug,
    ),
    shape(
        "subinterpreter",
        "a sub-interpreter made in one thread and run in another",
        Kind::Interpreters,
    ),
    shape(
        "lent",
        "a thread state that C lends to another thread",
        Kind::Lent("lent"),
    ),
    shape(
        "lent-pool",
        "thread states that a pool of C threads uses in turn",
        Kind::Lent("pool"),
    ),
    shape(
        "gevent",
        "gevent, everything patched",
        Kind::Package("gevent", include_str!("programs/gevent_patched.py")),
    ),
    shape("uwsgi", "uwsgi: its master and its workers", Kind::Uwsgi),
    shape(
        "pool",
        "a pool of `multiprocessing` that forks all the time",
        Kind::Pool,
    ),
    shape(
        "fork-hooks",
        "forks all the time, by way of C code",
        Kind::Plain(include_str!("programs/fork_hooks.py")),
    ),
    shape(
        "uvloop",
        "an asyncio server under load, with uvloop",
        Kind::Package("uvloop", include_str!("programs/uvloop_server.py")),
    ),
    shape(
        "ctypes",
        "callbacks by ctypes, from threads of C too",
        Kind::Plain(include_str!("programs/ctypes_callbacks.py")),
    ),
];

const fn shape(name: &'static str, title: &'static str, kind: Kind) -> Shape {
    Shape {
        name,
        title,
        kind,
        steady: !matches!(kind, Kind::Pool),
    }
}

/// Whether there is an interpreter of this name.
pub(super) fn there(name: &str) -> bool {
    let manifest = interpreters::Manifest::load(&interpreters::directory());
    manifest.is_ok_and(|manifest| manifest.interpreters.iter().any(|one| one.name == name))
}

/// Where a script is to run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aim {
    /// In the target's own process: an option and its value.
    Own(&'static str, String),
    /// In this thread, which may have no thread state at that moment.
    Borrower(String),
    /// In this process, a child of the target.
    Process(u64),
    /// In whichever child the target has at that moment.
    Child,
}

/// A target that has begun, and all that scripts are aimed at.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) target: Target,
    pub(super) aims: Vec<Aim>,
    /// The target's temporary directory.
    pub(super) temporary: tempfile::TempDir,
}

impl Stage {
    /// The processes that must not hold more in the end than in the beginning.
    pub(super) fn pids(&self) -> Vec<u32> {
        let children = self.aims.iter().filter_map(|aim| match aim {
            Aim::Process(pid) => u32::try_from(*pid).ok(),
            Aim::Own(..) | Aim::Borrower(_) | Aim::Child => None,
        });
        let children: Vec<u32> = children.collect();
        if children.is_empty() {
            vec![self.target.pid()]
        } else {
            children
        }
    }

    /// The process that the aim means now; none where there is none.
    pub(super) fn pid(&self, aim: &Aim) -> Option<u32> {
        match aim {
            Aim::Own(..) | Aim::Borrower(_) => Some(self.target.pid()),
            Aim::Process(pid) => u32::try_from(*pid).ok(),
            Aim::Child => children(self.target.pid()).last()?.parse().ok(),
        }
    }
}

/// The children of a process, whichever of its threads has forked them.
pub(super) fn children(pid: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let numbers = lists.flat_map(|list| {
        let numbers = list.split_whitespace().map(str::to_owned);
        numbers.collect::<Vec<_>>()
    });
    numbers.collect()
}

impl Shape {
    /// Starts a target; an error says why there can be none.
    pub(super) fn start(&self, python: &'static Interpreter) -> Outcome<Stage> {
        let temporary = tempfile::tempdir().doing(|| "making a directory".to_owned())?;
        let launch = self.launch(python)?.variable("TMPDIR", temporary.path());
        // A target that does not begin ends with its own words in a panic, and not this run.
        let target = catch_unwind(AssertUnwindSafe(|| launch.start())).map_err(|panic| {
            let words = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            let lines: Vec<&str> = words.lines().collect();
            format!("the target did not begin: {}", lines.join(" / "))
        })?;
        Ok(Stage {
            aims: self.aims(&target.ready_ids(), target.pid()),
            target,
            temporary,
        })
    }

    fn launch(&self, python: &'static Interpreter) -> Outcome<Launch<'static>> {
        let own = |text: &str| Launch::new(python, format!("{COMMON}{text}"));
        Ok(match self.kind {
            Kind::FullLoad => Launch::new(python, samples::FULL_LOAD),
            Kind::FullLoadDebug if python.free_threaded => {
                return Err("its allocator can't be chosen".to_owned());
            }
            Kind::FullLoadDebug => {
                Launch::new(python, samples::FULL_LOAD).variable("PYTHONMALLOC", "debug")
            }
            Kind::Interpreters => Launch::new(python, samples::SUBINTERPRETER_ELSEWHERE),
            Kind::Lent("pool") if python.debug => {
                return Err(
                    "a debug build ends such a program by an assertion of its own".to_owned(),
                );
            }
            Kind::Lent(how) => Launch::new(python, samples::LENT)
                .arguments([helpers::lend().into_os_string(), how.into()]),
            Kind::Package(name, text) => {
                own(text).variable("PYTHONPATH", packages::package(python, name)?)
            }
            Kind::Plain(text) => own(text),
            Kind::Pool => own(include_str!("programs/forking_pool.py")),
            Kind::Uwsgi => {
                let program = packages::uwsgi(python)?;
                // A library that lies there is found; other builds have none and need none.
                let libraries = python.home.join("lib");
                own(include_str!("programs/uwsgi_site.py")).arguments([program, libraries])
            }
        })
    }

    /// What scripts are aimed at in turn.
    fn aims(&self, ids: &[u64], pid: u32) -> Vec<Aim> {
        let thread = |which: &str| Aim::Own("--thread", which.to_owned());
        match self.kind {
            Kind::FullLoad | Kind::FullLoadDebug => {
                // Half of them in the main thread.
                let others = ids.iter().filter(|id| **id != u64::from(pid));
                let others = others.map(|id| thread(&id.to_string()));
                others.flat_map(|other| [thread("main"), other]).collect()
            }
            Kind::Interpreters => {
                let made = ids.iter();
                let made = made.map(|id| Aim::Own("--interpreter", id.to_string()));
                made.chain([thread("main")]).collect()
            }
            Kind::Pool => vec![thread("main"), thread("any"), Aim::Child],
            Kind::Uwsgi => ids.iter().map(|id| Aim::Process(*id)).collect(),
            Kind::Lent(_) => {
                let tasks = fs::read_dir(format!("/proc/{pid}/task"));
                let names = tasks.into_iter().flatten().flatten();
                let names = names.map(|task| task.file_name().to_string_lossy().into_owned());
                let others = names.filter(|name| *name != pid.to_string());
                let common = [thread("main"), thread("any")];
                common
                    .into_iter()
                    .chain(others.map(Aim::Borrower))
                    .collect()
            }
            Kind::Package(..) | Kind::Plain(_) => vec![thread("main"), thread("any")],
        }
    }
}
