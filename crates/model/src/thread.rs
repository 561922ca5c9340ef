use std::collections::HashMap;

use crate::{Address, Defect, Stack, Text, ThreadState};

/// A thread of an interpreter, and what it is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its thread state.
    pub state: ThreadState,
    /// Its name in `threading`; `None` where it has none there or it was not looked for.
    pub name: Option<Text>,
    /// What it has to do with the GIL (in a free-threaded build: with being attached).
    pub gil: Gil,
    /// Whether it handles an exception, or is raising one; `None` where that could not be read.
    pub handles_exception: Option<bool>,
    /// Whether it is the thread that Python was initialized in, in which signal handlers run.
    pub is_main: bool,
    /// Whether it runs the garbage collector; `None` where the version does not say which thread
    /// does.
    pub collects_garbage: Option<bool>,
    /// Its frames. Empty where it runs no Python code.
    pub stack: Stack,
}

/// What a thread has to do with the GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gil {
    /// It holds the GIL; in a free-threaded build, it is attached and may run Python code.
    Holds,
    /// It waits for the GIL.
    Waits,
    /// It neither holds it nor is known to wait for it.
    Without,
    /// That could not be told.
    Unknown,
}

/// The threads of one interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterpreterThreads {
    /// Where its `PyInterpreterState` lies.
    pub address: Address,
    /// Its number; 0 is the main interpreter.
    pub id: i64,
    /// Where the GIL lies that its threads take; null where there is none or that could not be
    /// read. Interpreters may share one.
    pub gil: Address,
    /// Whether it collects garbage; `None` where that could not be read.
    pub collecting: Option<bool>,
    /// Its threads, newest first as CPython lists them. Names, and which is the main one, are of
    /// the threads that the thread states name: those that made them.
    pub threads: Vec<Thread>,
    /// What `threading` calls threads, by what `threading.get_ident()` gives in them. Empty where
    /// that was not looked for.
    pub names: HashMap<u64, Text>,
    /// What `threading.get_ident()` gives in the thread that Python was initialized in.
    pub main_ident: u64,
    /// What could not be read as it should.
    pub defects: Vec<Defect>,
}
