use std::collections::BTreeMap;
use std::io::Write;

use invivo_model::{
    About, ProcessorTime, ProfileFrame, ProfileFunction, ProfileProcess, ProfileThread, Result,
    StackNode, Text,
};
use invivo_profile::{Charge, Seen, Sink, Turn, Writer};

/// Writes a recording while it is made, and counts what goes into it.
///
/// What has come goes to the file at least once a second: whatever ends us, it can be read.
#[derive(Debug)]
pub struct Recorder {
    writer: Writer,
    samples: u64,
    threads: u64,
    processes: u64,
    accounted: Option<ProcessorTime>,
    turns: Vec<Turn>,
    /// The programs that processes run now in which no Python has been found yet.
    becoming: BTreeMap<u32, Vec<String>>,
}

/// Turns that are remembered: a process may become one program after another without end.
const TURNS_MAX: usize = 1000;

impl Recorder {
    /// Begins a recording of what `about` says that goes to `out`.
    ///
    /// # Errors
    /// `Unwritten` where `out` does not take the first bytes.
    pub fn new(out: impl Write + Send + 'static, about: &About) -> Result<Self> {
        Ok(Self {
            writer: Writer::new(out, about)?,
            samples: 0,
            threads: 0,
            processes: 0,
            accounted: None,
            turns: Vec::new(),
            becoming: BTreeMap::new(),
        })
    }

    /// Stacks that were seen so far, each at each tick.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Threads that were seen so far.
    pub fn threads(&self) -> u64 {
        self.threads
    }

    /// Processes with a Python that were seen so far.
    pub fn processes(&self) -> u64 {
        self.processes
    }

    /// The processor time that was accounted to all threads while they were sampled. `None` where it
    /// was not asked for, or none was.
    pub fn accounted(&self) -> Option<ProcessorTime> {
        self.accounted
    }

    /// What processes have turned to so far: the first thousand turns.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// The program that process `pid`, which was a Python, became last, where no Python was found
    /// in it.
    pub fn becoming(&self, pid: u32) -> Option<&[String]> {
        self.becoming.get(&pid).map(Vec::as_slice)
    }

    /// Ends the recording. `about` is how things stood at the end.
    ///
    /// # Errors
    /// `Unwritten` where what was recorded could not be written.
    pub fn finish(self, about: &About) -> Result<()> {
        self.writer.finish(about)
    }
}

impl Sink for Recorder {
    fn function(&mut self, function: &ProfileFunction) {
        self.writer.function(function);
    }

    fn frame(&mut self, frame: ProfileFrame) {
        self.writer.frame(frame);
    }

    fn stack(&mut self, stack: StackNode) {
        self.writer.stack(stack);
    }

    fn process(&mut self, process: &ProfileProcess) {
        self.processes += 1;
        self.becoming.remove(&process.pid);
        self.writer.process(process);
    }

    fn thread(&mut self, thread: &ProfileThread) {
        self.threads += 1;
        self.writer.thread(thread);
    }

    fn rename(&mut self, thread: u32, name: &Text) {
        self.writer.rename(thread, name);
    }

    fn charge(&mut self, charge: &Charge) {
        let sum = self.accounted.get_or_insert_default();
        sum.on = sum.on.saturating_add(charge.time.on);
        sum.waiting = sum.waiting.saturating_add(charge.time.waiting);
        self.writer.charge(charge);
    }

    fn turn(&mut self, turn: &Turn) {
        if let Turn::Exec { pid, command } = turn {
            self.becoming.insert(*pid, command.clone());
        }
        if self.turns.len() < TURNS_MAX {
            self.turns.push(turn.clone());
        }
    }

    fn tick(&mut self, about: &About, seen: &[Seen]) -> Result<()> {
        self.samples += seen.len() as u64;
        self.writer.tick(about, seen)
    }
}
