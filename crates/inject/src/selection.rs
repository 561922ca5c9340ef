//! Which interpreters and which thread states a script is meant for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use invivo_cpython::{Runner, Runtime, StackOptions};
use invivo_model::{Address, Error, ErrorKind, Gil, Interpreter, Result, Text, ThreadState};
use invivo_process::{Memory, Stacks, Target, Thread};

/// How often threads are looked at that run on, and so change what tells who they are while it is
/// read; and how long it takes from one look to the next.
const LOOKS: usize = 8;
const PAUSE: Duration = Duration::from_millis(2);

/// Which thread shall run the script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThreadChoice {
    /// The interpreter's main thread.
    #[default]
    Main,
    /// The thread with this number, as the caller's `ps -T` shows it.
    Tid(u32),
    /// The one that can run it soonest.
    Any,
    /// Each of them, one after the other.
    All,
}

/// In which interpreter the script shall run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterpreterChoice {
    /// The one with this id; 0 is the main one.
    Id(i64),
    /// Each of them.
    All,
}

impl Default for InterpreterChoice {
    fn default() -> Self {
        Self::Id(0)
    }
}

/// Which interpreters and threads of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Which interpreters.
    pub interpreter: InterpreterChoice,
    /// Which of their threads.
    pub thread: ThreadChoice,
}

impl Selection {
    /// Whether it asks for each of several threads, however many there turn out to be.
    pub fn is_several(self) -> bool {
        match self.thread {
            ThreadChoice::All => true,
            ThreadChoice::Any => false,
            ThreadChoice::Main | ThreadChoice::Tid(_) => self.interpreter == InterpreterChoice::All,
        }
    }

    /// The threads it names, in the order in which they are to be run or tried. There is at least
    /// one entry for each interpreter that it names.
    ///
    /// # Errors
    /// `Usage` where there is no such thread or interpreter, and whatever keeps the threads from
    /// being read.
    pub fn each<M: Memory>(self, target: &Target, runtime: &Runtime<M>) -> Result<Vec<Named>> {
        let places = resolve(target, runtime, self)?;
        // They only serve to recognize a thread by.
        let names = runtime.names().unwrap_or_default();
        let named = |place: Place| {
            let of = |chosen: &Chosen| {
                let key = (chosen.interpreter.address, chosen.ident);
                names.get(&key).cloned()
            };
            Named {
                interpreter: place.interpreter,
                name: place.chosen.as_ref().ok().and_then(of),
                tid: place.chosen.map(|chosen| chosen.tid),
            }
        };
        Ok(places.into_iter().map(named).collect())
    }
}

/// A thread that a selection names, or why an interpreter has none.
#[derive(Clone, Debug)]
pub struct Named {
    /// The interpreter's id.
    pub interpreter: i64,
    /// The thread, as the caller's `ps -T` shows it.
    pub tid: Result<u32>,
    /// What `threading` calls it, where it has a name there.
    pub name: Option<Text>,
}

/// A thread that was chosen.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) interpreter: Arc<Interpreter>,
    /// Its state as it was read.
    pub(crate) thread: ThreadState,
    pub(crate) tid: u32,
    /// What `threading` and the C library know that thread by. (The thread state has the number of
    /// the thread that made it.)
    pub(crate) ident: u64,
    /// Whether it is proven that this thread runs the state; else the thread made it, and nothing
    /// speaks against it.
    pub(crate) is_proven: bool,
    pub(crate) reason: &'static str,
}

impl Chosen {
    /// Whether pending calls of the main interpreter are its to make.
    ///
    /// # Errors
    /// Where that can't be read.
    pub(crate) fn is_main<M: Memory>(&self, runtime: &Runtime<M>) -> Result<bool> {
        Ok(self.interpreter.id == 0 && self.ident == runtime.main_thread_id()?)
    }
}

/// What a selection comes to in one interpreter: a thread, or why there is none.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) interpreter: i64,
    pub(crate) chosen: Result<Chosen>,
}

/// The one thread that `selection` names; of several the first.
pub(crate) fn choose<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    selection: Selection,
) -> Result<Chosen> {
    let mut failed = None;
    for place in resolve(target, runtime, selection)? {
        match place.chosen {
            Ok(chosen) => return Ok(chosen),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| Error::internal("a selection came to nothing")))
}

/// Every thread that `selection` names, in the order in which they are to be tried or run: there
/// is at least one place for each interpreter that it names, and at most one for each of an
/// interpreter's OS threads.
pub(crate) fn resolve<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    selection: Selection,
) -> Result<Vec<Place>> {
    for _ in 0..LOOKS {
        let view = View::read(target, runtime)?;
        let places = view.resolve(selection);
        let is_whole = |places: &Vec<Place>| places.iter().all(|place| place.chosen.is_ok());
        // Of all threads one that is not known would be missing.
        let may_miss_one = selection.thread == ThreadChoice::All && view.is_unsure();
        if places.as_ref().is_ok_and(is_whole) && !may_miss_one {
            return places;
        }
        std::thread::sleep(PAUSE);
    }
    View::read(target, runtime)?.resolve(selection)
}

impl Place {
    fn new(interpreter: &Interpreter, chosen: Result<Chosen>) -> Self {
        Self {
            interpreter: interpreter.id,
            chosen,
        }
    }
}

/// The interpreters of a target, their threads, and the OS threads that these are.
struct View<'a, M> {
    target: &'a Target,
    runtime: &'a Runtime<M>,
    /// By their ids.
    interpreters: Vec<Arc<Interpreter>>,
    os_threads: Vec<Thread>,
    stacks: Stacks,
    /// Who runs each thread state, by where that lies.
    runners: HashMap<Address, Runner>,
}

impl<'a, M: Memory> View<'a, M> {
    fn read(target: &'a Target, runtime: &'a Runtime<M>) -> Result<Self> {
        let os_threads = target.threads()?;
        let mut interpreters = runtime.interpreters()?.list;
        interpreters.sort_by_key(|one| one.id);
        let stacks = target.stacks(&idents(&interpreters))?;
        let runners = runtime.runners(&interpreters, &stacks)?;
        Ok(Self {
            target,
            runtime,
            interpreters: interpreters.into_iter().map(Arc::new).collect(),
            os_threads,
            stacks,
            runners,
        })
    }

    fn resolve(&self, selection: Selection) -> Result<Vec<Place>> {
        let interpreters = self.interpreters(selection.interpreter)?;
        Ok(match selection.thread {
            ThreadChoice::Main => {
                let main = |one: &Arc<Interpreter>| Place::new(one, self.main_thread(one));
                interpreters.into_iter().map(main).collect()
            }
            ThreadChoice::Tid(tid) => self.by_tid(&interpreters, tid)?,
            ThreadChoice::All => {
                let all = |one| self.all_of(one);
                interpreters.into_iter().flat_map(all).collect()
            }
            ThreadChoice::Any => self.soonest(&interpreters)?,
        })
    }

    /// Whether it was not found out of some thread state who runs it.
    fn is_unsure(&self) -> bool {
        let mut runners = self.runners.values();
        runners.any(|runner| matches!(runner, Runner::Unknown(_)))
    }

    /// Why no thread that lives is known to run a thread state.
    fn obstacle(&self, thread: &ThreadState) -> String {
        match self.runners.get(&thread.address) {
            Some(Runner::Unknown(why)) => {
                format!(
                    "which thread runs its thread state {} is not known: {why}",
                    thread.address
                )
            }
            Some(Runner::Proven(tid) | Runner::Maker(tid)) => {
                format!("thread {tid}, which ran it, has ended")
            }
            None => format!("its thread state {} has just begun", thread.address),
        }
    }

    fn lives(&self, tid: u32) -> bool {
        let mut threads = self.os_threads.iter().filter(|thread| thread.tid == tid);
        threads.any(|thread| !matches!(thread.state, Some('Z' | 'X')))
    }

    fn interpreters(&self, choice: InterpreterChoice) -> Result<Vec<&Arc<Interpreter>>> {
        let InterpreterChoice::Id(id) = choice else {
            return Ok(self.interpreters.iter().collect());
        };
        if let Some(interpreter) = self.interpreters.iter().find(|one| one.id == id) {
            return Ok(vec![interpreter]);
        }
        let ids = self.interpreters.iter().map(|one| one.id.to_string());
        Err(Error::new(
            ErrorKind::Usage,
            format!("process {} has no interpreter {id}", self.target.pid()),
            format!("its interpreters are: {}", some_of(ids)),
            "name one of them with --interpreter; 0 is the main one",
        ))
    }

    fn chosen(
        &self,
        interpreter: &Arc<Interpreter>,
        thread: &ThreadState,
        reason: &'static str,
    ) -> Option<Chosen> {
        let runner = self.runners.get(&thread.address)?;
        let tid = runner.tid().filter(|tid| self.lives(*tid))?;
        let pthread = self.stacks.by_tid(tid).and_then(|stack| stack.pthread);
        Some(Chosen {
            interpreter: Arc::clone(interpreter),
            thread: thread.clone(),
            tid,
            ident: pthread.unwrap_or(thread.thread_id),
            is_proven: matches!(runner, Runner::Proven(_)),
            reason,
        })
    }

    /// The threads of an interpreter that are known to run in a living OS thread. Of an OS thread
    /// with several states in it the newest is taken of those that it is in.
    fn threads_of(&self, interpreter: &Arc<Interpreter>, reason: &'static str) -> Vec<Chosen> {
        let mut seen = HashSet::new();
        let threads = interpreter.threads.iter();
        let mut chosen: Vec<Chosen> = threads
            .filter_map(|thread| self.chosen(interpreter, thread, reason))
            .collect();
        chosen.sort_by_key(|chosen| !chosen.is_proven);
        chosen.retain(|chosen| seen.insert(chosen.tid));
        chosen
    }

    fn by_tid(&self, interpreters: &[&Arc<Interpreter>], tid: u32) -> Result<Vec<Place>> {
        let found: Vec<Place> = interpreters
            .iter()
            .flat_map(|one| self.threads_of(one, "--thread"))
            .filter(|chosen| chosen.tid == tid)
            .map(Place::from)
            .collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let exists = self.os_threads.iter().any(|thread| thread.tid == tid);
        let mut threads = interpreters.iter().flat_map(|one| &one.threads);
        let is_unknown = |thread: &&ThreadState| {
            let runner = self.runners.get(&thread.address);
            matches!(runner, Some(Runner::Unknown(_)))
        };
        if let Some(unknown) = threads.find(is_unknown).filter(|_| exists) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "it is not known what Python thread {tid} of process {} runs",
                    self.target.pid()
                ),
                format!("none that is known, and {}", self.obstacle(unknown)),
                format!(
                    "nothing was done; try again, or name another thread with --thread: {}",
                    self.listed(interpreters)
                ),
            ));
        }
        let (within, why) = match interpreters {
            [one] => (
                format!("in interpreter {}", one.id),
                "no thread state of that interpreter belongs to it",
            ),
            _ => (
                "in any interpreter".to_owned(),
                "no thread state belongs to it",
            ),
        };
        Err(Error::new(
            ErrorKind::Usage,
            format!(
                "thread {tid} of process {} runs no Python {within}",
                self.target.pid()
            ),
            if exists {
                why.to_owned()
            } else {
                format!("the process has no thread {tid}")
            },
            format!(
                "name one of its threads with --thread: {}",
                self.listed(interpreters)
            ),
        ))
    }

    fn all_of(&self, interpreter: &Arc<Interpreter>) -> Vec<Place> {
        let threads = self.threads_of(interpreter, "--thread all");
        if threads.is_empty() {
            return vec![Place::new(interpreter, Err(self.idle(interpreter)))];
        }
        threads.into_iter().map(Place::from).collect()
    }

    /// The threads by how soon they can be expected to run a script: first who runs Python now.
    fn soonest(&self, interpreters: &[&Arc<Interpreter>]) -> Result<Vec<Place>> {
        let known = self.runtime.threads(&StackOptions::default())?;
        let known: HashMap<Address, (Gil, bool)> = known
            .iter()
            .flat_map(|one| &one.threads)
            .map(|thread| (thread.state.address, (thread.gil, thread.is_main)))
            .collect();
        let running: HashSet<u32> = self
            .os_threads
            .iter()
            .filter(|thread| thread.state == Some('R'))
            .map(|thread| thread.tid)
            .collect();
        let mut candidates: Vec<(u8, Place)> = Vec::new();
        for interpreter in interpreters {
            for mut chosen in self.threads_of(interpreter, "") {
                let (gil, is_main) = known
                    .get(&chosen.thread.address)
                    .copied()
                    .unwrap_or((Gil::Unknown, false));
                let rank;
                (rank, chosen.reason) = match gil {
                    Gil::Holds => (0, "it runs Python now"),
                    Gil::Waits => (1, "it waits for its turn to run Python"),
                    _ if running.contains(&chosen.tid) => (1, "it runs now"),
                    _ if is_main => (2, "no other runs now, and it is the main thread"),
                    _ => (3, "none of the threads runs now"),
                };
                candidates.push((rank, chosen.into()));
            }
        }
        candidates.sort_by_key(|(rank, _)| *rank);
        let places: Vec<Place> = candidates.into_iter().map(|(_, place)| place).collect();
        match interpreters.first() {
            Some(first) if places.is_empty() => Err(self.idle(first)),
            _ => Ok(places),
        }
    }

    /// The main thread, by what the target says of itself; no guess where it says nothing.
    fn main_thread(&self, interpreter: &Arc<Interpreter>) -> Result<Chosen> {
        let (thread, reason) = match interpreter.main_thread {
            Some(address) if !address.is_null() => {
                let of_it = |thread: &&ThreadState| thread.address == address;
                let thread = interpreter.threads.iter().find(of_it);
                let why = || format!("its thread state {address} is not in the interpreter's list");
                (
                    thread.ok_or_else(|| self.main_not_found(why()))?,
                    "it runs __main__",
                )
            }
            _ if interpreter.threads.is_empty() => return Err(self.idle(interpreter)),
            told => self.initial_thread(interpreter, told.is_some())?,
        };
        let chosen = self.chosen(interpreter, thread, reason);
        chosen.ok_or_else(|| self.not_to_be_asked(interpreter, thread))
    }

    /// The main thread where the target does not name it. Embedded Python has no thread that
    /// "runs `__main__`", and versions without that notion name none: there the thread that
    /// initialized Python is the main one.
    fn initial_thread<'t>(
        &self,
        interpreter: &'t Arc<Interpreter>,
        names_main: bool,
    ) -> Result<(&'t ThreadState, &'static str)> {
        let initial = self.runtime.main_thread_id()?;
        let of_it = |thread: &&ThreadState| self.is_of(thread, initial);
        let first = interpreter.threads.iter().find(of_it).or_else(|| {
            // Its thread has ended, or what it runs is not known: that is to be said.
            let mut threads = interpreter.threads.iter().rev();
            let is_lost = |thread: &&ThreadState| self.chosen(interpreter, thread, "").is_none();
            threads.find(|thread| thread.thread_id == initial && is_lost(thread))
        });
        match (first, names_main) {
            (Some(thread), false) if interpreter.id == 0 => {
                Ok((thread, "Python was initialized in it"))
            }
            (Some(thread), true) if interpreter.id == 0 && !self.has_finished(thread) => {
                Ok((thread, "Python is embedded, and this thread initialized it"))
            }
            _ => match interpreter.threads.as_slice() {
                [only] if !names_main && interpreter.id != 0 => {
                    Ok((only, "it is the interpreter's only thread"))
                }
                _ => Err(self.no_main(interpreter, names_main)),
            },
        }
    }

    /// Whether a thread state runs in the thread that the C library knows by `ident`.
    fn is_of(&self, thread: &ThreadState, ident: u64) -> bool {
        let runner = self.runners.get(&thread.address).and_then(Runner::tid);
        let Some(tid) = runner.filter(|tid| self.lives(*tid)) else {
            return false;
        };
        let pthread = self.stacks.by_tid(tid).and_then(|stack| stack.pthread);
        pthread.unwrap_or(thread.thread_id) == ident
    }

    fn not_to_be_asked(&self, interpreter: &Arc<Interpreter>, thread: &ThreadState) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "the main thread of interpreter {} of process {} can't run a script",
                interpreter.id,
                self.target.pid()
            ),
            self.obstacle(thread),
            format!(
                "nothing was done; choose a thread with --thread: {}",
                self.listed(&[interpreter])
            ),
        )
    }

    /// Whether this main thread has left `__main__` and waits in `threading._shutdown`.
    fn has_finished(&self, thread: &ThreadState) -> bool {
        let function = self.runtime.thread_top_function(thread).ok().flatten();
        function.is_some_and(|function| {
            function.qualname.text == "_shutdown"
                && function.filename.text.ends_with("threading.py")
        })
    }

    fn no_main(&self, interpreter: &Arc<Interpreter>, names_main: bool) -> Error {
        let pid = self.target.pid();
        let (what, why) = match (interpreter.id, names_main) {
            (0, true) => (
                format!("the main thread of process {pid} has finished"),
                "it runs __main__ no more and only waits for the other threads",
            ),
            (0, false) => (
                format!("the main thread of process {pid} has finished"),
                "the thread that Python was initialized in runs Python no more",
            ),
            (id, true) => (
                format!("interpreter {id} of process {pid} has no main thread"),
                "none of its threads runs a __main__ of its own",
            ),
            (id, false) => (
                format!("interpreter {id} of process {pid} names no main thread"),
                "this version keeps none, and several threads run in it",
            ),
        };
        let threads = self.listed(&[interpreter]);
        let remedy = format!("choose a thread with --thread: {threads}");
        Error::new(ErrorKind::Unsupported, what, why, remedy)
    }

    fn main_not_found(&self, why: String) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!(
                "the main thread of process {} could not be found",
                self.target.pid()
            ),
            why,
            "try again, or name a thread with --thread",
        )
    }

    fn idle(&self, interpreter: &Interpreter) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "interpreter {} of process {} is idle",
                interpreter.id,
                self.target.pid()
            ),
            match interpreter.threads.first() {
                Some(thread) => self.obstacle(thread),
                None => "no thread runs in it, so nothing could run a script".to_owned(),
            },
            "choose another with --interpreter, or wait until a thread enters it",
        )
    }

    fn listed(&self, interpreters: &[&Arc<Interpreter>]) -> String {
        let threads = interpreters.iter().flat_map(|one| self.threads_of(one, ""));
        some_of(threads.map(|chosen| chosen.tid.to_string()))
    }
}

impl From<Chosen> for Place {
    fn from(chosen: Chosen) -> Self {
        Self {
            interpreter: chosen.interpreter.id,
            chosen: Ok(chosen),
        }
    }
}

/// The numbers that the thread states of these interpreters name threads by.
pub(crate) fn idents(interpreters: &[Interpreter]) -> Vec<u64> {
    let states = interpreters.iter().flat_map(|one| &one.threads);
    states.map(|state| state.thread_id).collect()
}

/// At most this many are named in a message.
const LISTED: usize = 16;

fn some_of(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.take(LISTED + 1).collect();
    if names.len() > LISTED {
        names.truncate(LISTED);
        names.push("…".into());
    }
    if names.is_empty() {
        "it has none".into()
    } else {
        names.join(", ")
    }
}
