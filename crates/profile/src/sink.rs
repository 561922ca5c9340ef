//! Where samples go.

use invivo_model::{
    About, ProcessorTime, Profile, ProfileFrame, ProfileFunction, ProfileProcess, ProfileThread,
    Result, Sample, SampleStatus, StackNode, Text, Trust,
};

/// What a thread did at one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The index of the thread.
    pub thread: u32,
    /// The index of its stack; `None` where it ran no Python code.
    pub stack: Option<u32>,
    /// What it did.
    pub status: SampleStatus,
    /// How far the stack is to be believed.
    pub trust: Trust,
}

/// Processor time of a thread that the kernel has accounted to it, and whom it is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The index of the thread.
    pub thread: u32,
    /// The index of the stack that it was seen in meanwhile; `None` where it ran no Python code,
    /// and for time that it waited.
    pub stack: Option<u32>,
    /// What it did.
    pub status: SampleStatus,
    /// How long it was on a processor and waited for one, in nanoseconds.
    pub time: ProcessorTime,
}

impl Charge {
    /// So much time on a processor.
    pub(crate) fn of(seen: &Seen, on: u64) -> Self {
        Self {
            thread: seen.thread,
            stack: seen.stack,
            status: seen.status,
            time: ProcessorTime { on, waiting: 0 },
        }
    }

    /// So much time that the thread waited for a processor.
    pub(crate) fn waiting(thread: u32, waiting: u64) -> Self {
        Self {
            thread,
            stack: None,
            status: SampleStatus::default(),
            time: ProcessorTime { on: 0, waiting },
        }
    }
}

/// That a process which was sampled is not any more what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It runs another program now (`execve`). Where that is a Python, it is a process anew
    /// ([`Sink::process`]), of the same number.
    Exec {
        /// Its number.
        pid: u32,
        /// Its command and arguments, as it shows them now.
        command: Vec<String>,
    },
    /// It has ended.
    End {
        /// The number it had.
        pid: u32,
    },
}

/// What takes samples, and the entries of the tables they refer to. Entries of each table are
/// numbered as they come, from 0 on, and come before what refers to them.
///
/// Only [`Sink::tick`] says that something went wrong, once, for all that came before it.
pub trait Sink {
    /// A function that is new.
    fn function(&mut self, function: &ProfileFunction);
    /// A frame that is new.
    fn frame(&mut self, frame: ProfileFrame);
    /// A stack that is new.
    fn stack(&mut self, stack: StackNode);
    /// A process that is new.
    fn process(&mut self, process: &ProfileProcess);
    /// A thread that is new.
    fn thread(&mut self, thread: &ProfileThread);
    /// A thread has got a name, or another one.
    fn rename(&mut self, thread: u32, name: &Text);

    /// Processor time was accounted, where it is asked for whether threads are on a processor and
    /// the kernel tells. In [`Mode::Cpu`](invivo_model::Mode::Cpu) samples go by it already.
    fn charge(&mut self, _charge: &Charge) {}
    /// A process has ended, or runs another program now. What is only about samples need not know.
    fn turn(&mut self, turn: &Turn) {
        let _ = turn;
    }

    /// A round of sampling has taken place. `about` says how things stand now: its duration is the
    /// time of this tick, since the start. Threads that are not among `seen` did not count at this
    /// tick; none is there twice.
    ///
    /// # Errors
    ///
    /// What keeps the sink from taking anything more.
    fn tick(&mut self, about: &About, seen: &[Seen]) -> Result<()>;
}

/// A profile in memory, put together as it comes.
#[derive(Clone, Debug, Default)]
pub struct Collect {
    profile: Profile,
    /// For each thread the index of its last sample, and the tick up to which that goes.
    last: Vec<Option<(usize, u64)>>,
    ticks: u64,
}

impl Collect {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What has come so far.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What has come.
    pub fn into_profile(self) -> Profile {
        self.profile
    }
}

impl Sink for Collect {
    fn function(&mut self, function: &ProfileFunction) {
        self.profile.tables.functions.push(function.clone());
    }

    fn frame(&mut self, frame: ProfileFrame) {
        self.profile.tables.frames.push(frame);
    }

    fn stack(&mut self, stack: StackNode) {
        self.profile.tables.stacks.push(stack);
    }

    fn process(&mut self, process: &ProfileProcess) {
        self.profile.tables.processes.push(process.clone());
    }

    fn thread(&mut self, thread: &ProfileThread) {
        self.profile.tables.threads.push(thread.clone());
        self.last.push(None);
    }

    fn rename(&mut self, thread: u32, name: &Text) {
        if let Some(thread) = self.profile.tables.threads.get_mut(thread as usize) {
            thread.name = Some(name.clone());
        }
    }

    fn tick(&mut self, about: &About, seen: &[Seen]) -> Result<()> {
        self.ticks += 1;
        // What goes on over ticks that were missed begins anew, or it would end before its time.
        let missed = about.missed != self.profile.about.missed;
        for seen in seen {
            let Some(last) = self.last.get_mut(seen.thread as usize) else {
                continue;
            };
            let running = last.filter(|(_, tick)| *tick + 1 == self.ticks && !missed);
            let sample = running.and_then(|(index, _)| self.profile.samples.get_mut(index));
            let index = match sample.filter(|sample| goes_on(sample, seen)) {
                Some(sample) => {
                    sample.ticks += 1;
                    running.map_or(0, |(index, _)| index)
                }
                None => {
                    self.profile.samples.push(begun(seen, about.duration));
                    self.profile.samples.len() - 1
                }
            };
            *last = Some((index, self.ticks));
        }
        self.profile.about.clone_from(about);
        Ok(())
    }
}

/// Whether the thread still does what it did in `sample`.
fn goes_on(sample: &Sample, seen: &Seen) -> bool {
    sample.stack == seen.stack
        && sample.status == seen.status
        && sample.trust == seen.trust
        && sample.ticks < u32::MAX
}

fn begun(seen: &Seen, time: u64) -> Sample {
    Sample {
        time,
        thread: seen.thread,
        stack: seen.stack,
        status: seen.status,
        trust: seen.trust,
        ticks: 1,
    }
}
