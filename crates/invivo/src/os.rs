//! What the operating system says of a target's threads.

use std::collections::HashMap;

use invivo_model::surrogate;
use invivo_process::{Activity, Stacks, Target, ThreadStack};
use serde::{Deserialize, Serialize};

/// A thread as the operating system knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsThread {
    /// Its number as the caller's `ps -T` shows it.
    pub tid: u32,
    /// Its number in the pid namespace it lives in: what it knows itself by.
    pub native_id: u64,
    /// Its name, at most 15 bytes; as Python would have it ([`surrogate`]).
    pub name: String,
    /// What it was doing; `None` where that could not be read, as when it has just ended.
    pub activity: Option<OsActivity>,
}

/// What a thread was doing at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsActivity {
    /// The state's letter as `ps` shows it.
    pub state: char,
    /// It runs, or waits for a processor.
    pub running: bool,
    /// The system call it sleeps in, by name or as `number N`. `None` where it sleeps in none or
    /// where the kernel does not tell us.
    pub system_call: Option<String>,
    /// That system call's first argument.
    pub argument: Option<u64>,
    /// Whether it was known to do the same all the while that memory was read. Where it was not,
    /// what memory says may be of another moment.
    pub steady: bool,
}

impl OsActivity {
    fn new(activity: Activity, steady: bool) -> Self {
        Self {
            state: activity.state,
            running: activity.running,
            argument: activity.system_call.map(|call| call.argument),
            system_call: activity.system_call.map(|call| call.to_string()),
            steady,
        }
    }

    /// Whether it does the same as at another moment.
    fn is_as(&self, other: &Self) -> bool {
        self.state == other.state
            && self.running == other.running
            && self.system_call == other.system_call
            && self.argument == other.argument
    }
}

/// The threads of a target, around the moment at which its memory is read.
#[derive(Debug)]
pub(crate) struct OsView<'a> {
    /// The first one first; `None` where they could not be listed.
    pub(crate) threads: Option<Vec<OsThread>>,
    /// Who can be asked again; `None` where nobody can: what is there is of a recording, or of the
    /// very moment.
    target: Option<&'a Target>,
    /// How often each had gone to sleep.
    sleeps: HashMap<u32, u64>,
    /// Where their stacks lie, once that has been asked.
    stacks: Option<Stacks>,
}

impl<'a> OsView<'a> {
    /// What the threads do now, before memory is read.
    pub(crate) fn before(target: &'a Target) -> Self {
        let mut sleeps = HashMap::new();
        let threads = target.threads().ok().map(|threads| {
            let of = |thread: invivo_process::Thread| {
                sleeps.extend(thread.sleeps.map(|sleeps| (thread.tid, sleeps)));
                let activity = target.activity_of(&thread);
                OsThread {
                    tid: thread.tid,
                    native_id: thread.native_id,
                    name: surrogate::decode(&thread.name),
                    activity: activity.map(|activity| OsActivity::new(activity, false)),
                }
            };
            threads.into_iter().map(of).collect()
        });
        Self {
            threads,
            target: Some(target),
            sleeps,
            stacks: None,
        }
    }

    /// What was recorded.
    pub(crate) fn recorded(threads: Option<Vec<OsThread>>, stacks: Option<Stacks>) -> Self {
        Self {
            threads,
            target: None,
            sleeps: HashMap::new(),
            stacks,
        }
    }

    /// Where the stacks of the threads lie. Of some C libraries that is told by the numbers that
    /// thread states name threads by. Where nothing can be found out, that is known of each thread.
    pub(crate) fn stacks(&mut self, idents: &[u64]) -> &Stacks {
        let found = self
            .stacks
            .take()
            .or_else(|| self.target?.stacks(idents).ok());
        self.stacks.insert(found.unwrap_or_else(|| {
            let unknown = |thread: &OsThread| ThreadStack {
                tid: thread.tid,
                native_id: thread.native_id,
                ..ThreadStack::default()
            };
            Stacks {
                threads: self.threads.iter().flatten().map(unknown).collect(),
                still: false,
            }
        }))
    }

    /// What the threads were doing when they were stopped, with their stacks as they were then: the
    /// kernel shows the system call that each was stopped in. Those that a signal had stopped before
    /// us stay so.
    pub(crate) fn stopped(mut self, target: &Target, stacks: Option<Stacks>) -> Self {
        self.stacks = stacks;
        for thread in self.threads.iter_mut().flatten() {
            let earlier = thread.activity.as_ref().map(|activity| activity.state);
            let Ok(activity) = target.activity(thread.tid) else {
                continue;
            };
            let mut activity = OsActivity::new(activity, true);
            if earlier == Some('T') {
                // That it is traced is our doing.
                activity.state = 'T';
                activity.running = false;
            } else {
                activity.running = activity.system_call.is_none();
                activity.state = match (activity.running, earlier) {
                    (true, _) => 'R',
                    (false, Some('D')) => 'D',
                    (false, _) => 'S',
                };
            }
            thread.activity = Some(activity);
        }
        self.target = None;
        self
    }

    /// Asks again what a thread does, now that memory has been read, where that can be done.
    pub(crate) fn ask_again(&mut self, tid: u32) {
        let Some(target) = self.target else {
            return;
        };
        let mut threads = self.threads.iter_mut().flatten();
        let Some(thread) = threads.find(|thread| thread.tid == tid) else {
            return;
        };
        let now = target.activity(tid).ok();
        let now = now.map(|activity| OsActivity::new(activity, false));
        let (Some(before), Some(mut now)) = (thread.activity.take(), now) else {
            return;
        };
        // The same before and after, without a sleep begun in between.
        let sleeps = target.thread(tid).ok().and_then(|thread| thread.sleeps);
        let slept = sleeps.is_none() || self.sleeps.get(&tid).copied() != sleeps;
        now.steady = !slept && now.is_as(&before);
        thread.activity = Some(now);
    }
}
