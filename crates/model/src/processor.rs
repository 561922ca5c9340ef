/// Processor time that the kernel has accounted to a thread since it began, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessorTime {
    /// On a processor. Of one that is on a processor right now, up to the scheduler's last tick.
    pub on: u64,
    /// Runnable, and kept waiting for a processor. Of one that waits right now, without this wait.
    pub waiting: u64,
}

impl ProcessorTime {
    /// What has come since `earlier`. Accounts only grow: nothing where one seems to have shrunk.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            on: self.on.saturating_sub(earlier.on),
            waiting: self.waiting.saturating_sub(earlier.waiting),
        }
    }
}
