//! The asyncio tasks of a process.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use invivo_cpython::{Limits, Runtime, StackOptions, TaskOptions, locate_asyncio};
use invivo_model::{Address, Error, Greenlets, Result, Task, Tasks};
use invivo_process::{Bounded, Memory};

use crate::attach::{Attached, explained};
use crate::beside::{Beside, ReadFrom};
use crate::dump::{BYTES_MAX, Subject, incomplete, no_such_thread};

/// The asyncio tasks of a process, and in which of its threads they are.
#[derive(Clone, Debug)]
pub struct TaskDump {
    /// Whose they are.
    pub subject: Subject,
    /// The tasks.
    pub tasks: Tasks,
    /// The suspended greenlets of each interpreter that uses the package greenlet, by its number;
    /// none where the tasks of one thread were asked for.
    pub greenlets: Vec<(i64, Result<Greenlets>)>,
    /// The threads as the caller's `ps -T` shows them, by their states (see [`Task::thread`]).
    pub tids: HashMap<Address, u32>,
    /// How it was read.
    pub read_from: ReadFrom,
    /// Why there would be more to tell, if something kept it from being read.
    pub incomplete: Option<Error>,
    /// How long the reading took.
    pub elapsed: Duration,
}

impl TaskDump {
    /// The thread a task belongs to, as the caller's `ps -T` shows it.
    pub fn tid(&self, task: &Task) -> Option<u32> {
        self.tids.get(&task.thread).copied()
    }
}

impl Attached {
    /// The asyncio tasks of the target: those of `thread` alone where one is named, by its number
    /// as the caller's `ps -T` shows it. Reads only, for `timeout` at most; stops nothing.
    ///
    /// # Errors
    /// `Gone`; `Refused`; `Usage` where the target has no such thread; `Corrupt` where the
    /// interpreter's own state can't be read; `TimedOut` where not even that was read in time.
    pub fn tasks(&self, thread: Option<u32>, timeout: Duration) -> Result<TaskDump> {
        let dump = self.read_tasks(thread, timeout);
        let dump = dump.map_err(|error| explained(&self.target, error))?;
        self.target.ensure_alive()?;
        Ok(dump)
    }

    fn read_tasks(&self, thread: Option<u32>, timeout: Duration) -> Result<TaskDump> {
        let began = Instant::now();
        let memory = Bounded::new(self.target.memory(), timeout, BYTES_MAX);
        let runtime = Runtime::open(&memory, &self.location, Limits::default())?;
        // Where that can't be told, it is supposed and held against memory.
        let asyncio = locate_asyncio(&self.location, &self.target.modules()?, &self.target);
        let beside = Beside::running(&self.target, &self.runtime);
        let mut tasks = runtime.tasks(&TaskOptions {
            asyncio: asyncio.unwrap_or_default(),
        })?;
        let stood = beside.is_some_and(|beside| beside.holder.is_some() && beside.stood_still());
        let tids = self.tids(&runtime)?;
        let mut greenlets = Vec::new();
        if thread.is_none() {
            for interpreter in runtime.interpreters()?.list {
                let options = StackOptions::default();
                let found = runtime.greenlets(interpreter.address, &options);
                greenlets.extend(found.transpose().map(|found| (interpreter.id, found)));
            }
        }
        let mut dump = TaskDump {
            subject: Subject::of(self),
            tasks: Tasks::default(),
            greenlets,
            tids,
            read_from: if stood {
                ReadFrom::OwnProcessor
            } else {
                ReadFrom::Elsewhere
            },
            incomplete: memory.met().map(|bound| incomplete(bound, timeout)),
            elapsed: began.elapsed(),
        };
        if let Some(tid) = thread {
            if !dump.tids.values().any(|known| *known == tid) {
                let mut all: Vec<u32> = dump.tids.values().copied().collect();
                all.sort_unstable();
                return Err(no_such_thread(tid, &dump.subject, &all));
            }
            tasks.list.retain(|task| dump.tid(task) == Some(tid));
        }
        dump.tasks = tasks;
        Ok(dump)
    }

    /// The Python threads as the caller's `ps -T` shows them, by their states.
    fn tids<M: Memory>(&self, runtime: &Runtime<M>) -> Result<HashMap<Address, u32>> {
        let interpreters = runtime.interpreters()?.list;
        let states = interpreters.iter().flat_map(|one| &one.threads);
        let idents: Vec<u64> = states.map(|state| state.thread_id).collect();
        let stacks = self.target.stacks(&idents)?;
        let runners = runtime.runners(&interpreters, &stacks)?;
        let tids = runners
            .iter()
            .filter_map(|(state, runner)| Some((*state, runner.tid()?)));
        Ok(tids.collect())
    }
}
