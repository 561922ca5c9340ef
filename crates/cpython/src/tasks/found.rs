//! Which tasks there are: those that states list, and those that asyncio's modules know.

use std::collections::{HashMap, HashSet};

use invivo_model::{Address, Defect, Interpreter, Result, ThreadState};
use invivo_process::{Memory, ReadRequest};

use super::Look;
use super::objects::Members;
use crate::fields::read_fields;
use crate::layout::asyncio::{MODULE_STATE, NODE_SIZE, module_state};
use crate::layout::{AsyncioLayout, TaskLinksLayout};

/// A list or set that changes while it is read is read again this often.
const ATTEMPTS: usize = 5;
/// The same of a list whose head says where it ends: an attempt is cheap.
const LIST_ATTEMPTS: usize = 12;
/// How many times as many entries of lists and sets as tasks may be looked at.
const ENTRIES_PER_TASK: usize = 8;
/// The names under which `asyncio.tasks` has known its tasks.
const SETS: [&str; 3] = ["_all_tasks", "_scheduled_tasks", "_eager_tasks"];
/// The dictionary from event loops to the tasks that they run.
const CURRENT: &str = "_current_tasks";

/// Which tasks there are, and what is known of them besides.
#[derive(Default)]
pub(super) struct Found {
    /// In the order in which they were met, each once.
    pub(super) tasks: Vec<Met>,
    /// All threads of all interpreters.
    pub(super) threads: Vec<(i64, ThreadState)>,
    /// The tasks that run, and in which of `threads`, where that is known.
    pub(super) running: HashMap<Address, Option<usize>>,
    /// In which of `threads` event loops run.
    pub(super) loops: HashMap<Address, Option<usize>>,
    /// Which of `threads` has which interpreter and `thread_id`; without an interpreter, the first
    /// one that has it in any.
    by_number: HashMap<(Option<i64>, u64), usize>,
    seen: HashSet<Address>,
    /// Entries of lists and sets that may still be looked at.
    left: usize,
}

/// A task as it was met.
pub(super) struct Met {
    pub(super) address: Address,
    /// The number of its interpreter.
    pub(super) interpreter: i64,
    /// Which of the threads lists it as its own.
    pub(super) thread: Option<usize>,
}

impl Found {
    /// Which of the threads has this `thread_id`: one of this interpreter, if there is one. The
    /// state of a thread that runs another interpreter for a moment may be that of the one which
    /// made that interpreter.
    pub(super) fn thread(&self, interpreter: i64, number: u64) -> Option<usize> {
        let own = self.by_number.get(&(Some(interpreter), number));
        own.or_else(|| self.by_number.get(&(None, number))).copied()
    }

    fn insert(&mut self, address: Address, interpreter: i64, thread: Option<usize>) {
        if self.seen.insert(address) {
            self.tasks.push(Met {
                address,
                interpreter,
                thread,
            });
        }
    }
}

/// What a thread state says of asyncio.
struct ThreadWords {
    running_loop: Address,
    running_task: Address,
    /// Where the head of its list lies.
    head: Address,
}

impl<M: Memory> Look<'_, M> {
    /// All tasks of all interpreters.
    pub(super) fn find(&mut self) -> Result<Found> {
        let interpreters = self.runtime.interpreters()?;
        self.defects.extend(interpreters.defects);
        let most = self.runtime.limits.tasks;
        let mut found = Found {
            left: most.saturating_mul(ENTRIES_PER_TASK),
            ..Found::default()
        };
        for interpreter in &interpreters.list {
            let first = found.threads.len();
            for thread in &interpreter.threads {
                let (number, index) = (thread.thread_id, found.threads.len());
                found
                    .by_number
                    .insert((Some(interpreter.id), number), index);
                found.by_number.entry((None, number)).or_insert(index);
                found.threads.push((interpreter.id, thread.clone()));
            }
            if let (Some(states), Some(links)) = (self.states(interpreter), self.task.links) {
                self.listed(interpreter, first, states, links, &mut found);
            }
            self.known_to_modules(interpreter, &mut found);
        }
        if found.tasks.len() > most {
            let next = found
                .tasks
                .get(most)
                .map_or(Address::NULL, |met| met.address);
            found.tasks.truncate(most);
            self.defect(next, "more tasks than are looked at");
        }
        Ok(found)
    }

    /// Where the states of this interpreter keep what asyncio does, if they keep it; what is only
    /// supposed is first held against the lists that have to be there.
    fn states(&mut self, interpreter: &Interpreter) -> Option<AsyncioLayout> {
        let (states, supposed) = self.states?;
        if !supposed {
            return Some(states);
        }
        let of_threads = interpreter
            .threads
            .iter()
            .map(|thread| thread.address.offset(states.thread_tasks_head));
        let own = interpreter.address.offset(states.interpreter_tasks_head);
        if of_threads
            .chain([own])
            .all(|head| head.is_some_and(|head| self.is_list(head)))
        {
            return Some(states);
        }
        // Without the module that lists them there, there are none.
        if self.module(interpreter, "_asyncio").is_some() {
            self.defect(
                interpreter.address,
                "where its states list tasks is not known: only those that asyncio's modules know \
                 are looked at",
            );
        }
        None
    }

    /// Whether the head of a list lies at `head`: both its neighbours point back to it.
    fn is_list(&self, head: Address) -> bool {
        let neighbours = self.node(head);
        neighbours.is_some_and(|(next, previous)| {
            let back = self.node(next).map(|(_, back)| back);
            let forth = self.node(previous).map(|(forth, _)| forth);
            back == Some(head) && forth == Some(head)
        })
    }

    /// The next and the previous node of the one at `at`.
    fn node(&self, at: Address) -> Option<(Address, Address)> {
        let mut bytes = [0; NODE_SIZE];
        self.memory().read(at, &mut bytes).ok()?;
        let (words, _) = bytes.as_chunks();
        let [next, previous] = words else { return None };
        let word = |bytes: &[u8; 8]| Address(u64::from_le_bytes(*bytes));
        Some((word(next), word(previous)))
    }

    /// The tasks that the states of an interpreter list. Its threads are those from `first` on.
    fn listed(
        &mut self,
        interpreter: &Interpreter,
        first: usize,
        states: AsyncioLayout,
        links: TaskLinksLayout,
        found: &mut Found,
    ) {
        for (index, thread) in interpreter.threads.iter().enumerate() {
            let index = first + index;
            let Some(words) = self.thread_words(thread, states) else {
                self.defect(thread.address, "its list of tasks can't be read");
                continue;
            };
            if !words.running_loop.is_null() {
                found.loops.insert(words.running_loop, Some(index));
                if !words.running_task.is_null() {
                    found.running.insert(words.running_task, Some(index));
                }
            }
            for task in self.list(words.head, links.node, &mut found.left) {
                found.insert(task, interpreter.id, Some(index));
            }
        }
        let head = interpreter.address.offset(states.interpreter_tasks_head);
        let head = head.unwrap_or(Address::NULL);
        for task in self.list(head, links.node, &mut found.left) {
            found.insert(task, interpreter.id, None);
        }
    }

    fn thread_words(&self, thread: &ThreadState, states: AsyncioLayout) -> Option<ThreadWords> {
        let fields = [(states.running_loop, 8), (states.running_task, 8)];
        let [running_loop, running_task] =
            read_fields(self.memory(), thread.address, fields).ok()?;
        Some(ThreadWords {
            running_loop: Address(running_loop),
            running_task: Address(running_task),
            head: thread.address.offset(states.thread_tasks_head)?,
        })
    }

    /// The tasks in the list whose head lies at `head`. One that changes meanwhile is read again,
    /// in the end as far as it goes.
    fn list(&mut self, head: Address, node: u64, left: &mut usize) -> Vec<Address> {
        let mut longest = Vec::new();
        let mut why = String::new();
        for _ in 0..LIST_ATTEMPTS {
            let (nodes, end) = self.walk(head, *left);
            *left -= nodes.len();
            let places: Vec<_> = nodes.iter().map(|node| (*node, NODE_SIZE)).collect();
            let tasks = nodes
                .into_iter()
                .filter_map(|at| at.0.checked_sub(node).map(Address));
            let tasks: Vec<_> = tasks.collect();
            match end {
                Ok(()) => return tasks,
                Err(reason) => why = reason,
            }
            if tasks.len() > longest.len() {
                longest = tasks;
            }
            self.memory().forget();
            // Most of them are still there: what is read by one call is nearly of one moment.
            self.memory()
                .prepare([(head, NODE_SIZE)].into_iter().chain(places));
        }
        self.defect(head, &format!("its list of tasks is not whole: {why}"));
        longest
    }

    /// The nodes of a list up to its end, or to where it can't be right and why.
    fn walk(&self, head: Address, most: usize) -> (Vec<Address>, Result<(), String>) {
        let mut nodes = Vec::new();
        let mut seen = HashSet::new();
        let Some((mut next, last)) = self.node(head) else {
            return (nodes, Err("its head can't be read".to_owned()));
        };
        let mut before = head;
        while next != head {
            if nodes.len() >= most {
                return (nodes, Err("it is longer than is looked at".to_owned()));
            }
            if !seen.insert(next) {
                return (nodes, Err(format!("it leads back to {next}")));
            }
            match self.node(next) {
                Some((following, previous)) if previous == before => {
                    nodes.push(next);
                    before = next;
                    next = following;
                }
                _ => return (nodes, Err(format!("it breaks off behind {before}"))),
            }
        }
        let whole = before == last;
        let changed = || "it changed meanwhile".to_owned();
        (nodes, whole.then_some(()).ok_or_else(changed))
    }

    /// The tasks that the modules `asyncio.tasks` and `_asyncio` of an interpreter know.
    fn known_to_modules(&mut self, interpreter: &Interpreter, found: &mut Found) {
        let Some(globals) = self
            .module(interpreter, "asyncio.tasks")
            .and_then(|module| {
                let at = module.offset(self.layout().builtin.module_dict)?;
                self.memory().read_pointer(at).ok()
            })
        else {
            return;
        };
        if let Some((_, true)) = self.states {
            self.defect(
                interpreter.address,
                "where it keeps its tasks is not said by any file that could be read: it is \
                 supposed to be as in release builds",
            );
        }
        let named = |name| self.runtime.dict_value(globals, name).ok().flatten();
        let mut sets: Vec<_> = SETS.into_iter().filter_map(named).collect();
        let current = named(CURRENT);
        sets.extend(self.sets_of_native_module(interpreter));
        for set in sets {
            for task in self.members(set, &mut found.left) {
                found.insert(task, interpreter.id, None);
            }
        }
        let current = current.and_then(|dict| self.runtime.dict_items(dict).ok());
        for (_, task) in current.map(|dict| dict.items).unwrap_or_default() {
            if self.is_task(task) {
                found.running.entry(task).or_default();
                found.insert(task, interpreter.id, None);
            }
        }
    }

    fn module(&self, interpreter: &Interpreter, name: &str) -> Option<Address> {
        let at = interpreter
            .address
            .offset(self.layout().interpreter.modules)?;
        let modules = self.memory().read_pointer(at).ok()?;
        self.runtime.dict_value(modules, name).ok().flatten()
    }

    /// The sets of tasks that are none of `_asyncio`'s own, which it keeps in its module state
    /// where it has no other list of them.
    fn sets_of_native_module(&self, interpreter: &Interpreter) -> Vec<Address> {
        let sets = || {
            let offset = module_state(self.runtime.version())?;
            let module = self.module(interpreter, "_asyncio")?;
            let state = module.offset(self.layout().builtin.module_dict + offset)?;
            let state = self.memory().read_pointer(state).ok()?;
            let mut bytes = [0; MODULE_STATE];
            let mut request = [ReadRequest::new(state, &mut bytes)];
            self.memory().read_many(&mut request).ok()?;
            let (words, _) = bytes.as_chunks();
            let words: Vec<_> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
            // The weak set of those that have begun by themselves stands before the set of those
            // that were begun eagerly.
            words.windows(2).find_map(|pair| {
                let [weak, eager] = pair else { return None };
                let (weak, eager) = (Address(*weak), Address(*eager));
                let is_pair = self.class_of(weak)?.name == "WeakSet"
                    && self.class_of(eager)?.is_builtin("set");
                is_pair.then(|| vec![weak, eager])
            })
        };
        sets().unwrap_or_default()
    }

    /// The tasks in a `set`, or in a `WeakSet`. One that changes meanwhile is read again; in the
    /// end all count that were seen.
    fn members(&mut self, set: Address, left: &mut usize) -> Vec<Address> {
        let mut all = Vec::new();
        let mut why = String::new();
        for _ in 0..ATTEMPTS {
            match self.read_members(set, left) {
                Ok((tasks, 0)) => return tasks,
                Ok((tasks, _)) => {
                    "it changes too fast".clone_into(&mut why);
                    all.extend(tasks);
                }
                Err(reason) => why = reason,
            }
            self.memory().forget();
        }
        self.defect(set, &format!("a set of tasks is not whole: {why}"));
        all
    }

    /// The tasks in a set, and how many members are none.
    fn read_members(
        &self,
        set: Address,
        left: &mut usize,
    ) -> Result<(Vec<Address>, usize), String> {
        let weak = self
            .class_of(set)
            .is_some_and(|class| class.name == "WeakSet");
        let data = if weak {
            self.attribute(set, "data")
                .ok_or("it has no attribute data")?
        } else {
            set
        };
        let Members { mut items, torn } = self.set_items(data, *left)?;
        if items.len() > *left {
            return Err("it has more members than are looked at".to_owned());
        }
        *left -= items.len();
        if weak {
            let object = self.layout().builtin.weakref_object;
            let at: Vec<_> = items
                .iter()
                .filter_map(|item| item.offset(object))
                .collect();
            self.memory().prepare(at.iter().map(|at| (*at, 8)));
            let objects = at.iter().map(|at| self.memory().read_pointer(*at));
            items = objects.map(Result::unwrap_or_default).collect();
        }
        let size = self.object_size();
        self.memory()
            .prepare(items.iter().map(|item| (*item, size)));
        let mut others = usize::from(torn);
        items.retain(|item| {
            let class = self.class_of(*item);
            // A weak reference to what is no more refers to `None`.
            let gone = class.as_ref().is_some_and(|class| class.is_none());
            let is_task = class.is_some_and(|class| class.may_be_task());
            others += usize::from(!gone && !is_task);
            is_task
        });
        Ok((items, others))
    }

    /// Whether there may be a task at this address.
    fn is_task(&self, object: Address) -> bool {
        self.class_of(object)
            .is_some_and(|class| class.may_be_task())
    }

    pub(super) fn defect(&mut self, address: Address, what: &str) {
        self.defects.push(Defect {
            address,
            what: what.to_owned(),
        });
    }
}
