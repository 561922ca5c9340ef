use crate::Address;

/// An interpreter state as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Where its `PyInterpreterState` lies.
    pub address: Address,
    /// Its number; 0 is the main interpreter, wherever it stands in the list.
    pub id: i64,
    /// The thread state that runs `__main__`: null when Python is embedded, when the interpreter
    /// is idle, or when its main thread has finished. `None` where this version does not say.
    pub main_thread: Option<Address>,
    /// Whether the in-process side of the remote debugging protocol is switched on; `None` where
    /// the version has no such protocol.
    pub remote_debugging: Option<bool>,
    /// Its thread states, newest first as CPython lists them.
    pub threads: Vec<ThreadState>,
}

/// A thread state as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadState {
    /// Where its `PyThreadState` lies.
    pub address: Address,
    /// The OS thread's number *in the target's own pid namespace*; 0 before the thread runs, and
    /// in versions whose thread states don't hold it, which are those before 3.11.
    pub native_id: u64,
    /// The number `threading.get_ident()` gives, on Linux a `pthread_t`.
    pub thread_id: u64,
    /// The frame it runs; null when it runs no Python.
    pub current_frame: Address,
    /// Its part of the remote debugging protocol; `None` where the version has none.
    pub debugger: Option<DebuggerSupport>,
}

/// A thread state's part of the remote debugging protocol: the three places a request is written
/// to, and what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebuggerSupport {
    /// Where the `int32` flag lies.
    pub pending_call: Address,
    /// Where the path buffer lies.
    pub script_path: Address,
    /// The path buffer's size in bytes, the terminating NUL included.
    pub script_path_size: u64,
    /// Where the pointer-sized eval breaker lies.
    pub eval_breaker: Address,
    /// The flag's value when it was read: 1 when a request waits.
    pub pending: i32,
}

/// Something in a target that could not be read as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// Where it was met.
    pub address: Address,
    /// What is wrong there.
    pub what: String,
}
