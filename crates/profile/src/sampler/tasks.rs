//! The asyncio tasks that threads are in.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use invivo_cpython::{Limits, Lineage, Runtime, TaskOptions, locate_all, locate_asyncio};
use invivo_model::{Address, Code, Result, Trust};
use invivo_process::{Bounded, Memory, Target};

use super::entries::Entries;
use super::{Options, Round};
use crate::prefetch::Prefetch;

/// For how long, and for how many bytes, tasks are looked at in a tick at most.
const TIME: Duration = Duration::from_millis(200);
const BYTES: u64 = 64 << 20;

/// Finds tasks by the frames that threads are in.
#[derive(Debug)]
pub(super) struct Tasks<M> {
    runtime: Runtime<Prefetch<M>>,
    memory: Prefetch<M>,
    options: TaskOptions,
    /// How often there was something to look for.
    looks: u64,
    /// Frames that may be those of tasks.
    wanted: HashSet<Address>,
    found: HashMap<Address, Lineage>,
}

/// What tasks have to do with a stack.
pub(super) enum Standing<'a> {
    /// Nothing.
    Outside,
    /// There are coroutines on it, of no task that is known. A coroutine that nobody called has
    /// lost its callers while it was read.
    Unknown(Trust),
    /// From the frame of this index on, counted from the outermost one, it is that of a task.
    Inside(usize, &'a Lineage),
}

impl<M: Memory + Clone> Tasks<M> {
    pub(super) fn new(runtime: &Runtime<M>) -> Self {
        let (runtime, memory) = Prefetch::of(runtime);
        Self {
            runtime,
            memory,
            options: TaskOptions::default(),
            looks: 0,
            wanted: HashSet::new(),
            found: HashMap::new(),
        }
    }
}

impl<M: Memory> Tasks<M> {
    /// Looks for the tasks that these frames are those of.
    pub(super) fn look<'a>(
        &mut self,
        target: &Target,
        frames: impl Iterator<Item = (Address, &'a Code)>,
    ) {
        let coroutines = frames.filter(|(_, code)| Lineage::may_begin_in(code));
        self.wanted.clear();
        self.wanted.extend(coroutines.map(|(address, _)| address));
        self.found.clear();
        if self.wanted.is_empty() {
            return;
        }
        self.looks += 1;
        // Its module may be loaded only later.
        if self.options.asyncio.is_none() && self.looks.is_power_of_two() {
            self.options = located(target, self.runtime.address()).unwrap_or_default();
        }
        // Where nothing can be read ahead, nothing can be read, and then nothing is found.
        let _ = self.memory.begin();
        let bounded = Bounded::new(&self.memory, TIME, BYTES);
        let runtime = self.runtime.with_memory(bounded);
        let found = runtime.lineages(&self.wanted, &self.options);
        self.memory.end();
        self.found = found.unwrap_or_default();
    }

    /// What tasks have to do with a stack of these frames, the outermost one first.
    pub(super) fn of(
        &self,
        frames: impl DoubleEndedIterator<Item = Address> + ExactSizeIterator,
    ) -> Standing<'_> {
        let mut standing = Standing::Outside;
        for (index, frame) in frames.enumerate().rev() {
            if let Some(lineage) = self.found.get(&frame) {
                return Standing::Inside(index, lineage);
            }
            if self.wanted.contains(&frame) {
                let has_caller = index > 0;
                standing = Standing::Unknown(if has_caller {
                    Trust::Whole
                } else {
                    Trust::Torn
                });
            }
        }
        standing
    }
}

/// Where the `_asyncio` of the CPython at this address keeps its tasks, as its file says.
fn located(target: &Target, runtime: Address) -> Result<TaskOptions> {
    let modules = target.modules()?;
    let all = locate_all(&target.memory(), &modules, target, &Limits::default())?;
    let Some(location) = all.iter().find(|one| one.address == runtime) else {
        return Ok(TaskOptions::default());
    };
    let asyncio = locate_asyncio(location, &modules, target)?;
    Ok(TaskOptions { asyncio })
}

impl Standing<'_> {
    /// The stack that its frames stand on, how many of them do not count, and how far that is to
    /// be believed.
    pub(super) fn base(
        &self,
        entries: &mut Entries,
        options: &Options,
        round: &mut Round<'_>,
    ) -> Result<(Option<u32>, usize, Trust)> {
        let (from, lineage) = match self {
            Self::Outside => return Ok((None, 0, Trust::Whole)),
            Self::Unknown(trust) => {
                let mark = entries.no_task(round)?;
                let stack = Entries::on_top(None, mark, round)?;
                return Ok((Some(stack), 0, *trust));
            }
            Self::Inside(from, lineage) => (*from, lineage),
        };
        let mut trust = if lineage.is_whole {
            Trust::Whole
        } else {
            Trust::Torn
        };
        let mut stack = None;
        for (generation, kin) in lineage.kin.iter().enumerate().rev() {
            let mark = entries.task(kin, round)?;
            stack = Some(Entries::on_top(stack, mark, round)?);
            // The last one's are those of the thread.
            let coroutines = &kin.task.coroutines;
            let frames = coroutines.frames.iter().rev();
            for frame in frames.filter(|_| generation > 0) {
                trust = trust.max(frame.trust);
                let (code, position) = (&frame.code, frame.position);
                let frame = entries.frame(code, position, None, options, round)?;
                stack = Some(Entries::on_top(stack, frame, round)?);
            }
            if generation > 0 && coroutines.cut.is_some() {
                trust = Trust::Torn;
            }
        }
        Ok((stack, from, trust))
    }
}
