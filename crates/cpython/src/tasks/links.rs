//! Who waits for whom.

use std::collections::{HashMap, HashSet, VecDeque};

use invivo_model::{Address, Links, Task};
use invivo_process::Memory;

use super::{Look, Seen};
use crate::layout::asyncio::CallbackLayout;

/// Awaiters of one task or future that are told.
const MAX_AWAITERS: usize = 16_384;
/// Callbacks of one future that are looked at.
const MAX_CALLBACKS: usize = 64;
/// Cells of one function that are looked at.
const MAX_CELLS: usize = 16;
/// How many times as many links, and as many futures, as tasks there may be.
const LINKS_PER_TASK: usize = 4;

/// The functions of `asyncio.tasks`, by their qualified names, that are called when one is done
/// for whom a future in their closure waits.
const ENDING: [&str; 4] = [
    "gather.<locals>._done_callback",
    "_gather.<locals>._done_callback",
    "shield.<locals>._inner_done_callback",
    "_wait.<locals>._on_completion",
];

/// What a task or future has to do with others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Party {
    pub(super) awaiters: Awaiters,
    pub(super) callbacks: Callbacks,
    /// Whether it is one of `_asyncio`'s, which keep links among themselves.
    pub(super) is_native: bool,
}

/// Who waits for a future, as it says itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Awaiters {
    /// Nobody, or it does not say.
    #[default]
    None,
    /// This one.
    One(Address),
    /// Those in this set.
    Set(Address),
}

/// What a future calls when it is done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Callbacks {
    /// The first one; null where there is none.
    pub(super) first: Address,
    /// The list of pairs of the others (or of all) and their contexts; null or `None` where there
    /// are none.
    pub(super) list: Address,
}

/// What is known of who waits for whom, beside what each task is told.
pub(super) struct Web {
    pub(super) futures: Vec<(Address, Vec<Address>)>,
    pub(super) origin: Links,
}

/// What a task waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    pub(super) task: Address,
    /// Null where it waits for nothing.
    pub(super) waits_for: Address,
    pub(super) is_native: bool,
}

/// What is being found out.
pub(super) struct Weaving {
    /// Whether tasks say themselves who waits for them.
    recorded: bool,
    tasks: HashSet<Address>,
    /// Who waits for what, as tasks say.
    waiters: HashMap<Address, Vec<Address>>,
    /// Which futures and tasks a callback ends the waiting of, by the callback.
    ends: HashMap<Address, Vec<Address>>,
    /// Whether there are tasks that are no native ones.
    mixed: bool,
    /// Links that may still be told.
    left: usize,
}

impl<M: Memory> Look<'_, M> {
    /// Tells every task who waits for it.
    pub(super) fn link(&mut self, seen: &mut [Seen]) -> Web {
        let waited = |task: &Task| task.waits_for.as_ref().map(|waited| waited.address);
        let waits = seen.iter().map(|Seen { task, party }| Waits {
            task: task.address,
            waits_for: waited(task).unwrap_or_default(),
            is_native: party.is_native,
        });
        let mut weaving = self.weaving(waits);
        for waited in seen
            .iter_mut()
            .filter_map(|seen| seen.task.waits_for.as_mut())
        {
            waited.is_task = weaving.tasks.contains(&waited.address);
        }
        let mut known = HashSet::new();
        let mut open = VecDeque::new();
        for Seen { task, party } in seen {
            task.awaited_by = self.awaiters(task.address, *party, &mut weaving);
            open.extend(task.awaited_by.iter().copied());
        }
        let mut futures = Vec::new();
        while let Some(future) = open.pop_front() {
            if weaving.tasks.contains(&future) || !known.insert(future) {
                continue;
            }
            let party = self.party(future).unwrap_or_default();
            let awaiters = self.awaiters(future, party, &mut weaving);
            open.extend(awaiters.iter().copied());
            futures.push((future, awaiters));
        }
        Web {
            futures,
            origin: if weaving.recorded {
                Links::Recorded
            } else {
                Links::Computed
            },
        }
    }

    /// What is to be known of all tasks before it can be told who waits for one.
    pub(super) fn weaving(&self, all: impl Iterator<Item = Waits> + Clone) -> Weaving {
        let recorded = self.task.links.is_some();
        let tasks: HashSet<_> = all.clone().map(|one| one.task).collect();
        let mut waiters: HashMap<_, Vec<_>> = HashMap::new();
        for one in all.clone().filter(|one| !one.waits_for.is_null()) {
            // Native ones say it themselves where the version has links.
            if !recorded || !one.is_native || tasks.contains(&one.waits_for) {
                waiters.entry(one.waits_for).or_default().push(one.task);
            }
        }
        Weaving {
            recorded,
            mixed: all.clone().any(|one| !one.is_native),
            left: tasks.len().saturating_mul(LINKS_PER_TASK).max(MAX_AWAITERS),
            tasks,
            waiters,
            ends: HashMap::new(),
        }
    }

    /// The tasks that wait for this one, directly or through futures that are no tasks.
    pub(super) fn awaiting(
        &mut self,
        task: Address,
        party: Party,
        weaving: &mut Weaving,
    ) -> Vec<Address> {
        let mut tasks = Vec::new();
        let mut seen = HashSet::new();
        let mut open = VecDeque::from(self.awaiters(task, party, weaving));
        while let Some(next) = open.pop_front() {
            if !seen.insert(next) {
                continue;
            }
            if weaving.tasks.contains(&next) {
                tasks.push(next);
                continue;
            }
            let party = self.party(next).unwrap_or_default();
            open.extend(self.awaiters(next, party, weaving));
        }
        tasks
    }

    /// Who waits for a task or future.
    fn awaiters(&mut self, address: Address, party: Party, weaving: &mut Weaving) -> Vec<Address> {
        let recorded = weaving.recorded;
        let most = MAX_AWAITERS.min(weaving.left);
        let mut awaiters = match party.awaiters {
            Awaiters::None => Vec::new(),
            Awaiters::One(awaiter) => vec![awaiter],
            Awaiters::Set(set) => match self.set_items(set, most) {
                Ok(members) if !members.torn => members.items,
                Ok(members) => {
                    self.defect(address, "who awaits it changes too fast");
                    members.items
                }
                Err(why) => {
                    self.defect(address, &format!("who awaits it can't be read: {why}"));
                    Vec::new()
                }
            },
        };
        awaiters.extend(weaving.waiters.get(&address).into_iter().flatten());
        if !recorded || !party.is_native {
            awaiters.extend(self.ended_by(party.callbacks, weaving));
        } else if weaving.mixed {
            // What native ones keep leaves out those of Python code.
            let mut ended = self.ended_by(party.callbacks, weaving);
            ended.retain(|future| weaving.waiters.contains_key(future));
            awaiters.extend(ended);
        }
        let mut seen = HashSet::new();
        awaiters.retain(|awaiter| seen.insert(*awaiter));
        if awaiters.len() > most {
            self.defect(address, "more await it than are told");
            awaiters.truncate(most);
        }
        weaving.left -= awaiters.len();
        awaiters
    }

    /// Whose waiting these callbacks end.
    fn ended_by(&self, callbacks: Callbacks, weaving: &mut Weaving) -> Vec<Address> {
        let pairs = self.items(callbacks.list, MAX_CALLBACKS);
        let listed = pairs
            .iter()
            .filter_map(|pair| self.items(*pair, 1).first().copied());
        let mut ended = Vec::new();
        for callback in [callbacks.first].into_iter().chain(listed) {
            if callback.is_null() {
                continue;
            }
            let ends = weaving.ends.entry(callback);
            let ends = ends.or_insert_with(|| self.ends(callback).unwrap_or_default());
            ended.extend(ends.iter().copied());
        }
        ended
    }

    /// Whose waiting a callback ends, if it is one of those by which asyncio lets one wait for
    /// others.
    fn ends(&self, callback: Address) -> Option<Vec<Address>> {
        let builtin = &self.layout().builtin;
        let pointer =
            |object: Address, offset| self.memory().read_pointer(object.offset(offset)?).ok();
        let class = self.class_of(callback)?;
        if class.is_builtin("function") {
            let name = self.function_name(callback)?;
            if !ENDING.contains(&name.as_str()) {
                return None;
            }
            let cells = self.items(
                pointer(callback, CallbackLayout::of(self.layout()).function_closure)?,
                MAX_CELLS,
            );
            let content = cells
                .iter()
                .filter_map(|cell| pointer(*cell, builtin.cell_value));
            let is_future = |object: &Address| self.is_future(*object);
            return Some(content.filter(is_future).collect());
        }
        if class.is_builtin("method") {
            let (function, this) = builtin.method;
            if self.function_name(pointer(callback, function)?)? != "TaskGroup._on_task_done" {
                return None;
            }
            let parent = self.attribute(pointer(callback, this)?, "_parent_task");
            return Some(parent.into_iter().collect());
        }
        if class.name == "functools.partial" {
            let (function, arguments) = CallbackLayout::of(self.layout()).partial;
            if self.function_name(pointer(callback, function)?)? != "_release_waiter" {
                return None;
            }
            return Some(self.items(pointer(callback, arguments)?, 1));
        }
        None
    }

    /// Whether the object is a future that is no task.
    fn is_future(&self, object: Address) -> bool {
        let class = self.class_of(object);
        class.is_some_and(|class| {
            class.native == Some(super::Native::Future)
                || (class.is_heap()
                    && ["Future", "_GatheringFuture"].contains(&class.name.as_str()))
        })
    }

    /// `__qualname__` of a function.
    fn function_name(&self, function: Address) -> Option<String> {
        let at = function.offset(self.layout().builtin.function_qualname)?;
        let name = self.memory().read_pointer(at).ok()?;
        Some(self.runtime.string(name).ok()?.text)
    }
}
