//! Which frames of a copied stack the thread was in when it was copied.
//!
//! The copy of a page is nearly of one moment; the pointer to the current frame, read before and
//! after it, is of two others. So the copy itself says where the stack ended: from the outermost
//! frame in, a frame was in a call as long as it has put away where its value stack ends, stands at
//! a call, and that call is of just the function whose frame comes next.

use std::sync::Arc;

use invivo_model::Address;

use super::places::{Asked, CodeId, PlaceId, Places};
use crate::code::CodeFacts;
use crate::frames::calls::Says;
use crate::frames::{RawFrame, Standing};
use crate::layout::Layout;

/// A frame that a thread is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) frame: RawFrame,
    /// `None` where it is no Python code, but where C code called some.
    pub(super) code: Option<(CodeId, PlaceId)>,
}

/// What the frames further out leave to be known for the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct Outer {
    caller: Option<Caller>,
    /// Where the innermost frame on the data stack begins and ends.
    pushed: Option<(Address, Option<Address>)>,
    /// Whether C code comes between the caller and the next frame.
    through_c: bool,
}

impl Outer {
    /// The caller, and where the frame of what it calls would begin, where it lies on the data
    /// stack itself.
    pub(super) fn next(&self) -> Option<(Address, Address)> {
        let (start, end) = self.pushed?;
        let caller = self.caller.as_ref()?.frame.address;
        (caller == start && !self.through_c).then_some((caller, end?))
    }

    /// The innermost frame of Python code.
    pub(super) fn caller(&self) -> Option<&RawFrame> {
        self.caller.as_ref().map(|caller| &caller.frame)
    }
}

/// A frame that may have called another.
#[derive(Clone, Debug)]
struct Caller {
    frame: RawFrame,
    place: PlaceId,
    facts: Arc<CodeFacts>,
}

/// A call that the copy does not bear out: who calls from where, and the code of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Doubt {
    pub(super) site: Address,
    pub(super) code: Address,
    /// Whether all that speaks against it is what the instruction says: it may not be known to
    /// call, or say whom it called before.
    pub(super) by_instruction: bool,
}

/// What a frame that may be one has come to.
pub(super) enum Verdict {
    Live(Link),
    /// It was left, or not yet entered.
    Dead(Option<Doubt>),
}

/// Judges frames by what is known.
pub(super) struct Judge<'a> {
    pub(super) layout: &'a Layout,
    pub(super) places: &'a mut Places,
    pub(super) asked: &'a mut Asked,
    /// Whether a call may be one that the copy does not bear out.
    pub(super) believes: &'a dyn Fn(Doubt) -> bool,
    /// Whether two addresses lie in one chunk of the data stack.
    pub(super) in_one_chunk: &'a dyn Fn(Address, Address) -> bool,
}

impl Judge<'_> {
    /// Whether the thread was in `frame`, which comes next behind `outer`.
    pub(super) fn judge(&mut self, outer: &Outer, frame: &RawFrame) -> Verdict {
        let cleared = self.is_pushed(frame) && frame.executable.is_null();
        if !cleared && frame.is_sentinel(self.layout) {
            return Verdict::Live(Link {
                frame: *frame,
                code: None,
            });
        }
        let code = self.places.code(frame.executable).filter(|_| !cleared);
        let Some((code, facts)) = code.and_then(|id| Some((id, self.places.facts(id)?.clone())))
        else {
            return Verdict::Dead(None);
        };
        if let Err(doubt) = self.holds(outer, frame, &facts) {
            return Verdict::Dead(doubt);
        }
        let place = match self.places.stand(code, frame) {
            Some(place) => Some(place),
            None => {
                // It is just being entered, and says nothing of its own yet.
                let doubt = Doubt {
                    site: frame.address,
                    code: frame.executable,
                    by_instruction: false,
                };
                if !(self.believes)(doubt) {
                    return Verdict::Dead(Some(doubt));
                }
                self.places.nowhere(code)
            }
        };
        place.map_or(Verdict::Dead(None), |place| {
            Verdict::Live(Link {
                frame: *frame,
                code: Some((code, place)),
            })
        })
    }

    /// What a frame leaves to be known for the next one.
    pub(super) fn go_in(&self, outer: &mut Outer, link: &Link) {
        let Some((code, place)) = link.code else {
            outer.through_c = true;
            return;
        };
        let Some(facts) = self.places.facts(code) else {
            return;
        };
        if self.is_pushed(&link.frame) {
            let start = link.frame.address;
            outer.pushed = Some((start, start.offset(facts.frame_size)));
        }
        outer.through_c = false;
        outer.caller = Some(Caller {
            frame: link.frame,
            place,
            facts: Arc::clone(facts),
        });
    }

    /// Whether the caller has called this one, and it has not returned.
    fn holds(
        &mut self,
        outer: &Outer,
        callee: &RawFrame,
        facts: &CodeFacts,
    ) -> Result<(), Option<Doubt>> {
        let Some(caller) = &outer.caller else {
            return Ok(());
        };
        let pushed = self.is_pushed(callee);
        if pushed
            && let Some((below, end)) = outer.pushed
            && (self.in_one_chunk)(below, callee.address)
            && end != Some(callee.address)
        {
            // Unless a frame between them has returned, and is just being cleared.
            self.doubted(Doubt {
                site: below,
                code: facts.code.address,
                by_instruction: false,
            })?;
        }
        if outer.through_c || callee.is_entry || caller.facts.is_shim {
            return Ok(());
        }
        let Standing::At(site) = caller.frame.standing else {
            return Err(None);
        };
        let place = caller.place;
        let doubt = Doubt {
            site,
            code: facts.code.address,
            by_instruction: false,
        };
        if !caller.frame.waits {
            return self.doubted(doubt);
        }
        let doubt = Doubt {
            by_instruction: true,
            ..doubt
        };
        let version = match self.places.says(place, site, self.asked) {
            Says::CallOf(_, version) => version,
            Says::Call(_) => return Ok(()),
            Says::NoCall => return self.doubted(doubt),
        };
        if !pushed {
            return self.doubted(doubt);
        }
        let code = facts.code.address;
        let is_it = version != 0 && facts.version == version
            // One that is just being entered may still have another's code.
            || self
                .places
                .is_of(callee.function, (version, code), (place, site), self.asked);
        if is_it { Ok(()) } else { self.doubted(doubt) }
    }

    fn doubted(&self, doubt: Doubt) -> Result<(), Option<Doubt>> {
        if (self.believes)(doubt) {
            Ok(())
        } else {
            Err(Some(doubt))
        }
    }

    /// Whether a frame lies on the data stack.
    pub(super) fn is_pushed(&self, frame: &RawFrame) -> bool {
        let owner = self.layout.frame.owner;
        owner.is_some_and(|owner| frame.owner == Some(owner.thread))
    }
}
