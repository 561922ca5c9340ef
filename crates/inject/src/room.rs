//! Memory of a target that nobody uses.
//!
//! The last page of a library's data is seldom full; the rest of it holds zeros, or what happens to
//! come next in the file, and neither the library nor the C library's allocator ever touches it.
//! (Two do so: glibc's loader, which allocates from the end of its own data, and, in old kernels,
//! the heap that begins behind the program's. Neither is used. musl gives all of it to its
//! allocator, so under musl there is none.)

use std::io::{Read as _, Seek as _, SeekFrom};

use invivo_image::MappedElf;
use invivo_model::{Address, Error, ErrorKind, Result};
use invivo_process::{Mapping, Memory, Module, ModuleFiles as _, Target};

use crate::calls::MARK;

/// The parts of glibc that have room, besides the interpreter's own library: all stay for as long as
/// the process does.
const STAY: [&str; 5] = ["libm", "libc", "libdl", "libpthread", "libutil"];

/// No page is smaller. What lies behind it may be another's, though it looks like one mapping.
const PAGE: u64 = 4096;

/// A place, and what lies there.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) at: Address,
    /// What is to lie there again.
    pub(crate) before: Vec<u8>,
}

/// How far apart texts lie. None is longer, so that several may wait behind one library's data.
pub(crate) const SLOT: u64 = 1280;

/// A place for `size` bytes; never one that a call in `waiting` refers to.
///
/// # Errors
/// `Unsupported` where there is none.
pub(crate) fn find(
    target: &Target,
    modules: &[Module],
    size: usize,
    waiting: &[Address],
) -> Result<Room> {
    let stays = |module: &&Module| {
        module.file_name().starts_with(b"libpython")
            || STAY.iter().any(|stem| module.is_part_of_glibc(stem))
    };
    let mut rooms = modules
        .iter()
        .filter(stays)
        .filter_map(|module| unused(target, module, size, waiting));
    let room = if modules.iter().any(Module::is_musl) {
        None
    } else {
        rooms.next()
    };
    room.ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "process {} has no room for a text of {size} bytes",
                target.pid()
            ),
            "none of its C libraries has so much unused memory behind its data",
            "choose a thread that waits in a system call, with --thread",
        )
    })
}

/// `size` bytes in the last page of a library's data, behind its end.
fn unused(target: &Target, module: &Module, size: usize, waiting: &[Address]) -> Option<Room> {
    let memory = target.memory();
    let base = module.mappings.first().filter(|first| first.offset == 0)?;
    let read = |at, buffer: &mut [u8]| memory.read(Address(at), buffer).is_ok();
    let end = MappedElf::parse(base.range.start.0, read).ok()?.end()?;
    let last = module.mappings.iter().find(|mapping| {
        mapping.writable && mapping.range.start.0 < end && end < mapping.range.end.0
    })?;
    // A text begins at a multiple of 16.
    let start = end.checked_add(15)? & !15;
    let page_end = end.checked_add(PAGE - 1)? & !(PAGE - 1);
    let room_end = page_end.min(last.range.end.0);
    let mut slots = (start..room_end).step_by(usize::try_from(SLOT).ok()?);
    slots.find_map(|at| {
        let room = usize::try_from(room_end.min(at.checked_add(SLOT)?) - at).ok()?;
        if waiting.contains(&Address(at)) || room < size {
            return None;
        }
        let mut before = vec![0; room];
        memory.read(Address(at), &mut before).ok()?;
        let from_file = of_file(target, module, last, at, room)?;
        clear(&mut before, &from_file, size).then_some(Room {
            at: Address(at),
            before,
        })
    })
}

/// Makes what lies in a place what is to lie there again, all of it that is to be written; `false`
/// where somebody uses it. What `from_file` has there, or zeros, nobody uses; nor a text of ours
/// that no call refers to, which may be longer than the next one.
fn clear(before: &mut Vec<u8>, from_file: &[u8], size: usize) -> bool {
    let mut length = size;
    if before.starts_with(MARK) {
        let text = before.iter().position(|byte| *byte == 0);
        let text = text.unwrap_or(before.len());
        before.iter_mut().take(text).for_each(|byte| *byte = 0);
        length = length.max(text);
    }
    before.truncate(length);
    let known = before.iter().zip(from_file);
    known.fold(true, |all, (byte, other)| {
        all && (*byte == 0 || byte == other)
    })
}

/// What the file has where it was mapped to `start`; zeros behind its end.
fn of_file(
    target: &Target,
    module: &Module,
    mapping: &Mapping,
    start: u64,
    size: usize,
) -> Option<Vec<u8>> {
    let into = start.checked_sub(mapping.range.start.0)?;
    let mut file = target.open_module(module).ok()?;
    file.seek(SeekFrom::Start(mapping.offset.checked_add(into)?))
        .ok()?;
    let mut bytes = Vec::with_capacity(size);
    file.take(u64::try_from(size).ok()?)
        .read_to_end(&mut bytes)
        .ok()?;
    bytes.resize(size, 0);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_text_left_uses_up_no_room() {
        let file = vec![7; 64];
        // A long one, then a shorter one in its place, and one that is long again.
        let mut old = [MARK, &[b'x'; 40]].concat();
        old.resize(64, 0);
        assert!(clear(&mut old, &file, 16));
        assert_eq!(old, [0; 48]);
        let mut foreign = [MARK, b"\0y"].concat();
        foreign.resize(64, 0);
        assert!(!clear(&mut foreign, &file, 16), "what is behind its end");
        let mut partly = [vec![0; 16], vec![7; 48]].concat();
        assert!(clear(&mut partly, &file, 32));
        assert_eq!(partly, [vec![0; 16], vec![7; 16]].concat());
        let mut used = vec![1; 64];
        assert!(!clear(&mut used, &file, 16));
    }
}
