//! What is read of a thread.

use invivo_model::Address;

use super::region::Region;

/// How much is read of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    All,
    /// The thread state. It has not run.
    State,
    Nothing,
}

/// What is read of a thread, in this order.
#[derive(Debug, Default)]
pub(super) struct Regions {
    /// The pointer that leads to the thread state, where that is another thread's.
    pub(super) link: Region,
    pub(super) state: Region,
    /// The pointer to the current frame, where that is not in the thread state.
    pub(super) through: Region,
    /// The chunks of its data stack, the newest first.
    pub(super) chunks: Vec<Region>,
    /// Frames that lie elsewhere, by where they begin.
    pub(super) windows: Vec<Region>,
    /// The pointer to the current frame again.
    pub(super) after: Region,
    /// What it handles, where the thread state does not hold that itself.
    pub(super) item: Region,
    /// Bytes that frames are read from, as of [`Regions::measure`].
    pub(super) length: usize,
}

impl Regions {
    /// What is read between and around the two looks at the current frame.
    pub(super) fn each<'a>(&'a mut self, to: &mut impl FnMut(&'a mut Region)) {
        to(&mut self.link);
        to(&mut self.state);
        to(&mut self.through);
        let mut chunks = self.chunks.iter_mut();
        chunks.next().map(&mut *to);
        self.windows.iter_mut().for_each(&mut *to);
        to(&mut self.after);
        chunks.for_each(&mut *to);
        to(&mut self.item);
    }

    /// Counts the bytes that frames are read from, after chunks or windows have changed.
    pub(super) fn measure(&mut self) {
        self.length = self.frames().map(Region::length).sum();
    }

    fn frames(&self) -> impl Iterator<Item = &Region> {
        self.chunks.iter().chain(&self.windows)
    }

    /// The region that holds so many bytes at `address`.
    pub(super) fn region(&self, address: Address, size: usize) -> Option<&Region> {
        let mut chunks = self.chunks.iter();
        chunks.find(|chunk| chunk.holds(address, size)).or_else(|| {
            let behind = self.windows.partition_point(|one| one.start <= address);
            let window = self.windows.get(behind.checked_sub(1)?)?;
            window.holds(address, size).then_some(window)
        })
    }

    pub(super) fn is_same(&self) -> bool {
        self.state.is_same()
            && self.through.is_same()
            && self.after.is_same()
            && self.frames().all(Region::is_same)
    }
}
