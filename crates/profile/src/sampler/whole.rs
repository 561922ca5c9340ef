//! Sampling by reading all stacks anew each time, with what was read before read ahead.

use std::collections::BTreeMap;

use invivo_cpython::{Runtime, StackOptions};
use invivo_model::{Address, Gil, InterpreterThreads, Result, Thread, Trust};
use invivo_process::{Memory, ThreadPlace, own_processor};

use super::entries::Entries;
use super::known::{Described, Key, Known};
use super::runners::Trace;
use super::tasks::{Standing, Tasks};
use super::{Options, Round, Sampled};
use crate::prefetch::Prefetch;
use crate::sink::Seen;
use crate::whereabouts::{HOPS, Whereabouts};

/// What is read, and what it is read from.
#[derive(Debug)]
pub(super) struct Whole<M> {
    runtime: Runtime<Prefetch<M>>,
    memory: Prefetch<M>,
}

impl<M: Memory + Clone> Whole<M> {
    pub(super) fn new(runtime: &Runtime<M>) -> Self {
        let (runtime, memory) = Prefetch::of(runtime);
        Self { runtime, memory }
    }

    pub(super) fn tick(
        &mut self,
        subject: &mut Sampled,
        tasks: Option<&mut Tasks<M>>,
        round: &mut Round<'_>,
    ) -> Result<()> {
        if !subject.ask_names {
            // Where nothing can be read ahead, nothing can be read, and that is said then.
            let _ = self.memory.begin();
        }
        let outcome = self.round(subject, tasks, round);
        self.memory.end();
        outcome
    }

    fn round(
        &self,
        subject: &mut Sampled,
        mut tasks: Option<&mut Tasks<M>>,
        round: &mut Round<'_>,
    ) -> Result<()> {
        let mut interpreters = self.look_near(subject, round.whereabouts)?;
        let mut all = interpreters
            .iter()
            .flat_map(|one| one.threads.iter().map(move |thread| (one, thread)));
        let is_new = |(one, thread): (&InterpreterThreads, &Thread)| {
            let native_id = thread.state.native_id;
            subject.threads.find(key(one, thread), native_id).is_none()
        };
        if all.any(is_new) {
            // Its name is asked for, which is not going to be read again and again.
            subject.ask_names = true;
            self.memory.end();
            interpreters = self.look(subject)?;
        }
        if interpreters.is_empty() {
            // Before it has begun or after it has ended; or something else runs there.
            self.runtime.ensure_present()?;
        }
        if let Some(tasks) = tasks.as_deref_mut() {
            let threads = interpreters.iter().flat_map(|one| &one.threads);
            let frames = threads.flat_map(|thread| &thread.stack.frames);
            let frames = frames.map(|frame| (frame.address, &*frame.code));
            tasks.look(&subject.target, frames);
        }
        let mut doubts = false;
        for interpreter in &interpreters {
            for thread in &interpreter.threads {
                let (key, trace) = (key(interpreter, thread), trace(thread));
                let then = !interpreter.names.is_empty();
                doubts |= subject.threads.doubts(key, &thread.state, trace, then);
            }
        }
        if doubts {
            let threads = interpreters.iter().flat_map(|one| &one.threads);
            let states = threads.map(|thread| &thread.state);
            subject.threads.ask(states, &self.runtime, &subject.target);
        }
        for interpreter in &interpreters {
            for thread in &interpreter.threads {
                let frames = thread.stack.frames.iter().rev();
                let standing = match &tasks {
                    Some(tasks) => tasks.of(frames.map(|frame| frame.address)),
                    None => Standing::Outside,
                };
                see(interpreter, thread, &standing, subject, round)?;
            }
        }
        Ok(())
    }

    /// What the threads do now, each read from the processor that it runs on if we may be there.
    fn look_near(
        &self,
        subject: &mut Sampled,
        whereabouts: &mut Whereabouts,
    ) -> Result<Vec<InterpreterThreads>> {
        let mut interpreters = self.look(subject)?;
        let mut running = running(&interpreters, subject);
        let places =
            |running: &Running| running.iter().map(|(_, place)| *place).collect::<Vec<_>>();
        if self.runtime.build().free_threaded == Some(true)
            && running.len() > 1
            && !whereabouts.is_stopped()
        {
            self.look_at_each(running, &mut interpreters, subject, whereabouts)?;
            return Ok(interpreters);
        }
        for hops in 0.. {
            if !whereabouts.look(&places(&running), hops < HOPS) {
                break;
            }
            interpreters = self.look_again(subject)?;
            running = self::running(&interpreters, subject);
        }
        Ok(interpreters)
    }

    /// Threads that run at the same time: goes from processor to processor, and takes of each look
    /// what it says of the threads that could not run meanwhile.
    fn look_at_each(
        &self,
        running: Running,
        interpreters: &mut [InterpreterThreads],
        subject: &mut Sampled,
        whereabouts: &mut Whereabouts,
    ) -> Result<()> {
        let own = own_processor();
        let mut elsewhere: BTreeMap<u32, Vec<(i64, Address)>> = BTreeMap::new();
        for (thread, place) in running {
            if place.stopped || place.processor != own {
                elsewhere.entry(place.processor).or_default().push(thread);
            } else {
                whereabouts.note(true);
            }
        }
        for (processor, threads) in elsewhere {
            if !whereabouts.come(processor) {
                threads.iter().for_each(|_| whereabouts.note(false));
                continue;
            }
            let again = self.look_again(subject)?;
            let places: BTreeMap<_, _> = self::running(&again, subject).into_iter().collect();
            for thread in threads {
                let is_here = |place: &ThreadPlace| place.processor == processor;
                // One that runs no more stood still even without us.
                whereabouts.note(places.get(&thread).is_none_or(is_here));
                if let (Some(old), Some(new)) =
                    (find_mut(interpreters, thread), find(&again, thread))
                {
                    old.clone_from(new);
                }
            }
        }
        Ok(())
    }

    /// Reads ahead anew, and looks.
    fn look_again(&self, subject: &mut Sampled) -> Result<Vec<InterpreterThreads>> {
        self.memory.end();
        // Where nothing can be read ahead, nothing can be read, and that is said then.
        let _ = self.memory.begin();
        self.look(subject)
    }

    /// What the threads do now.
    fn look(&self, subject: &mut Sampled) -> Result<Vec<InterpreterThreads>> {
        let options = StackOptions {
            opcodes: subject.options.opcodes,
            slots: false,
            names: std::mem::take(&mut subject.ask_names),
        };
        let interpreters = self.runtime.threads(&options);
        interpreters.map_err(|error| subject.explained(&self.runtime, error))
    }
}

/// Threads that run Python code, by their interpreters and states, and where.
type Running = Vec<((i64, Address), ThreadPlace)>;

fn running(interpreters: &[InterpreterThreads], subject: &mut Sampled) -> Running {
    let all = interpreters
        .iter()
        .flat_map(|one| one.threads.iter().map(move |thread| (one, thread)));
    let runs = all.filter(|(_, thread)| thread.gil == Gil::Holds);
    let placed = runs.filter_map(|(one, thread)| {
        let place = subject.place(key(one, thread), thread.state.native_id)?;
        Some(((one.id, thread.state.address), place))
    });
    placed.collect()
}

fn find(interpreters: &[InterpreterThreads], thread: (i64, Address)) -> Option<&Thread> {
    let one = interpreters.iter().find(|one| one.id == thread.0)?;
    let mut threads = one.threads.iter();
    threads.find(|one| one.state.address == thread.1)
}

fn find_mut(
    interpreters: &mut [InterpreterThreads],
    thread: (i64, Address),
) -> Option<&mut Thread> {
    let one = interpreters.iter_mut().find(|one| one.id == thread.0)?;
    let mut threads = one.threads.iter_mut();
    threads.find(|one| one.state.address == thread.1)
}

fn key(interpreter: &InterpreterThreads, thread: &Thread) -> Key {
    let state = &thread.state;
    (interpreter.id, state.address.0, state.thread_id)
}

/// What tells of who runs a thread.
fn trace(thread: &Thread) -> Trace {
    Trace {
        c_stack: thread.stack.c_stack,
        outermost: thread.stack.frames.last().map(|frame| frame.address),
    }
}

/// Notes what a thread does.
fn see(
    interpreter: &InterpreterThreads,
    thread: &Thread,
    tasks: &Standing<'_>,
    subject: &mut Sampled,
    round: &mut Round<'_>,
) -> Result<()> {
    let key = key(interpreter, thread);
    let trace = trace(thread);
    let name = |ident: Option<u64>| interpreter.names.get(&ident?);
    let known = match subject.threads.get(key, &thread.state, trace) {
        Some(known) => known,
        None => {
            let (state, target) = (&thread.state, &subject.target);
            let runs = subject.threads.pair(key, state, trace, target);
            let described = Described {
                process: subject.process,
                state,
                runs,
                trace,
                name: name(runs.and_then(|runs| runs.ident)),
                interpreter: interpreter.id,
                main_ident: Some(interpreter.main_ident),
            };
            subject.threads.meet(key, &described, round)?
        }
    };
    known.tick = subject.ticks;
    known.rename(name(known.ident), round.sink);
    let options = &subject.options;
    let handles = thread.handles_exception;
    let runnable = known.runnable(&subject.target, options);
    let standing = subject.accounts.look(&subject.target, known, runnable);
    let status = Known::status(standing, thread.gil, handles);
    if !options.counts(&status) {
        return Ok(());
    }
    let (stack, trust) = stack(thread, tasks, &mut subject.entries, options, round)?;
    let seen = Seen {
        thread: known.index,
        stack,
        status,
        trust,
    };
    if subject.accounts.take(known.tid, seen, options) {
        round.seen.push(seen);
    }
    Ok(())
}

/// The stack of a thread, and how far it is to be believed.
fn stack(
    thread: &Thread,
    standing: &Standing<'_>,
    entries: &mut Entries,
    options: &Options,
    round: &mut Round<'_>,
) -> Result<(Option<u32>, Trust)> {
    let (mut stack, from, mut trust) = standing.base(entries, options, round)?;
    if thread.stack.cut.is_some() && !matches!(standing, Standing::Inside(..)) {
        // It has callers, of which nothing is known.
        trust = Trust::Torn;
        let mark = entries.cut(round)?;
        stack = Some(Entries::on_top(stack, mark, round)?);
    }
    let count = thread.stack.frames.len();
    let gap = thread.stack.gap.map(|gap| count.saturating_sub(gap.after));
    for (index, frame) in thread.stack.frames.iter().rev().enumerate().skip(from) {
        trust = trust.max(frame.trust);
        if gap == Some(index) {
            let mark = entries.left_out(round)?;
            stack = Some(Entries::on_top(stack, mark, round)?);
        }
        if options.native && frame.through_c == Some(true) && index > from {
            let mark = entries.native(round)?;
            stack = Some(Entries::on_top(stack, mark, round)?);
        }
        let (code, position) = (&frame.code, frame.position);
        let frame = entries.frame(code, position, frame.opcode, options, round)?;
        stack = Some(Entries::on_top(stack, frame, round)?);
    }
    if options.collector && thread.collects_garbage == Some(true) {
        let mark = entries.collector(round)?;
        stack = Some(Entries::on_top(stack, mark, round)?);
    }
    Ok((stack, trust))
}
