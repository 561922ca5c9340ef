//! Programs that come to rest in every situation there is, and say of themselves what a reader
//! has to find: every frame of every thread with its exact place, and every asyncio task.
//!
//! A cast is a process with many scenes, each in a thread of its own. What the scenes are stands in
//! the Python files beside this one; how they come to rest and what they tell, in `stage.py`.

use std::collections::HashMap;

use serde::Deserialize;

use crate::interpreters::Interpreter;
use crate::launch::Launch;
use crate::target::Target;

/// Scenes for one process.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// What it is called in messages.
    pub name: &'static str,
    parts: &'static [Part],
}

/// A file of scenes, and the first minor version of Python 3 that understands it.
type Part = (&'static str, u32, &'static str);

macro_rules! part {
    ($name:literal) => {
        part!($name, 8)
    };
    ($name:literal, $since:literal) => {
        (
            concat!($name, ".py"),
            $since,
            include_str!(concat!("scenarios/", $name, ".py")),
        )
    };
}

const TELLING: &str = include_str!("scenarios/telling.py");
const STAGE: &str = include_str!("scenarios/stage.py");

/// Calls of every kind; the main thread is in a signal handler.
pub const PLAIN: Cast = Cast {
    name: "plain",
    parts: &[
        part!("calls"),
        part!("exceptions"),
        part!("generators"),
        part!("callbacks"),
        part!("match", 10),
        part!("groups", 11),
        part!("generic", 12),
        part!("main_signal"),
    ],
};

/// The same among functions that trace, profile and monitor.
pub const TRACED: Cast = Cast {
    name: "traced",
    parts: &[
        part!("calls"),
        part!("exceptions"),
        part!("generators"),
        part!("match", 10),
        part!("groups", 11),
        part!("tracing"),
        part!("monitoring", 12),
    ],
};

/// Names of every width and length, and line tables of every kind and size.
pub const NAMES: Cast = Cast {
    name: "names",
    parts: &[part!("names")],
};

/// 200 threads, recursion 5,000 deep, and a thread that collects garbage.
pub const CROWD: Cast = Cast {
    name: "crowd",
    parts: &[part!("crowd")],
};

/// Event loops, and 5,000 tasks and more.
pub const ASYNCIO: Cast = Cast {
    name: "asyncio",
    parts: &[
        part!("asynchronous"),
        part!("groups_async", 11),
        part!("eager", 12),
    ],
};

/// Sub-interpreters, with threads and without.
pub const OTHERS: Cast = Cast {
    name: "sub-interpreters",
    parts: &[part!("others")],
};

/// A child by `fork` of a process with threads.
pub const FORK: Cast = Cast {
    name: "fork",
    parts: &[part!("fork"), part!("fork_main")],
};

/// The same, where another thread than the main one forked.
pub const FORK_BY_THREAD: Cast = Cast {
    name: "fork by a thread",
    parts: &[part!("fork"), part!("fork_thread")],
};

/// Objects of every kind in variables, and a little of everything else: for recordings.
pub const SAMPLER: Cast = Cast {
    name: "sampler",
    parts: &[
        part!("few"),
        part!("values"),
        part!("asynchronous"),
        part!("eager", 12),
        part!("others"),
    ],
};

impl Cast {
    /// Starts it, waits until all scenes are at rest, and gives what they tell.
    ///
    /// # Panics
    /// As [`Launch::start`].
    pub fn start(&self, interpreter: &Interpreter) -> (Target, Told) {
        let target = Launch::new(interpreter, self.program(interpreter)).start();
        let told = Told::by(&target);
        (target, told)
    }

    fn program(&self, interpreter: &Interpreter) -> String {
        let run = |name: &str, source: &str| {
            // What is escaped in JSON is escaped likewise in Python.
            let literal = |text: &str| serde_json::to_string(text).expect("a string literal");
            format!(
                "exec(compile({}, {}, 'exec'))\n",
                literal(source),
                literal(name)
            )
        };
        let telling = serde_json::to_string(TELLING).expect("a string literal");
        let mut program = format!("TELLING = {telling}\n");
        program += &run("telling.py", TELLING);
        program += &run("stage.py", STAGE);
        for (name, since, source) in self.parts {
            if interpreter.minor() >= *since {
                program += &run(name, source);
            }
        }
        program + "run(MAIN)\n"
    }
}

/// What a cast says of itself.
#[derive(Debug, Default)]
pub struct Told {
    /// The number of the process that tells: the target, or a child of it.
    pub pid: u32,
    /// By the address of the code object.
    pub codes: HashMap<u64, Code>,
    /// Every thread that runs Python code, once for each interpreter in which it does.
    pub threads: Vec<Thread>,
    /// The idents of threads that Python knows and that run no Python code.
    pub frameless: Vec<u64>,
    /// The ident of the thread that tells. Its innermost frame is not the one in which it rests
    /// now, the next one stands in the same line, and the others are as told.
    pub reporter: u64,
    /// The ids of the interpreters, in order.
    pub interpreters: Vec<u64>,
    /// Each event loop's address with the ident of its thread.
    pub loops: HashMap<u64, u64>,
    /// Every asyncio task that has not ended.
    pub tasks: Vec<Task>,
}

/// A code object.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Code {
    /// Its `id()`.
    pub address: u64,
    /// `co_name`, where lone surrogates lie 0x100000 further, as in all texts here.
    pub name: String,
    /// `co_qualname`, in versions that have it.
    pub qualname: Option<String>,
    /// `co_filename`.
    pub filename: String,
    /// `co_firstlineno`.
    pub first_line: i32,
    /// `co_flags`.
    pub flags: u32,
}

/// A frame: the address of its code object, then line, end line, column and end column as
/// `co_positions()` gives them; in versions without, the line alone.
pub type Frame = (u64, Option<u32>, Option<u32>, Option<u32>, Option<u32>);

/// A thread with Python frames.
#[derive(Clone, Debug, Deserialize)]
pub struct Thread {
    /// The interpreter in which it has these frames.
    pub interpreter: u64,
    /// `threading.get_ident()`.
    pub ident: u64,
    /// `threading.get_native_id()`.
    pub native_id: u64,
    /// Its name in `threading`, where that knows it.
    pub name: Option<String>,
    /// Whether `sys.exc_info()` gives an exception there.
    pub handles_exception: bool,
    /// Whether it is the main thread of the main interpreter.
    pub is_main: bool,
    /// Innermost first.
    pub frames: Vec<Frame>,
}

/// An asyncio task.
#[derive(Clone, Debug, Deserialize)]
pub struct Task {
    /// Its `id()`.
    pub address: u64,
    /// Its event loop's `id()`.
    #[serde(rename = "loop")]
    pub event_loop: u64,
    /// `get_name()`.
    pub name: String,
    /// `running`, `created` or `waiting`.
    pub state: String,
    /// Innermost first. Of a running task, all that its thread has of it.
    pub frames: Vec<Frame>,
    /// The `id()` of what it waits for, its class, and whether it is a task.
    pub waits_for: Option<(u64, String, bool)>,
    /// The `id()`s of those that wait for it, in versions that keep them.
    pub awaited_by: Option<Vec<u64>>,
}

/// One line of what a cast prints.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Code(Code),
    Thread(Thread),
    Frameless(u64),
    Reporter(u64),
    Interpreters(Vec<u64>),
    Loop { address: u64, ident: u64 },
    Task(Task),
}

impl Told {
    /// Reads what a cast has printed before it was ready.
    fn by(target: &Target) -> Told {
        let mut told = Told {
            pid: u32::try_from(target.ready_ids()[0]).expect("a pid"),
            ..Told::default()
        };
        for text in target.stdout_so_far().lines() {
            if !text.starts_with('{') {
                continue;
            }
            match serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {text}")) {
                Line::Code(code) => {
                    told.codes.insert(code.address, code);
                }
                Line::Thread(thread) => told.threads.push(thread),
                Line::Frameless(ident) => told.frameless.push(ident),
                Line::Reporter(ident) => told.reporter = ident,
                Line::Interpreters(ids) => told.interpreters = ids,
                Line::Loop { address, ident } => {
                    told.loops.insert(address, ident);
                }
                Line::Task(task) => told.tasks.push(task),
            }
        }
        assert!(!told.threads.is_empty(), "a cast tells of its threads");
        told
    }
}
