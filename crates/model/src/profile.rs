use crate::{Text, Trust};

/// What a profiler saw: tables of what there is, each thing once, and samples that refer to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Of what, when and how it was made.
    pub about: About,
    /// Everything samples refer to.
    pub tables: Tables,
    /// What was seen, in the order of time.
    pub samples: Vec<Sample>,
}

/// Of what, when and how a profile was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// When the first tick was due, in nanoseconds since 1970.
    pub started: u64,
    /// From then to the end, in nanoseconds.
    pub duration: u64,
    /// Nanoseconds from tick to tick that were asked for.
    pub interval: u64,
    /// Which threads count.
    pub mode: Mode,
    /// Rounds of sampling that took place.
    pub ticks: u64,
    /// Rounds that were due and did not take place, since the one before took too long.
    pub missed: u64,
    /// Stacks that changed while they were read and could not be told for certain.
    pub torn: u64,
    /// Nanoseconds of processor time that the profiler itself took.
    pub own_time: u64,
    /// How stacks that might have changed meanwhile were read.
    pub looks: Looks,
    /// The program that made it, with its version.
    pub creator: String,
}

/// How often a thread that ran Python code was read in which way. Those that ran none stood still
/// anyway and are not counted. All zero where it was not noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looks {
    /// From the thread's own processor: it could not run meanwhile.
    pub own_processor: u64,
    /// From another one: it may have run on meanwhile.
    pub elsewhere: u64,
    /// While its process was stopped.
    pub stopped: u64,
}

impl Looks {
    /// How many there were in all.
    pub fn all(&self) -> u64 {
        self.own_processor
            .saturating_add(self.elsewhere)
            .saturating_add(self.stopped)
    }
}

/// Which threads count at a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// All, whatever they do.
    #[default]
    Wall,
    /// Those on a processor: as much of the time as the kernel says.
    Cpu,
    /// Those that hold the GIL.
    Gil,
    /// Those that handle an exception.
    Exception,
}

/// What samples refer to, by index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// Functions, by code object's name, file and first line.
    pub functions: Vec<ProfileFunction>,
    /// Places in functions.
    pub frames: Vec<ProfileFrame>,
    /// Stacks as a tree: each is a frame called from another stack. A caller stands before what it
    /// calls.
    pub stacks: Vec<StackNode>,
    /// Threads, of all processes.
    pub threads: Vec<ProfileThread>,
    /// Processes.
    pub processes: Vec<ProfileProcess>,
}

impl Tables {
    /// The bytes that they take in memory.
    pub fn size(&self) -> usize {
        let functions = self.functions.iter().map(ProfileFunction::size);
        let names = self
            .threads
            .iter()
            .filter_map(|thread| thread.name.as_ref());
        let processes = self.processes.iter().map(ProfileProcess::size);
        functions.sum::<usize>()
            + size_of_val(&self.frames[..])
            + size_of_val(&self.stacks[..])
            + size_of_val(&self.threads[..])
            + names.map(|name| name.text.len()).sum::<usize>()
            + processes.sum::<usize>()
    }
}

impl ProfileFunction {
    /// The bytes that it takes in memory.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.name.text.len() + self.file.text.len()
    }
}

impl ProfileProcess {
    /// The bytes that it takes in memory.
    pub fn size(&self) -> usize {
        let words = self.command.iter();
        let words = words.map(|word| size_of::<String>() + word.len());
        size_of::<Self>() + self.version.len() + words.sum::<usize>()
    }
}

/// A function that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProfileFunction {
    /// Its qualified name where its version has one, else its name.
    pub name: Text,
    /// Its file as its code object names it; empty where it has none.
    pub file: Text,
    /// Its first line; 0 where that is not known.
    pub first_line: u32,
    /// What it is.
    pub kind: FunctionKind,
}

/// What a frame stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FunctionKind {
    /// A Python function.
    Python,
    /// Native code that called back into Python, or was called from it: no more is known of it.
    Native,
    /// The garbage collector.
    Collector,
    /// An asyncio task: what stands above it is its coroutines.
    Task,
    /// A process or thread, where one stack tree holds several.
    Place,
}

/// A place in a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProfileFrame {
    /// The index of its function.
    pub function: u32,
    /// The line; 0 where it is not known.
    pub line: u32,
    /// The columns in it, as [`Position`](crate::Position) has them, where they are known.
    pub columns: Option<(u32, u32)>,
    /// The opcode, where it was recorded.
    pub opcode: Option<u8>,
}

/// A frame and its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackNode {
    /// The index of the stack that called it, smaller than its own; `None` for an outermost frame.
    pub caller: Option<u32>,
    /// The index of its frame.
    pub frame: u32,
}

/// A thread that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileThread {
    /// The index of its process.
    pub process: u32,
    /// Its number as the profiler's own pid namespace knows it.
    pub tid: u32,
    /// Its name, where one is known.
    pub name: Option<Text>,
    /// The number of its interpreter; [`ProfileThread::WITHOUT_PYTHON`] where it has none.
    pub interpreter: i64,
    /// Whether it is the main thread.
    pub is_main: bool,
}

impl ProfileThread {
    /// Stands for the interpreter of a thread that no thread state of Python belongs to.
    pub const WITHOUT_PYTHON: i64 = -1;

    /// Whether a thread state of Python belongs to it.
    pub fn has_python(&self) -> bool {
        self.interpreter != Self::WITHOUT_PYTHON
    }
}

/// A process that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileProcess {
    /// Its number.
    pub pid: u32,
    /// Its parent's number, where that is one of the processes.
    pub parent: Option<u32>,
    /// Its command and arguments.
    pub command: Vec<String>,
    /// Its version of CPython.
    pub version: String,
}

/// One thread's stack at one tick, or at several in a row where nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, in nanoseconds since [`About::started`].
    pub time: u64,
    /// The index of its thread.
    pub thread: u32,
    /// The index of its stack; `None` where it ran no Python code.
    pub stack: Option<u32>,
    /// What the thread did.
    pub status: SampleStatus,
    /// How far the stack is to be believed.
    pub trust: Trust,
    /// For how many ticks in a row this was so, an interval each: none was missed in between.
    pub ticks: u32,
}

/// What a thread did when it was sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SampleStatus {
    /// Whether it was on a processor, where that is known. Where it is not known whether it waited
    /// for one, it may have done that instead.
    pub on_cpu: Option<bool>,
    /// Whether it waited for a processor, which others had: where that is known.
    pub waits_for_cpu: Option<bool>,
    /// Whether it held the GIL, where that is known.
    pub holds_gil: Option<bool>,
    /// Whether it waited for the GIL, where that is known.
    pub waits_for_gil: Option<bool>,
    /// Whether it handled an exception, where that is known.
    pub handles_exception: Option<bool>,
}
