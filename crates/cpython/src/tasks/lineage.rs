//! Which tasks threads are in, and who waits for those.

use std::collections::{HashMap, HashSet};

use invivo_model::{Address, Code, Result, Task, TaskState};
use invivo_process::Memory;

use super::found::Met;
use super::links::{Party, Waits};
use super::pages::Pages;
use super::{AT_ONCE, Look, TaskOptions};
use crate::layout::GeneratorFrame;
use crate::layout::common::{CO_ASYNC_GENERATOR, CO_COROUTINE, CO_ITERABLE_COROUTINE};
use crate::runtime::Runtime;

/// Tasks that wait for each other in a row, at most.
const MAX_GENERATIONS: usize = 256;

/// A task that a thread is in, and who waits for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lineage {
    /// The task itself, then one that waits for it, then one that waits for that, and so on. Of
    /// several that wait for the same one, it is the first by its address.
    pub kin: Vec<Kin>,
    /// Whether that is all: otherwise one went on meanwhile or could not be read, or there are more
    /// than are looked at.
    pub is_whole: bool,
}

/// A task among others that wait for each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Kin {
    /// The task. One that runs is not followed into its thread's stack.
    pub task: Task,
    /// How many other tasks wait for the same one.
    pub others: usize,
}

/// A task whose kin is not known yet.
struct Member {
    address: Address,
    others: usize,
}

impl Lineage {
    /// Whether frames of this code may be those of a task.
    pub fn may_begin_in(code: &Code) -> bool {
        code.flags & (CO_COROUTINE | CO_ITERABLE_COROUTINE | CO_ASYNC_GENERATOR) != 0
    }
}

impl<M: Memory> Runtime<M> {
    /// Of the frames at these addresses, which threads were found in, those that are the outermost
    /// ones of tasks; and the tasks.
    ///
    /// A task that has ended since is not found any more.
    ///
    /// # Errors
    ///
    /// Those of [`Runtime::interpreters`].
    pub fn lineages(
        &self,
        frames: &HashSet<Address>,
        options: &TaskOptions,
    ) -> Result<HashMap<Address, Lineage>> {
        let mut look = Look::new(self, Pages::new(&self.memory), options);
        look.enters_threads = false;
        look.lineages(frames)
    }
}

impl<M: Memory> Look<'_, M> {
    fn lineages(&mut self, frames: &HashSet<Address>) -> Result<HashMap<Address, Lineage>> {
        let mut found = self.find()?;
        let addresses: Vec<_> = found.tasks.iter().map(|met| met.address).collect();
        let size = self.task_size();
        self.memory()
            .prepare(addresses.iter().map(|address| (*address, size)));
        let fields = self.fields(&addresses);
        let coroutines = fields.iter().flatten().map(|fields| fields.coroutine);
        let size = self.coroutine_size();
        self.memory()
            .prepare(coroutines.map(|coroutine| (coroutine, size)));
        let both = || addresses.iter().copied().zip(&fields);
        let known = || both().filter_map(|(task, fields)| Some((task, fields.as_ref()?)));
        let parties: HashMap<_, _> = known().map(|(task, fields)| (task, fields.party)).collect();
        let mut weaving = self.weaving(known().map(|(task, fields)| Waits {
            task,
            waits_for: fields.waiter,
            is_native: fields.party.is_native,
        }));
        let mut lines = Vec::new();
        for (task, fields) in known() {
            let frame = self.frame_of(fields.coroutine);
            if let Some(frame) = frame.filter(|frame| frames.contains(frame)) {
                lines.push((frame, self.line(task, &parties, &mut weaving)));
            }
        }
        let members = lines.iter().flat_map(|(_, (members, _))| members);
        let wanted: HashSet<_> = members.map(|member| member.address).collect();
        let mut group = std::mem::take(&mut found.tasks);
        group.retain(|met| wanted.contains(&met.address));
        let tasks = self.seen(&group, &mut found);
        let lineages = lines
            .into_iter()
            .filter_map(|(frame, (members, whole))| Some((frame, kin(members, whole, &tasks)?)));
        Ok(lineages.collect())
    }

    /// A task, and who waits for it; and whether that is all.
    fn line(
        &mut self,
        task: Address,
        parties: &HashMap<Address, Party>,
        weaving: &mut super::links::Weaving,
    ) -> (Vec<Member>, bool) {
        let mut members = vec![Member {
            address: task,
            others: 0,
        }];
        let mut seen = HashSet::from([task]);
        let mut next = task;
        while members.len() < MAX_GENERATIONS {
            let party = parties.get(&next).copied().unwrap_or_default();
            let waiting = self.awaiting(next, party, weaving);
            let Some(first) = waiting.iter().min().copied() else {
                return (members, true);
            };
            // Tasks may wait for each other in a circle, and do so for good.
            if !seen.insert(first) {
                return (members, true);
            }
            members.push(Member {
                address: first,
                others: waiting.len() - 1,
            });
            next = first;
        }
        (members, false)
    }

    /// What is to be told of these tasks, as far as they are still there.
    fn seen(&mut self, group: &[Met], found: &mut super::Found) -> HashMap<Address, Task> {
        let mut tasks = HashMap::new();
        for group in group.chunks(AT_ONCE) {
            let seen = self.group(group, found).into_iter();
            tasks.extend(seen.map(|seen| (seen.task.address, seen.task)));
        }
        tasks
    }

    /// Where the frame of the coroutine lies that a task was made of.
    fn frame_of(&self, coroutine: Address) -> Option<Address> {
        let generator = self.generator(coroutine)?;
        match self.layout().generator.frame {
            GeneratorFrame::Embedded(at) => generator.offset(at),
            GeneratorFrame::Pointer(at) => {
                let frame = self.memory().read_pointer(generator.offset(at)?).ok()?;
                (!frame.is_null()).then_some(frame)
            }
        }
    }
}

/// The tasks of these addresses; `None` where the first one is no more what the thread was in.
fn kin(members: Vec<Member>, whole: bool, tasks: &HashMap<Address, Task>) -> Option<Lineage> {
    let count = members.len();
    let mut kin = Vec::with_capacity(count);
    for Member { address, others } in members {
        let Some(task) = tasks.get(&address) else {
            break;
        };
        if matches!(task.state, TaskState::Created | TaskState::Done) {
            break;
        }
        kin.push(Kin {
            task: task.clone(),
            others,
        });
    }
    // Whoever has no name was not read to its end: all have one.
    let named = kin.iter().all(|kin| kin.task.name.is_some());
    let is_whole = whole && kin.len() == count && named;
    (!kin.is_empty()).then_some(Lineage { kin, is_whole })
}
