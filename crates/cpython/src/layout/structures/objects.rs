//! What a layout says of objects.

/// `PyObject`, `PyVarObject` and `PyTypeObject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectLayout {
    /// Bytes of `PyObject`.
    pub(crate) size: u64,
    pub(crate) type_of: u64,
    /// `ob_size` of a variable-sized object.
    pub(crate) var_size: u64,
    pub(crate) type_name: u64,
    pub(crate) type_basicsize: u64,
    pub(crate) type_itemsize: u64,
    pub(crate) type_flags: u64,
    /// The pointer to `PyMemberDef`s, up to one without a name.
    pub(crate) type_members: u64,
    pub(crate) type_dictoffset: u64,
    pub(crate) type_base: u64,
    pub(crate) type_dict: u64,
    pub(crate) type_mro: u64,
    /// `ht_qualname` of a class made by Python code.
    pub(crate) heap_qualname: u64,
    /// `ht_cached_keys`.
    pub(crate) heap_cached_keys: u64,
    pub(crate) attributes: AttributesLayout,
}

/// Where instances of classes made by Python code keep their attributes, beside
/// `tp_dictoffset`. Words before the object are counted in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttributesLayout {
    /// Only as `tp_dictoffset` says.
    Dictionary,
    /// Where a flag of the class says so: a pointer to values, and one to a dictionary, each
    /// before the object.
    ValuesAndDictionary {
        /// Bytes before the object.
        values: u64,
        /// Bytes before the object.
        dictionary: u64,
    },
    /// Where a flag of the class says so: one word before the object. Where its lowest bit is
    /// set, values begin at the word plus 1; else it points to a dictionary, or is null.
    ValuesOrDictionary(u64),
    /// Where a flag of the class says so: a pointer to a dictionary before the object; where
    /// another says so as well and the dictionary is null or the values are still in use, values
    /// behind `tp_basicsize`.
    Inline {
        /// Bytes before the object.
        dictionary: u64,
    },
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

/// `PyUnicodeObject` and the structures it begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnicodeLayout {
    pub(crate) length: u64,
    pub(crate) state: u64,
    /// Where the characters of a compact ASCII string begin.
    pub(crate) ascii_data: u64,
    /// Where the characters of any other compact string begin, and where the pointer to those of
    /// a string that is not compact stands.
    pub(crate) compact_data: u64,
    pub(crate) bits: UnicodeState,
    /// Where a string is described that has no width yet; `None` where every string has one.
    pub(crate) not_ready: Option<NotReadyLayout>,
}

/// A string of `wchar_t`s that nobody has needed in another form so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotReadyLayout {
    /// `wstr`: the pointer to its characters.
    pub(crate) characters: u64,
    /// `wstr_length`.
    pub(crate) length: u64,
}

/// How the keys of a dictionary say how many bytes their indices take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexBytes {
    /// `dk_log2_index_bytes`, a byte: the logarithm of the bytes.
    Logarithm(u64),
    /// `dk_size`, 8 bytes: how many indices there are. Each takes 1 byte up to 0xff of them, 2 up
    /// to 0xffff, 4 up to 0xffff_ffff, else 8.
    Count(u64),
}

/// Offsets in the keys of a dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DictKeys {
    pub(crate) index_bytes: IndexBytes,
    /// A byte: 0 for entries of hash, key, value; 1 and 2 for entries of key, value. Where there is
    /// none, all entries are of hash, key, value.
    pub(crate) kind: Option<u64>,
    /// 8 bytes: how many entries have been used.
    pub(crate) entry_count: u64,
    /// Where the indices begin; the entries follow them.
    pub(crate) indices: u64,
}

/// `PyDictObject` and its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DictLayout {
    pub(crate) used: u64,
    pub(crate) keys: u64,
    pub(crate) values: u64,
    pub(crate) in_keys: DictKeys,
    /// Where the pointers begin in the values of a split table.
    pub(crate) in_values: u64,
    pub(crate) order: ValuesOrder,
}

/// How the values of a split table say in which order they were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValuesOrder {
    /// It is always that of the keys.
    OfKeys,
    /// By bytes before the values, read backwards: their own count, how many values are set, and
    /// the index of each.
    Before,
    /// By the index of each, a byte, behind the last pointer. What follows are bytes at the start.
    Behind {
        /// How many pointers there are.
        capacity: u64,
        /// How many values are set.
        set: u64,
        /// 0 where values inside an object are in use no more.
        valid: u64,
    },
}

/// How an integer says how many digits it has, and its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntSize {
    /// `ob_size`: negative for a negative integer.
    Signed(u64),
    /// `lv_tag`: the sign in the two lowest bits (0 positive, 1 zero, 2 negative), the count of
    /// digits above, from bit `shift` on.
    Tagged {
        /// Where it is.
        at: u64,
        /// Where the count begins.
        shift: u32,
    },
}

/// Other built-in objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuiltinLayout {
    pub(crate) tuple_items: u64,
    /// The pointer to a list's items.
    pub(crate) list_items: u64,
    /// `ob_sval`.
    pub(crate) bytes_data: u64,
    /// `ob_start` of a `bytearray`: the pointer to its first byte.
    pub(crate) bytearray_start: u64,
    pub(crate) float_value: u64,
    /// The real part; the imaginary one follows.
    pub(crate) complex_value: u64,
    pub(crate) int_size: IntSize,
    /// 30 bits in each 32.
    pub(crate) int_digits: u64,
    pub(crate) set_used: u64,
    pub(crate) set_mask: u64,
    /// The pointer to entries of key and hash.
    pub(crate) set_table: u64,
    /// `ob_ref` of a cell.
    pub(crate) cell_value: u64,
    /// `wr_object` of a weak reference.
    pub(crate) weakref_object: u64,
    /// `mapping` of a `mappingproxy`.
    pub(crate) proxied_mapping: u64,
    /// `dv_dict` of a view of a dictionary.
    pub(crate) viewed_dict: u64,
    /// `md_dict` of a module.
    pub(crate) module_dict: u64,
    /// `func_qualname` of a function.
    pub(crate) function_qualname: u64,
    /// `im_func` and `im_self` of a bound method.
    pub(crate) method: (u64, u64),
    /// `m_ml` of a built-in function, whose first word points to its name.
    pub(crate) builtin_function: u64,
    /// `BaseException.args`.
    pub(crate) exception_args: u64,
    /// `ags_gen` and `agt_gen`: the generator that an `asend` or `athrow` awaits.
    pub(crate) asend_generator: u64,
    /// `cw_coroutine` of what `coroutine.__await__` gives.
    pub(crate) coroutine_wrapper: u64,
    /// `collections.deque`.
    pub(crate) deque: DequeLayout,
}

/// `dequeobject` and its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DequeLayout {
    pub(crate) left_block: u64,
    pub(crate) left_index: u64,
    /// Items in a block.
    pub(crate) block_length: u64,
    /// In a block: the items.
    pub(crate) block_items: u64,
    /// In a block: the pointer to the next one.
    pub(crate) block_right: u64,
}

/// `FutureObj` and `TaskObj` of `_asyncio`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskLayout {
    /// `fut_loop`.
    pub(crate) event_loop: u64,
    /// `fut_state`, an `int`: 0 pending, 1 cancelled, 2 finished.
    pub(crate) state: u64,
    /// `task_fut_waiter`.
    pub(crate) waiter: u64,
    /// `task_coro`.
    pub(crate) coroutine: u64,
    /// `task_name`.
    pub(crate) name: u64,
    /// Bytes of a task.
    pub(crate) size: u64,
    /// What the target itself keeps of its tasks.
    pub(crate) links: Option<TaskLinksLayout>,
}

/// The links that a target keeps between its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskLinksLayout {
    /// `fut_awaited_by`: null, one object, or a set of them.
    pub(crate) awaited_by: u64,
    /// A byte, or a bit in it.
    pub(crate) awaited_by_is_set: u64,
    /// A byte, or a bit in it.
    pub(crate) is_task: u64,
    /// `task_node`: next and previous in the list of its thread or interpreter.
    pub(crate) node: u64,
}

/// Where states keep what asyncio does, as `_AsyncioDebug` of the target's `_asyncio` says: its
/// section is read where it can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AsyncioLayout {
    /// In the thread state.
    pub(crate) running_loop: u64,
    /// In the thread state.
    pub(crate) running_task: u64,
    /// In the thread state: the head (next, previous) of the list of its tasks.
    pub(crate) thread_tasks_head: u64,
    /// In the interpreter state: the same of those tasks whose thread has ended.
    pub(crate) interpreter_tasks_head: u64,
}
