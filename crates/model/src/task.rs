use crate::{Address, Defect, Stack, Text};

/// An asyncio task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Where the task object lies; what the links of other tasks name it by.
    pub address: Address,
    /// Its name; `None` where that could not be read.
    pub name: Option<Text>,
    /// Where it stands.
    pub state: TaskState,
    /// The state of the thread whose event loop it belongs to, as
    /// [`ThreadState::address`](crate::ThreadState) has it; null where that could not be told, as
    /// for a task whose thread has ended.
    pub thread: Address,
    /// The number (in its own pid namespace) of that thread; `None` also in versions that don't
    /// keep it.
    pub native_id: Option<u64>,
    /// The number of its interpreter.
    pub interpreter: i64,
    /// Its event loop object; null where that could not be read.
    pub event_loop: Address,
    /// The coroutines it is in, innermost first: from where it waits out to the one that it was
    /// made of.
    pub coroutines: Stack,
    /// What it waits for; `None` where it waits for nothing or that could not be read.
    pub waits_for: Option<Waited>,
    /// The tasks and futures that wait for it, by their addresses; the first of them.
    pub awaited_by: Vec<Address>,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// It runs at this moment.
    Running,
    /// It waits for something, or for its turn.
    Waiting,
    /// It has not begun.
    Created,
    /// It has ended: with a result, an exception, or by being cancelled.
    Done,
    /// That could not be told.
    Unknown,
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Waited {
    /// The object.
    pub address: Address,
    /// The name of its class, such as `Future` or `_GatheringFuture`.
    pub class: Option<Text>,
    /// Whether it is one of the tasks listed.
    pub is_task: bool,
}

/// All tasks of a process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tasks {
    /// The tasks, in the order in which they were met.
    pub list: Vec<Task>,
    /// Futures that are no tasks and through which one task waits for others (`gather` makes such
    /// ones): which they are, and who waits for them.
    pub futures: Vec<(Address, Vec<Address>)>,
    /// Whether who awaits whom is what the target says (`awaited_by` of its own), or was computed
    /// from what each task waits for.
    pub links: Links,
    /// What could not be read as it should.
    pub defects: Vec<Defect>,
}

/// Where it is known from who awaits whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// The target's own links.
    Recorded,
    /// Computed from what each task waits for.
    #[default]
    Computed,
}
