//! What every thread of a process is doing: what its interpreter says, joined with what the
//! operating system says.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use invivo_cpython::{Limits, Location, Runner, Runtime, StackOptions, ValueLimits, runners};
use invivo_model::{
    Address, Build, Defect, Error, ErrorKind, Gil, Greenlet, Greenlets, InterpreterThreads, Result,
    Text, Thread, ThreadState, Variable, Version, surrogate,
};
use invivo_process::{Bounded, Fault, Halt, Memory, Recorder, Stacks};

use crate::attach::{Attached, explained};
use crate::beside::{Beside, ReadFrom};
use crate::doing::{Doing, Known, doing};
use crate::os::{OsActivity, OsThread, OsView};
use crate::repeats::repeats_around;
use crate::runtimes::RuntimeName;
use crate::saved::Recording;

/// How much of a target's memory one look reads, and makes of it, at most.
pub(crate) const BYTES_MAX: u64 = 128 << 20;

/// What to read of a process, and how.
#[derive(Clone, Debug)]
pub struct DumpOptions {
    /// Read the frames' variables, as far as this says.
    pub locals: Option<ValueLimits>,
    /// Read the opcode each frame stands at.
    pub opcodes: bool,
    /// Only this thread, by its number as the caller's `ps -T` shows it.
    pub thread: Option<u32>,
    /// Every interpreter, not only the main one.
    pub all_interpreters: bool,
    /// Stop the target while its memory is read.
    pub block: bool,
    /// How long to read at most. What could be read by then is there.
    pub timeout: Duration,
}

impl Default for DumpOptions {
    fn default() -> Self {
        Self {
            locals: None,
            opcodes: false,
            thread: None,
            all_interpreters: false,
            block: false,
            timeout: Duration::from_secs(2),
        }
    }
}

/// A process and its interpreter, as a look at it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its number in the caller's pid namespace.
    pub pid: u32,
    /// Its command and arguments, as Python would have them ([`surrogate`]).
    pub command: Vec<String>,
    /// The program it runs, as the kernel names it; `None` where that may not be read.
    pub executable: Option<String>,
    /// The interpreter's version, as precisely as it is known.
    pub version: Option<Version>,
    /// How it was built.
    pub build: Build,
    /// Where its `_PyRuntime` lies.
    pub runtime: Address,
    /// All CPythons of the process, this one among them; `None` where that is not known, as of an
    /// image.
    pub runtimes: Option<Vec<RuntimeName>>,
    /// What stopped it, where it stood still before we looked.
    pub halt: Option<Halt>,
}

impl Subject {
    pub(crate) fn of(attached: &Attached) -> Self {
        let (target, location) = (&attached.target, &attached.location);
        let decoded = |text: &std::ffi::OsStr| surrogate::decode(text.as_encoded_bytes());
        let mut command: Vec<String> = target
            .command_line()
            .unwrap_or_default()
            .iter()
            .map(|word| decoded(word))
            .collect();
        if command.is_empty()
            && let Ok(status) = target.status()
        {
            command.push(surrogate::decode(&status.name));
        }
        Self {
            pid: target.pid(),
            command,
            executable: target
                .executable()
                .ok()
                .map(|path| decoded(path.as_os_str())),
            version: location.version,
            build: location.build,
            runtime: location.address,
            runtimes: Some(attached.runtimes.names()),
            halt: target.halt(),
        }
    }
}

/// What every thread of a process is doing.
#[derive(Clone, Debug)]
pub struct Dump {
    /// Whose they are.
    pub subject: Subject,
    /// The interpreters that were asked for, by their numbers.
    pub interpreters: Vec<InterpreterDump>,
    /// How many interpreters there are that were not asked for.
    pub interpreters_left_out: usize,
    /// The OS threads that no interpreter knows; `None` where the OS's threads could not be listed.
    pub without_python: Option<Vec<OsThread>>,
    /// Whether the target was stopped meanwhile.
    pub blocked: bool,
    /// How it was read.
    pub read_from: ReadFrom,
    /// Why there would be more to tell, if something kept it from being read.
    pub incomplete: Option<Error>,
    /// How long the reading took.
    pub elapsed: Duration,
    /// All of the operating system's threads, for a recording.
    pub(crate) os_threads: Option<Vec<OsThread>>,
    /// Where their stacks lie, likewise.
    pub(crate) stacks: Option<Stacks>,
}

/// What the threads of an interpreter are doing.
#[derive(Clone, Debug)]
pub struct InterpreterDump {
    /// Where its `PyInterpreterState` lies.
    pub address: Address,
    /// Its number; 0 is the main interpreter.
    pub id: i64,
    /// Whether it collects garbage; `None` where that could not be read.
    pub collecting: Option<bool>,
    /// Its threads, oldest first.
    pub threads: Vec<ThreadDump>,
    /// Its suspended greenlets; `None` where the package greenlet is not used, where one thread
    /// alone was asked for, and when the time was up.
    pub greenlets: Option<Result<Greenlets>>,
    /// The variables of the greenlets' frames, by the places of both, as those of threads.
    pub greenlet_variables: Vec<Vec<Option<Result<Vec<Variable>>>>>,
    /// What could not be read as it should.
    pub defects: Vec<Defect>,
}

/// What a thread is doing.
#[derive(Clone, Debug)]
pub struct ThreadDump {
    /// What the interpreter says.
    pub thread: Thread,
    /// What the operating system says of the thread that runs it; `None` where that is not known.
    pub os: Option<OsThread>,
    /// How far it is known which thread that is; `None` where nothing is known of the threads.
    pub runner: Option<Runner>,
    /// What `threading.get_ident()` gives in that thread; `None` where it is not known which it is.
    pub ident: Option<u64>,
    /// Both, in a sentence.
    pub doing: Doing,
    /// The variables of its frames, by the frames' places in the stack. `None` where they were not
    /// asked for, for frames that only repeat others (see [`repeats`](crate::repeats())), and when the time was up.
    pub variables: Vec<Option<Result<Vec<Variable>>>>,
}

impl Dump {
    /// Whether this thread holds the GIL.
    fn is_held_by(&self, holder: Option<&ThreadState>) -> bool {
        let threads = self.interpreters.iter().flat_map(|one| &one.threads);
        let mut holders = threads.filter(|dump| dump.thread.gil == Gil::Holds);
        let is_it = |dump: &ThreadDump| {
            holder.is_some_and(|holder| holder.address == dump.thread.state.address)
        };
        holders.next().is_some_and(is_it) && holders.next().is_none()
    }
}

impl Attached {
    /// What every thread of the target is doing. Reads only; stops nothing unless it is asked to.
    ///
    /// # Errors
    /// `Gone`; `Refused`; `Usage` where the thread that was asked for is not one of its Python
    /// threads; `Corrupt` where the interpreter's own state can't be read; `TimedOut` where not
    /// even that was read in time, or where the target could not be stopped.
    pub fn dump(&self, options: &DumpOptions) -> Result<Dump> {
        Ok(self.look(self.target.memory(), options)?.0)
    }

    /// The same, and all that is needed to do it again without the target.
    ///
    /// # Errors
    /// As [`Attached::dump`].
    pub fn record(&self, options: &DumpOptions) -> Result<(Dump, Recording)> {
        let recorder = Recorder::new(self.target.memory());
        let at = &self.location;
        // For what it reads.
        Location::again(&recorder, at.address, Vec::new(), at.version, at.build);
        let (dump, recorder) = self.look(recorder, options)?;
        let image = recorder.into_image();
        let recording = Recording::new(&dump, at, options, image, &mut self.sources());
        Ok((dump, recording))
    }

    fn look<M: Memory + Send>(&self, memory: M, options: &DumpOptions) -> Result<(Dump, M)> {
        let subject = Subject::of(self);
        let before = OsView::before(&self.target);
        let read = move |os: OsView<'_>| {
            let dump = look(&memory, &self.location, subject, os, options);
            dump.map(|dump| (dump, memory))
        };
        // Where a thread is asked to stop on its own processor, it stops at the instruction at which
        // it was interrupted; else at its next system call.
        let beside = Beside::running(&self.target, &self.runtime);
        let looked = if options.block {
            let stopped = self.target.while_stopped(options.timeout, |suspension| {
                read(before.stopped(&self.target, suspension.stacks(&[]).ok()))
            });
            stopped.and_then(|looked| looked)
        } else {
            let mut looked = read(before);
            if let (Some(beside), Ok((dump, _))) = (beside, &mut looked)
                && dump.is_held_by(beside.holder.as_ref())
                && beside.stood_still()
            {
                dump.read_from = ReadFrom::OwnProcessor;
            }
            looked
        };
        let looked = looked.map_err(|error| explained(&self.target, error))?;
        // Memory is read by number, and the number could be another's by now.
        self.target.ensure_alive()?;
        Ok(looked)
    }
}

/// The same for any memory: of a live process or a saved image.
pub(crate) fn look<M: Memory>(
    memory: M,
    location: &Location,
    subject: Subject,
    mut os: OsView<'_>,
    options: &DumpOptions,
) -> Result<Dump> {
    let began = Instant::now();
    let memory = Bounded::new(memory, options.timeout, BYTES_MAX);
    let runtime = Runtime::open(&memory, location, Limits::default())?;
    let found = runtime.threads(&StackOptions {
        opcodes: options.opcodes,
        slots: options.locals.is_some(),
        names: true,
    })?;
    let runners = Runners::find(&memory, &found, &mut os);
    let threads = os.threads.as_deref().unwrap_or_default();
    for tid in doubtful(&found, threads, &runners) {
        os.ask_again(tid);
    }
    let threads = os.threads.as_deref().unwrap_or_default();
    let mut joined = join(found, threads, &runners, &subject);
    let without_python = os.threads.is_some().then(|| left_over(threads, &joined));
    let before = joined.len();
    choose(&mut joined, options, &subject)?;
    if let Some(limits) = &options.locals {
        for thread in joined.iter_mut().flat_map(|one| &mut one.threads) {
            if memory.met().is_none() {
                read_variables(&runtime, limits, thread);
            }
        }
    }
    if options.thread.is_none() && memory.met().is_none() {
        for interpreter in &mut joined {
            read_greenlets(&runtime, options, interpreter);
        }
    }
    Ok(Dump {
        subject,
        interpreters_left_out: before - joined.len(),
        interpreters: joined,
        without_python: without_python.filter(|_| options.thread.is_none()),
        blocked: options.block,
        read_from: if options.block {
            ReadFrom::Stopped
        } else {
            ReadFrom::Elsewhere
        },
        incomplete: memory.met().map(|bound| incomplete(bound, options.timeout)),
        elapsed: began.elapsed(),
        stacks: os.threads.is_some().then_some(runners.stacks),
        os_threads: os.threads,
    })
}

/// Which OS threads run the thread states.
#[derive(Debug, Default)]
struct Runners {
    /// By where the thread states lie.
    by_state: HashMap<Address, Runner>,
    stacks: Stacks,
}

impl Runners {
    fn find(memory: &impl Memory, found: &[InterpreterThreads], os: &mut OsView<'_>) -> Self {
        if os.threads.is_none() {
            return Self::default();
        }
        let threads = found.iter().flat_map(|one| &one.threads);
        let idents: Vec<u64> = threads.map(|thread| thread.state.thread_id).collect();
        let stacks = os.stacks(&idents);
        Self {
            by_state: runners(memory, found, stacks),
            stacks: stacks.clone(),
        }
    }

    fn of(&self, thread: &Thread) -> Option<&Runner> {
        self.by_state.get(&thread.state.address)
    }

    /// The OS thread that runs a thread state, of these.
    fn os<'a>(&self, thread: &Thread, os_threads: &'a [OsThread]) -> Option<&'a OsThread> {
        let tid = self.of(thread)?.tid()?;
        os_threads.iter().find(|os| os.tid == tid)
    }

    /// What `threading.get_ident()` gives in the thread that runs a thread state.
    fn ident(&self, thread: &Thread) -> Option<u64> {
        let Some(runner) = self.of(thread) else {
            return Some(thread.state.thread_id);
        };
        let stack = self.stacks.by_tid(runner.tid()?);
        let pthread = stack.and_then(|stack| stack.pthread);
        Some(pthread.unwrap_or(thread.state.thread_id))
    }

    /// Says of a thread what is of the one that runs it, and not of the one that made its state.
    fn rename(&self, thread: &mut Thread, names: &HashMap<u64, Text>, main_ident: u64) {
        let ident = self.ident(thread);
        thread.name = ident.and_then(|ident| names.get(&ident).cloned());
        thread.is_main = ident == Some(main_ident);
    }
}

/// The GIL (`struct _gil_runtime_state`, `Python/ceval_gil.h` or `Include/internal/pycore_gil.h`)
/// has no more bytes than this: who sleeps on a futex within it waits for it.
const GIL_SIZE: u64 = 256;

/// Whether a thread sleeps until it gets the GIL.
fn sleeps_for(gil: Address, activity: &OsActivity) -> bool {
    let place = activity
        .argument
        .filter(|_| activity.system_call.as_deref() == Some("futex"));
    let behind = place.and_then(|place| Address(place).since(gil));
    !gil.is_null() && behind.is_some_and(|behind| behind < GIL_SIZE)
}

/// The threads of which memory and the operating system do not say the same: it may be that they
/// were asked at different moments.
fn doubtful(found: &[InterpreterThreads], os_threads: &[OsThread], runners: &Runners) -> Vec<u32> {
    let doubtful = |thread: &Thread| {
        let os = runners.os(thread, os_threads)?;
        let activity = os.activity.as_ref().filter(|activity| !activity.steady)?;
        let differ = match thread.gil {
            Gil::Holds => !activity.running,
            Gil::Without | Gil::Unknown => activity.running,
            Gil::Waits => false,
        };
        differ.then_some(os.tid)
    };
    let threads = found.iter().flat_map(|interpreter| &interpreter.threads);
    threads.filter_map(doubtful).collect()
}

/// Joins what the interpreters say of their threads with what the operating system says.
fn join(
    found: Vec<InterpreterThreads>,
    os_threads: &[OsThread],
    runners: &Runners,
    subject: &Subject,
) -> Vec<InterpreterDump> {
    let os = |thread: &Thread| runners.os(thread, os_threads);
    let holders: HashMap<Address, u32> = found
        .iter()
        .flat_map(|interpreter| {
            let threads = interpreter.threads.iter();
            let holders = threads.filter(|thread| thread.gil == Gil::Holds);
            holders.filter_map(|thread| Some((interpreter.gil, os(thread)?.tid)))
        })
        .collect();
    let dump = |gil: Address, thread: Thread| {
        let os = os(&thread).cloned();
        let activity = os.as_ref().and_then(|os| os.activity.as_ref());
        let tid = os.as_ref().map(|os| os.tid);
        let holder = holders.get(&gil).copied();
        let doing = doing(Known {
            gil: match activity {
                Some(activity) if thread.gil != Gil::Holds && sleeps_for(gil, activity) => {
                    Gil::Waits
                }
                _ => thread.gil,
            },
            holder: holder.filter(|holder| Some(*holder) != tid),
            activity,
            unknown: match runners.of(&thread) {
                Some(Runner::Unknown(why)) => Some(why),
                _ => None,
            },
            free_threaded: subject.build.free_threaded == Some(true),
            has_frames: !thread.stack.frames.is_empty() || thread.stack.cut.is_some(),
            handles_exception: thread.handles_exception == Some(true),
            collects_garbage: thread.collects_garbage == Some(true),
        });
        ThreadDump {
            runner: runners.of(&thread).cloned(),
            ident: runners.ident(&thread),
            thread,
            os,
            doing,
            variables: Vec::new(),
        }
    };
    let mut joined: Vec<InterpreterDump> = found
        .into_iter()
        .map(|interpreter| {
            let gil = interpreter.gil;
            let newest_first = interpreter.threads.into_iter().map(|mut thread| {
                runners.rename(&mut thread, &interpreter.names, interpreter.main_ident);
                thread
            });
            InterpreterDump {
                address: interpreter.address,
                id: interpreter.id,
                collecting: interpreter.collecting,
                threads: newest_first.rev().map(|thread| dump(gil, thread)).collect(),
                greenlets: None,
                greenlet_variables: Vec::new(),
                defects: interpreter.defects,
            }
        })
        .collect();
    joined.sort_by_key(|interpreter| interpreter.id);
    joined
}

/// The OS threads that no interpreter knows.
fn left_over(threads: &[OsThread], joined: &[InterpreterDump]) -> Vec<OsThread> {
    let dumps = joined.iter().flat_map(|interpreter| &interpreter.threads);
    let taken: HashSet<u32> = dumps
        .filter_map(|dump| Some(dump.os.as_ref()?.tid))
        .collect();
    let left = threads.iter().filter(|thread| !taken.contains(&thread.tid));
    left.cloned().collect()
}

/// Leaves the interpreters and threads that were asked for.
fn choose(
    joined: &mut Vec<InterpreterDump>,
    options: &DumpOptions,
    subject: &Subject,
) -> Result<()> {
    if let Some(tid) = options.thread {
        let is_it = |dump: &ThreadDump| dump.os.as_ref().is_some_and(|os| os.tid == tid);
        let all: Vec<u32> = joined
            .iter()
            .flat_map(|interpreter| &interpreter.threads)
            .filter_map(|dump| Some(dump.os.as_ref()?.tid))
            .collect();
        for interpreter in joined.iter_mut() {
            interpreter.threads.retain(is_it);
        }
        joined.retain(|interpreter| !interpreter.threads.is_empty());
        if joined.is_empty() {
            return Err(no_such_thread(tid, subject, &all));
        }
    } else if !options.all_interpreters && joined.iter().any(|interpreter| interpreter.id == 0) {
        joined.retain(|interpreter| interpreter.id == 0);
    }
    Ok(())
}

/// How many threads an error names.
const NAMED_MAX: usize = 20;

pub(crate) fn no_such_thread(tid: u32, subject: &Subject, all: &[u32]) -> Error {
    let pid = subject.pid;
    // It may be one of another CPython's.
    let runtimes = subject.runtimes.as_deref().unwrap_or_default();
    let own = runtimes.iter().find(|one| one.address == subject.runtime);
    let whose = match own {
        Some(own) if runtimes.len() > 1 => format!("thread of CPython number {} in", own.number),
        _ => "Python thread of".to_owned(),
    };
    let more = if all.len() > NAMED_MAX { ", …" } else { "" };
    let named: Vec<String> = all.iter().take(NAMED_MAX).map(u32::to_string).collect();
    Error::new(
        ErrorKind::Usage,
        format!("thread {tid} is no {whose} process {pid}"),
        format!("its Python threads are: {}{more}", named.join(", ")),
        "choose one of them, by its number as `ps -T` shows it",
    )
}

/// Reads the variables of a thread's frames, of those that repeat others only once.
fn read_variables<M: Memory>(runtime: &Runtime<M>, limits: &ValueLimits, dump: &mut ThreadDump) {
    let frames = &dump.thread.stack.frames;
    let runs = repeats_around(frames, dump.thread.stack.gap);
    let places = runs
        .iter()
        .flatten()
        .flat_map(|run| run.start..run.start + run.length);
    let places: Vec<usize> = places.filter(|place| *place < frames.len()).collect();
    let mut variables = vec![None; frames.len()];
    let read = runtime.variables_of(&dump.thread, &places, limits);
    for (place, read) in places.iter().zip(read) {
        if let Some(variables) = variables.get_mut(*place) {
            *variables = Some(read);
        }
    }
    dump.variables = variables;
}

/// Reads an interpreter's suspended greenlets, and their frames' variables where these are asked
/// for.
fn read_greenlets<M: Memory>(
    runtime: &Runtime<M>,
    options: &DumpOptions,
    interpreter: &mut InterpreterDump,
) {
    let stacks = StackOptions {
        opcodes: options.opcodes,
        slots: options.locals.is_some(),
        names: false,
    };
    let greenlets = runtime.greenlets(interpreter.address, &stacks).transpose();
    if let (Some(Ok(found)), Some(limits)) = (&greenlets, &options.locals) {
        let of_greenlet = |greenlet: &Greenlet| {
            let frames = &greenlet.stack.frames;
            let runs = repeats_around(frames, greenlet.stack.gap);
            let mut variables = vec![None; frames.len()];
            for run in runs.iter().flatten() {
                let places = run.start..run.start + run.length;
                for (place, frame) in places.clone().zip(frames.get(places).unwrap_or_default()) {
                    if let Some(variables) = variables.get_mut(place) {
                        *variables = Some(runtime.variables(frame, limits));
                    }
                }
            }
            variables
        };
        interpreter.greenlet_variables = found.list.iter().map(of_greenlet).collect();
    }
    interpreter.greenlets = greenlets;
}

/// What it means that a bound was met.
pub(crate) fn incomplete(bound: Fault, timeout: Duration) -> Error {
    match bound {
        Fault::TimedOut => Error::new(
            ErrorKind::TimedOut,
            "not all could be read",
            format!("the time was up after {} s", timeout.as_secs_f64()),
            "allow more with --timeout",
        ),
        _ => Error::new(
            ErrorKind::Corrupt,
            "not all could be read",
            format!("it would be more than {} MiB", BYTES_MAX >> 20),
            "ask for less: one thread with --thread, or no --locals",
        ),
    }
}

#[cfg(test)]
#[path = "dump_tests.rs"]
mod tests;
