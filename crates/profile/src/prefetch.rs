//! Reading what is going to be read, all of it at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use invivo_cpython::Runtime;
use invivo_process::{Address, Fault, Memory, ReadRequest};
use rustc_hash::FxHashMap;

/// Pieces that are read ahead at most: as many as the kernel takes in one call.
const MAX_PIECES: usize = 1024;
/// Bytes that are read ahead at most.
const MAX_BYTES: usize = 8 << 20;
/// For how many rounds what was not read again is still read ahead. A function that is called now
/// and then is read in one call with the rest as long as it is.
const LINGER: u32 = 256;
/// Bytes between two pieces that are rather read too than given a piece of their own.
const GAP: u64 = 256;
/// Where a piece longer than this ends, more is read, up to the next multiple of it: what is in
/// use of a stack grows and shrinks.
const ROUND: u64 = 1024;

/// Memory that reads in one system call what was read in the last rounds, before it is asked for.
///
/// A round begins with [`Prefetch::begin`]. What is asked for then is given from what was read at
/// its beginning, and each piece only once: who reads again wants what is there now. Pieces that
/// are asked for in one call are given all from there, or all by a call of their own, since they are
/// to be of one moment; and they are read in the order in which they were asked for before.
#[derive(Debug)]
pub(crate) struct Prefetch<M>(Arc<Shared<M>>);

#[derive(Debug)]
struct Shared<M> {
    memory: M,
    state: Mutex<State>,
}

impl<M> Clone for Prefetch<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug, Default)]
struct State {
    /// What has been read ahead, or is going to be.
    ahead: Vec<Piece>,
    /// Where in `ahead` the first piece is that begins at an address.
    at: FxHashMap<Address, u32>,
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// The piece that will be asked for next if all goes as the last time.
    next: usize,
    /// What was asked for in this round, in that order.
    asked: Vec<Piece>,
    /// Whether a round has begun. Before, all is read when it is asked for.
    in_round: bool,
}

/// A piece of memory.
#[derive(Clone, Copy, Debug)]
struct Piece {
    address: Address,
    /// How much is read.
    length: u32,
    /// Where in the bytes it begins.
    offset: u32,
    /// The next one that begins at the same address, as its index plus 1.
    same: u32,
    /// In how many rounds it was not asked for.
    idle: u32,
    /// Whether it came whole, and has not been given yet.
    fresh: bool,
}

/// What is read as one: pieces that lie side by side.
#[derive(Clone, Copy, Debug)]
struct Span {
    address: Address,
    offset: usize,
    length: usize,
    /// How many pieces lie in it.
    pieces: usize,
}

impl<M: Memory> Prefetch<M> {
    /// Reads ahead of `memory`.
    pub(crate) fn new(memory: M) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Shared { memory, state }))
    }

    /// What `runtime` is, read ahead of its memory; and what it is then read from.
    pub(crate) fn of(runtime: &Runtime<M>) -> (Runtime<Self>, Self)
    where
        M: Clone,
    {
        let memory = Self::new(runtime.memory().clone());
        (runtime.with_memory(memory.clone()), memory)
    }

    /// Begins a round: reads what was read in the last ones.
    ///
    /// # Errors
    ///
    /// As [`Memory::read_many`].
    pub(crate) fn begin(&self) -> Result<(), Fault> {
        let mut state = self.state();
        state.plan();
        state.read(&self.0.memory)
    }

    /// Ends a round: what is read from now on is read when it is asked for.
    pub(crate) fn end(&self) {
        self.state().in_round = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Memory> Memory for Prefetch<M> {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        let mut state = self.state();
        if state.in_round {
            if state.give(requests) {
                return Ok(());
            }
            state.note(requests);
        }
        drop(state);
        self.0.memory.read_many(requests)
    }

    fn look_again(&self) {
        self.end();
        self.0.memory.look_again();
    }
}

impl State {
    /// Decides what to read ahead: what was asked for in the round before, and what was so not long
    /// ago.
    fn plan(&mut self) {
        self.at.clear();
        for piece in &self.asked {
            self.at.insert(piece.address, 0);
        }
        for piece in &mut self.ahead {
            piece.idle += 1;
            let known = self.at.contains_key(&piece.address);
            if !known && piece.idle < LINGER && self.asked.len() < MAX_PIECES {
                self.asked.push(*piece);
            }
        }
        std::mem::swap(&mut self.asked, &mut self.ahead);
        self.asked.clear();
        self.ahead.truncate(MAX_PIECES);
        self.at.clear();
        self.next = 0;
        self.in_round = true;
        self.lay_out();
    }

    /// Gives each piece its place in the bytes, and joins those that lie side by side.
    fn lay_out(&mut self) {
        self.spans.clear();
        let mut end = 0_usize;
        let mut kept = 0;
        for index in 0..self.ahead.len() {
            let Some(piece) = self.ahead.get_mut(index) else {
                break;
            };
            let start = piece.address;
            let length = piece.length as usize;
            let joined = self.spans.last_mut().and_then(|span| {
                let within = start.since(span.address)?;
                let near = within <= span.length as u64 + GAP;
                near.then_some((span, within as usize))
            });
            match joined {
                Some((span, within)) => {
                    span.length = span.length.max(within + length);
                    span.pieces += 1;
                    piece.offset = (span.offset + within) as u32;
                    end = span.offset + span.length;
                }
                None => {
                    self.spans.push(Span {
                        address: start,
                        offset: end,
                        length,
                        pieces: 1,
                    });
                    piece.offset = end as u32;
                    end += length;
                }
            }
            if end > MAX_BYTES {
                break;
            }
            kept = index + 1;
        }
        if kept < self.ahead.len() {
            // The last span goes with the piece that is too much.
            let dropped = self.spans.pop();
            let more = dropped.map_or(0, |span| span.pieces.saturating_sub(1));
            self.ahead.truncate(kept.saturating_sub(more));
            end = dropped.map_or(0, |span| span.offset);
        }
        self.bytes.resize(end, 0);
        for (index, piece) in self.ahead.iter_mut().enumerate().rev() {
            let before = self.at.insert(piece.address, index as u32 + 1);
            piece.same = before.unwrap_or(0);
        }
    }

    /// Reads ahead.
    fn read(&mut self, memory: &impl Memory) -> Result<(), Fault> {
        let mut rest = self.bytes.as_mut_slice();
        let mut requests = Vec::with_capacity(self.spans.len());
        for span in &self.spans {
            let Some((buffer, behind)) = rest.split_at_mut_checked(span.length) else {
                break;
            };
            rest = behind;
            requests.push(ReadRequest::new(span.address, buffer));
        }
        if !requests.is_empty() {
            memory.read_many(&mut requests)?;
        }
        let mut pieces = self.ahead.iter_mut();
        for (span, request) in self.spans.iter().zip(&requests) {
            let end = span.offset + request.filled;
            for piece in pieces.by_ref().take(span.pieces) {
                piece.fresh = piece.offset as usize + piece.length as usize <= end;
                if !piece.fresh {
                    // It is not there any more, and would cost a call of its own each time.
                    piece.idle = LINGER;
                }
            }
        }
        Ok(())
    }

    /// Gives what is asked for, if all of it has been read ahead.
    fn give(&mut self, requests: &mut [ReadRequest<'_>]) -> bool {
        let begun = self.next;
        let asked = self.asked.len();
        for (index, request) in requests.iter_mut().enumerate() {
            if !self.give_one(request) {
                // None has been given, then.
                self.next = begun;
                for request in requests.iter_mut().take(index) {
                    request.filled = 0;
                }
                self.asked.truncate(asked);
                return false;
            }
        }
        true
    }

    fn give_one(&mut self, request: &mut ReadRequest<'_>) -> bool {
        let length = request.buffer.len();
        if length == 0 {
            return true;
        }
        let fits = |piece: &Piece| {
            piece.address == request.address && piece.fresh && piece.length as usize >= length
        };
        let mut index = self.next;
        if !self.ahead.get(index).is_some_and(fits) {
            let mut link = self.at.get(&request.address).copied().unwrap_or(0);
            loop {
                let Some(found) = (link as usize).checked_sub(1) else {
                    return false;
                };
                let Some(piece) = self.ahead.get(found) else {
                    return false;
                };
                if fits(piece) {
                    index = found;
                    break;
                }
                link = piece.same;
            }
        }
        let Some(piece) = self.ahead.get_mut(index) else {
            return false;
        };
        let from = piece.offset as usize;
        let Some(bytes) = self.bytes.get(from..from + length) else {
            return false;
        };
        request.buffer.copy_from_slice(bytes);
        request.filled = length;
        piece.fresh = false;
        piece.idle = 0;
        self.next = index + 1;
        let piece = *piece;
        self.asked.push(piece);
        true
    }

    /// Notes what is read when it is asked for.
    fn note(&mut self, requests: &[ReadRequest<'_>]) {
        for request in requests {
            let length = request.buffer.len() as u64;
            if length == 0 || self.asked.len() >= MAX_PIECES {
                continue;
            }
            let end = request.address.0.saturating_add(length);
            let rounded = if length > ROUND {
                end.next_multiple_of(ROUND)
                    .saturating_sub(request.address.0)
            } else {
                length
            };
            let Ok(length) = u32::try_from(rounded) else {
                continue;
            };
            self.asked.push(Piece {
                address: request.address,
                length,
                offset: 0,
                same: 0,
                idle: 0,
                fresh: false,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use invivo_process::Image;

    use super::*;

    /// Memory that counts how often it is read, and in how many pieces.
    #[derive(Default)]
    struct Counted {
        image: RefCell<Image>,
        calls: Cell<usize>,
        pieces: Cell<usize>,
    }

    impl Memory for &Counted {
        fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
            self.calls.set(self.calls.get() + 1);
            self.pieces.set(self.pieces.get() + requests.len());
            self.image.borrow().read_many(requests)
        }
    }

    impl Counted {
        fn set(&self, value: u64) {
            let page = value.to_le_bytes().repeat(1024);
            self.image.borrow_mut().insert(Address(0x10000), &page);
        }

        fn taken(&self) -> (usize, usize) {
            (self.calls.take(), self.pieces.take())
        }
    }

    fn word(memory: &impl Memory, at: u64) -> u64 {
        memory.read_u64(Address(at)).expect("it is there")
    }

    #[test]
    fn what_was_read_is_read_ahead_in_one_call_and_given_once() {
        let counted = Counted::default();
        let memory = Prefetch::new(&counted);
        counted.set(1);
        memory.begin().expect("nothing to read");
        assert_eq!(counted.taken(), (0, 0));
        assert_eq!([word(&memory, 0x10000), word(&memory, 0x11000)], [1, 1]);
        assert_eq!(word(&memory, 0x10008), 1);
        assert_eq!(counted.taken(), (3, 3));

        counted.set(2);
        memory.begin().expect("it is there");
        // The last one does not lie behind the one before it.
        assert_eq!(counted.taken(), (1, 3));
        counted.set(3);
        assert_eq!([word(&memory, 0x10000), word(&memory, 0x11000)], [2, 2]);
        assert_eq!(counted.taken(), (0, 0));
        // Who asks again wants what is there now.
        assert_eq!(word(&memory, 0x10000), 3);
        assert_eq!(counted.taken(), (1, 1));
        memory.end();
        assert_eq!(word(&memory, 0x10008), 3);
        assert_eq!(counted.taken(), (1, 1));
    }

    #[test]
    fn pieces_of_one_call_are_of_one_moment() {
        let counted = Counted::default();
        let memory = Prefetch::new(&counted);
        counted.set(1);
        let both = |memory: &Prefetch<_>, second: u64| {
            let (mut a, mut b) = ([0; 8], [0; 8]);
            let mut requests = [
                ReadRequest::new(Address(0x10000), &mut a),
                ReadRequest::new(Address(second), &mut b),
            ];
            memory.read_many(&mut requests).expect("it is there");
            [u64::from_le_bytes(a), u64::from_le_bytes(b)]
        };
        memory.begin().expect("nothing to read");
        assert_eq!(both(&memory, 0x11000), [1, 1]);
        memory.begin().expect("it is there");
        counted.set(2);
        // The second is not at hand: neither is taken from what is.
        assert_eq!(both(&memory, 0x11800), [2, 2]);
        memory.begin().expect("it is there");
        counted.set(3);
        assert_eq!(both(&memory, 0x11800), [2, 2]);
    }

    #[test]
    fn what_lies_side_by_side_is_one_piece() {
        let counted = Counted::default();
        let memory = Prefetch::new(&counted);
        counted.set(1);
        memory.begin().expect("nothing to read");
        for at in (0x10000..0x10100).step_by(16) {
            word(&memory, at);
        }
        counted.taken();
        memory.begin().expect("it is there");
        assert_eq!(counted.taken(), (1, 1));
        for at in (0x10000..0x10100).step_by(16) {
            assert_eq!(word(&memory, at), 1);
        }
        assert_eq!(counted.taken(), (0, 0));
    }

    #[test]
    fn what_is_not_there_any_more_is_not_read_ahead_any_more() {
        let counted = Counted::default();
        let memory = Prefetch::new(&counted);
        counted.set(1);
        memory.begin().expect("nothing to read");
        word(&memory, 0x10000);
        *counted.image.borrow_mut() = Image::new();
        memory.begin().expect("it can be tried");
        let gone = memory.read_u64(Address(0x10000));
        assert_eq!(gone, Err(Fault::Unmapped(Address(0x10000))));
        counted.taken();
        // What was asked for is tried once more, and then not.
        memory.begin().expect("it can be tried");
        memory.begin().expect("it can be tried");
        assert_eq!(counted.taken().0, 1);
    }
}
