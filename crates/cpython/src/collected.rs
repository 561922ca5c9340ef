//! The objects that the garbage collector looks after, by their class.

use std::collections::{BTreeMap, HashMap};

use invivo_model::{Address, Defect};
use invivo_process::{Fault, Memory};

use crate::pieces::{Piece, read_pieces};
use crate::runtime::Runtime;

/// Bytes of the collector's state before and behind the field that is known, in which the heads of
/// its lists lie.
const BEFORE: u64 = 400;
const BEHIND: u64 = 160;
/// Bytes of what stands before each object: the next one, and the one before.
const LINKS: u64 = 16;
/// Bits of the links that say something else.
const FLAGS: u64 = 0b11;
/// Lists of one interpreter.
const MAX_LISTS: usize = 16;
/// Objects that are looked at.
const MAX_OBJECTS: usize = 2_000_000;
/// Bytes that are read for that.
const MAX_BYTES: usize = 96 << 20;
/// Bytes that are read at a time.
const BLOCK: u64 = 32 << 10;
/// A list that changes while it is read is read again this often.
const ATTEMPTS: usize = 3;

/// Objects by the address of their class.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) by_class: HashMap<Address, Vec<Address>>,
    /// Why there may be more.
    pub(crate) defects: Vec<Defect>,
}

/// Memory that has been read a block at a time.
#[derive(Debug, Default)]
struct Blocks {
    read: BTreeMap<Address, Piece>,
    bytes: usize,
}

impl<M: Memory> Runtime<M> {
    /// The objects that the collector of the interpreter at `interpreter` looks after; `None` where
    /// this version or build keeps no list of them.
    pub(crate) fn collected(&self, interpreter: Address) -> Result<Option<Collected>, Fault> {
        if self.build().free_threaded == Some(true) {
            return Ok(None);
        }
        let layout = &self.layout;
        let own = layout.interpreter.gc_collecting.map(|at| (interpreter, at));
        let shared = layout.runtime.gc_collecting.map(|at| (self.address(), at));
        let Some(known) = own.or(shared).and_then(|(base, at)| base.offset(at)) else {
            return Ok(None);
        };
        let mut collected = Collected::default();
        let mut count = 0;
        for head in self.list_heads(known)? {
            self.collect(head, &mut collected, &mut count)?;
        }
        Ok(Some(collected))
    }

    /// The heads of lists near `known`: both neighbours of each point back to it.
    fn list_heads(&self, known: Address) -> Result<Vec<Address>, Fault> {
        let start = Address(known.0.saturating_sub(BEFORE) / 4 * 4);
        let size = usize::try_from(BEFORE + BEHIND).unwrap_or(0);
        let pieces = read_pieces(&self.memory, [(start, size)])?;
        let piece = pieces.into_iter().next().unwrap_or_default();
        // Debian's 3.13 has them at odd multiples of four.
        let links = (0..piece.bytes.len() as u64 / 4).filter_map(|index| {
            let head = start.offset(index * 4)?;
            let next = piece.word(head, 0)? & !FLAGS;
            let last = piece.word(head, 8)? & !FLAGS;
            (next != 0 && last != 0).then_some((head, Address(next), Address(last)))
        });
        let links: Vec<_> = links.collect();
        let places = links
            .iter()
            .flat_map(|(_, next, last)| [(next.offset(8).unwrap_or_default(), 8), (*last, 8)]);
        let pieces = read_pieces(&self.memory, places)?;
        let (pairs, _) = pieces.as_chunks();
        let heads = links.iter().zip(pairs);
        let heads = heads.filter(|((head, ..), [before, behind]): &(_, &[Piece; 2])| {
            let back = |piece: &Piece| piece.word(piece.start, 0).map(|word| word & !FLAGS);
            back(before) == Some(head.0) && back(behind) == Some(head.0)
        });
        Ok(heads.map(|((head, ..), _)| *head).take(MAX_LISTS).collect())
    }

    /// Adds the objects of one list.
    fn collect(
        &self,
        head: Address,
        collected: &mut Collected,
        count: &mut usize,
    ) -> Result<(), Fault> {
        let mut why = String::new();
        let mut found = Vec::new();
        for _ in 0..ATTEMPTS {
            found.clear();
            match self.follow_list(head, &mut found, MAX_OBJECTS - *count)? {
                Ok(()) => {
                    why.clear();
                    break;
                }
                Err(broken) => why = broken.to_owned(),
            }
        }
        *count += found.len();
        for (object, class) in found {
            collected.by_class.entry(class).or_default().push(object);
        }
        if !why.is_empty() {
            collected.defects.push(Defect {
                address: head,
                what: format!("a list of objects could not be read whole: {why}"),
            });
        }
        Ok(())
    }

    /// Follows a list to its end, or says why it can't be followed further.
    fn follow_list(
        &self,
        head: Address,
        found: &mut Vec<(Address, Address)>,
        most: usize,
    ) -> Result<Result<(), &'static str>, Fault> {
        let type_of = LINKS + self.layout.object.type_of;
        let mut blocks = Blocks::default();
        let mut before = head;
        let Some(mut next) = self.word(&mut blocks, head, 0)? else {
            return Ok(Err("its head can't be read"));
        };
        loop {
            let here = Address(next & !FLAGS);
            if here == head {
                return Ok(Ok(()));
            }
            if found.len() >= most || blocks.bytes > MAX_BYTES {
                return Ok(Err("there are more objects than are looked at"));
            }
            let links = [
                self.word(&mut blocks, here, 0)?,
                self.word(&mut blocks, here, 8)?,
                self.word(&mut blocks, here, type_of)?,
            ];
            let [Some(further), Some(back), Some(class)] = links else {
                return Ok(Err("it leads to where nothing can be read"));
            };
            if back & !FLAGS != before.0 {
                return Ok(Err("it changed meanwhile"));
            }
            let object = here.offset(LINKS).unwrap_or_default();
            found.push((object, Address(class)));
            before = here;
            next = further;
        }
    }

    /// The word `offset` bytes behind `base`, read with what lies around it.
    fn word(&self, blocks: &mut Blocks, base: Address, offset: u64) -> Result<Option<u64>, Fault> {
        let Some(address) = base.offset(offset) else {
            return Ok(None);
        };
        let start = Address(address.0 / BLOCK * BLOCK);
        let known = blocks.read.range(..=address).next_back();
        if let Some(word) = known.and_then(|(_, piece)| piece.word(address, 0)) {
            return Ok(Some(word));
        }
        let size = usize::try_from(BLOCK).unwrap_or(0);
        // The block may not be mapped from its start on.
        for (start, size) in [(start, size), (Address(address.0 / 4096 * 4096), 4096)] {
            let pieces = read_pieces(&self.memory, [(start, size)])?;
            let piece = pieces.into_iter().next().unwrap_or_default();
            blocks.bytes += piece.bytes.len();
            if let Some(word) = piece.word(address, 0) {
                blocks.read.insert(start, piece);
                return Ok(Some(word));
            }
        }
        Ok(None)
    }
}
