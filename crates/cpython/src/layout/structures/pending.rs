//! Calls that wait until an interpreter makes them, and what makes it look.

/// `struct _pending_calls`, and where the ones are that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingLayout {
    /// The calls that the main thread of the main interpreter makes.
    pub(crate) main: MainQueue,
    /// In the interpreter state: the calls that any of its threads makes.
    pub(crate) any: Option<u64>,
    pub(crate) queue: QueueLayout,
    pub(crate) breaker: EvalBreaker,
}

/// Where the queue of the main thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MainQueue {
    /// In the interpreter state.
    Interpreter(u64),
    /// In the runtime state.
    Runtime {
        /// There in a release build.
        release: u64,
        /// There in a debug build, which keeps more before it.
        debug: u64,
    },
}

/// `struct _pending_calls`: a ring of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueLayout {
    pub(crate) size: u64,
    pub(crate) lock: QueueLock,
    /// The ring's first place.
    pub(crate) calls: u64,
    /// Bytes of a place.
    pub(crate) call_size: u64,
    /// In a place: the flags, an `int`.
    pub(crate) call_flags: Option<u64>,
    /// How many places there are.
    pub(crate) places: u64,
    /// An `int`: the place of the call that is made next.
    pub(crate) first: u64,
    /// An `int`: the place where the next call is put.
    pub(crate) next: u64,
    pub(crate) count: QueueCount,
    /// What is not 0 while a thread makes the calls of an interpreter, and how many bytes it has.
    pub(crate) busy: Option<(u64, usize)>,
    /// An `int`: whether no call is taken any more.
    pub(crate) finishing: Option<u64>,
}

/// What guards a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueLock {
    /// The pointer to a semaphore, of which the first `int` is 1 while nobody holds it.
    Semaphore(u64),
    /// A `PyMutex`: a byte.
    Mutex(u64),
}

/// How a queue says that calls wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueCount {
    /// An `int`: whether to look. One place stays free, so that a full ring is no empty one.
    Flag(u64),
    /// An `int`: how many wait. A queue that counts is known by its content.
    Number {
        /// Where it is.
        at: u64,
        /// An `int`: how many may.
        most: u64,
        /// An `int`: how many are made at once, 0 for all.
        round: u64,
        /// The last two, in the queue of the main thread.
        of_main: (i32, i32),
        /// The last two, in that of an interpreter.
        of_any: (i32, i32),
    },
}

/// What makes threads look whether something is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EvalBreaker {
    /// An `int` in the runtime state, for all threads.
    Runtime(u64),
    /// An `int` in the interpreter state, for all its threads.
    Interpreter(u64),
    /// A word in the thread state, of which the first byte has a bit for each reason.
    Thread(u64),
}
