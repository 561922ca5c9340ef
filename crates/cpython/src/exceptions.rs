//! The stack of exceptions that a thread handles.

use invivo_model::Address;

use crate::layout::Layout;
use crate::pieces::{View, length};

/// How many steps are gone to find the exception that a thread handles. Each nested generator that
/// runs takes one or a few.
pub(crate) const MAX_STEPS: usize = 256;

/// An item of a thread's stack of exceptions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// An exception, `None`, or null.
    pub(crate) value: Address,
    /// The item further out; null where there is none.
    pub(crate) previous: Address,
}

impl Item {
    /// How much is read of one.
    pub(crate) fn size(layout: &Layout) -> usize {
        let layout = &layout.exception_item;
        length(layout.value.max(layout.previous) + 8)
    }

    /// The item at `address`, where `view` holds it.
    pub(crate) fn parse(layout: &Layout, address: Address, view: View<'_>) -> Option<Self> {
        let layout = &layout.exception_item;
        Some(Self {
            value: Address(view.word(address, layout.value)?),
            previous: Address(view.word(address, layout.previous)?),
        })
    }
}
