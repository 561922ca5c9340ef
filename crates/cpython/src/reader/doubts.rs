//! Calls that a copy of a stack does not bear out.

use rustc_hash::{FxHashMap, FxHashSet};

use super::chain::Doubt;
use crate::frames::RawFrame;
use crate::layout::Layout;

/// More are not remembered.
const MAX_DOUBTS: usize = 1 << 12;
/// So often a doubt is looked into at once; then each time that it has come up twice as often.
const LOOKS: u32 = 3;

/// Calls that the copy does not bear out.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    pub(super) believed: FxHashSet<Doubt>,
    /// How often each of the others has come up.
    met: FxHashMap<Doubt, u32>,
}

/// A call that the copy does not bear out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubted {
    pub(super) doubt: Doubt,
    pub(super) caller: Option<RawFrame>,
    pub(super) callee: RawFrame,
}

impl Doubts {
    /// Notes that this has come up once more, and says whether it is to be looked into.
    pub(super) fn is_open(&mut self, doubt: Doubt) -> bool {
        self.bound();
        let met = self.met.entry(doubt).or_default();
        *met = met.saturating_add(1);
        *met <= LOOKS || met.is_power_of_two()
    }

    pub(super) fn believe(&mut self, doubt: Doubt) {
        self.bound();
        self.believed.insert(doubt);
    }

    fn bound(&mut self) {
        if self.believed.len() + self.met.len() > MAX_DOUBTS {
            *self = Self::default();
        }
    }
}

impl Doubted {
    /// Whether the call is among these frames, the outermost first. The callee goes on as it likes.
    pub(super) fn is_in(&self, frames: &[RawFrame], layout: &Layout) -> bool {
        let mut frames = frames.iter().filter(|frame| !frame.is_sentinel(layout));
        let mut caller = None;
        let callee = frames.find(|frame| {
            let is_it = frame.address == self.callee.address;
            if !is_it {
                caller = Some(**frame);
            }
            is_it
        });
        callee.is_some_and(|callee| {
            let (one, other) = (callee, &self.callee);
            caller == self.caller
                && (one.previous, one.executable, one.function)
                    == (other.previous, other.executable, other.function)
        })
    }
}
