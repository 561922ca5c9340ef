//! Whether frames that were read are still in their calls.

use std::collections::HashMap;

use invivo_model::{Address, Frame};
use invivo_process::{Fault, Memory};

use super::walk::Head;
use crate::pieces::{Piece, read_pieces};
use crate::runtime::Runtime;

/// Frames on the way from the current one to one that is known, at most.
const MAX_CHASE: usize = 32;
/// Frames that were met beside those of the stack, and are looked out for.
const MAX_MET: usize = 4;

/// A thread whose frames are looked after.
#[derive(Debug)]
pub(crate) struct Watch {
    thread: Address,
    head: Head,
    /// The places of the frames in their stack, innermost first.
    places: HashMap<Address, usize>,
    /// Frames that the thread was in and that are not of the stack. Where frames are objects, one
    /// that has returned does not say any more who called it; so it is asked when it is met again.
    met: Vec<Address>,
}

impl<M: Memory> Runtime<M> {
    /// Looks after these frames of the thread whose state is at `thread`.
    pub(crate) fn watch(&self, thread: Address, frames: &[Frame]) -> Result<Watch, Fault> {
        let frames = frames.iter().enumerate();
        Ok(Watch {
            thread,
            head: self.head_of(thread)?,
            places: frames
                .map(|(place, frame)| (frame.address, place))
                .collect(),
            met: Vec::new(),
        })
    }

    /// What has to be read to tell which of the frames are in their calls at that moment.
    pub(crate) fn watch_places(&self, watch: &Watch) -> Vec<(Address, usize)> {
        let mut places = self.head_places(watch.thread, &watch.head).to_vec();
        let previous = self.layout.frame.previous;
        let callers = watch.met.iter().filter_map(|frame| frame.offset(previous));
        places.extend(callers.map(|at| (at, 8)));
        places
    }

    /// The place of the innermost of the frames that is in its call now; `None` where that can't
    /// be told.
    pub(crate) fn innermost_now(&self, watch: &mut Watch) -> Option<usize> {
        let mut met = Met::default();
        let pieces = read_pieces(&self.memory, self.watch_places(watch)).ok()?;
        let innermost = self.innermost(watch, &mut met, &mut pieces.into_iter());
        watch.learn(met);
        innermost
    }

    /// The place of the innermost of the frames that was in its call when the next of `pieces`
    /// were read: those further out were too. `None` where that can't be told. What else the
    /// thread was in goes to `met`.
    pub(crate) fn innermost(
        &self,
        watch: &Watch,
        met: &mut Met,
        pieces: &mut impl Iterator<Item = Piece>,
    ) -> Option<usize> {
        let head = self.head(watch.thread, &watch.head, pieces);
        let callers: Vec<_> = pieces
            .take(watch.met.len())
            .map(|piece| piece.word(piece.start, 0).map(Address))
            .collect();
        let head = head?;
        if head.through != watch.head.through {
            met.head = Some(head);
            return None;
        }
        let mut current = head.frame;
        for _ in 0..=callers.len() {
            if let Some(place) = watch.places.get(&current) {
                return Some(*place);
            }
            let Some(place) = watch.met.iter().position(|met| *met == current) else {
                break;
            };
            let Some(Some(caller)) = callers.get(place) else {
                break;
            };
            current = *caller;
        }
        if let Some(known) = met.leads_to.get(&current) {
            return *known;
        }
        let found = self.chase(watch, current);
        met.leads_to.insert(current, found);
        found
    }

    /// Follows the callers of a frame that is not of the stack, to the first that is.
    fn chase(&self, watch: &Watch, met: Address) -> Option<usize> {
        let mut current = met;
        for _ in 0..MAX_CHASE {
            let at = current.offset(self.layout.frame.previous)?;
            let pieces = read_pieces(&self.memory, [(at, 8)]).ok()?;
            current = Address(pieces.first()?.word(at, 0)?);
            if let Some(place) = watch.places.get(&current) {
                return Some(*place);
            }
            if current.is_null() {
                break;
            }
        }
        None
    }
}

/// What a thread was in beside the frames that are looked after.
#[derive(Debug, Default)]
pub(crate) struct Met {
    /// Frames, and the place of the first of the stack that they lead to.
    leads_to: HashMap<Address, Option<usize>>,
    /// What it says of its frames, where that is elsewhere now.
    head: Option<Head>,
}

impl Watch {
    /// Looks out from now on for what the thread was met in.
    pub(crate) fn learn(&mut self, met: Met) {
        let met_frames = met.leads_to.into_keys().filter(|frame| !frame.is_null());
        self.met.splice(0..0, met_frames);
        self.met.truncate(MAX_MET);
        self.head = met.head.unwrap_or(self.head);
    }
}
