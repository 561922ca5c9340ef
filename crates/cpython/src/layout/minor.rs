//! The form in which each minor version that has a table says what lies where.

use super::structures::{InstructionsLayout, TaskLayout, UnicodeState};

/// What is known of one minor version before a process is looked at.
#[derive(Debug)]
pub(super) struct Minor {
    pub(super) major: u8,
    pub(super) minor: u8,
    /// The `PY_VERSION_HEX` of pre-releases that have the very layout of the final release.
    pub(super) prereleases: &'static [u64],
    /// The table's fields behind cookie, version and `free_threaded`, in its order.
    pub(super) fields: &'static [(&'static str, Rule)],
    pub(super) beyond: &'static Beyond,
}

/// What a value in the table has to be. `At` and its like are offsets; their numbers are the
/// bytes that are read there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// The size of a large structure: a runtime or interpreter state. Bounds its group.
    State,
    /// The size of an object or another small structure. Bounds its group.
    Object,
    /// A number of bytes that bounds nothing here.
    Bytes,
    /// An offset in the group's structure; 0 bytes where only data behind it is read.
    At(u64),
    /// As `At`, and 0 where the build has no such field.
    AtOrAbsent(u64),
    /// An offset in another structure, or in a part of it.
    Inside(&'static str, u64),
    /// As `Inside`, and 0 where the build has no such field.
    InsideOrAbsent(&'static str, u64),
}

/// `PyFrameState` (Include/internal/pycore_frame.h).
#[derive(Debug)]
pub(super) struct GeneratorStates {
    pub(super) created: i8,
    pub(super) suspended: [i8; 3],
    pub(super) executing: i8,
}

/// `ceval.pending_mainthread` in the runtime state: debug builds keep more of their allocator
/// before it.
#[derive(Debug)]
pub(super) struct MainQueues {
    /// The same in builds with a GIL and free-threaded ones.
    pub(super) release: u64,
    pub(super) debug: u64,
    pub(super) debug_free_threaded: u64,
}

/// What the table leaves unsaid. Offsets in objects are those of a build with a GIL; in a
/// free-threaded one they grow as `PyObject` has grown.
#[derive(Debug)]
pub(super) struct Beyond {
    /// From `interpreters.head` to `main_thread` in the runtime state.
    pub(super) main_thread_behind_head: u64,
    /// In the thread state, where the table does not say it.
    pub(super) current_exception: Option<u64>,
    /// In the thread state.
    pub(super) exc_info: u64,
    /// `state` and `py_recursion_remaining`, in the thread state.
    pub(super) attachment: u64,
    pub(super) recursion_left: u64,
    pub(super) pending_main: MainQueues,
    /// `audit_hooks` in the interpreter state of a build with a GIL and of a free-threaded one,
    /// where there are pending calls that it may make fail. (In debug builds no list lies there.)
    pub(super) audit_hooks: Option<(u64, u64)>,
    /// The least `owner` of a frame that is no Python code.
    pub(super) first_sentinel: u8,
    /// `stacktop` in a frame, where the table has no `stackpointer`.
    pub(super) stack_count: Option<u64>,
    pub(super) generator_states: GeneratorStates,
    /// `ht_qualname`.
    pub(super) heap_qualname: u64,
    /// `ht_cached_keys`, where the table does not say it.
    pub(super) heap_cached_keys: Option<u64>,
    pub(super) unicode_state_free_threaded: UnicodeState,
    pub(super) task: TaskLayout,
    pub(super) instructions: InstructionsLayout,
}
