//! What came of following and judging a thread's frames.

use invivo_model::Address;

use crate::frames::RawFrame;
use crate::reader::chain::Link;
use crate::reader::doubts::Doubted;
use crate::reader::places::Places;

/// Where following frames has led.
pub(super) enum Walked {
    /// Behind so many links that are as they were.
    Joined(usize),
    /// To one that has not been read.
    Missing(Address),
    /// To no end, for this reason.
    Endless(&'static str),
}

/// The frames that a thread is in, if it began at one of its current frames.
#[derive(Default)]
pub(super) struct Found {
    pub(super) from: Address,
    pub(super) joined: usize,
    /// Those behind the first `joined`.
    pub(super) links: Vec<Link>,
    /// All that it said it was in, behind those.
    pub(super) frames: Vec<RawFrame>,
    /// Why frames further in are not among them.
    pub(super) doubted: Option<Doubted>,
}

impl Found {
    /// Whether there are frames, and none of them is one.
    pub(super) fn is_nothing(&self) -> bool {
        self.depth() == 0 && !self.frames.is_empty() && self.doubted.is_none()
    }

    /// Whether the outermost of its frames is one that somebody must have resumed.
    pub(super) fn is_orphan(&self, places: &Places) -> bool {
        // Where C code called it, that may be a trace of a call that is over.
        let mut codes = self.links.iter().filter_map(|link| link.code);
        codes
            .next()
            .and_then(|(code, _)| places.facts(code))
            .is_some_and(|facts| facts.is_resumed())
    }

    pub(super) fn depth(&self) -> usize {
        self.joined + self.links.len()
    }
}
