//! Which stack is which thread's.
//!
//! Data on a stack is its thread's alone. So an address on a stack tells which thread has it in
//! use, whatever else is said of the two.

use std::ops::Range;

use crate::{Address, Mapping};

/// Bytes below a stack pointer that a function may use without moving it.
const RED_ZONE: u64 = 128;

/// A thread, and where its stack lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadStack {
    /// Its number in our pid namespace.
    pub tid: u32,
    /// Its number in the pid namespace it lives in.
    pub native_id: u64,
    /// What the C library knows it by: what `pthread_self` gives in it. `None` where that could not
    /// be told.
    pub pthread: Option<u64>,
    /// Addresses that are on its stack. There may be several pieces: coroutines of C code have
    /// stacks of their own, and of a thread that runs it is not known on which one it is. Empty
    /// where nothing is known.
    pub ranges: Vec<Range<Address>>,
    /// Its stack pointer, while it waits or stands still.
    pub pointer: Option<Address>,
}

/// The stacks of a process's threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stacks {
    /// All its threads.
    pub threads: Vec<ThreadStack>,
    /// Whether they stood still, so that of each it is known where it stands.
    pub still: bool,
}

impl Stacks {
    /// The thread on whose stack `address` lies; `None` where that is no thread's, or more than
    /// one's by what is known.
    pub fn owner(&self, address: Address) -> Option<&ThreadStack> {
        let has = |thread: &&ThreadStack| thread.ranges.iter().any(|one| one.contains(&address));
        let mut owners = self.threads.iter().filter(has);
        owners.next().filter(|_| owners.next().is_none())
    }

    /// The thread that the C library knows by `pthread`.
    pub fn by_pthread(&self, pthread: u64) -> Option<&ThreadStack> {
        let mut threads = self.threads.iter();
        threads.find(|thread| thread.pthread == Some(pthread))
    }

    /// The thread with this number in our pid namespace.
    pub fn by_tid(&self, tid: u32) -> Option<&ThreadStack> {
        self.threads.iter().find(|thread| thread.tid == tid)
    }

    /// Finds where the stacks of `threads` lie. `first` is the number of the thread that the
    /// process began with.
    pub(crate) fn find(mappings: &[Mapping], threads: &[Seen], first: u32, still: bool) -> Self {
        let find = |seen: &Seen| ThreadStack {
            tid: seen.tid,
            native_id: seen.native_id,
            pthread: seen.pthread,
            ranges: ranges(mappings, threads, (seen, seen.tid == first), still),
            pointer: seen.pointer,
        };
        Self {
            threads: threads.iter().map(find).collect(),
            still,
        }
    }
}

/// What is seen of a thread from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) tid: u32,
    pub(crate) native_id: u64,
    pub(crate) pthread: Option<u64>,
    /// Its stack pointer, while it waits or stands still.
    pub(crate) pointer: Option<Address>,
}

/// The pieces of one thread's stack: from its pointer on where it stands `still`, else also what it
/// may go on to use.
///
/// The C libraries put what a `pthread_t` points to at the upper end of the thread's stack, also
/// where the program gave the memory for it. The first thread has a stack that the kernel made; but
/// in the child of a `fork` it has the one of the thread that forked.
fn ranges(
    mappings: &[Mapping],
    threads: &[Seen],
    (seen, is_first): (&Seen, bool),
    still: bool,
) -> Vec<Range<Address>> {
    let others = threads.iter().filter(|other| other.tid != seen.tid);
    let marks: Vec<Address> = others
        .flat_map(|other| [other.pthread.map(Address), other.pointer])
        .flatten()
        .collect();
    let within = |range: &Range<Address>| seen.pointer.is_some_and(|at| range.contains(&at));
    let narrowed = |range: Range<Address>| match seen.pointer {
        Some(pointer) if still => Address(pointer.0.saturating_sub(RED_ZONE))..range.end,
        _ => range,
    };
    let mut ranges: Vec<Range<Address>> = Vec::new();
    let end = seen.pthread.map(Address);
    if let Some((end, mapping)) = end.and_then(|end| Some((end, mapping_of(mappings, end)?))) {
        // Stacks without a guard between them are one mapping.
        let ends = threads
            .iter()
            .filter_map(|other| other.pthread.map(Address));
        let ends = ends.filter(|other| mapping.contains(other) && *other < end);
        let range = ends.max().unwrap_or(mapping.start)..end;
        if within(&range) {
            return vec![narrowed(range)];
        }
        ranges.push(range);
    }
    let made = mappings.iter().find(|one| one.name == b"[stack]");
    if let Some(made) = made.filter(|_| is_first) {
        if within(&made.range) {
            return vec![narrowed(made.range.clone())];
        }
        ranges.push(made.range.clone());
    }
    // A stack that neither made: of code that has its own.
    let pointer = seen.pointer;
    if let Some((at, mapping)) = pointer.and_then(|at| Some((at, mapping_of(mappings, at)?))) {
        let above = marks.iter().filter(|mark| **mark > at).min();
        let below = marks.iter().filter(|mark| **mark <= at).max();
        let start = below.map_or(mapping.start, |mark| mapping.start.max(*mark));
        let end = above.map_or(mapping.end, |mark| mapping.end.min(*mark));
        ranges.insert(0, narrowed(start..end));
    }
    ranges
}

/// The memory that `address` lies in, where that may be a stack.
fn mapping_of(mappings: &[Mapping], address: Address) -> Option<Range<Address>> {
    let one = mappings.iter().find(|one| one.range.contains(&address))?;
    (one.readable && one.writable && one.inode == 0).then(|| one.range.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, name: &[u8]) -> Mapping {
        Mapping {
            range: Address(start)..Address(end),
            readable: true,
            writable: true,
            executable: false,
            offset: 0,
            device: (0, 0),
            inode: 0,
            name: name.to_vec(),
            deleted: false,
        }
    }

    fn seen(tid: u32, pthread: Option<u64>, stack: Option<u64>) -> Seen {
        Seen {
            tid,
            native_id: tid.into(),
            pthread,
            pointer: stack.map(Address),
        }
    }

    fn owner(stacks: &Stacks, at: u64) -> Option<u32> {
        stacks.owner(Address(at)).map(|thread| thread.tid)
    }

    #[test]
    fn an_address_is_on_the_stack_of_one_thread() {
        let mappings = [
            mapping(0x1_0000, 0x2_0000, b"[heap]"),
            // Two stacks without a guard between them.
            mapping(0x10_0000, 0x30_0000, b""),
            mapping(0x40_0000, 0x50_0000, b""),
            mapping(0x70_0000, 0x80_0000, b"[stack]"),
        ];
        let threads = [
            seen(1, Some(0x1_0100), Some(0x78_0000)),
            seen(2, Some(0x1f_f000), None),
            seen(3, Some(0x2f_f000), Some(0x2f_0000)),
            // Of this one nothing but its stack pointer is known.
            seen(4, None, Some(0x48_0000)),
        ];
        let stacks = Stacks::find(&mappings, &threads, 1, false);
        assert_eq!(
            owner(&stacks, 0x77_0000),
            Some(1),
            "it may go on to use that"
        );
        let stacks = Stacks::find(&mappings, &threads, 1, true);
        assert_eq!(owner(&stacks, 0x78_0010), Some(1));
        assert_eq!(owner(&stacks, 0x77_0000), None, "below what is in use");
        assert_eq!(owner(&stacks, 0x1_0010), None, "the heap is no stack");
        assert_eq!(owner(&stacks, 0x10_0010), Some(2));
        assert_eq!(owner(&stacks, 0x1f_f010), None);
        assert_eq!(owner(&stacks, 0x2f_0000), Some(3));
        assert_eq!(owner(&stacks, 0x48_0010), Some(4));
        assert_eq!(owner(&stacks, 0x60_0000), None, "nothing is there");
    }

    #[test]
    fn the_only_thread_after_a_fork_has_the_stack_of_the_one_that_forked() {
        let mappings = [
            mapping(0x10_0000, 0x20_0000, b""),
            mapping(0x70_0000, 0x80_0000, b"[stack]"),
        ];
        let waits = [seen(1, Some(0x1f_f000), Some(0x1f_0000))];
        let stacks = Stacks::find(&mappings, &waits, 1, false);
        assert_eq!(owner(&stacks, 0x1f_1000), Some(1));
        assert_eq!(owner(&stacks, 0x7f_0000), None);
        // Where it stands is not known: it may be on either.
        let runs = [seen(1, Some(0x1f_f000), None)];
        let stacks = Stacks::find(&mappings, &runs, 1, false);
        assert_eq!(owner(&stacks, 0x1f_1000), Some(1));
        assert_eq!(owner(&stacks, 0x7f_0000), Some(1));
    }

    #[test]
    fn code_that_switches_stacks_itself_is_followed() {
        let mappings = [
            mapping(0x10_0000, 0x20_0000, b"[heap]"),
            mapping(0x30_0000, 0x40_0000, b""),
        ];
        // Both are on stacks that lie in the heap.
        let threads = [
            seen(1, None, Some(0x11_0000)),
            seen(2, Some(0x3f_f000), Some(0x15_0000)),
        ];
        let stacks = Stacks::find(&mappings, &threads, 1, true);
        assert_eq!(owner(&stacks, 0x12_0000), Some(1));
        assert_eq!(owner(&stacks, 0x16_0000), Some(2));
        assert_eq!(owner(&stacks, 0x3f_0000), Some(2));
        // Where they go on meanwhile, what lies between may be either's.
        let stacks = Stacks::find(&mappings, &threads, 1, false);
        assert_eq!(owner(&stacks, 0x12_0000), None);
        assert_eq!(owner(&stacks, 0x3f_0000), Some(2));
    }

    #[test]
    fn what_two_claim_is_nobodys() {
        let stack = |tid| ThreadStack {
            tid,
            ranges: vec![Address(0x1000)..Address(0x2000)],
            ..ThreadStack::default()
        };
        let stacks = Stacks {
            threads: vec![stack(1), stack(2)],
            still: false,
        };
        assert_eq!(stacks.owner(Address(0x1800)), None);
    }
}
