//! Sampling processes tick by tick.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use invivo_model::{About, ErrorKind, ProfileProcess, Result, Trust, surrogate};
use invivo_process::{ProcessMemory, Standstill, Stopper, clock, random};

use crate::follow::{Follower, Subject};
use crate::intern::Interner;
use crate::sampler::{Lost, Options, Sampler};
use crate::schedule::{Jitter, Schedule};
use crate::sink::{Seen, Sink, Turn};
use crate::whereabouts::{SampleFrom, Whereabouts};

/// For how long [`Session::step`] waits at most.
const PATIENCE: u64 = 50_000_000;
/// Nearer deadlines are not slept for: going to sleep takes longer.
const NEAR: u64 = 5_000;
/// What going to sleep and waking takes of a processor. Who asks for ticks at shorter intervals
/// gets several at once and then a rest, since sleeping before each would take more than all else.
const SLEEP: u64 = 30_000;
/// How often the rarer things are done: names asked for, our own processor time read.
const RARELY: u64 = 500_000_000;

/// How long it may take until all threads of a process stand still.
const STANDSTILL: Duration = Duration::from_millis(100);

/// What a step of a session has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No tick was due yet.
    Waited,
    /// A tick took place.
    Ticked,
    /// All processes have ended.
    Ended,
}

/// How to sample.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nanoseconds from tick to tick.
    pub interval: u64,
    /// How ticks are kept from beating with the target.
    pub jitter: Jitter,
    /// From where threads are read that run.
    pub from: SampleFrom,
    /// Which threads count.
    pub options: Options,
    /// The program that records, with its version.
    pub creator: String,
}

/// Samples processes as long as it is stepped.
///
/// Whoever steps it looks between two steps whether to go on, and shows how it goes.
#[derive(Debug)]
pub struct Session<S> {
    options: Options,
    schedule: Schedule,
    /// When it began, on the clock that ticks go by.
    begun: u64,
    own_time: u64,
    /// What the thread that ticks had taken of processors when it last looked.
    thread_time: u64,
    rarely: u64,
    about: About,
    interner: Interner,
    sink: S,
    samplers: Vec<Sampled>,
    follower: Option<Follower>,
    /// Processes of which it can't be told yet what has become.
    lost: Vec<Lost>,
    /// Whether processes stand still while they are looked at.
    block: bool,
    whereabouts: Whereabouts,
    seen: Vec<Seen>,
}

/// A process that is sampled, and what stops it for that once it has been stopped.
#[derive(Debug)]
struct Sampled {
    sampler: Sampler<ProcessMemory>,
    stopper: Option<Stopper>,
}

impl Sampled {
    /// Has it stand still, from `processor` where there is one, if it is to be blocked.
    fn begin(
        &mut self,
        block: bool,
        processor: Option<u32>,
    ) -> Result<(&mut Sampler<ProcessMemory>, Option<Standstill<'_>>)> {
        if !block {
            return Ok((&mut self.sampler, None));
        }
        let stopper = match &mut self.stopper {
            Some(stopper) => stopper,
            none => none.insert(Stopper::new(self.sampler.target())?),
        };
        let still = stopper.stand_still(STANDSTILL, processor)?;
        Ok((&mut self.sampler, Some(still)))
    }
}

impl<S: Sink> Session<S> {
    /// A session that begins now. `sink` gets what it needs of how things stand at the beginning.
    ///
    /// # Errors
    ///
    /// What `sink` fails with.
    pub fn new(plan: Plan, sink: impl FnOnce(&About) -> Result<S>) -> Result<Self> {
        clock::sleep_exactly();
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        let about = About {
            started: started.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0)),
            interval: plan.interval,
            mode: plan.options.mode,
            creator: plan.creator,
            ..About::default()
        };
        let sink = sink(&about)?;
        let begun = clock::monotonic();
        Ok(Self {
            options: plan.options,
            schedule: Schedule::new(
                begun,
                plan.interval,
                plan.jitter,
                u64::from_ne_bytes(random()?),
            ),
            begun,
            own_time: clock::own_processor_time(),
            thread_time: 0,
            rarely: begun,
            about,
            interner: Interner::new(),
            sink,
            samplers: Vec::new(),
            follower: None,
            lost: Vec::new(),
            block: false,
            whereabouts: Whereabouts::new(plan.from),
            seen: Vec::new(),
        })
    }

    /// Samples this process too.
    ///
    /// # Errors
    ///
    /// As [`Interner::process`].
    pub fn add(&mut self, subject: Subject) -> Result<()> {
        let arguments = subject.target.command_line().unwrap_or_default();
        let command = arguments
            .iter()
            .map(|word| surrogate::decode(word.as_encoded_bytes()));
        let process = ProfileProcess {
            pid: subject.target.pid(),
            parent: subject.parent,
            command: command.collect(),
            version: subject.runtime.version().to_string(),
        };
        self.tell_return(&process);
        let index = self.interner.process(&process, &mut self.sink)?;
        let sampler = Sampler::new(subject.target, subject.runtime, index, self.options);
        self.samplers.push(Sampled {
            sampler,
            stopper: None,
        });
        Ok(())
    }

    /// Samples the processes that `follower` finds, as it finds them.
    pub fn follow(&mut self, follower: Follower) {
        self.follower = Some(follower);
    }

    /// Has each process stand still while it is looked at, so that no stack is torn. It is stopped
    /// at each tick then, and no thread is on a processor when it is looked at.
    pub fn block(&mut self) {
        self.block = true;
    }

    /// How things stand.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// What samples go to.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// How many processes are sampled now.
    pub fn processes(&self) -> usize {
        self.samplers.len()
    }

    /// Waits for the next tick, but no longer than a twentieth of a second, and takes it if it has
    /// come. A signal ends the waiting.
    ///
    /// # Errors
    ///
    /// What the sink fails with; why the only process there is can't be read, where it lives.
    pub fn step(&mut self) -> Result<Step> {
        self.tell_turns();
        self.take_found()?;
        if self.samplers.is_empty() && !self.is_following() {
            return Ok(Step::Ended);
        }
        let now = clock::monotonic();
        let deadline = self.schedule.deadline();
        let near = if self.about.interval < SLEEP {
            2 * SLEEP
        } else {
            NEAR
        };
        if deadline > now.saturating_add(near) {
            let until = deadline.min(now.saturating_add(PATIENCE));
            if !clock::sleep_until(until) || until < deadline {
                return Ok(Step::Waited);
            }
        }
        self.tick()?;
        Ok(Step::Ticked)
    }

    /// Ends the session; gives the sink, and how things stand at the end.
    pub fn end(mut self) -> (S, About) {
        self.tell_turns();
        self.about.duration = clock::monotonic().saturating_sub(self.begun);
        self.about.own_time = clock::own_processor_time().saturating_sub(self.own_time);
        (self.sink, self.about)
    }

    fn tick(&mut self) -> Result<()> {
        let now = clock::monotonic();
        if now >= self.rarely {
            let since = now
                .saturating_sub(self.rarely.saturating_sub(RARELY))
                .max(1);
            self.rarely = now.saturating_add(RARELY);
            let thread_time = clock::thread_processor_time();
            let taken = thread_time.saturating_sub(self.thread_time);
            if self.thread_time > 0 && self.about.ticks > 0 {
                self.whereabouts.bound(taken as f64 / since as f64);
            }
            self.thread_time = thread_time;
            self.about.own_time = clock::own_processor_time().saturating_sub(self.own_time);
            let samplers = self.samplers.iter_mut();
            samplers.for_each(|one| one.sampler.ask_names());
        }
        self.seen.clear();
        let mut index = 0;
        while let Some(one) = self.samplers.get_mut(index) {
            let place = self.whereabouts.pinned();
            let looked = one.begin(self.block, place).and_then(|(sampler, still)| {
                let whereabouts = &mut self.whereabouts;
                whereabouts.stand_still(still.is_some());
                let looked = sampler.tick(
                    &mut self.interner,
                    &mut self.sink,
                    &mut self.seen,
                    whereabouts,
                );
                drop(still);
                whereabouts.stand_still(false);
                looked
            });
            match looked {
                Ok(()) => index += 1,
                Err(error) => match error.kind {
                    ErrorKind::Gone => {
                        let lost = self.samplers.swap_remove(index);
                        let lost = lost.sampler.into_lost();
                        if let Some(follower) = &self.follower {
                            follower.lost(lost.target.pid());
                        }
                        self.lost.push(lost);
                    }
                    // It may be another moment's luck.
                    ErrorKind::Corrupt | ErrorKind::TimedOut => {
                        self.about.torn += 1;
                        index += 1;
                    }
                    _ if self.samplers.len() > 1 || self.follows_others() => {
                        self.samplers.swap_remove(index);
                    }
                    _ => return Err(error),
                },
            }
        }
        self.about.torn += self
            .seen
            .iter()
            .filter(|seen| seen.trust != Trust::Whole)
            .count() as u64;
        self.about.looks = self.whereabouts.looks();
        self.about.ticks += 1;
        self.about.duration = now.saturating_sub(self.begun);
        self.sink.tick(&self.about, &self.seen)?;
        self.about.missed += self.schedule.advance(clock::monotonic());
        Ok(())
    }

    /// There is a Python again in a process in which one was lost: in another program, unless the
    /// same one has made it anew.
    fn tell_return(&mut self, process: &ProfileProcess) {
        let sink = &mut self.sink;
        self.lost.retain(|lost| {
            let is_it = lost.target.pid() == process.pid;
            if is_it && !lost.is_same_program() {
                sink.turn(&Turn::Exec {
                    pid: process.pid,
                    command: process.command.clone(),
                });
            }
            !is_it
        });
    }

    fn tell_turns(&mut self) {
        let sink = &mut self.sink;
        self.lost.retain(|lost| match lost.turn() {
            Some(turn) => {
                sink.turn(&turn);
                false
            }
            None => true,
        });
    }

    fn take_found(&mut self) -> Result<()> {
        while let Some(found) = self.follower.as_ref().and_then(Follower::next) {
            self.add(found?)?;
        }
        Ok(())
    }

    /// Whether there may be more processes than one.
    fn follows_others(&self) -> bool {
        let follower = self.follower.as_ref();
        follower.is_some_and(|follower| !follower.is_of_known())
    }

    fn is_following(&self) -> bool {
        self.follower.as_ref().is_some_and(Follower::is_watching)
    }
}
