//! Reading from the processor of the thread that runs Python code.

use invivo_cpython::{Runner, Runtime};
use invivo_model::{ProcessorTime, ThreadState};
use invivo_process::{Account, Affinity, ProcessMemory, Target, ThreadWatch, own_processor};

/// How memory of a process was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// From the processor of the thread that holds the GIL. The thread stood still all the while,
    /// and so all that needs the GIL did.
    OwnProcessor,
    /// From anywhere: what runs may have run on meanwhile.
    #[default]
    Elsewhere,
    /// While the process was stopped.
    Stopped,
}

impl ReadFrom {
    /// As JSON says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OwnProcessor => "own_processor",
            Self::Elsewhere => "elsewhere",
            Self::Stopped => "stopped",
        }
    }
}

/// We are on the processor of a thread that runs, until this is dropped: it can't run there
/// meanwhile. It may be moved to another, and then [`Beside::stood_still`] tells.
#[derive(Debug)]
pub(crate) struct Beside {
    affinity: Affinity,
    watch: ThreadWatch,
    account: Account,
    /// What it had run by the time we came.
    begun: ProcessorTime,
    /// Its state, where it holds the only GIL that there is.
    pub(crate) holder: Option<ThreadState>,
}

impl Beside {
    /// Goes to the processor of a thread that runs Python code. `None` where there is none, or
    /// where we may not run there.
    pub(crate) fn running(target: &Target, runtime: &Runtime<ProcessMemory>) -> Option<Self> {
        let mut running = runtime.running().ok()?.into_iter();
        let thread = running.next()?;
        let tid = tid(target, runtime, &thread)?;
        let watch = target.watch(tid).ok()?;
        let account = target.account(tid).ok()?;
        let mut affinity = Affinity::of_this_thread()?;
        let place = watch.place().filter(|place| place.runs)?;
        if !affinity.allows(place.processor) || !affinity.pin(place.processor) {
            return None;
        }
        let interpreters = runtime.interpreters().ok()?.list.len();
        let only = running.next().is_none() && interpreters == 1;
        let alone = only && runtime.build().free_threaded != Some(true);
        Some(Self {
            affinity,
            begun: account.read()?,
            watch,
            account,
            holder: alone.then_some(thread),
        })
    }

    /// Whether the thread has not run since we came.
    pub(crate) fn stood_still(&self) -> bool {
        let here = Some(own_processor());
        let place = self.watch.place();
        self.affinity.pinned() == here
            && place.is_some_and(|place| place.runs && Some(place.processor) == here)
            && self.account.read() == Some(self.begun)
    }
}

/// The number by which we know the thread that is proven to run a thread state.
fn tid(target: &Target, runtime: &Runtime<ProcessMemory>, thread: &ThreadState) -> Option<u32> {
    let mut interpreters = runtime.interpreters().ok()?.list;
    for interpreter in &mut interpreters {
        let is_it = |state: &ThreadState| state.address == thread.address;
        interpreter.threads.retain(is_it);
    }
    let stacks = target.stacks(&[thread.thread_id]).ok()?;
    let runners = runtime.runners(&interpreters, &stacks).ok()?;
    match runners.get(&thread.address)? {
        Runner::Proven(tid) => Some(*tid),
        Runner::Maker(_) | Runner::Unknown(_) => None,
    }
}
