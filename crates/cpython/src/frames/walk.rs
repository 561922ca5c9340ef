//! Following the frames of threads, many threads at a time.

use std::collections::{BTreeMap, HashSet};

use invivo_model::{Address, Defect};
use invivo_process::{Fault, Memory};

use super::deep::TOO_DEEP;
use super::raw::RawFrame;
use crate::layout::{CurrentFrame, Layout};
use crate::pieces::{Piece, View, length, page_of, read_pieces, within_page};
use crate::runtime::Runtime;

/// Bytes that are read of a frame that lies by itself: others and its variables often follow.
const WINDOW: usize = 2048;
/// Bytes that are read of an older chunk of a data stack: as many as nearly all have.
const CHUNK: usize = 16 << 10;
/// Bytes of a chunk's used part. Only a frame of thousands of variables makes one longer.
pub(crate) const MAX_CHUNK: u64 = 1 << 20;
/// Bytes read behind what has been used of the newest chunk so far. More would let more time pass
/// until the frames are read.
pub(crate) const AHEAD: u64 = 256;
/// Chunks of which is remembered how much has been used; then all are forgotten.
const MAX_REACHED: usize = 1 << 12;
/// A thread may change to another chunk while it is read: it is read again this often.
const ATTEMPTS: usize = 4;

/// What a thread state says of its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Where the pointer to the current frame lies, where that is not the thread state.
    pub(crate) through: Address,
    /// The current frame, where the thread state itself says it.
    pub(crate) frame: Address,
    pub(crate) chunk: Address,
    /// Where the used part of the chunk ends.
    pub(crate) top: Address,
    /// Where the chunk ends.
    pub(crate) limit: Address,
    /// Where the innermost evaluation of bytecode keeps something on the C stack; null where there
    /// is none, or where the thread state does not say.
    pub(crate) c_stack: Address,
    /// The chunk before the newest one, null where there is none; `None` where that has not been
    /// asked.
    pub(crate) older: Option<Address>,
}

impl Head {
    /// Which bytes of a thread state a head is in.
    pub(crate) fn span(layout: &Layout) -> (u64, u64) {
        let (first, end) = match layout.thread.current_frame {
            CurrentFrame::Direct(at) | CurrentFrame::Through { pointer: at, .. } => (at, at + 8),
        };
        let cframe = layout.thread.cframe.unwrap_or(first);
        let (first, end) = (first.min(cframe), end.max(cframe + 8));
        match layout.thread.datastack_chunk {
            Some(chunk) => (first.min(chunk), end.max(chunk + 24)),
            None => (first, end),
        }
    }

    /// The head of the thread state at `thread`, of which `piece` holds the span.
    pub(crate) fn parse(layout: &Layout, thread: Address, piece: View<'_>) -> Option<Self> {
        let pointer = |offset| piece.word(thread, offset).map(Address);
        let mut head = Self::default();
        match layout.thread.current_frame {
            CurrentFrame::Direct(at) => head.frame = pointer(at)?,
            CurrentFrame::Through {
                pointer: at,
                inside,
            } => {
                let place = pointer(at)?;
                if !place.is_null() {
                    head.through = place.offset(inside)?;
                }
            }
        }
        if let Some(at) = layout.thread.cframe {
            let place = pointer(at)?;
            if !is_part_of_state(thread, place) {
                head.c_stack = place;
            }
        }
        if let Some(chunk) = layout.thread.datastack_chunk {
            // Its top and its limit follow the pointer to the newest chunk.
            head.chunk = pointer(chunk)?;
            head.top = pointer(chunk + 8)?;
            head.limit = pointer(chunk + 16)?;
        }
        Some(head)
    }

    /// Whether what is read for `planned` holds all that this one's frames take.
    fn is_as(&self, planned: &Self, reached: u64) -> bool {
        let end = planned.core(reached);
        let end = end.and_then(|(start, size)| start.offset(size as u64));
        self.through == planned.through
            && self.chunk == planned.chunk
            && self.top <= end.unwrap_or_default()
    }

    /// What is to be read of the chunk, which is known to have been used up to `reached` bytes.
    fn core(&self, reached: u64) -> Option<(Address, usize)> {
        let used = self.used()?.max(reached);
        let size = self.within(used.saturating_add(AHEAD));
        (size > 0).then(|| (self.chunk, length(size)))
    }

    /// Bytes of the chunk that are in use.
    pub(crate) fn used(&self) -> Option<u64> {
        self.top.since(self.chunk)
    }

    /// So many bytes of the chunk, or as many as it has and are read at most.
    pub(crate) fn within(&self, bytes: u64) -> u64 {
        if self.chunk.is_null() {
            return 0;
        }
        let whole = self.limit.since(self.chunk).unwrap_or(0);
        bytes.min(whole).min(MAX_CHUNK)
    }
}

/// Whether what lies at `address` is a part of the thread state at `thread`, as the innermost
/// entry of some chains is that otherwise lie on the C stack.
pub(crate) fn is_part_of_state(thread: Address, address: Address) -> bool {
    /// More than the structure has in any version.
    const SIZE: u64 = 4096;
    address.since(thread).is_some_and(|offset| offset < SIZE)
}

/// What several walks may take together.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Frames.
    pub(crate) frames: usize,
    /// Bytes that are read and kept while the walks last.
    pub(crate) bytes: usize,
}

/// A thread's frames as far as they have been followed.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Innermost first, sentinels included.
    pub(crate) frames: Vec<RawFrame>,
    pub(crate) cut: Option<Defect>,
    next: Address,
    /// The frame that was read last by itself.
    asked: Address,
    seen: HashSet<Address>,
    /// Chunks of the data stack, by where they begin.
    chunks: BTreeMap<Address, Piece>,
    /// What lies elsewhere.
    windows: BTreeMap<Address, Piece>,
    /// The newest chunk that has not been read.
    older: Address,
    /// Where to begin instead, should this beginning lead nowhere.
    instead: Option<Address>,
    newest: Address,
    /// Whether the thread said the same frame before and after.
    is_still: bool,
}

impl Walk {
    /// Of frames that have been followed already.
    pub(crate) fn of_frames(frames: Vec<RawFrame>) -> Self {
        Self {
            frames,
            ..Self::default()
        }
    }

    /// Of a stack that can't be read at all.
    pub(crate) fn cut_off(address: Address, what: impl Into<String>) -> Self {
        let mut walk = Self::default();
        walk.end(address, what);
        walk
    }

    /// Whether nothing at all has happened between this look at a thread and another.
    pub(crate) fn rests_as(&self, other: &Self) -> bool {
        let chunks = (
            self.chunks.get(&self.newest),
            other.chunks.get(&other.newest),
        );
        let same_bytes = match chunks {
            // As much as was read both times.
            (Some(one), Some(two)) => one.bytes.iter().zip(&two.bytes).all(|(a, b)| a == b),
            (None, None) => true,
            _ => false,
        };
        self.is_still && other.is_still && self.frames == other.frames && same_bytes
    }

    /// Whether `address` lies in the copy of the newest chunk.
    pub(crate) fn is_in_newest_chunk(&self, address: Address) -> bool {
        let chunk = self.chunks.get(&self.newest);
        chunk.is_some_and(|chunk| chunk.get(address, 1).is_some())
    }

    /// The frame at `address`, where it lies in the copy of the newest chunk.
    pub(crate) fn in_newest_chunk(&self, layout: &Layout, address: Address) -> Option<RawFrame> {
        RawFrame::parse(layout, self.chunks.get(&self.newest)?.view(), address)
    }

    fn end(&mut self, address: Address, what: impl Into<String>) {
        let what = what.into();
        self.cut = Some(Defect { address, what });
        self.next = Address::NULL;
    }

    /// The piece that the `size` bytes at `address` lie in.
    pub(crate) fn piece(&self, address: Address, size: usize) -> Option<&Piece> {
        let before = |pieces: &'_ BTreeMap<Address, Piece>| {
            let (_, piece) = pieces.range(..=address).next_back()?;
            piece.get(address, size).map(|_| piece.start)
        };
        match before(&self.windows) {
            Some(start) => self.windows.get(&start),
            None => self.chunks.get(&before(&self.chunks)?),
        }
    }

    /// Follows the frames from the other beginning, where there is one and the first led nowhere.
    fn begin_again(
        &mut self,
        layout: &Layout,
        limit: usize,
        budget: &mut Budget,
    ) -> Option<Address> {
        self.cut.as_ref()?;
        self.next = self.instead.take()?;
        self.cut = None;
        self.frames.clear();
        self.seen.clear();
        self.advance(layout, limit, budget)
    }

    /// Follows the frames as far as they have been read; gives the first that has not been.
    fn advance(&mut self, layout: &Layout, limit: usize, budget: &mut Budget) -> Option<Address> {
        while !self.next.is_null() {
            let address = self.next;
            let piece = self.piece(address, length(layout.frame.size));
            let Some(frame) =
                piece.and_then(|piece| RawFrame::parse(layout, piece.view(), address))
            else {
                return Some(address);
            };
            if self.frames.len() >= limit || budget.frames == 0 {
                self.end(address, TOO_DEEP);
                break;
            }
            if !self.seen.insert(address) {
                self.end(address, "the frames lead back to this one");
                break;
            }
            budget.frames -= 1;
            self.frames.push(frame);
            self.next = frame.previous;
        }
        None
    }
}

impl<M: Memory> Runtime<M> {
    /// Follows the frames of threads with these heads, each as far as `limit`.
    pub(crate) fn walks(
        &self,
        threads: &[(Address, Head)],
        limit: usize,
        budget: &mut Budget,
    ) -> Result<Vec<Walk>, Fault> {
        let mut walks = self.snapshots(threads, budget)?;
        self.follow(&mut walks, limit, budget)?;
        Ok(walks)
    }

    /// Follows walks that have begun to their ends.
    fn follow(&self, walks: &mut [Walk], limit: usize, budget: &mut Budget) -> Result<(), Fault> {
        loop {
            let mut wanted = Vec::new();
            for (index, walk) in walks.iter_mut().enumerate() {
                let missing = walk.advance(&self.layout, limit, budget);
                let missing = missing.or_else(|| walk.begin_again(&self.layout, limit, budget));
                let Some(missing) = missing else {
                    continue;
                };
                // What was asked for and did not come does not come the next time.
                if walk.asked == missing {
                    walk.end(missing, "the frame can't be read");
                    continue;
                }
                walk.asked = missing;
                let (window, size) = self.window(missing);
                let chunk = if walk.older.is_null() { 0 } else { CHUNK };
                let Some(left) = budget.bytes.checked_sub(size + chunk) else {
                    walk.end(missing, "more memory than is looked at");
                    continue;
                };
                budget.bytes = left;
                wanted.push((index, window, size));
                if chunk > 0 {
                    wanted.push((index, walk.older, chunk));
                }
            }
            if wanted.is_empty() {
                return Ok(());
            }
            let places = wanted.iter().map(|(_, at, size)| (*at, *size));
            let pieces = read_pieces(&self.memory, places)?;
            for ((index, ..), piece) in wanted.into_iter().zip(pieces) {
                let Some(walk) = walks.get_mut(index) else {
                    continue;
                };
                if piece.start == walk.older {
                    let older = self.previous_chunk(&piece);
                    let again = older == piece.start || walk.chunks.contains_key(&older);
                    walk.older = if again { Address::NULL } else { older };
                    walk.chunks.insert(piece.start, piece);
                } else {
                    walk.windows.insert(piece.start, piece);
                }
            }
        }
    }

    /// What is read for the frame at `address`. Frames that are objects of their own often share a
    /// page with those that called them.
    fn window(&self, address: Address) -> (Address, usize) {
        let size = length(self.layout.frame.size);
        if self.layout.chunk.is_some() {
            return (address, within_page(address, size, WINDOW));
        }
        let page = page_of(address);
        let inside = (address.0 - page.0) as usize;
        (page, inside + within_page(address, size, usize::MAX))
    }

    /// What is read between the two times that a thread says which frame it runs: the used part
    /// of the newest chunk, or its frame.
    fn core(&self, head: &Head, reached: u64) -> (Address, usize) {
        if self.layout.chunk.is_some() {
            head.core(reached).unwrap_or_default()
        } else if head.frame.is_null() {
            (Address::NULL, 0)
        } else {
            self.window(head.frame)
        }
    }

    /// Reads what each thread says of its frames, twice, and between the two the newest chunk of
    /// its data stack: all by one call, so that hardly any time passes between them.
    fn snapshots(
        &self,
        threads: &[(Address, Head)],
        budget: &mut Budget,
    ) -> Result<Vec<Walk>, Fault> {
        let mut walks: Vec<_> = threads.iter().map(|_| Walk::default()).collect();
        let mut open: Vec<_> = threads.iter().copied().enumerate().collect();
        for attempt in 1..=ATTEMPTS {
            let mut places = Vec::new();
            for (_, (thread, head)) in &open {
                places.extend(self.head_places(*thread, head));
                places.push(self.core(head, self.reached(head)));
                places.extend(self.head_places(*thread, head));
            }
            let mut pieces = read_pieces(&self.memory, places)?.into_iter();
            let mut again = Vec::new();
            for (index, (thread, head)) in open {
                let before = self.head(thread, &head, &mut pieces);
                let core = pieces.next().unwrap_or_default();
                let after = self.head(thread, &head, &mut pieces);
                let reached = self.reached(&head);
                let walk = match before.zip(after) {
                    None => Walk::cut_off(thread, "the thread state can't be read"),
                    Some((before, after))
                        if !before.is_as(&head, reached) && attempt < ATTEMPTS =>
                    {
                        self.note_reached([&before, &after]);
                        again.push((index, (thread, after)));
                        continue;
                    }
                    Some((before, after)) => self.begin(before, after, core, budget),
                };
                if let Some(place) = walks.get_mut(index) {
                    *place = walk;
                }
            }
            open = again;
            if open.is_empty() {
                break;
            }
        }
        Ok(walks)
    }

    fn begin(&self, before: Head, after: Head, core: Piece, budget: &mut Budget) -> Walk {
        budget.bytes = budget.bytes.saturating_sub(core.bytes.len());
        self.note_reached([&before, &after]);
        // What it said first is of one moment, and of no other length than any; so what is shown
        // is the stack of that moment, as far as what was read next tells it.
        let mut walk = Walk {
            next: before.frame,
            instead: (after.frame != before.frame).then_some(after.frame),
            newest: core.start,
            is_still: after.frame == before.frame,
            ..Walk::default()
        };
        if self.layout.chunk.is_some() {
            walk.older = self.previous_chunk(&core);
            walk.chunks.insert(core.start, core);
        } else {
            walk.windows.insert(core.start, core);
        }
        walk
    }

    /// How many bytes of a thread's newest chunk are known to have been used at times: a thread
    /// that calls on is to be seen as often as one that returns.
    pub(crate) fn reached(&self, head: &Head) -> u64 {
        let cache = self.code_cache();
        let reached = cache.reached.get(&head.chunk).copied();
        reached.unwrap_or(CHUNK as u64)
    }

    pub(crate) fn note_reached<'a>(&self, heads: impl IntoIterator<Item = &'a Head>) {
        let mut cache = self.code_cache();
        if cache.reached.len() > MAX_REACHED {
            cache.reached.clear();
        }
        for head in heads {
            if let Some(used) = head.used() {
                let reached = cache.reached.entry(head.chunk).or_default();
                *reached = used.max(*reached);
            }
        }
    }

    /// The chunk before that which `piece` begins with.
    fn previous_chunk(&self, piece: &Piece) -> Address {
        let layout = self.layout.chunk.as_ref();
        let previous = layout.and_then(|layout| piece.word(piece.start, layout.previous));
        previous.map_or(Address::NULL, Address)
    }

    /// What the thread state at `thread` says of its frames now.
    pub(crate) fn head_of(&self, thread: Address) -> Result<Head, Fault> {
        let (from, to) = Head::span(&self.layout);
        let start = thread.offset(from).ok_or(Fault::Unmapped(thread))?;
        let mut pieces = read_pieces(&self.memory, [(start, length(to - from))])?;
        let piece = pieces.pop().unwrap_or_default();
        Head::parse(&self.layout, thread, piece.view()).ok_or(Fault::Unmapped(start))
    }

    /// Where a head is read from: two pieces, the second of them empty where one is enough.
    pub(super) fn head_places(&self, thread: Address, head: &Head) -> [(Address, usize); 2] {
        let (from, to) = Head::span(&self.layout);
        let start = thread.offset(from).unwrap_or_default();
        let current = if head.through.is_null() { 0 } else { 8 };
        [(start, length(to - from)), (head.through, current)]
    }

    /// What the thread state at `thread` said when the next of `pieces` were read, those at
    /// [`Runtime::head_places`].
    pub(super) fn head(
        &self,
        thread: Address,
        was: &Head,
        pieces: &mut impl Iterator<Item = Piece>,
    ) -> Option<Head> {
        let span = pieces.next()?;
        let current = pieces.next()?;
        let mut head = Head::parse(&self.layout, thread, span.view())?;
        // It may point elsewhere by now, and then this is another's.
        if !head.through.is_null() && head.through == was.through {
            head.frame = Address(current.word(current.start, 0)?);
        }
        Some(head)
    }
}
