//! `_AsyncioDebug` (Modules/_asynciomodule.c, since 3.14): where tasks and states keep what asyncio
//! does. It is not part of the interpreter's table, but of the module `_asyncio`.

use invivo_model::{Error, ErrorKind, Result, Version};

use super::structures::{AsyncioLayout, Layout, TaskLayout, TaskLinksLayout};

/// The section that holds it.
pub(crate) const ASYNCIO_SECTION: &[u8] = b".AsyncioDebug";
/// What the file of `_asyncio` is called, where it has one of its own.
pub(crate) const ASYNCIO_FILE: &[u8] = b"_asyncio";

/// From `fut_loop` to `fut_callback0` (Modules/_asynciomodule.c, `FutureObj_HEAD`, 3.8 to 3.15):
/// the first callback, a context, and the list of pairs of the other callbacks and their contexts.
pub(crate) const CALLBACK_BEHIND_LOOP: u64 = 8;
/// From `fut_loop` to `fut_callbacks` (as above).
pub(crate) const CALLBACKS_BEHIND_LOOP: u64 = 24;

/// Where those objects keep what asyncio's callbacks end the waiting of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallbackLayout {
    /// The tuple of cells of a function.
    pub(crate) function_closure: u64,
    /// Of a `functools.partial`, the function and the tuple of arguments.
    pub(crate) partial: (u64, u64),
}

impl CallbackLayout {
    pub(crate) fn of(layout: &Layout) -> Self {
        let header = layout.object.size;
        // Include/funcobject.h, 3.8 and 3.9, has the closure behind code, globals and two sets of
        // defaults; since 3.10 (Include/cpython/funcobject.h, `_Py_COMMON_FIELDS`) the names, code
        // and defaults are between it and the globals.
        let function_closure = if layout.builtin.function_qualname > header + 56 {
            header + 32
        } else {
            header + 56
        };
        Self {
            function_closure,
            // Modules/_functoolsmodule.c, `partialobject`, 3.8 to 3.15.
            partial: (header, header + 8),
        }
    }
}

impl Layout {
    /// Whether an object that begins like this may be in use: no list of free blocks, which leads
    /// through where references are counted, goes on there. Builds without a GIL count elsewhere.
    pub(crate) fn counts_references(&self, object: &[u8]) -> bool {
        // Include/object.h, `ob_refcnt`, 3.8 to 3.15: the count is positive and has 32 bits at
        // most; pointers have more. Since 3.14 (Include/refcount.h) flags stand in the upper 16.
        const HIGH: u64 = 0xffff << 32;
        let count = object.first_chunk().map(|count| u64::from_le_bytes(*count));
        let counts = count.is_some_and(|count| count & HIGH == 0 && count << 32 != 0);
        counts || self.object.size > COUNTED_FIRST
    }
}

/// The size of `PyObject` in builds where the count of references stands first.
const COUNTED_FIRST: u64 = 16;

/// In `struct llist_node` (Include/internal/pycore_llist.h, 3.12 to 3.15) the pointer to the next
/// node; the one to the previous node follows it.
pub(crate) const NODE_SIZE: usize = 16;

/// How much of the state of the module `_asyncio` is read: its first 32 words, among which are
/// the sets of tasks that are none of its own (`asyncio_state.non_asyncio_tasks`, a `WeakSet`, and
/// behind it `non_asyncio_eager_tasks`, a `set`; Modules/_asynciomodule.c, 3.14 and 3.15).
pub(crate) const MODULE_STATE: usize = 32 * 8;

/// From `md_dict` to `md_state` of a module (Include/internal/pycore_moduleobject.h), in versions
/// where only the state of `_asyncio` knows the tasks that are none of its own.
pub(crate) fn module_state(version: Version) -> Option<u64> {
    match (version.major, version.minor) {
        (3, 14) => Some(16),
        (3, 15) => Some(8),
        _ => None,
    }
}

const WORDS: usize = 13;
/// Larger than any interpreter state ever was, by a factor of forty.
const MAX_STATE: u64 = 16 << 20;
/// Larger than any task or thread state, by a factor of seven.
const MAX_OBJECT: u64 = 8 << 10;

/// Where an `_asyncio` keeps its tasks, as it says of itself. Every number has been checked
/// against the sizes it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncioDebug {
    words: [u64; WORDS],
}

/// The release builds of 3.14 (read from 3.14.8).
const V3_14: AsyncioDebug = AsyncioDebug {
    words: [
        168, 136, 96, 108, 109, 128, 152, 225_864, 10_880, 936, 864, 872, 880,
    ],
};

/// The release builds of 3.15 (read from 3.15.0).
const V3_15: AsyncioDebug = AsyncioDebug {
    words: [
        168, 136, 96, 108, 109, 128, 152, 226_240, 10_856, 1104, 1024, 1032, 1048,
    ],
};

impl AsyncioDebug {
    /// How many bytes it takes.
    pub const SIZE: usize = WORDS * 8;

    /// What the first [`AsyncioDebug::SIZE`] of these bytes say.
    ///
    /// # Errors
    ///
    /// `Corrupt` where they are too few, or say what can't be.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let (found, _) = bytes.as_chunks();
        let words: Vec<_> = found.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let words = words.first_chunk().copied();
        let words = words.ok_or_else(|| invalid("it ends too early".to_owned()))?;
        Self { words }.checked()
    }

    /// The bytes that [`AsyncioDebug::parse`] understands.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let (places, _) = bytes.as_chunks_mut();
        for (place, word) in places.iter_mut().zip(self.words) {
            *place = word.to_le_bytes();
        }
        bytes
    }

    /// What the release builds of a version say; `None` where that is not known.
    pub(crate) fn of_release(version: Version) -> Option<Self> {
        match (version.major, version.minor) {
            (3, 14) => Some(V3_14),
            (3, 15) => Some(V3_15),
            _ => None,
        }
    }

    /// Every value lies in the structure it belongs to, as wide as it is.
    fn checked(self) -> Result<Self> {
        let [
            task,
            name,
            awaited_by,
            is_task,
            is_set,
            coroutine,
            node,
            interpreter,
            head,
            ..,
        ] = self.words;
        let [.., thread, running_loop, running_task, thread_head] = self.words;
        let fields = [
            (name, 8, task),
            (awaited_by, 8, task),
            (is_task, 1, task),
            (is_set, 1, task),
            (coroutine, 8, task),
            (node, 8, task),
            (node.saturating_add(8), 8, task),
            (head, 8, interpreter),
            (head.saturating_add(8), 8, interpreter),
            (running_loop, 8, thread),
            (running_task, 8, thread),
            (thread_head, 8, thread),
            (thread_head.saturating_add(8), 8, thread),
        ];
        if task > MAX_OBJECT || thread > MAX_OBJECT || interpreter > MAX_STATE {
            return Err(invalid("a size in it is too large".to_owned()));
        }
        for (offset, width, size) in fields {
            let inside = offset.checked_add(width).is_some_and(|end| end <= size);
            if !inside || !offset.is_multiple_of(width) {
                return Err(invalid(format!("{offset} is no offset in {size} bytes")));
            }
        }
        Ok(self)
    }

    /// Where states keep what asyncio does.
    pub(crate) fn states(&self) -> AsyncioLayout {
        let [
            ..,
            interpreter_tasks_head,
            _,
            running_loop,
            running_task,
            thread_tasks_head,
        ] = self.words;
        AsyncioLayout {
            running_loop,
            running_task,
            thread_tasks_head,
            interpreter_tasks_head,
        }
    }

    /// Where tasks keep their fields: `known`, where this does not say otherwise.
    pub(crate) fn task(&self, known: &TaskLayout) -> TaskLayout {
        let [size, name, awaited_by, is_task, is_set, coroutine, node, ..] = self.words;
        TaskLayout {
            size: known.size.max(size),
            name,
            coroutine,
            links: Some(TaskLinksLayout {
                awaited_by,
                awaited_by_is_set: is_set,
                is_task,
                node,
            }),
            ..known.clone()
        }
    }
}

fn invalid(why: String) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "asyncio's table of offsets is not valid",
        why,
        "the process is damaged or pretends: look at it with a native debugger",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_release_builds_say_is_valid_and_survives_being_written_down() {
        for known in [V3_14, V3_15] {
            assert_eq!(AsyncioDebug::parse(&known.to_bytes()), Ok(known));
        }
        assert_eq!(V3_14.states().interpreter_tasks_head, 10_880);
        assert_eq!(V3_14.states().running_loop, 864);
        assert_eq!(V3_15.states().thread_tasks_head, 1048);
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for (index, value) in [
            (0, 100),
            (0, u64::MAX),
            (6, 160),
            (6, u64::MAX - 3),
            (8, 3),
            (9, 1 << 20),
            (11, 1100),
        ] {
            let mut words = V3_15.words;
            words[index] = value;
            let bytes = AsyncioDebug { words }.to_bytes();
            assert!(AsyncioDebug::parse(&bytes).is_err(), "{index}: {value}");
        }
        assert!(AsyncioDebug::parse(&V3_15.to_bytes()[1..]).is_err());
    }
}
