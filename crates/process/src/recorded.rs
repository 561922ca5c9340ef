//! Memory that was read once and can be read again: without its process, on any machine.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use invivo_model::{Error, ErrorKind, Result};

use crate::{Address, Fault, Memory, ReadRequest};

/// The first bytes of a saved image: what it is, and the version of its form.
const MAGIC: [u8; 8] = *b"invivo\x01\n";
/// How much an image may hold: many times what a look at an interpreter reads.
const MAX_BYTES: usize = 1 << 30;
/// How many ranges: each takes more memory than it has bytes in a file.
const MAX_RANGES: usize = 1 << 19;
/// Bytes that are noted together as changed.
const WORD: u64 = 8;

/// Some of a process's memory: the ranges that are known, with what they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// By where they begin. They neither overlap nor touch, and none is empty.
    ranges: BTreeMap<u64, Vec<u8>>,
    /// The words in which something changed while they were recorded.
    changed: BTreeSet<u64>,
}

impl Image {
    /// An image that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what the memory from `address` on holds, whatever it held there before. What would lie
    /// behind the end of the address space is left out.
    pub fn insert(&mut self, address: Address, bytes: &[u8]) {
        let room = usize::try_from(u64::MAX - address.0).unwrap_or(usize::MAX);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        if bytes.is_empty() {
            return;
        }
        // The range that holds or touches the first byte goes on growing; so a long read in small
        // pieces does not copy it each time.
        let (start, mut merged) = self
            .take_reaching(address.0)
            .unwrap_or((address.0, Vec::new()));
        let from = (address.0 - start) as usize;
        let to = from + bytes.len();
        if merged.len() < to {
            merged.resize(to, 0);
        }
        if let Some(place) = merged.get_mut(from..to) {
            place.copy_from_slice(bytes);
        }
        // Those that begin inside it or where it ends are part of it now.
        loop {
            let end = start + merged.len() as u64;
            let Some(next) = self.ranges.range(start..=end).next().map(|(at, _)| *at) else {
                break;
            };
            let later = self.ranges.remove(&next).unwrap_or_default();
            let known = (end - next) as usize;
            merged.extend_from_slice(later.get(known..).unwrap_or_default());
        }
        self.ranges.insert(start, merged);
    }

    /// Takes out the range that holds `address` or ends there.
    fn take_reaching(&mut self, address: u64) -> Option<(u64, Vec<u8>)> {
        let (&start, bytes) = self.ranges.range(..=address).next_back()?;
        if start + (bytes.len() as u64) < address {
            return None;
        }
        self.ranges.remove(&start).map(|bytes| (start, bytes))
    }

    /// The ranges that are known, in address order, with what they hold. They neither overlap nor
    /// touch.
    pub fn ranges(&self) -> impl Iterator<Item = (Address, &[u8])> {
        self.ranges
            .iter()
            .map(|(start, bytes)| (Address(*start), bytes.as_slice()))
    }

    /// Where the words begin in which something changed while they were recorded. A saved image
    /// has them no more.
    pub fn changed_words(&self) -> impl Iterator<Item = Address> {
        self.changed.iter().copied().map(Address)
    }

    /// Notes that something changed in these words while they were recorded.
    pub fn note_changed_words(&mut self, words: impl IntoIterator<Item = Address>) {
        self.changed.extend(words.into_iter().map(|word| word.0));
    }

    /// Notes the words that are held and differ from `bytes`, which are at `address` now.
    fn note_changes(&mut self, address: Address, bytes: &[u8]) {
        let end = address.0.saturating_add(bytes.len() as u64);
        let before = self.ranges.range(..=address.0).next_back();
        let inside = self.ranges.range(address.0..end);
        for (start, held) in before.into_iter().chain(inside) {
            let from = address.0.max(*start);
            let held = held.get(offset(from, *start)..).unwrap_or_default();
            let now = bytes.get(offset(from, address.0)..).unwrap_or_default();
            let differ = held.iter().zip(now).enumerate();
            let differ = differ.filter(|(_, (was, is))| was != is);
            let words = differ.map(|(index, _)| (from + index as u64) / WORD * WORD);
            self.changed.extend(words);
        }
    }

    /// The image as bytes, for a file: see [`Image::load`].
    pub fn save(&self) -> Vec<u8> {
        self.parts().collect::<Vec<_>>().concat()
    }

    /// The same as parts, one after the other, so that it is not there twice.
    pub fn parts(&self) -> impl Iterator<Item = Cow<'_, [u8]>> {
        let ranges = self.ranges.iter().flat_map(|(start, bytes)| {
            let length = bytes.len() as u64;
            let head = [start.to_le_bytes(), length.to_le_bytes()].concat();
            [Cow::Owned(head), Cow::Borrowed(bytes.as_slice())]
        });
        std::iter::once(Cow::Borrowed(&MAGIC[..])).chain(ranges)
    }

    /// An image from the bytes that [`Image::save`] made: eight of magic and version, then for
    /// every range its address and length (little-endian, eight bytes each) and what it holds. The
    /// ranges are in address order, are not empty and don't overlap or touch.
    ///
    /// # Errors
    /// `Corrupt` where the bytes are of another form or hold more than 1 GiB or half a million
    /// ranges.
    pub fn load(saved: &[u8]) -> Result<Self> {
        let corrupt = |why: &str| {
            Error::new(
                ErrorKind::Corrupt,
                "the memory image can't be read",
                why,
                "save it again with this version of Invivo",
            )
        };
        if saved.len() > MAX_BYTES {
            return Err(corrupt("it holds more than 1 GiB"));
        }
        let mut rest = saved
            .strip_prefix(&MAGIC)
            .ok_or_else(|| corrupt("it does not begin as one"))?;
        let mut ranges = BTreeMap::new();
        let mut reached = None;
        while !rest.is_empty() {
            let range = split_range(rest).ok_or_else(|| corrupt("it is cut off"))?;
            let (start, bytes, behind) = range;
            let end = start.checked_add(bytes.len() as u64);
            let end = end.ok_or_else(|| corrupt("a range leaves the address space"))?;
            if bytes.is_empty() || reached.is_some_and(|reached| start <= reached) {
                return Err(corrupt("its ranges are not in order"));
            }
            if ranges.len() == MAX_RANGES {
                return Err(corrupt("it holds more ranges than any look reads"));
            }
            ranges.insert(start, bytes.to_vec());
            reached = Some(end);
            rest = behind;
        }
        Ok(Self {
            ranges,
            changed: BTreeSet::new(),
        })
    }
}

fn offset(address: u64, start: u64) -> usize {
    usize::try_from(address - start).unwrap_or(usize::MAX)
}

/// The first range of a saved image, and what is behind it.
fn split_range(saved: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (start, rest) = saved.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    Some((u64::from_le_bytes(*start), bytes, rest))
}

impl Memory for Image {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        for request in requests {
            let start = request.address.0;
            let held = self
                .ranges
                .range(..=start)
                .next_back()
                .and_then(|(at, bytes)| bytes.get(usize::try_from(start - at).ok()?..));
            let held = held.unwrap_or_default();
            request.filled = held.len().min(request.buffer.len());
            let (to, from) = (
                request.buffer.get_mut(..request.filled),
                held.get(..request.filled),
            );
            if let (Some(to), Some(from)) = (to, from) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn has_changed(&self, address: Address, size: usize) -> bool {
        let first = address.0 / WORD * WORD;
        let end = address.0.saturating_add(size as u64);
        first < end && self.changed.range(first..end).next().is_some()
    }
}

/// Memory that remembers what was read through it.
#[derive(Debug)]
pub struct Recorder<M> {
    memory: M,
    image: RefCell<Image>,
}

impl<M> Recorder<M> {
    /// Remembers what is read from `memory`.
    pub fn new(memory: M) -> Self {
        Self {
            memory,
            image: RefCell::default(),
        }
    }

    /// All that was read. Of what was read more than once, the last.
    pub fn into_image(self) -> Image {
        self.image.into_inner()
    }
}

impl<M: Memory> Memory for Recorder<M> {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        self.memory.read_many(requests)?;
        let mut image = self.image.borrow_mut();
        for request in requests {
            let came = request.buffer.get(..request.filled).unwrap_or_default();
            image.note_changes(request.address, came);
            image.insert(request.address, came);
        }
        Ok(())
    }

    fn look_again(&self) {
        self.memory.look_again();
    }

    fn has_changed(&self, address: Address, size: usize) -> bool {
        self.memory.has_changed(address, size)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_grow_together() {
        let mut image = Image::new();
        image.insert(Address(10), b"abcd");
        image.insert(Address(20), b"xy");
        image.insert(Address(12), b"CDEF");
        image.insert(Address(16), b"....");
        let ranges: Vec<_> = image.ranges().collect();
        assert_eq!(ranges, [(Address(10), &b"abCDEF....xy"[..])]);
    }

    #[test]
    fn what_is_not_held_is_not_invented() {
        let mut image = Image::new();
        image.insert(Address(0x1000), &[7; 16]);
        assert_eq!(image.read_u64(Address(0x1008)), Ok(0x0707_0707_0707_0707));
        assert_eq!(
            image.read_u64(Address(0x100c)),
            Err(Fault::Unmapped(Address(0x1010)))
        );
        assert_eq!(
            image.read_u64(Address(0xfff)),
            Err(Fault::Unmapped(Address(0xfff)))
        );
        assert_eq!(
            image.read_u64(Address(u64::MAX)),
            Err(Fault::Unmapped(Address(u64::MAX)))
        );
    }

    #[test]
    fn a_recording_answers_as_its_memory_did() {
        let mut memory = Image::new();
        memory.insert(Address(0x1000), b"0123456789");
        let recorder = Recorder::new(&memory);
        let mut buffer = [0; 8];
        let live = [
            recorder.read(Address(0x1000), &mut buffer),
            recorder.read(Address(0x1004), &mut buffer),
            recorder.read(Address(0x5000), &mut buffer),
        ];
        let image = recorder.into_image();
        let again = [
            image.read(Address(0x1000), &mut buffer),
            image.read(Address(0x1004), &mut buffer),
            image.read(Address(0x5000), &mut buffer),
        ];
        assert_eq!(live, again);
        assert_eq!(image, memory);
    }

    #[test]
    fn a_recording_knows_what_changed_meanwhile() {
        let recorder = Recorder::new(Changing::default());
        let mut buffer = [0; 32];
        recorder.read(Address(0x1000), &mut buffer).unwrap();
        recorder.read(Address(0x1008), &mut buffer).unwrap();
        let mut image = recorder.into_image();
        let changed: Vec<_> = image.changed_words().collect();
        assert_eq!(changed, [Address(0x1010)]);
        for (address, size, changed) in [
            (0x1000, 16, false),
            (0x1000, 17, true),
            (0x1017, 1, true),
            (0x1018, 8, false),
            (0x1010, 0, false),
        ] {
            assert_eq!(image.has_changed(Address(address), size), changed);
        }
        image = Image::load(&image.save()).unwrap();
        assert!(!image.has_changed(Address(0x1010), 1));
        image.note_changed_words(changed);
        assert!(image.has_changed(Address(0x1010), 1));
    }

    /// Of which the byte at 0x1011 counts how often it is read.
    #[derive(Default)]
    struct Changing(std::cell::Cell<u8>);

    impl Memory for Changing {
        fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
            for request in requests {
                self.0.set(self.0.get() + 1);
                request.buffer.fill(0);
                request.buffer[(0x1011 - request.address.0) as usize] = self.0.get();
                request.filled = request.buffer.len();
            }
            Ok(())
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let mut image = Image::new();
        image.insert(Address(1), b"a");
        let saved = image.save();
        let with = |address: u64, bytes: &[u8]| {
            let mut more = saved.clone();
            more.extend_from_slice(&address.to_le_bytes());
            more.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            more.extend_from_slice(bytes);
            more
        };
        assert!(Image::load(&saved).is_ok());
        assert!(Image::load(&with(9, b"b")).is_ok());
        for bad in [
            Vec::new(),
            b"invivo\x02\n".to_vec(),
            saved[..saved.len() - 1].to_vec(),
            with(0, b"before"),
            with(1, b"over"),
            with(2, b"touching"),
            with(9, b""),
            with(u64::MAX, b"beyond"),
        ] {
            assert_eq!(
                Image::load(&bad).map_err(|error| error.kind),
                Err(ErrorKind::Corrupt)
            );
        }
        // A length that no file has.
        let mut huge = with(9, b"b");
        let length = saved.len() + 8;
        huge[length..length + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Image::load(&huge).is_err());
    }

    proptest! {
        /// Held against the plainest memory there could be.
        #[test]
        fn it_holds_what_was_inserted_last(
            base in prop_oneof![Just(0), Just(u64::MAX - 60), any::<u64>()],
            inserts in vec((0_u64..60, vec(any::<u8>(), 0..20)), 0..20),
        ) {
            let mut image = Image::new();
            let mut plain = HashMap::new();
            for (offset, bytes) in inserts {
                let Some(start) = base.checked_add(offset) else { continue };
                image.insert(Address(start), &bytes);
                for (index, byte) in bytes.into_iter().enumerate() {
                    // The very last address can't be held: a range ends behind its last byte.
                    if let Some(at) = start.checked_add(index as u64).filter(|at| *at < u64::MAX) {
                        plain.insert(at, byte);
                    }
                }
            }
            let held: usize = image.ranges().map(|(_, bytes)| bytes.len()).sum();
            prop_assert_eq!(held, plain.len());
            for (at, byte) in &plain {
                let mut found = [0];
                prop_assert_eq!(image.read(Address(*at), &mut found), Ok(()));
                prop_assert_eq!(found, [*byte]);
            }
            let ranges: Vec<_> = image.ranges().collect();
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].0.0 + (pair[0].1.len() as u64) < pair[1].0.0);
            }
            prop_assert_eq!(Image::load(&image.save()), Ok(image));
        }

        #[test]
        fn any_bytes_are_taken(bytes in vec(any::<u8>(), 0..200), with_magic in any::<bool>()) {
            let mut saved = if with_magic { MAGIC.to_vec() } else { Vec::new() };
            saved.extend(bytes);
            if let Ok(image) = Image::load(&saved) {
                prop_assert_eq!(image.save(), saved);
            }
        }

        #[test]
        fn any_lengths_are_taken(start in any::<u64>(), length in any::<u64>(), rest in vec(any::<u8>(), 0..60)) {
            let mut saved = MAGIC.to_vec();
            saved.extend_from_slice(&start.to_le_bytes());
            saved.extend_from_slice(&length.to_le_bytes());
            saved.extend(rest);
            if let Ok(image) = Image::load(&saved) {
                prop_assert_eq!(image.save(), saved);
            }
        }
    }
}
