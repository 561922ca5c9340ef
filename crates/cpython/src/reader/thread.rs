//! One thread, as it is read again and again.

mod found;
mod reach;

use invivo_model::{Address, Gil, ThreadState, Trust};
use invivo_process::{Fault, Memory};
use rustc_hash::FxHashMap;

use found::{Found, Walked};

use super::chain::{Doubt, Judge, Link, Outer, Verdict};
use super::doubts::{Doubted, Doubts};
use super::places::{Asked, CodeId, PlaceId, Places};
use super::region::Region;
use super::regions::{Extent, Regions};
use crate::frames::{RawFrame, TOO_DEEP};
use crate::layout::Layout;
use crate::pieces::length;
use crate::runtime::Runtime;

/// So often more is asked until frames are judged by what is known.
const ATTEMPTS: usize = 4;
/// So often a thread is read again in a row that is in a generator that nobody has resumed.
const RETRIES: usize = 3;

/// A frame of Python code that a thread is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedFrame {
    /// Where it lies. The same frame may lie there as long as it lives, and another after it.
    pub address: Address,
    /// Where it stands.
    pub place: PlaceId,
    /// Whether C code called it.
    pub through_c: bool,
}

/// A thread, with what was read of it last.
#[derive(Debug)]
pub struct ReadThread {
    /// Tells it from all others that the same [`Reader`](super::Reader) has read.
    pub serial: u64,
    /// What its thread state says of it.
    pub state: ThreadState,
    /// Whether Python was initialized in it.
    pub is_main: bool,
    /// What it has to do with the GIL. Who waits for it is told only where that was asked for.
    pub gil: Gil,
    /// Whether it handles an exception, or raises one; `None` where that could not be told.
    pub handles_exception: Option<bool>,
    /// Whether it collects garbage; `None` where that could not be told.
    pub collects_garbage: Option<bool>,
    /// How far its frames are to be believed.
    pub trust: Trust,
    /// Why frames further out are missing.
    pub cut: Option<&'static str>,
    /// Whether the outermost frame is of a generator or a coroutine, which somebody must have
    /// resumed: who did is not known.
    pub is_orphan: bool,
    /// The frames of Python code that it is in, the outermost first.
    pub frames: Vec<PlacedFrame>,
    /// How many of them, from the outermost on, are as they were in the round before.
    pub kept: usize,
    /// Whether only its innermost frames are looked at, since there are too many.
    pub is_deep: bool,
    /// An address on the C stack of whoever runs it, where the version tells one and it runs Python
    /// code; not the same one at each time.
    pub c_stack: Option<Address>,
    /// The interpreter it belongs to, as its index in the reader's list.
    pub(super) interpreter: usize,
    /// How much of it is read in this round.
    pub(super) extent: Extent,
    /// What its thread state says is the next one.
    pub(super) next: Address,
    pub(super) regions: Regions,
    chain: Vec<Link>,
    /// Where in the chain runs of links begin that lie in one region, one behind the other.
    runs: Vec<u32>,
    /// For each link how many frames of Python code there are up to it.
    counts: Vec<u32>,
    by_address: FxHashMap<Address, u32>,
    doubts: Doubts,
    /// The frames that it said it was in, where a call among them is doubted.
    doubted: Vec<RawFrame>,
    /// What stands for no exception, once that has been seen.
    pub(super) no_exception: Option<Address>,
    /// Bytes of its frames that are read at most.
    pub(super) allowed: usize,
    /// Whether nothing that was concluded from older bytes counts any more.
    pub(super) forgets: bool,
    /// How often in a row it was read again since it could not have been so.
    retries: usize,
}

/// What came of looking at a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// Other memory has to be read.
    Again,
    /// It is to be read once more.
    Unsure,
}

impl ReadThread {
    pub(super) fn new(serial: u64, state: ThreadState) -> Self {
        Self {
            serial,
            state,
            is_main: false,
            gil: Gil::Unknown,
            handles_exception: None,
            collects_garbage: None,
            trust: Trust::Whole,
            cut: None,
            is_orphan: false,
            retries: 0,
            frames: Vec::new(),
            kept: 0,
            is_deep: false,
            c_stack: None,
            interpreter: 0,
            extent: Extent::All,
            next: Address::NULL,
            regions: Regions::default(),
            chain: Vec::new(),
            runs: Vec::new(),
            counts: Vec::new(),
            by_address: FxHashMap::default(),
            doubts: Doubts::default(),
            doubted: Vec::new(),
            no_exception: None,
            allowed: 0,
            forgets: true,
        }
    }

    /// Whether what has been read is the thread state that it was to be.
    pub(super) fn is_it(&self, layout: &Layout) -> bool {
        if self.extent == Extent::Nothing {
            return true;
        }
        let address = self.state.address;
        let word = |at| self.regions.state.view().word(address, at);
        let native_id = layout.thread.native_thread_id.map_or(Some(0), word);
        let is_it = word(layout.thread.next) == Some(self.next.0)
            && word(layout.thread.thread_id) == Some(self.state.thread_id)
            && native_id == Some(self.state.native_id);
        // The first one of an interpreter is led to by the interpreter's state.
        let link = &self.regions.link;
        let led_to =
            self.extent != Extent::All || !link.is_wanted() || link.word() == Some(address.0);
        is_it && led_to
    }

    /// As [`ReadThread::look`], and no more than so many bytes more are to be read from now on.
    pub(super) fn look_within<M: Memory>(
        &mut self,
        left: &mut usize,
        runtime: &Runtime<M>,
        places: &mut Places,
    ) -> Result<Outcome, Fault> {
        let before = self.regions.length;
        self.allowed = before.saturating_add(*left);
        let outcome = self.look(runtime, places);
        let now = self.regions.length;
        *left = left.saturating_add(before).saturating_sub(now);
        outcome
    }

    /// Says which frames the thread is in, by what has just been read.
    fn look<M: Memory>(
        &mut self,
        runtime: &Runtime<M>,
        places: &mut Places,
    ) -> Result<Outcome, Fault> {
        let outcome = self.understand(runtime, places)?;
        if outcome != Outcome::Again {
            self.regions.each(&mut Region::conclude);
        }
        Ok(outcome)
    }

    fn understand<M: Memory>(
        &mut self,
        runtime: &Runtime<M>,
        places: &mut Places,
    ) -> Result<Outcome, Fault> {
        let layout = &runtime.layout;
        let Some((head, after)) = self.heads(layout) else {
            self.lose("its state can't be read");
            return Ok(Outcome::Done);
        };
        if !self.fits(&head) {
            self.plan(layout, &head);
            // What is read next is compared with this, of which nothing is concluded.
            self.forget();
            return Ok(Outcome::Again);
        }
        if self.regions.is_same() && !self.forgets {
            // Who stays where it can't be is there.
            let stays = !self.doubted.is_empty();
            return Ok(if stays {
                Outcome::Unsure
            } else {
                Outcome::Done
            });
        }
        let clean = self.clean(layout);
        let mut best: Option<Found> = None;
        for from in [head.frame, after] {
            if best.as_ref().is_some_and(|best| best.from == from) {
                continue;
            }
            let mut frames = Vec::new();
            let joined = match self.walk(layout, from, clean, runtime.limits.frames, &mut frames) {
                Walked::Missing(address) if best.is_none() => {
                    if self.want(runtime, address)? {
                        self.forget();
                        return Ok(Outcome::Again);
                    }
                    if frames.is_empty() || !self.is_at_limit() {
                        self.lose("frames lie where nothing can be read");
                        return Ok(Outcome::Done);
                    }
                    self.take_innermost(&mut frames)
                }
                Walked::Missing(_) => continue,
                Walked::Endless(TOO_DEEP) if best.is_none() => self.take_innermost(&mut frames),
                Walked::Endless(why) if best.is_none() => {
                    self.lose(why);
                    return Ok(Outcome::Done);
                }
                Walked::Endless(_) => continue,
                Walked::Joined(joined) => {
                    // It leads to the outermost one, or to what was looked at before.
                    self.is_deep &= joined > 0;
                    joined
                }
            };
            let further = head.frame != after;
            let found = self.judge(runtime, places, (from, joined), frames, (&[], further))?;
            let deeper = best
                .as_ref()
                .is_none_or(|best| found.depth() > best.depth());
            if deeper {
                best = Some(found);
            }
        }
        let still = head.frame == after;
        Ok(match best {
            // Where nothing fits together, it was read while it changed.
            Some(found) if found.is_nothing() => Outcome::Again,
            Some(found) if self.retries < RETRIES && self.would_be_orphan(&found, places) => {
                self.retries += 1;
                self.forget();
                Outcome::Again
            }
            Some(found) => self.take(layout, found, places, still),
            None => Outcome::Done,
        })
    }

    /// How many links, from the outermost on, are as they were.
    fn clean(&self, layout: &Layout) -> usize {
        if self.forgets {
            return 0;
        }
        let size = layout.frame.size;
        let ends = self.runs.iter().skip(1).map(|start| *start as usize);
        let ends = ends.chain([self.chain.len()]);
        for (start, end) in self.runs.iter().zip(ends) {
            let start = *start as usize;
            let run = self.chain.get(start..end).unwrap_or_default();
            let Some(first) = run.first() else {
                return start;
            };
            let region = self.regions.region(first.frame.address, length(size));
            let changed = region.map_or(Address::NULL, Region::changed_at);
            let is_clean = |link: &Link| {
                let end = link.frame.address.offset(size);
                end.is_some_and(|end| end <= changed)
            };
            if !run.last().is_some_and(is_clean) {
                return start + run.partition_point(is_clean);
            }
        }
        self.chain.len()
    }

    /// Follows the frames from the one at `from` out, until they reach one that is as it was.
    fn walk(
        &self,
        layout: &Layout,
        from: Address,
        clean: usize,
        limit: usize,
        frames: &mut Vec<RawFrame>,
    ) -> Walked {
        let size = length(layout.frame.size);
        let mut next = from;
        // One of those that were met, each time that there are twice as many.
        let mut landmark = Address::NULL;
        while !next.is_null() {
            if next == landmark {
                return Walked::Endless("the frames lead back to where they have been");
            }
            if frames.len().is_power_of_two() {
                landmark = next;
            }
            let known = self.by_address.get(&next);
            if let Some(known) = known.filter(|known| (**known as usize) < clean) {
                frames.reverse();
                return Walked::Joined(*known as usize + 1);
            }
            if frames.len() >= limit {
                return Walked::Endless(TOO_DEEP);
            }
            let Some(region) = self.regions.region(next, size) else {
                return Walked::Missing(next);
            };
            let Some(frame) = RawFrame::parse(layout, region.view(), next) else {
                return Walked::Missing(next);
            };
            next = frame.previous;
            frames.push(frame);
        }
        frames.reverse();
        Walked::Joined(0)
    }

    /// What the links up to `joined` leave to be known for the next one.
    fn outer(&self, judge: &Judge<'_>, joined: usize) -> Outer {
        let mut outer = Outer::default();
        // The innermost that is code, and the innermost on the data stack, say all of it.
        let links = self.chain.get(..joined).unwrap_or_default();
        let mut first = links.len();
        let mut code = false;
        for link in links.iter().rev() {
            first -= 1;
            code |= link.code.is_some();
            if code && judge.is_pushed(&link.frame) {
                break;
            }
        }
        for link in links.iter().skip(first) {
            judge.go_in(&mut outer, link);
        }
        outer
    }

    /// Judges the frames behind the first `joined` links.
    fn judge<M: Memory>(
        &self,
        runtime: &Runtime<M>,
        places: &mut Places,
        (from, joined): (Address, usize),
        frames: Vec<RawFrame>,
        (believed, further): (&[Doubt], bool),
    ) -> Result<Found, Fault> {
        let layout = &runtime.layout;
        let Some(call) = &layout.instructions.call else {
            return Ok(Found::default());
        };
        let mut asked = Asked::default();
        places.learn(runtime, call, &frames, &mut asked)?;
        let believes = |doubt| believed.contains(&doubt) || self.doubts.believed.contains(&doubt);
        let in_one_chunk = |one: Address, other: Address| {
            let mut chunks = self.regions.chunks.iter();
            chunks.any(|chunk| chunk.holds(one, 1) && chunk.holds(other, 1))
        };
        let mut found = Found::default();
        for attempt in 1..=ATTEMPTS {
            let mut judge = Judge {
                layout,
                places,
                asked: &mut asked,
                believes: &believes,
                in_one_chunk: &in_one_chunk,
            };
            found = self.judge_once(&mut judge, joined, &frames, further);
            if asked.is_empty() || attempt == ATTEMPTS {
                break;
            }
            places.ask(runtime, call, &mut asked)?;
        }
        Ok(Found {
            from,
            frames,
            ..found
        })
    }

    /// Goes from the outermost of these frames in, as far as the thread was in them; and `further`,
    /// where it may have been in others by then.
    fn judge_once(
        &self,
        judge: &mut Judge<'_>,
        joined: usize,
        frames: &[RawFrame],
        further: bool,
    ) -> Found {
        let mut found = Found {
            joined,
            ..Found::default()
        };
        let mut outer = self.outer(judge, joined);
        for frame in frames {
            match judge.judge(&outer, frame) {
                Verdict::Live(link) => {
                    judge.go_in(&mut outer, &link);
                    found.links.push(link);
                }
                Verdict::Dead(doubt) => {
                    found.doubted = doubt.map(|doubt| Doubted {
                        doubt,
                        caller: outer.caller().copied(),
                        callee: *frame,
                    });
                    return found;
                }
            }
        }
        if further {
            self.go_further(judge, &mut outer, &mut found);
        }
        found
    }

    /// Whether nobody is known to have resumed the outermost of its frames, if this is what it does.
    fn would_be_orphan(&self, found: &Found, places: &Places) -> bool {
        let last = found.joined.checked_sub(1);
        let kept = last.and_then(|last| self.counts.get(last)).copied();
        if kept.unwrap_or(0) > 0 {
            return self.is_orphan;
        }
        // Of a deep one the outermost frames are not among these.
        !self.is_deep && found.is_orphan(places)
    }

    /// Takes what was found as what the thread does.
    fn take(&mut self, layout: &Layout, found: Found, places: &mut Places, still: bool) -> Outcome {
        self.is_orphan = self.would_be_orphan(&found, places);
        self.retries = 0;
        self.keep(found.joined);
        self.trust = Trust::Whole;
        let outer = self.chain.last();
        let mut through_c = outer.is_some_and(|link| link.code.is_none());
        for link in found.links {
            through_c = self.push(layout, places, link, through_c);
        }
        self.cut = self.is_deep.then_some(TOO_DEEP);
        self.forgets = false;
        self.doubted.clear();
        let Some(doubted) = found.doubted.filter(|_| still) else {
            return Outcome::Done;
        };
        let callers = self.chain.iter().take(found.joined);
        self.doubted.extend(callers.map(|link| link.frame));
        self.doubted.extend(found.frames);
        // It is in a call that is not shown, as far as it says itself: unless it has returned from
        // one and is in another by now, as it was whenever that was looked into.
        self.trust = Trust::Torn;
        if self.doubts.is_open(doubted.doubt) {
            return Outcome::Unsure;
        }
        if !doubted.doubt.by_instruction {
            self.trust = Trust::Whole;
        }
        Outcome::Done
    }

    /// Keeps the first `joined` links and the frames of Python code that they show.
    fn keep(&mut self, joined: usize) {
        let last = joined.checked_sub(1);
        let shown = last.and_then(|last| self.counts.get(last));
        let shown = shown.map_or(0, |count| *count as usize);
        for link in self.chain.drain(joined.min(self.chain.len())..) {
            self.by_address.remove(&link.frame.address);
        }
        self.counts.truncate(joined);
        let runs = self
            .runs
            .partition_point(|start| (*start as usize) < joined);
        self.runs.truncate(runs);
        self.kept = self.kept.min(shown);
        self.frames.truncate(shown);
    }

    /// Adds a link, and the frame that it shows. `through_c` is whether C code comes before it; it
    /// is said whether some comes before the next.
    fn push(&mut self, layout: &Layout, places: &mut Places, link: Link, through_c: bool) -> bool {
        if let Some((code, _)) = link.code {
            places.watch(layout, code);
        }
        let known = link.code.and_then(|(_, place)| places.get(place));
        if known.is_some_and(|place| !place.is_known) {
            self.trust = Trust::Torn;
        }
        let code = link.code;
        let code = code.and_then(|(code, place)| Some((places.facts(code)?, place)));
        if let Some((facts, place)) = code
            && !facts.is_shim
        {
            self.frames.push(PlacedFrame {
                address: link.frame.address,
                place,
                through_c: through_c || link.frame.is_entry,
            });
        }
        let through_c = code.is_none();
        let index = u32::try_from(self.chain.len()).unwrap_or(u32::MAX);
        if !self.goes_on(&link, length(layout.frame.size)) {
            self.runs.push(index);
        }
        self.by_address.insert(link.frame.address, index);
        self.chain.push(link);
        let shown = u32::try_from(self.frames.len()).unwrap_or(u32::MAX);
        self.counts.push(shown);
        through_c
    }

    /// Whether a link lies in the same region as the last one, behind it.
    fn goes_on(&self, link: &Link, size: usize) -> bool {
        let (Some(last), Some(_)) = (self.chain.last(), self.runs.last()) else {
            return false;
        };
        let (last, next) = (last.frame.address, link.frame.address);
        let region = self.regions.region(last, size);
        last < next && region.is_some_and(|region| region.holds(next, size))
    }

    /// Looks into what is doubted, by what has just been read once more. A call that is still there
    /// is one, whatever the instruction says: it need not have been told whom it calls now.
    pub(super) fn look_closer<M: Memory>(
        &mut self,
        runtime: &Runtime<M>,
        places: &mut Places,
    ) -> Result<(), Fault> {
        // What has been read is another moment's: what was concluded from the last stays, but is not
        // compared with it.
        self.forgets = true;
        let said = std::mem::take(&mut self.doubted);
        let layout = &runtime.layout;
        let heads = self.heads(layout).filter(|(head, _)| self.fits(head));
        let Some((head, after)) = heads else {
            return Ok(());
        };
        let (mut frames, mut later) = (Vec::new(), Vec::new());
        for (from, frames) in [(head.frame, &mut frames), (after, &mut later)] {
            let walked = self.walk(layout, from, 0, runtime.limits.frames, frames);
            if !matches!(walked, Walked::Joined(_)) {
                return Ok(());
            }
        }
        let mut believed = Vec::new();
        loop {
            let found = self.judge(runtime, places, (head.frame, 0), frames, (&believed, false))?;
            let doubted = found.doubted.filter(|doubted| {
                let stays = doubted.is_in(&said, layout) && doubted.is_in(&later, layout);
                stays && !believed.contains(&doubted.doubt)
            });
            let Some(Doubted { doubt, .. }) = doubted else {
                let still = head.frame == after;
                self.take(layout, found, places, still);
                return Ok(());
            };
            believed.push(doubt);
            if doubt.by_instruction {
                self.doubts.believe(doubt);
            }
            frames = found.frames;
        }
    }

    /// The links of its stack, the outermost first.
    pub(super) fn links(&self) -> &[Link] {
        &self.chain
    }

    /// The code objects of the frames that it is in.
    pub(super) fn codes(&self) -> impl Iterator<Item = CodeId> {
        self.chain
            .iter()
            .filter_map(|link| link.code.map(|(code, _)| code))
    }
}
