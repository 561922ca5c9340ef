//! Sampling by a [`Reader`], which reads all threads at once.

use invivo_cpython::{PlaceId, ReadThread, Reader, ReaderOptions, Runtime, StackOptions};
use invivo_model::{Address, Gil, Mode, Result, Trust};
use invivo_process::Memory;

use super::entries::Entries;
use super::known::{Described, Key, Known};
use super::runners::Trace;
use super::tasks::{Standing, Tasks};
use super::{Options, Round, Sampled};
use crate::sink::Seen;
use crate::whereabouts::{HOPS, Whereabouts};

/// The outermost frames of a stack that is too deep are looked at every so many ticks, and so many
/// of them.
const OUTER_EVERY: u64 = 256;
const OUTER_FRAMES: usize = 500;

/// A reader, and what its places are to the sampler.
#[derive(Debug)]
pub(super) struct Rounds<M> {
    reader: Reader<M>,
    /// By the numbers of places, those of the frames that stand there.
    frames: Vec<Option<u32>>,
    era: u32,
}

impl<M: Memory> Rounds<M> {
    pub(super) fn new(runtime: Runtime<M>, options: &Options) -> Self {
        let asked = ReaderOptions {
            waits: options.activity,
            exceptions: options.mode == Mode::Exception,
        };
        let reader = Reader::new(runtime, asked);
        Self {
            frames: Vec::new(),
            era: reader.era(),
            reader,
        }
    }

    pub(super) fn tick(
        &mut self,
        subject: &mut Sampled,
        mut tasks: Option<&mut Tasks<M>>,
        round: &mut Round<'_>,
    ) -> Result<()> {
        let read = self.read(subject, round.whereabouts);
        read.map_err(|error| subject.explained(self.reader.runtime(), error))?;
        if self.era != self.reader.era() {
            self.era = self.reader.era();
            self.frames.clear();
        }
        if self.reader.threads().is_empty() {
            // Before it has begun or after it has ended; or something else runs there.
            self.reader.runtime().ensure_present()?;
        }
        // Who can't be named is called nothing.
        let ask = || self.reader.runtime().names().unwrap_or_default();
        let mut names = std::mem::take(&mut subject.ask_names).then(ask);
        if let Some(tasks) = tasks.as_deref_mut() {
            let frames = self.reader.threads().iter().flat_map(|one| &one.frames);
            let frames = frames.filter_map(|frame| {
                let place = self.reader.place(frame.place)?;
                Some((frame.address, &*place.code))
            });
            tasks.look(&subject.target, frames);
        }
        let mut doubts = false;
        for thread in self.reader.threads() {
            let (state, then) = (&thread.state, names.is_some());
            doubts |= subject
                .threads
                .doubts(key(thread), state, trace(thread), then);
        }
        if doubts {
            let states = self.reader.threads().iter().map(|thread| &thread.state);
            let runtime = self.reader.runtime();
            subject.threads.ask(states, runtime, &subject.target);
        }
        let mut all = self.reader.threads().iter();
        let main = all.find(|thread| thread.is_main);
        for thread in self.reader.threads() {
            let Some(interpreter) = self.reader.interpreter(thread) else {
                continue;
            };
            let (key, trace) = (key(thread), trace(thread));
            let known = match subject.threads.get(key, &thread.state, trace) {
                Some(known) => known,
                None => {
                    let (state, target) = (&thread.state, &subject.target);
                    let runs = subject.threads.pair(key, state, trace, target);
                    let own = runs.and_then(|runs| Some((interpreter.address, runs.ident?)));
                    let described = Described {
                        process: subject.process,
                        state,
                        runs,
                        trace,
                        name: own.and_then(|own| names.get_or_insert_with(ask).get(&own)),
                        interpreter: interpreter.id,
                        main_ident: main.map(|thread| thread.state.thread_id),
                    };
                    subject.threads.meet(key, &described, round)?
                }
            };
            known.tick = subject.ticks;
            let own = known.ident.map(|ident| (interpreter.address, ident));
            let name = own.and_then(|own| names.as_ref()?.get(&own));
            known.rename(name, round.sink);
            known.stacks.truncate(thread.kept);
            let options = &subject.options;
            let handles = thread.handles_exception;
            let runnable = known.runnable(&subject.target, options);
            let standing = subject.accounts.look(&subject.target, known, runnable);
            let status = Known::status(standing, thread.gil, handles);
            if !options.counts(&status) {
                continue;
            }
            let mut places = Places {
                reader: &self.reader,
                frames: &mut self.frames,
                entries: &mut subject.entries,
                options,
            };
            let standing = match &tasks {
                Some(tasks) => tasks.of(thread.frames.iter().map(|frame| frame.address)),
                None => Standing::Outside,
            };
            let (stack, trust) = places.stack(thread, &standing, known, round)?;
            let seen = Seen {
                thread: known.index,
                stack,
                status,
                trust: trust.max(thread.trust),
            };
            if subject.accounts.take(known.tid, seen, options) {
                round.seen.push(seen);
            }
        }
        Ok(())
    }
}

impl<M: Memory> Rounds<M> {
    /// Reads all threads, from the processor of the one that runs Python code if we may be there.
    fn read(&mut self, subject: &mut Sampled, whereabouts: &mut Whereabouts) -> Result<()> {
        self.reader.read()?;
        for hops in 0.. {
            let threads = self.reader.threads().iter();
            let runs = threads.filter(|thread| thread.gil == Gil::Holds);
            let places =
                runs.filter_map(|thread| subject.place(key(thread), thread.state.native_id));
            let places: Vec<_> = places.collect();
            if !whereabouts.look(&places, hops < HOPS) {
                break;
            }
            self.reader.read_again()?;
        }
        Ok(())
    }
}

/// What tells a thread from all others.
fn key(thread: &ReadThread) -> Key {
    (0, thread.state.address.0, thread.serial)
}

/// What tells of who runs a thread.
fn trace(thread: &ReadThread) -> Trace {
    let outermost = thread.frames.first().map(|frame| frame.address);
    Trace {
        c_stack: thread.c_stack,
        // Of one that is too deep it is not looked at.
        outermost: outermost.map(|at| if thread.is_deep { Address::NULL } else { at }),
    }
}

/// What it takes to number the frames that stand at places.
struct Places<'a, M> {
    reader: &'a Reader<M>,
    frames: &'a mut Vec<Option<u32>>,
    entries: &'a mut Entries,
    options: &'a Options,
}

impl<M: Memory> Places<'_, M> {
    /// The number of a thread's stack, and how far tasks on it are to be believed.
    fn stack(
        &mut self,
        thread: &ReadThread,
        standing: &Standing<'_>,
        known: &mut Known,
        round: &mut Round<'_>,
    ) -> Result<(Option<u32>, Trust)> {
        let (mut stack, trust) = match standing {
            Standing::Outside if thread.is_deep => (self.deep(thread, known, round)?, Trust::Whole),
            Standing::Outside if thread.is_orphan => self.orphan(thread, round)?,
            Standing::Outside => (self.plain(thread, known, round)?, Trust::Whole),
            _ => self.in_tasks(thread, standing, round)?,
        };
        if thread.cut.is_some() && !thread.is_deep {
            let mark = self.entries.cut(round)?;
            stack = Some(Entries::on_top(None, mark, round)?);
        }
        if self.options.collector && thread.collects_garbage == Some(true) {
            let mark = self.entries.collector(round)?;
            stack = Some(Entries::on_top(stack, mark, round)?);
        }
        Ok((stack, trust))
    }

    /// The number of a stack that has coroutines on it.
    fn in_tasks(
        &mut self,
        thread: &ReadThread,
        standing: &Standing<'_>,
        round: &mut Round<'_>,
    ) -> Result<(Option<u32>, Trust)> {
        let (stack, from, trust) = standing.base(self.entries, self.options, round)?;
        Ok((self.on_top_of(stack, from, thread, round)?, trust))
    }

    /// The number of a stack of which it is not known who called the outermost frame.
    fn orphan(
        &mut self,
        thread: &ReadThread,
        round: &mut Round<'_>,
    ) -> Result<(Option<u32>, Trust)> {
        let mark = self.entries.cut(round)?;
        let stack = Some(Entries::on_top(None, mark, round)?);
        Ok((self.on_top_of(stack, 0, thread, round)?, Trust::Torn))
    }

    /// The stack that a thread's frames make, from this one of them on.
    fn on_top_of(
        &mut self,
        mut stack: Option<u32>,
        from: usize,
        thread: &ReadThread,
        round: &mut Round<'_>,
    ) -> Result<Option<u32>> {
        for (index, frame) in thread.frames.iter().enumerate().skip(from) {
            if self.options.native && frame.through_c && index > from {
                let mark = self.entries.native(round)?;
                stack = Some(Entries::on_top(stack, mark, round)?);
            }
            let Some(frame) = self.frame(frame.place, round)? else {
                break;
            };
            stack = Some(Entries::on_top(stack, frame, round)?);
        }
        Ok(stack)
    }

    /// The number of both ends of a stack that is too deep to be looked at whole. The outermost
    /// end is looked at now and then.
    fn deep(
        &mut self,
        thread: &ReadThread,
        known: &mut Known,
        round: &mut Round<'_>,
    ) -> Result<Option<u32>> {
        known.stacks.clear();
        let tick = known.tick;
        let outer = known.outer.filter(|(at, _)| tick < at + OUTER_EVERY);
        let mut stack = match outer {
            Some((_, stack)) => stack,
            None => {
                let stack = self.outer(thread, round)?;
                known.outer = Some((tick, stack));
                stack
            }
        };
        let mark = self.entries.left_out(round)?;
        stack = Some(Entries::on_top(stack, mark, round)?);
        for frame in &thread.frames {
            let Some(frame) = self.frame(frame.place, round)? else {
                break;
            };
            stack = Some(Entries::on_top(stack, frame, round)?);
        }
        Ok(stack)
    }

    /// The number of the outermost end of a stack; `None` where that could not be reached.
    fn outer(&mut self, thread: &ReadThread, round: &mut Round<'_>) -> Result<Option<u32>> {
        let options = StackOptions::default();
        let found = self.reader.runtime().stack(&thread.state, &options);
        let after = found.gap.map_or(found.frames.len(), |gap| gap.after);
        let outermost = found.frames.get(after..).unwrap_or_default();
        let mut stack = None;
        for frame in outermost.iter().rev().take(OUTER_FRAMES) {
            let (code, position) = (&frame.code, frame.position);
            let options = self.options;
            let frame = self.entries.frame(code, position, None, options, round)?;
            stack = Some(Entries::on_top(stack, frame, round)?);
        }
        Ok(stack)
    }

    /// The number of a stack as it is. What it has in common with the one before is not looked up
    /// again.
    fn plain(
        &mut self,
        thread: &ReadThread,
        known: &mut Known,
        round: &mut Round<'_>,
    ) -> Result<Option<u32>> {
        for frame in thread.frames.iter().skip(known.stacks.len()) {
            let mut caller = known.stacks.last().copied();
            if self.options.native && frame.through_c && caller.is_some() {
                let mark = self.entries.native(round)?;
                caller = Some(Entries::on_top(caller, mark, round)?);
            }
            let Some(frame) = self.frame(frame.place, round)? else {
                break;
            };
            known.stacks.push(Entries::on_top(caller, frame, round)?);
        }
        Ok(known.stacks.last().copied())
    }

    /// The number of the frame that stands at a place.
    fn frame(&mut self, id: PlaceId, round: &mut Round<'_>) -> Result<Option<u32>> {
        if let Some(Some(known)) = self.frames.get(id.index()) {
            return Ok(Some(*known));
        }
        let Some(place) = self.reader.place(id) else {
            return Ok(None);
        };
        let (code, position) = (&place.code, place.position);
        let frame = self
            .entries
            .frame(code, position, None, self.options, round)?;
        if self.frames.len() <= id.index() {
            self.frames.resize(id.index() + 1, None);
        }
        if let Some(slot) = self.frames.get_mut(id.index()) {
            *slot = Some(frame);
        }
        Ok(Some(frame))
    }
}
