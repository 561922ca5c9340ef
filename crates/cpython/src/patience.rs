//! When something is asked again that may have changed since.

/// Waits longer each time that something has not changed. Times are numbers that grow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    until: u64,
    wait: u64,
}

impl Patience {
    /// Whether it is time to ask again.
    pub(crate) fn is_over(self, now: u64) -> bool {
        now >= self.until
    }

    /// After it has been asked now, and whether it had changed: it is asked again after twice as
    /// long as the last time, and no longer than `most`.
    pub(crate) fn renew(&mut self, now: u64, changed: bool, most: u64) {
        let wait = if changed { 1 } else { self.wait * 2 };
        self.wait = wait.clamp(1, most);
        self.until = now.saturating_add(self.wait);
    }
}
