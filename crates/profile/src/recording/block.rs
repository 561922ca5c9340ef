//! The blocks that a recording consists of: each can be read if all before it can.

use std::io::{self, Read, Write};

use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};

/// What a recording begins with. A file that went through something that changes line ends or the
/// eighth bit does not.
pub(super) const MAGIC: [u8; 8] = *b"\x89invivo\n";
/// Bytes of a block's header: flags, how many bytes are stored, how many they are when inflated,
/// and the checksum of all that and of what is stored.
const HEADER: usize = 1 + 4 + 4 + 4;
/// Bytes that a block holds at most: 4 MiB.
pub(super) const MAX_BLOCK: usize = 4 << 20;

const DEFLATED: u8 = 1;
const LAST: u8 = 2;

/// Writes blocks, deflated where that makes them smaller.
pub(super) struct Packer {
    deflate: Compress,
    packed: Vec<u8>,
}

impl Packer {
    pub(super) fn new() -> Self {
        Self {
            // Without the header of zlib: a block has its own checksum.
            deflate: Compress::new(Compression::fast(), false),
            packed: Vec::new(),
        }
    }

    /// Writes a block in one go, so that it is in the file or not.
    pub(super) fn write(
        &mut self,
        out: &mut dyn Write,
        block: &[u8],
        last: bool,
    ) -> io::Result<()> {
        self.packed.clear();
        self.packed.resize(HEADER, 0);
        self.packed.reserve(block.len());
        self.deflate.reset();
        // It stops where it would need more room than the block itself.
        let flush = FlushCompress::Finish;
        let status = self.deflate.compress_vec(block, &mut self.packed, flush);
        let stored = self.packed.len() - HEADER;
        let mut flags = if last { LAST } else { 0 };
        if matches!(status, Ok(Status::StreamEnd)) && stored < block.len() {
            flags |= DEFLATED;
        } else {
            self.packed.truncate(HEADER);
            self.packed.extend_from_slice(block);
        }
        let stored = self.packed.len() - HEADER;
        let header = header(
            flags,
            stored,
            block.len(),
            self.packed.get(HEADER..).unwrap_or_default(),
        );
        let (start, _) = self.packed.split_at_mut(HEADER);
        start.copy_from_slice(&header);
        out.write_all(&self.packed)
    }
}

fn header(flags: u8, stored: usize, plain: usize, bytes: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let [first, numbers @ ..] = &mut header;
    *first = flags;
    // Blocks are far from 4 GiB.
    numbers[..4].copy_from_slice(&(stored as u32).to_le_bytes());
    numbers[4..8].copy_from_slice(&(plain as u32).to_le_bytes());
    let mut checksum = Crc::new();
    checksum.update(&header[..HEADER - 4]);
    checksum.update(bytes);
    header[HEADER - 4..].copy_from_slice(&checksum.sum().to_le_bytes());
    header
}

/// What came of the attempt to read a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A block; the last one, where that is `true`.
    Block {
        /// Whether the recording was ended with it.
        last: bool,
    },
    /// The file ends here.
    End,
    /// What follows is not a whole block, and so nothing behind it can be read.
    Damaged(&'static str),
}

/// Reads blocks.
#[derive(Debug)]
pub(super) struct Unpacker {
    inflate: Decompress,
    packed: Vec<u8>,
    /// What the block that was read last holds.
    pub(super) block: Vec<u8>,
}

impl Unpacker {
    pub(super) fn new() -> Self {
        Self {
            inflate: Decompress::new(false),
            packed: Vec::new(),
            block: Vec::new(),
        }
    }

    /// Reads the next block.
    pub(super) fn read(&mut self, input: &mut dyn Read) -> io::Result<Next> {
        const CUT: &str = "a block is not there to its end";
        let mut header = [0; HEADER];
        match fill(input, &mut header)? {
            0 => return Ok(Next::End),
            HEADER => {}
            _ => return Ok(Next::Damaged(CUT)),
        }
        let number = |at: usize| {
            let bytes = header
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        let (flags, stored, plain) = (header[0], number(1) as usize, number(5) as usize);
        if flags > DEFLATED | LAST || stored > plain || plain > MAX_BLOCK {
            return Ok(Next::Damaged(
                "a block has no header of a kind that is known",
            ));
        }
        self.packed.resize(stored, 0);
        if fill(input, &mut self.packed)? < stored {
            return Ok(Next::Damaged(CUT));
        }
        if header != self::header(flags, stored, plain, &self.packed) {
            return Ok(Next::Damaged("a block's checksum is wrong"));
        }
        self.block.clear();
        if flags & DEFLATED == 0 {
            self.block.extend_from_slice(&self.packed);
        } else {
            self.block.reserve_exact(plain);
            self.inflate.reset(false);
            // It fills the room there is, and no more.
            let flush = FlushDecompress::Finish;
            let status = self
                .inflate
                .decompress_vec(&self.packed, &mut self.block, flush);
            if !matches!(status, Ok(Status::StreamEnd)) {
                return Ok(Next::Damaged("a block can't be inflated"));
            }
        }
        if self.block.len() != plain {
            return Ok(Next::Damaged("a block holds less than it says"));
        }
        let last = flags & LAST != 0;
        Ok(Next::Block { last })
    }
}

/// Reads until `buffer` is full or nothing more comes, and says how much came.
pub(super) fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(came) => filled += came,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(blocks: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut packer = Packer::new();
        for (n, block) in blocks.iter().enumerate() {
            let last = n + 1 == blocks.len();
            packer.write(&mut out, block, last).unwrap();
        }
        out
    }

    #[test]
    fn blocks_come_back_deflated_or_not() {
        let noise: Vec<u8> = (0..10_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_769) >> 24) as u8)
            .collect();
        let blocks: [&[u8]; 4] = [&[7; 10_000], b"", b"x", &noise];
        let file = packed(&blocks);
        assert!(file.len() < 11_000, "{}", file.len());
        let mut input = &file[..];
        let mut unpacker = Unpacker::new();
        for (n, block) in blocks.iter().enumerate() {
            let last = n + 1 == blocks.len();
            assert_eq!(unpacker.read(&mut input).unwrap(), Next::Block { last });
            assert_eq!(unpacker.block, *block);
        }
        assert_eq!(unpacker.read(&mut input).unwrap(), Next::End);
    }

    #[test]
    fn what_is_damaged_is_found() {
        let file = packed(&[&[7; 1000]]);
        let read = |bytes: &[u8]| {
            let mut unpacker = Unpacker::new();
            unpacker.read(&mut &bytes[..]).unwrap()
        };
        for cut in 1..file.len() {
            assert!(matches!(read(&file[..cut]), Next::Damaged(_)), "{cut}");
        }
        for bit in 0..file.len() * 8 {
            let mut file = file.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read(&file), Next::Damaged(_)), "{bit}");
        }
    }

    /// A few bytes that say they are a whole gigabyte, with a checksum that is right.
    #[test]
    fn a_block_does_not_inflate_beyond_what_it_says() {
        let mut deflate = Compress::new(Compression::best(), false);
        let mut bomb = Vec::with_capacity(1 << 20);
        let zeros = vec![0; 64 << 20];
        let status = deflate.compress_vec(&zeros, &mut bomb, FlushCompress::Finish);
        assert_eq!(status.unwrap(), Status::StreamEnd);
        for plain in [bomb.len(), MAX_BLOCK, 64 << 20] {
            let header = header(DEFLATED, bomb.len(), plain, &bomb);
            let mut unpacker = Unpacker::new();
            let mut file = &[&header[..], &bomb].concat()[..];
            let next = unpacker.read(&mut file).unwrap();
            assert!(matches!(next, Next::Damaged(_)), "{plain}");
            assert!(unpacker.block.capacity() <= MAX_BLOCK);
        }
    }
}
