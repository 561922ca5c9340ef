//! Looking at one process.

mod accounts;
mod charges;
mod entries;
mod known;
mod rest;
mod rounds;
mod runners;
mod tasks;
mod whole;

use invivo_cpython::{Reader, Runtime};
use invivo_model::{Error, ErrorKind, Mode, Result, SampleStatus};
use invivo_process::{Memory, ProgramWatch, Target, ThreadPlace};

use crate::intern::Interner;
use crate::sink::{Seen, Sink, Turn};
use crate::whereabouts::Whereabouts;
use accounts::Accounts;
use entries::Entries;
use known::{Key, KnownThreads};
use rounds::Rounds;
use tasks::Tasks;
use whole::Whole;

/// Which threads count, and what of them is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which threads count.
    pub mode: Mode,
    /// Whether threads count that sleep. In [`Mode::Cpu`] they never do.
    pub idle: bool,
    /// Whether it is told of each thread if it is on a processor, and if it waits for the GIL, even
    /// where which threads count does not hang on it. That costs a system call for each thread and
    /// tick.
    pub activity: bool,
    /// Whether threads without Python are told of where it is asked which threads are on a
    /// processor. In [`Mode::Cpu`] they always are.
    pub natives: bool,
    /// Whether the garbage collector stands on the stack of the thread that runs it.
    pub collector: bool,
    /// Whether it is marked where C code called Python code, in versions that tell (3.11 and later).
    pub native: bool,
    /// Whether a thread that runs an asyncio task is in the tasks that wait for it and in the task,
    /// with their coroutines, instead of the event loop. That takes several system calls a tick.
    pub tasks: bool,
    /// Whether frames tell columns, so that several calls in a line are told apart.
    pub columns: bool,
    /// Whether frames tell the opcode that they stand at.
    pub opcodes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Wall,
            idle: true,
            activity: false,
            natives: false,
            collector: false,
            native: false,
            tasks: false,
            columns: false,
            opcodes: false,
        }
    }
}

impl Options {
    /// Whether it matters which threads are on a processor.
    pub fn asks_for_activity(&self) -> bool {
        self.activity || self.mode == Mode::Cpu || !self.idle
    }

    /// Whether a thread that does this is looked at any further.
    pub(crate) fn counts(&self, status: &SampleStatus) -> bool {
        let runnable = status.on_cpu == Some(true) || status.waits_for_cpu == Some(true);
        let in_mode = match self.mode {
            Mode::Wall => true,
            Mode::Cpu => runnable,
            Mode::Gil => status.holds_gil == Some(true),
            Mode::Exception => status.handles_exception == Some(true),
        };
        in_mode && (self.idle || runnable)
    }
}

/// Samples one process.
#[derive(Debug)]
pub struct Sampler<M> {
    subject: Sampled,
    way: Way<M>,
    tasks: Option<Tasks<M>>,
}

/// A process in which the Python that was sampled is not there any more.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) target: Target,
    program: Option<ProgramWatch>,
}

impl Lost {
    /// Whether the process is known to run the program that it ran.
    pub(crate) fn is_same_program(&self) -> bool {
        let program = self.program.as_ref();
        program.is_some_and(ProgramWatch::is_running)
    }

    /// What has become of the process; `None` while that can't be told. Python may have been shut
    /// down in a program that goes on, and a program that begins or ends has no command.
    pub(crate) fn turn(&self) -> Option<Turn> {
        let pid = self.target.pid();
        if self.target.ensure_alive().is_err() {
            return Some(Turn::End { pid });
        }
        if self.is_same_program() {
            return None;
        }
        let command = self.target.command_line().unwrap_or_default();
        let words = command
            .iter()
            .map(|word| word.to_string_lossy().into_owned());
        let turn = Turn::Exec {
            pid,
            command: words.collect(),
        };
        (!command.is_empty()).then_some(turn)
    }
}

/// How a process is read.
#[derive(Debug)]
enum Way<M> {
    /// All at once, where the version lets it be known what will have to be read.
    Rounds(Box<Rounds<M>>),
    /// Step by step, with what was read before read ahead.
    Whole(Box<Whole<M>>),
}

/// What is sampled, and what is known of it.
#[derive(Debug)]
struct Sampled {
    target: Target,
    options: Options,
    /// Tells whether it still runs the program in which the Python was found; `None` where that
    /// can't be had.
    program: Option<ProgramWatch>,
    /// The index of the process.
    process: u32,
    threads: KnownThreads,
    accounts: Accounts,
    entries: Entries,
    ticks: u64,
    ask_names: bool,
}

impl<M: Memory + Clone> Sampler<M> {
    /// A sampler of `target`, in which `runtime` was found. `process` is the index that the process
    /// has been given.
    pub fn new(target: Target, runtime: Runtime<M>, process: u32, options: Options) -> Self {
        let tasks = options.tasks.then(|| Tasks::new(&runtime));
        // An opcode is in memory of its own, and may change at any time.
        let way = if Reader::serves(&runtime) && !options.opcodes {
            Way::Rounds(Box::new(Rounds::new(runtime, &options)))
        } else {
            Way::Whole(Box::new(Whole::new(&runtime)))
        };
        let subject = Sampled {
            program: target.watch_program().ok(),
            target,
            options,
            process,
            threads: KnownThreads::default(),
            accounts: Accounts::new(&options),
            entries: Entries::default(),
            ticks: 0,
            ask_names: true,
        };
        Self {
            subject,
            way,
            tasks,
        }
    }

    /// The process that is sampled.
    pub fn target(&self) -> &Target {
        &self.subject.target
    }

    /// The process, of which there is nothing more to be sampled.
    pub(crate) fn into_lost(self) -> Lost {
        Lost {
            target: self.subject.target,
            program: self.subject.program,
        }
    }

    /// Has the next tick ask for the threads' names, which change rarely.
    pub fn ask_names(&mut self) {
        self.subject.ask_names = true;
    }

    /// Looks once: appends what each thread that counts does to `seen`, and tells `sink` of what
    /// is new.
    ///
    /// # Errors
    ///
    /// `Gone` where the process has ended or runs another program now, `Refused` where it can't
    /// be read any more, `Corrupt` where it can't be read this time.
    pub fn tick(
        &mut self,
        interner: &mut Interner,
        sink: &mut dyn Sink,
        seen: &mut Vec<Seen>,
        whereabouts: &mut Whereabouts,
    ) -> Result<()> {
        let subject = &mut self.subject;
        subject.ticks += 1;
        subject.ensure_same_program()?;
        subject.threads.begin(subject.ticks);
        let mut round = Round {
            interner,
            sink,
            seen,
            whereabouts,
        };
        let tasks = self.tasks.as_mut();
        subject.accounts.begin(&subject.target);
        let outcome = match &mut self.way {
            Way::Rounds(rounds) => rounds.tick(subject, tasks, &mut round),
            Way::Whole(whole) => whole.tick(subject, tasks, &mut round),
        };
        subject.threads.forget_ended(subject.ticks);
        outcome?;
        let Sampled {
            target,
            options,
            process,
            accounts,
            entries,
            ..
        } = subject;
        accounts.end(target, *process, options, entries, &mut round)
    }
}

/// Where what is seen in a round goes.
struct Round<'a> {
    interner: &'a mut Interner,
    sink: &'a mut dyn Sink,
    seen: &'a mut Vec<Seen>,
    whereabouts: &'a mut Whereabouts,
}

impl Sampled {
    /// Where a thread is that was seen before, if it runs or was made to stand still.
    fn place(&mut self, key: Key, native_id: u64) -> Option<ThreadPlace> {
        let place = self.threads.find(key, native_id)?.place(&self.target);
        place.filter(|place| place.runs || place.stopped)
    }

    /// Another program may be built alike, have all at the same addresses, and be taken for the one
    /// that was there, with what is known of its code.
    fn ensure_same_program(&self) -> Result<()> {
        let program = self.program.as_ref();
        if program.is_none_or(ProgramWatch::is_running) {
            return Ok(());
        }
        Err(Error::gone(self.target.pid()))
    }

    /// Why the threads could not be read.
    fn explained<M: Memory>(&self, runtime: &Runtime<M>, error: Error) -> Error {
        if let Err(gone) = self.target.ensure_alive() {
            return gone;
        }
        if error.kind == ErrorKind::Corrupt
            && let Err(gone) = runtime.ensure_present()
        {
            return gone;
        }
        error
    }
}
