//! Which interpreter and which thread state a script is meant for.

use invivo_cpython::Runtime;
use invivo_model::{Error, ErrorKind, Interpreter, Result, ThreadState};
use invivo_process::{Memory, Target, Thread};

/// Which thread shall run the script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThreadChoice {
    /// The interpreter's main thread.
    #[default]
    Main,
    /// The thread with this number, as the caller's `ps -T` shows it.
    Tid(u32),
}

/// Which interpreter and thread of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The interpreter's id; 0 is the main one.
    pub interpreter: i64,
    /// Which of its threads.
    pub thread: ThreadChoice,
}

/// What a selection came to.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) interpreter: Interpreter,
    pub(crate) thread: ThreadState,
    pub(crate) tid: u32,
    pub(crate) reason: &'static str,
}

pub(crate) fn choose<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    selection: Selection,
) -> Result<Chosen> {
    let os_threads = target.threads()?;
    let found = runtime.interpreters()?;
    let ids: Vec<String> = found.list.iter().map(|one| one.id.to_string()).collect();
    let Some(interpreter) = found
        .list
        .into_iter()
        .find(|interpreter| interpreter.id == selection.interpreter)
    else {
        return Err(Error::new(
            ErrorKind::Usage,
            format!(
                "process {} has no interpreter {}",
                target.pid(),
                selection.interpreter
            ),
            format!("its interpreters are: {}", ids.join(", ")),
            "name one of them with --interpreter; 0 is the main one",
        ));
    };
    let (thread, reason) = match selection.thread {
        ThreadChoice::Tid(tid) => (by_tid(target, &interpreter, &os_threads, tid)?, "--thread"),
        ThreadChoice::Main => main_thread(target, runtime, &interpreter, &os_threads)?,
    };
    let Some(tid) = tid_of(&os_threads, &thread) else {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "the chosen thread state of process {} has no OS thread",
                target.pid()
            ),
            format!("no thread of it has the native id {}", thread.native_id),
            "try again: the thread may just have ended",
        ));
    };
    Ok(Chosen {
        interpreter,
        thread,
        tid,
        reason,
    })
}

fn tid_of(os_threads: &[Thread], thread: &ThreadState) -> Option<u32> {
    os_threads
        .iter()
        .find(|one| one.native_id == thread.native_id)
        .map(|one| one.tid)
}

fn by_tid(
    target: &Target,
    interpreter: &Interpreter,
    os_threads: &[Thread],
    tid: u32,
) -> Result<ThreadState> {
    let refused = |why: String| {
        Error::new(
            ErrorKind::Usage,
            format!(
                "thread {tid} of process {} runs no Python in interpreter {}",
                target.pid(),
                interpreter.id
            ),
            why,
            format!(
                "name one of its threads with --thread: {}",
                listed(interpreter, os_threads)
            ),
        )
    };
    let Some(os_thread) = os_threads.iter().find(|thread| thread.tid == tid) else {
        return Err(refused(format!("the process has no thread {tid}")));
    };
    let of_it = |thread: &&ThreadState| thread.native_id == os_thread.native_id;
    interpreter
        .threads
        .iter()
        .find(of_it)
        .cloned()
        .ok_or_else(|| refused("no thread state of that interpreter belongs to it".into()))
}

/// The main thread, by what the target says of itself; no guess where it says nothing.
fn main_thread<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    interpreter: &Interpreter,
    os_threads: &[Thread],
) -> Result<(ThreadState, &'static str)> {
    if let Some(address) = interpreter.main_thread.filter(|address| !address.is_null()) {
        let of_it = |thread: &&ThreadState| thread.address == address;
        return match interpreter.threads.iter().find(of_it) {
            Some(thread) => Ok((thread.clone(), "it runs __main__")),
            None => Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the main thread of process {} could not be found",
                    target.pid()
                ),
                format!("its thread state {address} is not in the interpreter's list"),
                "try again, or name a thread with --thread",
            )),
        };
    }
    if interpreter.threads.is_empty() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "interpreter {} of process {} is idle",
                interpreter.id,
                target.pid()
            ),
            "no thread runs in it, so nothing could run a script",
            "choose another with --interpreter, or wait until a thread enters it",
        ));
    }
    // Embedded Python has no thread that "runs __main__"; there the thread that initialized
    // Python is the main one.
    let initial = runtime.main_thread_id()?;
    let first = interpreter
        .threads
        .iter()
        .find(|thread| thread.thread_id == initial);
    if let (0, Some(thread)) = (interpreter.id, first)
        && !has_finished(runtime, thread)
    {
        return Ok((
            thread.clone(),
            "Python is embedded, and this thread initialized it",
        ));
    }
    let (what, why) = if interpreter.id == 0 {
        (
            format!("the main thread of process {} has finished", target.pid()),
            "it runs __main__ no more and only waits for the other threads",
        )
    } else {
        (
            format!(
                "interpreter {} of process {} has no main thread",
                interpreter.id,
                target.pid()
            ),
            "none of its threads runs a __main__ of its own",
        )
    };
    Err(Error::new(
        ErrorKind::Unsupported,
        what,
        why,
        format!(
            "choose a thread with --thread: {}",
            listed(interpreter, os_threads)
        ),
    ))
}

/// Whether this main thread has left `__main__` and waits in `threading._shutdown`.
fn has_finished<M: Memory>(runtime: &Runtime<M>, thread: &ThreadState) -> bool {
    let function = runtime.thread_top_function(thread).ok().flatten();
    function.is_some_and(|function| {
        function.qualname.text == "_shutdown" && function.filename.text.ends_with("threading.py")
    })
}

/// At most this many threads are named in a message.
const LISTED: usize = 16;

fn listed(interpreter: &Interpreter, os_threads: &[Thread]) -> String {
    let mut tids: Vec<String> = interpreter
        .threads
        .iter()
        .filter_map(|thread| tid_of(os_threads, thread))
        .take(LISTED)
        .map(|tid| tid.to_string())
        .collect();
    if interpreter.threads.len() > LISTED {
        tids.push("…".into());
    }
    if tids.is_empty() {
        "it has none".into()
    } else {
        tids.join(", ")
    }
}
