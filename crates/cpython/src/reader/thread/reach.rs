//! What has to be read of a thread, to know which frames it is in.

use invivo_model::{Address, Trust};
use invivo_process::{Fault, Memory};

use super::{Found, ReadThread, Walked};
use crate::frames::{AHEAD, Head, MAX_CHUNK, RawFrame, is_part_of_state};
use crate::interpreters::thread_span;
use crate::layout::{CurrentFrame, Layout};
use crate::pieces::{Piece, length, read_pieces};
use crate::reader::chain::{Judge, Outer, Verdict};
use crate::reader::places::{Asked, Places};
use crate::reader::region::{Region, read_regions};
use crate::runtime::Runtime;

/// Chunks of a data stack that are read.
const MAX_CHUNKS: usize = 512;
/// As many are read of a stack that is too deep to be looked at whole, and frames.
const DEEP_CHUNKS: usize = 4;
const DEEP_FRAMES: usize = 500;
/// Bytes of a chunk that has not been read before.
const FIRST_CHUNK: u64 = 1 << 10;
/// Frames that lie by themselves and are read ahead.
const MAX_WINDOWS: usize = 4096;
/// How often [`ReadThread::tidy`] leaves such a frame that has not been needed.
const LINGER: u32 = 4;

impl ReadThread {
    /// Reads from now on the thread state, of which this has been read, and what it points to; and
    /// the pointer at `link` that leads to it, where that is another thread's.
    pub(in crate::reader) fn place(
        &mut self,
        layout: &Layout,
        link: Option<Address>,
        piece: &Piece,
    ) {
        let address = self.state.address;
        let next = piece.word(address, layout.thread.next);
        self.next = Address(next.unwrap_or(0));
        let (from, to) = thread_span(layout);
        let start = address.offset(from).unwrap_or_default();
        self.regions.state.place(start, length(to - from));
        match link {
            Some(link) => self.regions.link.place(link, 8),
            None => self.regions.link.place(Address::NULL, 0),
        }
        let head = Head::parse(layout, address, piece.view());
        self.plan(layout, &head.unwrap_or_default());
    }

    /// Reads from now on what this head points to.
    pub(in crate::reader) fn plan(&mut self, layout: &Layout, head: &Head) {
        let regions = &mut self.regions;
        let size = if head.through.is_null() { 0 } else { 8 };
        regions.through.place(head.through, size);
        let after = match layout.thread.current_frame {
            CurrentFrame::Direct(at) => (self.state.address.offset(at).unwrap_or_default(), 8),
            CurrentFrame::Through { .. } => (head.through, size),
        };
        regions.after.place(after.0, after.1);
        if regions.chunks.iter().all(|chunk| chunk.start != head.chunk) {
            regions.chunks.insert(0, Region::default());
        }
        // Those that are newer than the newest are there no more.
        while regions
            .chunks
            .first()
            .is_some_and(|chunk| chunk.start != head.chunk && !chunk.start.is_null())
        {
            regions.chunks.remove(0);
        }
        let used = head.used().unwrap_or(0);
        if let Some(newest) = regions.chunks.first_mut() {
            let known = newest.start == head.chunk;
            let reached = if known { newest.length() as u64 } else { 0 };
            let size = used.saturating_add(AHEAD).max(FIRST_CHUNK).max(reached);
            let size = head.within(size).min(self.allowed as u64);
            newest.place(head.chunk, length(size));
        }
        let most = if self.is_deep {
            DEEP_CHUNKS
        } else {
            MAX_CHUNKS
        };
        regions.chunks.truncate(most);
        regions.measure();
    }

    /// Reads so many bytes of the newest chunk at least, as far as there are as many.
    pub(in crate::reader) fn reach(&mut self, head: &Head, bytes: u64) {
        let bytes = head.within(bytes).min(self.allowed as u64);
        if let Some(newest) = self.regions.chunks.first_mut()
            && newest.start == head.chunk
            && (newest.length() as u64) < bytes
        {
            newest.place(head.chunk, length(bytes));
            self.regions.measure();
        }
    }

    /// What the thread state said before and after its frames were read.
    pub(in crate::reader) fn heads(&self, layout: &Layout) -> Option<(Head, Address)> {
        let mut head = Head::parse(layout, self.state.address, self.regions.state.view())?;
        if !head.through.is_null() && head.through == self.regions.through.start {
            head.frame = Address(self.regions.through.word()?);
        }
        let after = self.regions.after.word().map_or(head.frame, Address);
        Some((head, after))
    }

    /// That it can't be said which frames it is in.
    pub(in crate::reader) fn lose(&mut self, why: &'static str) {
        self.cut = Some(why);
        self.is_orphan = false;
        self.trust = Trust::Torn;
        self.frames.clear();
        self.kept = 0;
        self.forget();
    }

    /// Has all that follows concluded anew.
    pub(in crate::reader) fn forget(&mut self) {
        self.forgets = true;
        self.chain.clear();
        self.runs.clear();
        self.counts.clear();
        self.by_address.clear();
    }

    /// Whether no older chunks of its data stack are looked at.
    pub(super) fn is_at_limit(&self) -> bool {
        let most = if self.is_deep {
            DEEP_CHUNKS
        } else {
            MAX_CHUNKS
        };
        self.regions.chunks.len() >= most
    }

    /// Looks from now on at the innermost frames alone, of which `frames` are the first that were
    /// met; so many links come before them.
    pub(super) fn take_innermost(&mut self, frames: &mut Vec<RawFrame>) -> usize {
        self.is_deep = true;
        self.regions.chunks.truncate(DEEP_CHUNKS);
        self.regions.windows.clear();
        self.regions.measure();
        frames.truncate(DEEP_FRAMES);
        frames.reverse();
        0
    }

    /// An address on the C stack of whoever runs it; see [`invivo_model::Stack::c_stack`].
    pub(in crate::reader) fn c_stack(&self, layout: &Layout) -> Option<Address> {
        if layout.thread.cframe.is_some() {
            let (head, _) = self.heads(layout)?;
            return (!head.c_stack.is_null()).then_some(head.c_stack);
        }
        let mut links = self.chain.iter().rev();
        let entry = links.find(|link| link.frame.is_on_c_stack(layout))?;
        let entry = entry.frame.address;
        (!is_part_of_state(self.state.address, entry)).then_some(entry)
    }

    /// The same as far out as it is told, where it is found at once.
    pub(in crate::reader) fn outer_c_stack(&self, layout: &Layout) -> Option<Address> {
        if layout.thread.cframe.is_some() {
            return self.c_stack(layout);
        }
        let links = self.chain.iter().filter(|link| {
            let own = is_part_of_state(self.state.address, link.frame.address);
            !own && link.frame.is_on_c_stack(layout)
        });
        links.map(|link| link.frame.address).next()
    }

    /// Whether what was read is what this head's frames take.
    pub(super) fn fits(&self, head: &Head) -> bool {
        let through = head.through == self.regions.through.start || head.through.is_null();
        let top = head.used();
        let newest = self.regions.chunks.first();
        through
            && newest.is_some_and(|newest| {
                newest.start == head.chunk
                    && top.is_some_and(|top| top <= newest.length() as u64)
                    && (newest.is_whole() || head.chunk.is_null())
            })
    }

    /// Reads what frames lie elsewhere than was thought, a moment later.
    pub(in crate::reader) fn complete<M: Memory>(
        &mut self,
        runtime: &Runtime<M>,
    ) -> Result<(), Fault> {
        let layout = &runtime.layout;
        let heads = self.heads(layout).filter(|(head, _)| self.fits(head));
        let Some((head, _)) = heads else {
            return Ok(());
        };
        let walked = self.walk(
            layout,
            head.frame,
            0,
            runtime.limits.frames,
            &mut Vec::new(),
        );
        if let Walked::Missing(address) = walked {
            self.want(runtime, address)?;
        }
        Ok(())
    }

    /// What its frames need to be understood and is not known yet: code objects, or, where all of
    /// these are known, what is to be asked of the places they stand at.
    pub(in crate::reader) fn unknown(
        &self,
        layout: &Layout,
        limit: usize,
        places: &mut Places,
        asked: &mut Asked,
    ) -> Vec<Address> {
        let mut frames = Vec::new();
        if let Some((head, _)) = self.heads(layout).filter(|(head, _)| self.fits(head)) {
            self.walk(layout, head.frame, 0, limit, &mut frames);
        }
        let codes = frames.iter().filter(|frame| !frame.is_sentinel(layout));
        let codes = codes.map(|frame| frame.executable);
        let unknown: Vec<_> = codes.filter(|code| places.code(*code).is_none()).collect();
        if unknown.is_empty() {
            places.note(&frames, asked);
        }
        unknown
    }

    /// What was called and has returned between the two looks at the current frame, and was live
    /// when the data stack was copied.
    pub(super) fn go_further(&self, judge: &mut Judge<'_>, outer: &mut Outer, found: &mut Found) {
        let size = length(judge.layout.frame.size);
        while let Some((caller, next)) = outer.next() {
            let region = self.regions.region(next, size);
            let region = region.filter(|region| region.holds(caller, 1));
            let frame =
                region.and_then(|region| RawFrame::parse(judge.layout, region.view(), next));
            let Some(frame) = frame.filter(|frame| frame.previous == caller) else {
                return;
            };
            match judge.judge(outer, &frame) {
                Verdict::Live(link) if link.code.is_some() => {
                    judge.go_in(outer, &link);
                    found.links.push(link);
                }
                Verdict::Live(_) | Verdict::Dead(_) => return,
            }
        }
    }

    /// Has the frame at `address` read; whether that is new.
    pub(super) fn want<M: Memory>(
        &mut self,
        runtime: &Runtime<M>,
        address: Address,
    ) -> Result<bool, Fault> {
        let size = length(runtime.layout.frame.size);
        let mut added = self.older_chunks(runtime)?;
        if self.is_deep {
            return Ok(added);
        }
        let mut next = address;
        let mut left = self.allowed.saturating_sub(self.regions.length);
        // Those further out are looked for at once, and not one more in each round.
        for _ in 0..runtime.limits.frames {
            if next.is_null() {
                break;
            }
            if let Some(region) = self.regions.region(next, size) {
                let frame = RawFrame::parse(&runtime.layout, region.view(), next);
                next = frame.map_or(Address::NULL, |frame| frame.previous);
                continue;
            }
            let windows = &mut self.regions.windows;
            let at = windows.partition_point(|one| one.start < next);
            let known = windows.get(at).is_some_and(|one| one.start == next);
            if known || windows.len() >= MAX_WINDOWS || left < size {
                break;
            }
            left -= size;
            added = true;
            let mut window = Region::new(next, size);
            read_regions(&runtime.memory, [&mut window])?;
            let frame = RawFrame::parse(&runtime.layout, window.view(), next);
            windows.insert(at, window);
            next = frame.map_or(Address::NULL, |frame| frame.previous);
        }
        self.regions.measure();
        Ok(added)
    }

    /// Finds the chunks before the oldest one that is known; whether there are any.
    fn older_chunks<M: Memory>(&mut self, runtime: &Runtime<M>) -> Result<bool, Fault> {
        let Some(layout) = &runtime.layout.chunk else {
            return Ok(false);
        };
        let before = self.regions.chunks.len();
        let mut left = self.allowed.saturating_sub(self.regions.length) as u64;
        while let Some(oldest) = self.regions.chunks.last() {
            let previous = oldest.view().word(oldest.start, layout.previous);
            let previous = Address(previous.unwrap_or(0));
            let known = self.regions.chunks.iter();
            let mut known = known.map(|chunk| chunk.start);
            if previous.is_null() || known.any(|start| start == previous) || self.is_at_limit() {
                break;
            }
            let header = [(previous, length(layout.data))];
            let header = read_pieces(&runtime.memory, header)?;
            let used = header.first().and_then(|header| {
                let top = header.word(previous, layout.top)?;
                layout.data.checked_add(top.checked_mul(8)?)
            });
            let Some(used) = used.filter(|used| *used <= left.min(MAX_CHUNK)) else {
                break;
            };
            left -= used;
            let mut region = Region::new(previous, length(used));
            read_regions(&runtime.memory, [&mut region])?;
            self.regions.chunks.push(region);
        }
        self.regions.measure();
        Ok(self.regions.chunks.len() > before)
    }

    /// Reads those frames no more that lie by themselves and have not been needed for long: so
    /// many times that this was called.
    pub(in crate::reader) fn tidy(&mut self) {
        for window in &mut self.regions.windows {
            window.idle += 1;
        }
        let windows = &mut self.regions.windows;
        for link in &self.chain {
            let at = windows.partition_point(|one| one.start < link.frame.address);
            if let Some(window) = windows.get_mut(at)
                && window.start == link.frame.address
            {
                window.idle = 0;
            }
        }
        windows.retain(|window| window.idle < LINGER);
        self.regions.measure();
    }
}
