//! The form in which each minor version says what lies where.

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

/// What the table leaves unsaid.
#[derive(Debug)]
pub(super) struct Beyond {
    /// From `interpreters.head` to `main_thread` in the runtime state.
    pub(super) main_thread_behind_head: u64,
    /// The least `owner` of a frame that is no Python code.
    pub(super) first_sentinel_owner: u8,
    /// From `sizeof(PyASCIIObject)` to `sizeof(PyCompactUnicodeObject)`.
    pub(super) compact_behind_ascii: u64,
    pub(super) unicode_state: UnicodeState,
    pub(super) unicode_state_free_threaded: UnicodeState,
    pub(super) dict_keys: DictKeys,
    /// Where the pointers begin in the values of a split table.
    pub(super) dict_values: u64,
}

/// The bits of a string's `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnicodeState {
    /// Where the three bits of the width in bytes begin.
    pub(crate) kind_shift: u32,
    /// Set where the characters follow the header.
    pub(crate) compact_bit: u32,
    /// Set where all characters are ASCII.
    pub(crate) ascii_bit: u32,
}

/// Offsets in the keys of a dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DictKeys {
    /// A byte: the logarithm of the bytes that the indices take.
    pub(crate) log2_index_bytes: u64,
    /// A byte: 0 for entries of hash, key, value; 1 and 2 for entries of key, value.
    pub(crate) kind: u64,
    /// 8 bytes: how many entries have been used.
    pub(crate) entry_count: u64,
    /// Where the indices begin; the entries follow them.
    pub(crate) indices: u64,
}
