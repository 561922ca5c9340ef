//! What has been the same in every version so far.

/// The section that holds the runtime state (Python/pylifecycle.c, since 3.10).
pub(crate) const RUNTIME_SECTION: &[u8] = b".PyRuntime";
/// The runtime state, exported by every interpreter (Python/pylifecycle.c, since 3.7).
pub(crate) const RUNTIME_SYMBOL: &[u8] = b"_PyRuntime";
/// `const unsigned long Py_Version`, the version as hex (Python/getversion.c, since 3.11).
pub(crate) const VERSION_SYMBOL: &[u8] = b"Py_Version";
/// A function that only debug builds have (Include/object.h, from 3.14 on Include/refcount.h;
/// seen in 3.14 and 3.15, absent from release builds of 3.8 to 3.15).
pub(crate) const DEBUG_SYMBOL: &[u8] = b"_Py_NegativeRefcount";

/// Pointers to code in frames carry tags in these bits. Plain pointers, as 3.13 has them, end in
/// zeros there (Include/internal/pycore_stackref.h,
/// 3.14 and 3.15).
pub(crate) const STACK_REFERENCE_TAGS: u64 = 0b11;
/// File, name and qualified name of the code that CPython itself pushes for a specialized call of
/// a class (Python/specialize.c, `_Py_InitCleanup`, seen in 3.13 to 3.15).
pub(crate) const SHIM_FILE: &str = "__init__";
/// `tp_name` of `PyCode_Type` with its end (Objects/codeobject.c, 3.8 to 3.15).
pub(crate) const CODE_CLASS: &[u8] = b"code\0";

/// Flags of classes, `Py_TPFLAGS_…` (Include/object.h, 3.8 to 3.15 where nothing else is said).
pub(crate) const INT_FLAG: u64 = 1 << 24;
pub(crate) const LIST_FLAG: u64 = 1 << 25;
pub(crate) const TUPLE_FLAG: u64 = 1 << 26;
pub(crate) const BYTES_FLAG: u64 = 1 << 27;
pub(crate) const STRING_FLAG: u64 = 1 << 28;
pub(crate) const DICT_FLAG: u64 = 1 << 29;
pub(crate) const EXCEPTION_FLAG: u64 = 1 << 30;
/// `Py_TPFLAGS_TYPE_SUBCLASS`: the object is a class.
pub(crate) const CLASS_FLAG: u64 = 1 << 31;
/// `Py_TPFLAGS_HEAPTYPE`: the class is a `PyHeapTypeObject`.
pub(crate) const HEAP_CLASS_FLAG: u64 = 1 << 9;
/// `Py_TPFLAGS_IMMUTABLETYPE`: Python code can neither make such a class nor change it (3.10 to
/// 3.15).
pub(crate) const IMMUTABLE_CLASS_FLAG: u64 = 1 << 8;
/// `Py_TPFLAGS_READY`: all fields of the class are set.
pub(crate) const READY_FLAG: u64 = 1 << 12;
/// `Py_TPFLAGS_MANAGED_DICT`: attributes lie as [`AttributesLayout`](super::AttributesLayout)
/// says (3.11 to 3.15; before, no class has it).
pub(crate) const MANAGED_DICT_FLAG: u64 = 1 << 4;
/// `Py_TPFLAGS_INLINE_VALUES`: the values of attributes may lie in the object (3.13 to 3.15).
pub(crate) const INLINE_VALUES_FLAG: u64 = 1 << 2;

/// The hash that stands in a set where an item was deleted, and that no item has
/// (Objects/setobject.c, 3.8 to 3.15).
pub(crate) const DELETED_HASH: u64 = u64::MAX;

/// Bytes of a `PyMemberDef`, and where in it the pointer to its name, its type (an `int`) and its
/// place in instances (a `Py_ssize_t`) are (Include/structmember.h, 3.8 to 3.11, and
/// Include/descrobject.h, 3.12 to 3.15).
pub(crate) const MEMBER_SIZE: usize = 40;
pub(crate) const MEMBER_NAME: u64 = 0;
pub(crate) const MEMBER_TYPE: u64 = 8;
pub(crate) const MEMBER_OFFSET: u64 = 16;
/// The types of members that are pointers to objects: `T_OBJECT` and `T_OBJECT_EX` (as above).
pub(crate) const OBJECT_MEMBERS: [u32; 2] = [6, 16];

/// In a place of a queue of pending calls: the function and its argument
/// (Include/internal/pycore_pystate.h, 3.8; Include/internal/pycore_interp.h, 3.9 to 3.11;
/// Include/internal/pycore_ceval_state.h, 3.12 and 3.13; Include/internal/pycore_interp_structs.h,
/// 3.14 and 3.15).
pub(crate) const CALL_FUNCTION: u64 = 0;
pub(crate) const CALL_ARGUMENT: u64 = 8;
/// How far from where it is said to be the queue of the main thread may begin where it is known
/// by its content: 3.13.15 has it 24 bytes behind where 3.13.0 to 3.13.5 have it, because what
/// `struct _ceval_runtime_state` keeps for profilers grew.
pub(crate) const QUEUE_AROUND: u64 = 128;
/// `_Py_PENDING_MAINTHREADONLY`: the flags of calls in the main thread's queue
/// (Include/internal/pycore_ceval.h, 3.13 to 3.15).
pub(crate) const CALL_FLAGS_MAIN: i32 = 1;
/// `_PY_CALLS_TO_DO_BIT` of an eval breaker (as above).
pub(crate) const CALLS_TO_DO: u8 = 1 << 2;
/// The bit of a `PyMutex` that says that somebody holds it: `_Py_LOCKED`
/// (Include/cpython/lock.h, 3.13 and 3.14, and Include/cpython/pylock.h, 3.15).
pub(crate) const MUTEX_LOCKED: u8 = 1;
/// The `state` of a thread that is attached: `_Py_THREAD_ATTACHED`
/// (Include/internal/pycore_pystate.h, 3.13 to 3.15).
pub(crate) const THREAD_ATTACHED: u32 = 1;

/// Bits of `co_flags` (Include/code.h, 3.8, and Include/cpython/code.h, 3.9 to 3.15).
pub(crate) const CO_OPTIMIZED: u32 = 0x1;
pub(crate) const CO_VARARGS: u32 = 0x4;
pub(crate) const CO_VARKEYWORDS: u32 = 0x8;
pub(crate) const CO_GENERATOR: u32 = 0x20;
pub(crate) const CO_COROUTINE: u32 = 0x80;
pub(crate) const CO_ITERABLE_COROUTINE: u32 = 0x100;
pub(crate) const CO_ASYNC_GENERATOR: u32 = 0x200;

/// Bits of a byte of `co_localspluskinds` (Include/internal/pycore_code.h, 3.11 to 3.15).
pub(crate) const KIND_HIDDEN: u8 = 0x10;
pub(crate) const KIND_CELL: u8 = 0x40;
pub(crate) const KIND_FREE: u8 = 0x80;

/// `DICT_KEYS_GENERAL`: entries of hash, key, value (Include/internal/pycore_dict.h, 3.11 to 3.15).
pub(crate) const DICT_KEYS_GENERAL: u64 = 0;
/// `DICT_KEYS_UNICODE`: entries of key, value (as above).
pub(crate) const DICT_KEYS_UNICODE: u64 = 1;
/// `DICT_KEYS_SPLIT`: entries of key, value, with the values elsewhere (as above).
pub(crate) const DICT_KEYS_SPLIT: u64 = 2;
