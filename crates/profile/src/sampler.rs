//! Looking at one process.

use std::collections::HashSet;
use std::sync::Arc;

use invivo_cpython::{Runtime, StackOptions};
use invivo_model::{
    Address, Code, ErrorKind, Frame, FunctionKind, Gil, InterpreterThreads, Mode, Position,
    ProfileFrame, ProfileFunction, ProfileThread, Result, SampleStatus, StackNode, Text, Thread,
    Trust,
};
use invivo_process::{Memory, Target, ThreadWatch, native_ids};
use rustc_hash::FxHashMap;

use crate::intern::Interner;
use crate::prefetch::Prefetch;
use crate::sink::{Seen, Sink};

/// Code objects whose functions are remembered at most.
const MAX_CODES: usize = 1 << 16;

/// Which threads count, and what of them is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which threads count.
    pub mode: Mode,
    /// Whether threads count that sleep. In [`Mode::Cpu`] they never do.
    pub idle: bool,
    /// Whether it is told of each thread if it is on a processor, even where which threads count
    /// does not hang on it. That costs a system call for each thread and tick.
    pub activity: bool,
    /// Whether the garbage collector stands on the stack of the thread that runs it.
    pub collector: bool,
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
            collector: false,
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

    fn counts(&self, status: &SampleStatus) -> bool {
        let in_mode = match self.mode {
            Mode::Wall => true,
            Mode::Cpu => status.on_cpu == Some(true),
            Mode::Gil => status.holds_gil == Some(true),
            Mode::Exception => status.handles_exception == Some(true),
        };
        in_mode && (self.idle || status.on_cpu == Some(true))
    }
}

/// Samples one process.
#[derive(Debug)]
pub struct Sampler<M> {
    target: Target,
    runtime: Runtime<Prefetch<M>>,
    memory: Prefetch<M>,
    options: Options,
    /// The index of the process.
    process: u32,
    threads: FxHashMap<ThreadKey, Known>,
    /// By the numbers that threads know themselves by, those that we know them by.
    tids: FxHashMap<u64, u32>,
    codes: FxHashMap<Address, (Arc<Code>, u32)>,
    marks: Marks,
    ticks: u64,
    ask_names: bool,
}

/// What tells one thread of a process from all others there have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ThreadKey {
    interpreter: i64,
    state: Address,
    thread_id: u64,
}

impl ThreadKey {
    fn new(interpreter: &InterpreterThreads, thread: &Thread) -> Self {
        Self {
            interpreter: interpreter.id,
            state: thread.state.address,
            thread_id: thread.state.thread_id,
        }
    }
}

/// A thread that has been seen before.
#[derive(Debug)]
struct Known {
    index: u32,
    /// Its number as it knows it itself; 0 where that is not known.
    native_id: u64,
    /// Its number as we know it; 0 where that can't be told.
    tid: u32,
    name: Option<Text>,
    watch: Option<ThreadWatch>,
    /// The tick at which it was seen last.
    tick: u64,
}

/// Frames that are none of Python code, once they have been numbered.
#[derive(Debug, Default)]
struct Marks {
    collector: Option<u32>,
    cut: Option<u32>,
}

impl<M: Memory> Sampler<M> {
    /// A sampler of `target`, in which `runtime` was found, which reads from `memory`. `process` is
    /// the index that the process has been given.
    pub fn new(
        target: Target,
        runtime: Runtime<Prefetch<M>>,
        memory: Prefetch<M>,
        process: u32,
        options: Options,
    ) -> Self {
        Self {
            target,
            runtime,
            memory,
            options,
            process,
            threads: FxHashMap::default(),
            tids: FxHashMap::default(),
            codes: FxHashMap::default(),
            marks: Marks::default(),
            ticks: 0,
            ask_names: true,
        }
    }

    /// The process that is sampled.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Has the next tick ask for the threads' names, which change rarely.
    pub fn ask_names(&mut self) {
        self.ask_names = true;
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
    ) -> Result<()> {
        self.ticks += 1;
        if !self.ask_names {
            // Where nothing can be read ahead, nothing can be read, and that is said then.
            let _ = self.memory.begin();
        }
        let outcome = self.round(interner, sink, seen);
        self.memory.end();
        self.forget_ended();
        outcome
    }

    fn round(
        &mut self,
        interner: &mut Interner,
        sink: &mut dyn Sink,
        seen: &mut Vec<Seen>,
    ) -> Result<()> {
        let mut interpreters = self.look()?;
        let mut all = interpreters
            .iter()
            .flat_map(|one| one.threads.iter().map(move |thread| (one, thread)));
        if all.any(|(one, thread)| self.known(one, thread).is_none()) {
            // Its name is asked for, which is not going to be read again and again.
            self.ask_names = true;
            self.memory.end();
            interpreters = self.look()?;
        }
        if interpreters.is_empty() {
            // Before it has begun or after it has ended; or something else runs there.
            self.runtime.ensure_present()?;
        }
        for interpreter in &interpreters {
            for thread in &interpreter.threads {
                if self.known(interpreter, thread).is_none() {
                    self.meet(interpreter, thread, interner, sink)?;
                }
                let key = ThreadKey::new(interpreter, thread);
                let Some(known) = self.threads.get_mut(&key) else {
                    continue;
                };
                known.tick = self.ticks;
                known.rename(thread, sink);
                let status = SampleStatus {
                    on_cpu: known.on_cpu(&self.target, &self.options),
                    holds_gil: holds_gil(thread),
                    waits_for_gil: waits_for_gil(thread),
                    handles_exception: thread.handles_exception,
                };
                if !self.options.counts(&status) {
                    continue;
                }
                let mut tables = Tables {
                    interner,
                    sink,
                    codes: &mut self.codes,
                    marks: &mut self.marks,
                    options: self.options,
                };
                let (stack, trust) = tables.stack(thread)?;
                seen.push(Seen {
                    thread: known.index,
                    stack,
                    status,
                    trust,
                });
            }
        }
        Ok(())
    }

    /// What the threads do now.
    fn look(&mut self) -> Result<Vec<InterpreterThreads>> {
        let options = StackOptions {
            opcodes: self.options.opcodes,
            slots: false,
            names: std::mem::take(&mut self.ask_names),
        };
        let interpreters = self.runtime.threads(&options);
        interpreters.map_err(|error| self.explained(error))
    }

    /// What is known of a thread, if it has been met.
    fn known(&self, interpreter: &InterpreterThreads, thread: &Thread) -> Option<&Known> {
        let known = self.threads.get(&ThreadKey::new(interpreter, thread))?;
        let other = thread.state.native_id;
        // Another thread may have got the memory of one that has ended.
        let same = known.native_id == other || known.native_id == 0 || other == 0;
        same.then_some(known)
    }

    fn meet(
        &mut self,
        interpreter: &InterpreterThreads,
        thread: &Thread,
        interner: &mut Interner,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let mut native_id = thread.state.native_id;
        if !self.tids.contains_key(&native_id) {
            let threads = self.target.threads().unwrap_or_default();
            let numbers = threads.iter().map(|thread| (thread.native_id, thread.tid));
            self.tids.clear();
            self.tids.extend(numbers);
        }
        if native_id == 0 {
            // The version does not say it, but the C library does.
            let known: HashSet<u64> = self.tids.keys().copied().collect();
            let found = native_ids(&self.target.memory(), &[thread.state.thread_id], &known);
            native_id = found.into_iter().flatten().next().unwrap_or(0);
        }
        let described = ProfileThread {
            process: self.process,
            tid: self.tids.get(&native_id).copied().unwrap_or(0),
            name: thread.name.clone(),
            interpreter: interpreter.id,
            is_main: thread.is_main,
        };
        let known = Known {
            index: interner.thread(&described, sink)?,
            native_id,
            tid: described.tid,
            name: described.name,
            watch: None,
            tick: self.ticks,
        };
        self.threads
            .insert(ThreadKey::new(interpreter, thread), known);
        Ok(())
    }

    /// Threads that are there no more: what is kept of them goes, some ticks after.
    fn forget_ended(&mut self) {
        const EVERY: u64 = 256;
        if self.ticks.is_multiple_of(EVERY) {
            let since = self.ticks - EVERY;
            self.threads.retain(|_, known| known.tick > since);
            if self.codes.len() > MAX_CODES {
                self.codes.clear();
            }
        }
    }

    /// Why the threads could not be read.
    fn explained(&self, error: invivo_model::Error) -> invivo_model::Error {
        if let Err(gone) = self.target.ensure_alive() {
            return gone;
        }
        if error.kind == ErrorKind::Corrupt
            && let Err(gone) = self.runtime.ensure_present()
        {
            return gone;
        }
        error
    }
}

fn holds_gil(thread: &Thread) -> Option<bool> {
    (thread.gil != Gil::Unknown).then_some(thread.gil == Gil::Holds)
}

/// Where it neither holds it nor waits for it, some versions do not say whether it waits.
fn waits_for_gil(thread: &Thread) -> Option<bool> {
    match thread.gil {
        Gil::Waits => Some(true),
        Gil::Holds => Some(false),
        Gil::Without | Gil::Unknown => None,
    }
}

impl Known {
    fn rename(&mut self, thread: &Thread, sink: &mut dyn Sink) {
        if let Some(name) = &thread.name
            && self.name.as_ref() != Some(name)
        {
            sink.rename(self.index, name);
            self.name = Some(name.clone());
        }
    }

    /// Whether the thread is on a processor, where that is asked for and can be told.
    fn on_cpu(&mut self, target: &Target, options: &Options) -> Option<bool> {
        if !options.asks_for_activity() {
            return None;
        }
        if self.watch.is_none() && self.tid != 0 {
            self.watch = target.watch(self.tid).ok();
        }
        self.watch.as_ref()?.runs()
    }
}

/// Where names of things come from and go to.
struct Tables<'a> {
    interner: &'a mut Interner,
    sink: &'a mut dyn Sink,
    codes: &'a mut FxHashMap<Address, (Arc<Code>, u32)>,
    marks: &'a mut Marks,
    options: Options,
}

impl Tables<'_> {
    /// The stack of a thread, and how far it is to be believed.
    fn stack(&mut self, thread: &Thread) -> Result<(Option<u32>, Trust)> {
        let mut trust = Trust::Whole;
        let mut stack = None;
        if thread.stack.cut.is_some() {
            // It has callers, of which nothing is known.
            trust = Trust::Torn;
            let mark = self.cut()?;
            stack = Some(self.on_top(stack, mark)?);
        }
        for frame in thread.stack.frames.iter().rev() {
            trust = trust.max(frame.trust);
            let frame = self.frame(frame)?;
            stack = Some(self.on_top(stack, frame)?);
        }
        if self.options.collector && thread.collects_garbage == Some(true) {
            let mark = self.collector()?;
            stack = Some(self.on_top(stack, mark)?);
        }
        Ok((stack, trust))
    }

    fn on_top(&mut self, caller: Option<u32>, frame: u32) -> Result<u32> {
        self.interner.stack(StackNode { caller, frame }, self.sink)
    }

    fn frame(&mut self, frame: &Frame) -> Result<u32> {
        let known = self.codes.get(&frame.code.address);
        let function = match known.filter(|(code, _)| Arc::ptr_eq(code, &frame.code)) {
            Some((_, function)) => *function,
            None => self.function(&frame.code)?,
        };
        let Position {
            line,
            column,
            end_column,
            ..
        } = frame.position;
        let columns = column.zip(end_column).filter(|_| self.options.columns);
        let frame = ProfileFrame {
            function,
            line: line.unwrap_or(0),
            columns,
            opcode: frame.opcode,
        };
        self.interner.frame(frame, self.sink)
    }

    fn function(&mut self, code: &Arc<Code>) -> Result<u32> {
        let function = ProfileFunction {
            name: code.label().clone(),
            file: code.filename.clone(),
            first_line: u32::try_from(code.first_line).unwrap_or(0),
            kind: FunctionKind::Python,
        };
        let number = self.interner.function(&function, self.sink)?;
        self.codes.insert(code.address, (Arc::clone(code), number));
        Ok(number)
    }

    fn collector(&mut self) -> Result<u32> {
        match self.marks.collector {
            Some(mark) => Ok(mark),
            None => {
                let mark = self.mark("<garbage collector>", FunctionKind::Collector)?;
                self.marks.collector = Some(mark);
                Ok(mark)
            }
        }
    }

    fn cut(&mut self) -> Result<u32> {
        match self.marks.cut {
            Some(mark) => Ok(mark),
            None => {
                let mark = self.mark("<callers not known>", FunctionKind::Native)?;
                self.marks.cut = Some(mark);
                Ok(mark)
            }
        }
    }

    /// The number of a frame that is none of Python code.
    fn mark(&mut self, name: &str, kind: FunctionKind) -> Result<u32> {
        let function = ProfileFunction {
            name: Text {
                text: name.to_owned(),
                truncated: false,
            },
            file: Text::default(),
            first_line: 0,
            kind,
        };
        let frame = ProfileFrame {
            function: self.interner.function(&function, self.sink)?,
            line: 0,
            columns: None,
            opcode: None,
        };
        self.interner.frame(frame, self.sink)
    }
}
