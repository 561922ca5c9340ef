//! Memory as a look at thousands of small objects needs it: in whole pages, each read once.
//!
//! Tasks, coroutines and the objects between them lie side by side in the allocator's pools. What
//! lies in one page comes by one piece, and pieces that are needed soon come by one call.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use invivo_model::Address;
use invivo_process::{Fault, Memory, ReadRequest};

/// The least page size there is.
const PAGE: usize = 4096;
/// How many pages are kept: 32 MiB. When there are more, all are forgotten.
const MAX_KEPT: usize = 8192;
/// How many pages one piece has at most.
const MAX_RUN: usize = 64;
/// Longer pieces are read by themselves, and not kept.
const MAX_PIECE: usize = 4 * PAGE;

/// Memory whose pages are read once and kept until [`Pages::forget`].
pub(super) struct Pages<'a, M> {
    memory: &'a M,
    kept: RefCell<Kept>,
    /// What kept reading from going on at all.
    met: Cell<Option<Fault>>,
}

#[derive(Default)]
struct Kept {
    /// Where each page is, by its number.
    places: HashMap<u64, Place>,
    /// What was read by each call.
    calls: Vec<Vec<u8>>,
    /// The page that was looked up last: the next piece is often in the same.
    last: Option<(u64, Place)>,
}

/// Which of the calls read a page, and where it begins in what came of it.
#[derive(Clone, Copy)]
struct Place {
    call: usize,
    start: usize,
}

impl<'a, M: Memory> Pages<'a, M> {
    pub(super) fn new(memory: &'a M) -> Self {
        Self {
            memory,
            kept: RefCell::default(),
            met: Cell::new(None),
        }
    }

    /// Has everything read anew from now on.
    pub(super) fn forget(&self) {
        self.kept.replace(Kept::default());
    }

    /// What kept reading from going on at all, if anything did.
    pub(super) fn met(&self) -> Option<Fault> {
        self.met.get()
    }

    /// Reads what will be asked for soon, each given by where it begins and how long it is.
    pub(super) fn prepare(&self, wanted: impl IntoIterator<Item = (Address, usize)>) {
        let mut kept = self.kept.borrow_mut();
        let pages = wanted
            .into_iter()
            .filter(|(address, length)| !address.is_null() && *length <= MAX_PIECE)
            .flat_map(|(address, length)| pages(address, length));
        let mut missing: Vec<_> = pages
            .filter(|page| !kept.places.contains_key(page))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        missing.truncate(MAX_KEPT);
        // Whoever needs it will meet the same fault.
        let _ = self.fetch(&mut kept, &missing);
    }

    /// Reads pages, given in order; those that are not wholly there are left out.
    fn fetch(&self, kept: &mut Kept, pages: &[u64]) -> Result<(), Fault> {
        if kept.places.len() + pages.len() > MAX_KEPT {
            *kept = Kept::default();
        }
        let runs: Vec<_> = pages
            .chunk_by(|before, page| before + 1 == *page)
            .flat_map(|run| run.chunks(MAX_RUN))
            .collect();
        let rest = self.fetch_runs(kept, &runs)?;
        // A run ends where nothing is mapped, and may go on behind it.
        let singles: Vec<_> = rest.chunks(1).collect();
        self.fetch_runs(kept, &singles).map(|_| ())
    }

    /// Reads runs of pages; gives those behind the first one of its run that is not there.
    fn fetch_runs(&self, kept: &mut Kept, runs: &[&[u64]]) -> Result<Vec<u64>, Fault> {
        let count: usize = runs.iter().map(|run| run.len()).sum();
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; count * PAGE];
        let mut room = bytes.as_mut_slice();
        let mut requests = Vec::with_capacity(runs.len());
        for run in runs {
            let first = run.first().copied().unwrap_or_default();
            let (buffer, rest) = room.split_at_mut(run.len() * PAGE);
            room = rest;
            requests.push(ReadRequest::new(Address(first * PAGE as u64), buffer));
        }
        self.ask(&mut requests)?;
        let filled: Vec<_> = requests.iter().map(|request| request.filled).collect();
        let call = kept.calls.len();
        let mut behind = Vec::new();
        let mut start = 0;
        for (run, filled) in runs.iter().zip(filled) {
            let whole = filled / PAGE;
            for (index, page) in run.iter().take(whole).enumerate() {
                let start = start + index * PAGE;
                kept.places.insert(*page, Place { call, start });
            }
            behind.extend(run.iter().skip(whole + 1));
            start += run.len() * PAGE;
        }
        kept.calls.push(bytes);
        Ok(behind)
    }

    fn ask(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        self.memory
            .read_many(requests)
            .inspect_err(|met| self.met.set(Some(*met)))
    }
}

impl<M: Memory> Memory for Pages<'_, M> {
    fn ensure_room(&self, bytes: usize) -> Result<(), Fault> {
        self.memory.ensure_room(bytes)
    }

    fn count_kept(&self, bytes: usize) -> Result<(), Fault> {
        self.memory.count_kept(bytes)
    }

    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        let mut kept = self.kept.borrow_mut();
        let mut missing = Vec::new();
        for request in requests.iter_mut() {
            if !kept.copy(request) && request.buffer.len() <= MAX_PIECE {
                let pages = pages(request.address, request.buffer.len());
                missing.extend(pages.filter(|page| !kept.places.contains_key(page)));
            }
        }
        if !missing.is_empty() {
            missing.sort_unstable();
            missing.dedup();
            self.fetch(&mut kept, &missing)?;
        }
        let mut left: Vec<_> = requests
            .iter_mut()
            .filter_map(|request| (!kept.copy(request)).then_some(request))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let mut alone: Vec<_> = left
            .iter_mut()
            .map(|request| ReadRequest::new(request.address, request.buffer))
            .collect();
        self.ask(&mut alone)?;
        let filled: Vec<_> = alone.iter().map(|request| request.filled).collect();
        for (request, filled) in left.into_iter().zip(filled) {
            request.filled = filled;
        }
        Ok(())
    }
}

impl Kept {
    /// Fills a request, if all its pages are here.
    fn copy(&mut self, request: &mut ReadRequest<'_>) -> bool {
        let mut at = request.address.0;
        let mut rest = &mut *request.buffer;
        while !rest.is_empty() {
            let inside = (at % PAGE as u64) as usize;
            let length = rest.len().min(PAGE - inside);
            let Some(place) = self.place(at / PAGE as u64) else {
                return false;
            };
            let from = place.start + inside;
            let bytes = self.calls.get(place.call);
            let Some(bytes) = bytes.and_then(|bytes| bytes.get(from..from + length)) else {
                return false;
            };
            let (now, later) = rest.split_at_mut(length);
            now.copy_from_slice(bytes);
            rest = later;
            at = at.wrapping_add(length as u64);
        }
        request.filled = request.buffer.len();
        true
    }

    /// Where a page is.
    fn place(&mut self, page: u64) -> Option<Place> {
        if let Some((last, place)) = self.last
            && last == page
        {
            return Some(place);
        }
        let place = *self.places.get(&page)?;
        self.last = Some((page, place));
        Some(place)
    }
}

/// The numbers of the pages that a piece lies in.
fn pages(address: Address, length: usize) -> impl Iterator<Item = u64> {
    let page = PAGE as u64;
    let end = address.0.saturating_add(length as u64);
    address.0 / page..end.div_ceil(page)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use invivo_process::Image;

    use super::*;

    /// Counts calls and pieces.
    struct Counted {
        image: Image,
        calls: Cell<usize>,
        pieces: Cell<usize>,
    }

    impl Memory for Counted {
        fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
            self.calls.set(self.calls.get() + 1);
            self.pieces.set(self.pieces.get() + requests.len());
            self.image.read_many(requests)
        }
    }

    /// Pages 1, 2 and 4, and the beginning of page 5; each byte tells its page.
    fn memory() -> Counted {
        let mut image = Image::new();
        for page in [1_u8, 2, 4] {
            image.insert(Address(u64::from(page) * PAGE as u64), &[page; PAGE]);
        }
        image.insert(Address(5 * PAGE as u64), &[5; 16]);
        Counted {
            image,
            calls: Cell::new(0),
            pieces: Cell::new(0),
        }
    }

    fn at(page: u64, offset: u64) -> Address {
        Address(page * PAGE as u64 + offset)
    }

    #[test]
    fn pages_are_read_once_and_together() {
        let memory = memory();
        let pages = Pages::new(&memory);
        pages.prepare([(at(1, 8), 8), (at(2, 8), 8), (at(4, 0), 8)]);
        assert_eq!((memory.calls.get(), memory.pieces.get()), (1, 2));
        let mut over = [0; 16];
        assert_eq!(pages.read(at(1, 4088), &mut over), Ok(()));
        assert_eq!(
            over,
            *b"\x01\x01\x01\x01\x01\x01\x01\x01\x02\x02\x02\x02\x02\x02\x02\x02"
        );
        assert_eq!(pages.read_u32(at(4, 100)), Ok(0x0404_0404));
        assert_eq!(memory.calls.get(), 1);
        pages.forget();
        assert_eq!(pages.read_u32(at(4, 100)), Ok(0x0404_0404));
        assert_eq!(memory.calls.get(), 2);
    }

    #[test]
    fn what_lies_in_no_whole_page_is_read_by_itself() {
        let memory = memory();
        let pages = Pages::new(&memory);
        let mut bytes = [0; 24];
        let mut whole = [0; 8];
        let (start, end) = bytes.split_at_mut(16);
        let mut requests = [
            ReadRequest::new(at(5, 0), start),
            ReadRequest::new(at(5, 12), end),
            ReadRequest::new(at(2, 0), &mut whole),
            ReadRequest::new(Address(u64::MAX - 3), &mut []),
        ];
        assert_eq!(pages.read_many(&mut requests), Ok(()));
        let filled = requests.map(|request| request.filled);
        assert_eq!(filled, [16, 4, 8, 0]);
        assert_eq!(bytes[..20], [5; 20]);
        assert_eq!(whole, [2; 8]);
        let mut beyond = [0; 8];
        assert!(pages.read(Address(u64::MAX - 3), &mut beyond).is_err());
        assert_eq!(pages.met(), None);
    }

    #[test]
    fn a_hole_in_a_run_costs_only_itself() {
        let memory = memory();
        let pages = Pages::new(&memory);
        pages.prepare((1..6).map(|page| (at(page, 0), 8)));
        let calls = memory.calls.get();
        assert_eq!(pages.read_u32(at(1, 0)), Ok(0x0101_0101));
        assert_eq!(pages.read_u32(at(4, 0)), Ok(0x0404_0404));
        assert_eq!(memory.calls.get(), calls);
        assert_eq!(pages.read_u32(at(3, 0)), Err(Fault::Unmapped(at(3, 0))));
    }
}
