//! asyncio's tasks: which there are, where each stands, and who waits for whom.

mod chain;
mod classes;
mod fields;
mod found;
mod lineage;
mod links;
mod objects;
mod pages;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use invivo_model::{Address, Defect, Result, Stack, Task, TaskState, Tasks, Text, Trust, Waited};
use invivo_process::{Fault, Memory};

use crate::fields::fault;
use crate::layout::asyncio::AsyncioDebug;
use crate::layout::{AsyncioLayout, Layout, TaskLayout};
use crate::runtime::Runtime;

use chain::{Chain, Standing};
use classes::{Class, Native};
use fields::Fields;
use found::{Found, Met};
pub use lineage::{Kin, Lineage};
use links::Party;
use pages::Pages;

const WHAT: &str = "cannot list the tasks";
/// Tasks that are looked at together.
const AT_ONCE: usize = 2048;

/// A task that goes on while it is looked at is looked at again this often.
const ATTEMPTS: usize = 4;

/// What it takes to find tasks, beside memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskOptions {
    /// Where the target's `_asyncio` keeps its tasks, as [`locate_asyncio`](crate::locate_asyncio)
    /// finds it. Where that is not known, it is supposed to be as in release builds, and held
    /// against memory.
    pub asyncio: Option<AsyncioDebug>,
}

impl<M: Memory> Runtime<M> {
    /// All tasks of all interpreters: those of every thread, native ones and those of Python code.
    ///
    /// The target runs on meanwhile. What can't be read as it should, or changes too fast, stands
    /// among the defects; what is missing where time or bytes ran out does too.
    ///
    /// # Errors
    ///
    /// Those of [`Runtime::interpreters`].
    pub fn tasks(&self, options: &TaskOptions) -> Result<Tasks> {
        let pages = Pages::new(&self.memory);
        let mut look = Look::new(self, pages, options);
        let found = look.find()?;
        let tasks = look.all(found);
        match look.memory().met() {
            Some(met @ (Fault::Gone | Fault::Refused)) => Err(fault(WHAT, met)),
            _ => Ok(tasks),
        }
    }
}

/// A look at the tasks of a process. Reads each page of its memory once, as far as that goes.
struct Look<'a, M> {
    /// Reads memory as it is now.
    fresh: &'a Runtime<M>,
    /// Reads pages that are kept.
    runtime: Runtime<Pages<'a, M>>,
    /// Where tasks keep what.
    task: TaskLayout,
    /// Where states keep what asyncio does, if they do, and whether that is only supposed.
    states: Option<(AsyncioLayout, bool)>,
    classes: RefCell<HashMap<Address, Rc<Class>>>,
    /// The stacks of threads that run tasks, by their place among the threads found.
    stacks: HashMap<usize, Stack>,
    /// In which of these stacks, and how deep in it, a frame is.
    places: HashMap<Address, (usize, usize)>,
    /// Frames that may still be read.
    frames: usize,
    /// Whether the coroutines of tasks that run are followed into their threads' stacks.
    enters_threads: bool,
    defects: Vec<Defect>,
}

/// A task, and what of it matters to the others.
struct Seen {
    task: Task,
    party: Party,
}

impl<'a, M: Memory> Look<'a, M> {
    fn new(fresh: &'a Runtime<M>, pages: Pages<'a, M>, options: &TaskOptions) -> Self {
        let known = &fresh.layout.task;
        let supposed = options.asyncio.is_none();
        // Versions whose tasks have no links have no lists of them either.
        let asyncio = options
            .asyncio
            .or_else(|| AsyncioDebug::of_release(fresh.version()))
            .filter(|_| known.links.is_some());
        Self {
            fresh,
            runtime: fresh.with_memory(pages),
            task: asyncio.map_or_else(|| known.clone(), |debug| debug.task(known)),
            states: asyncio.map(|debug| (debug.states(), supposed)),
            classes: RefCell::default(),
            stacks: HashMap::new(),
            places: HashMap::new(),
            frames: fresh.limits.coroutines,
            enters_threads: true,
            defects: Vec::new(),
        }
    }

    fn memory(&self) -> &Pages<'a, M> {
        &self.runtime.memory
    }

    fn layout(&self) -> &Layout {
        &self.runtime.layout
    }

    /// Looks at every task found.
    fn all(&mut self, mut found: Found) -> Tasks {
        let mut seen = Vec::with_capacity(found.tasks.len());
        for group in std::mem::take(&mut found.tasks).chunks(AT_ONCE) {
            seen.extend(self.group(group, &mut found));
        }
        let links = self.link(&mut seen);
        if let Some(met @ (Fault::TimedOut | Fault::Exhausted)) = self.memory().met() {
            self.defect(
                self.runtime.address(),
                &format!("not all of the tasks could be read: {met}"),
            );
        }
        Tasks {
            list: seen.into_iter().map(|seen| seen.task).collect(),
            futures: links.futures,
            links: links.origin,
            defects: std::mem::take(&mut self.defects),
        }
    }

    /// Looks at some tasks, again at those that change meanwhile. Those that are no more are left
    /// out.
    fn group(&mut self, group: &[Met], found: &mut Found) -> Vec<Seen> {
        let mut places: Vec<Option<Seen>> = Vec::new();
        places.resize_with(group.len(), || None);
        let mut open: Vec<_> = (0..group.len()).zip(group).collect();
        for attempt in 1..=ATTEMPTS {
            let addresses: Vec<_> = open.iter().map(|(_, met)| met.address).collect();
            let size = self.task_size();
            let tasks = || addresses.iter().map(|address| (*address, size));
            self.memory().prepare(tasks());
            let fields = self.fields(&addresses);
            self.prepare(&fields);
            let mut changing = Vec::new();
            let before = self.identities(&fields);
            for (((place, met), fields), before) in open.iter().zip(fields).zip(&before) {
                let name = before.as_ref().and_then(|before| before.name.clone());
                let seen = fields.map(|fields| self.look_at(met, fields, name, found));
                if let Some(place) = places.get_mut(*place) {
                    *place = seen;
                }
            }
            // What was read of a task is of one moment if it is still as it was before.
            self.memory().forget();
            self.memory().prepare(tasks());
            let now = self.fields(&addresses);
            let now = self.identities(&now);
            let both = before.into_iter().zip(now);
            for ((place, met), (before, now)) in open.into_iter().zip(both) {
                let lives = before.as_ref().is_none_or(|before| before.name_lives);
                if lives && before == now {
                    continue;
                }
                if attempt == ATTEMPTS
                    && let Some(place) = places.get_mut(place)
                {
                    *place = place.take().and_then(|seen| seen.doubted(before?, now?));
                }
                changing.push((place, met));
            }
            open = changing;
            if open.is_empty() {
                break;
            }
        }
        places.into_iter().flatten().collect()
    }

    fn identities(&self, fields: &[Option<Fields>]) -> Vec<Option<Identity>> {
        let size = self.object_size();
        let names = fields.iter().flatten().map(|fields| (fields.name, size));
        self.memory().prepare(names);
        let identity = |fields: &Option<Fields>| {
            let fields = fields.as_ref()?;
            let mut head = [0; 8];
            // One that can't be read is as good as another.
            self.memory()
                .read(fields.name, &mut head)
                .unwrap_or_default();
            let lives = self.layout().counts_references(&head);
            Some(Identity {
                name_lives: lives || fields.name.is_null(),
                done: fields.done,
                objects: [
                    fields.event_loop,
                    fields.waiter,
                    fields.coroutine,
                    fields.name,
                ],
                name: self.name(fields.name),
            })
        };
        fields.iter().map(identity).collect()
    }

    /// Reads what these tasks point to.
    fn prepare(&self, fields: &[Option<Fields>]) {
        let coroutine = self.coroutine_size();
        let object = self.object_size();
        let wanted = fields.iter().flatten().flat_map(|fields| {
            [
                (fields.coroutine, coroutine),
                (fields.name, object),
                (fields.waiter, object),
            ]
        });
        self.memory().prepare(wanted);
    }

    fn look_at(
        &mut self,
        met: &Met,
        fields: Fields,
        name: Option<Text>,
        found: &mut Found,
    ) -> Seen {
        let mut chain = self.chain(fields.coroutine);
        let state = self.state(met, &fields, &chain, found);
        let thread = self.thread_of(met, fields.event_loop, found);
        if state == TaskState::Running && self.enters_threads {
            let thread = found
                .running
                .get(&met.address)
                .copied()
                .flatten()
                .or(thread);
            self.complete(&mut chain, thread, met.interpreter, found);
        }
        let waits_for = self.waited(fields.waiter);
        let state_of = thread.and_then(|index| found.threads.get(index));
        let state_of = state_of.map(|(_, thread)| thread);
        Seen {
            task: Task {
                address: met.address,
                name,
                state,
                thread: state_of.map_or(Address::NULL, |thread| thread.address),
                native_id: state_of
                    .map(|thread| thread.native_id)
                    .filter(|number| *number != 0),
                interpreter: met.interpreter,
                event_loop: fields.event_loop,
                coroutines: chain.stack,
                waits_for,
                awaited_by: Vec::new(),
            },
            party: fields.party,
        }
    }

    /// Where a task stands: its coroutine knows best.
    fn state(&self, met: &Met, fields: &Fields, chain: &Chain, found: &Found) -> TaskState {
        if fields.done == Some(true) {
            return TaskState::Done;
        }
        if found.running.contains_key(&met.address) {
            return TaskState::Running;
        }
        match (fields.done, chain.standing) {
            (_, Some(Standing::Executing)) => TaskState::Running,
            (_, Some(Standing::Created)) if fields.waiter.is_null() => TaskState::Created,
            (None, _) => TaskState::Unknown,
            // A coroutine that is none of the interpreter's own says nothing of itself.
            (Some(_), _) => TaskState::Waiting,
        }
    }

    /// Which of the threads found the task's event loop runs in.
    fn thread_of(&self, met: &Met, event_loop: Address, found: &mut Found) -> Option<usize> {
        if let Some(thread) = found.loops.get(&event_loop) {
            return *thread;
        }
        let number = self.attribute(event_loop, "_thread_id");
        let number = number.and_then(|number| self.integer(number));
        let by_loop = number.and_then(|number| found.thread(met.interpreter, number));
        let thread = by_loop.or(met.thread);
        found.loops.insert(event_loop, thread);
        thread
    }

    fn waited(&self, waiter: Address) -> Option<Waited> {
        if waiter.is_null() {
            return None;
        }
        let class = self.class_of(waiter);
        Some(Waited {
            address: waiter,
            class: class.as_ref().map(|class| class.short_name()),
            is_task: class.is_some_and(|class| class.native == Some(Native::Task)),
        })
    }

    /// A task's name: what it was called, or its number.
    fn name(&self, object: Address) -> Option<Text> {
        let class = self.class_of(object)?;
        if class.is_int() {
            return Some(Text {
                text: format!("Task-{}", self.integer(object)?),
                truncated: false,
            });
        }
        self.runtime.name(object).ok()
    }
}

/// What changes when a task goes on, or when another takes its place: what it points to, and its
/// name, since tasks that come and go take the same places again and again.
#[derive(PartialEq, Eq)]
struct Identity {
    done: Option<bool>,
    objects: [Address; 4],
    name: Option<Text>,
    /// Whether the object that names it is still in use.
    name_lives: bool,
}

impl Seen {
    /// What is left of a task that went on while it was read.
    fn doubted(mut self, before: Identity, now: Identity) -> Option<Self> {
        if before.name != now.name || !before.name_lives {
            self.task.name = None;
        }
        for frame in &mut self.task.coroutines.frames {
            frame.trust = Trust::Torn;
        }
        Some(self)
    }
}
