//! Target programs. Each prints a line that begins with `ready` once it is what it claims to be.

/// Computes without pause, checks every result, and counts the checks. On its standard input
/// `report` makes it print `checked N`; `stop`, or the end of the input, does so and ends it
/// with status 0. A wrong result makes it print `wrong …` and end with status 3.
pub const BUSY: &str = include_str!("../targets/busy.py");

/// Sleeps in `time.sleep`.
pub const SLEEPER: &str = include_str!("../targets/sleeper.py");

/// Its main thread waits for a lock that is never given back.
pub const LOCK_WAITER: &str = include_str!("../targets/lock_waiter.py");

/// Four threads compute; the main thread waits for them. `ready` is followed by their ids.
pub const THREADS: &str = include_str!("../targets/threads.py");

/// The main thread has finished; two workers compute on. `ready` is followed by their ids.
pub const WORKERS_ONLY: &str = include_str!("../targets/workers_only.py");

/// Two sub-interpreters that run nothing; the main one computes. `ready` is followed by their ids.
pub const SUBINTERPRETERS_IDLE: &str = include_str!("../targets/subinterpreters_idle.py");

/// Two sub-interpreters that compute in threads of their own, as the main one does. `ready` is
/// followed by their ids.
pub const SUBINTERPRETERS_RUNNING: &str = include_str!("../targets/subinterpreters_running.py");

/// Has a second, unused copy of the interpreter's library loaded: its path is the argument.
pub const TWO_LIBRARIES: &str = include_str!("../targets/two_libraries.py");

/// An event loop with three named tasks that wait.
pub const ASYNCIO: &str = include_str!("../targets/asyncio_tasks.py");

/// Has made itself non-dumpable, which closes it to other processes of its user.
pub const NOT_DUMPABLE: &str = include_str!("../targets/not_dumpable.py");

/// Writes over structures of its own interpreter and puts them right again, all the time; the
/// argument is the seed of what it chooses. It begins when a line arrives on its standard input,
/// and may crash from then on.
pub const SCRIBBLER: &str = include_str!("../targets/scribbler.py");

/// Goes down two chains of calls in turn, without pause. Its arguments are the number of calls
/// from `main` to the leaf, and how much the leaf works.
pub const CHAINS: &str = include_str!("../targets/chains.py");

/// Does everything at once that a script from outside could disturb, and checks all of it; it
/// answers as [`BUSY`] does. `ready` is followed by the ids of its threads, the main one first.
/// In free-threaded builds it leaves out faulthandler, which may crash there on threads that run.
pub const FULL_LOAD: &str = include_str!("../targets/full_load.py");

/// Thread states that other threads use than made them. Its arguments are the library that
/// [`crate::helpers::lend`] compiles, and `lent` or `pool`. It answers as [`BUSY`] does.
pub const LENT: &str = include_str!("../targets/lent.py");

/// An interpreter that was made in the main thread and works in another one. `ready` is followed by
/// its id; it answers as [`BUSY`] does.
pub const SUBINTERPRETER_ELSEWHERE: &str = include_str!("../targets/subinterpreter_elsewhere.py");

/// Has forked as C code does, without telling Python. `ready` is followed by the child's id; the
/// child computes.
pub const FORKED_BY_C: &str = include_str!("../targets/forked_by_c.py");

/// The main thread has ended as C code ends one; another works on. `ready` is followed by its id.
pub const MAIN_THREAD_GONE: &str = include_str!("../targets/main_thread_gone.py");
