//! What a GIL says of itself.

use invivo_model::Address;

use crate::layout::GilLayout;
use crate::pieces::{View, length};

/// A GIL as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GilState {
    locked: bool,
    /// The thread state that holds it, or held it last.
    pub(crate) holder: Address,
    /// Grows whenever another thread state takes it.
    pub(crate) switches: u64,
}

impl GilState {
    /// How much is read of it.
    pub(crate) fn size(layout: &GilLayout) -> usize {
        length(layout.locked.max(layout.last_holder).max(layout.switches) + 8)
    }

    /// The GIL at `address`, of which `view` holds as much as is read.
    pub(crate) fn parse(layout: &GilLayout, address: Address, view: View<'_>) -> Option<Self> {
        Some(Self {
            locked: view.int(address, layout.locked)? == 1,
            holder: Address(view.word(address, layout.last_holder)?),
            switches: view.word(address, layout.switches)?,
        })
    }

    /// Whether the thread state at `thread` holds it.
    pub(crate) fn is_held_by(self, thread: Address) -> bool {
        self.locked && self.holder == thread
    }
}
