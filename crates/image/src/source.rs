//! Where bytes come from: an offset in a file, or an address in a process.

use std::io::{Read, Seek, SeekFrom};

use object::pod::{self, Pod};

/// All structures begin as zeros, then get their bytes.
const ZEROS: [u64; 8] = [0; 8];

/// Positioned reads that either fill the buffer or give nothing.
pub(crate) trait Source {
    /// Fills `buffer` from position `at`; `None` where that much can't be read there.
    fn fill(&mut self, at: u64, buffer: &mut [u8]) -> Option<()>;

    /// `count` structures that lie one behind the other from `at` on. The caller has bounded
    /// `count`.
    fn structures<T: Pod>(&mut self, at: u64, count: usize) -> Option<Vec<T>> {
        let (zero, _) = pod::from_bytes::<T>(pod::bytes_of_slice(&ZEROS)).ok()?;
        let mut values = vec![*zero; count];
        self.fill(at, pod::bytes_of_slice_mut(&mut values))?;
        Some(values)
    }

    /// The structure at `at`.
    fn structure<T: Pod>(&mut self, at: u64) -> Option<T> {
        let (zero, _) = pod::from_bytes::<T>(pod::bytes_of_slice(&ZEROS)).ok()?;
        let mut value = *zero;
        self.fill(at, pod::bytes_of_mut(&mut value))?;
        Some(value)
    }
}

/// A file: positions are offsets.
#[derive(Debug)]
pub(crate) struct FileSource<R>(pub(crate) R);

impl<R: Read + Seek> Source for FileSource<R> {
    fn fill(&mut self, at: u64, buffer: &mut [u8]) -> Option<()> {
        self.0.seek(SeekFrom::Start(at)).ok()?;
        self.0.read_exact(buffer).ok()
    }
}

/// A process: positions are addresses. The function fills the whole buffer or says `false`.
pub(crate) struct MemorySource<F>(pub(crate) F);

impl<F: FnMut(u64, &mut [u8]) -> bool> Source for MemorySource<F> {
    fn fill(&mut self, at: u64, buffer: &mut [u8]) -> Option<()> {
        (self.0)(at, buffer).then_some(())
    }
}
