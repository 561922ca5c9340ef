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

/// `Py_TPFLAGS_UNICODE_SUBCLASS` (Include/object.h, 3.0 to 3.15).
pub(crate) const STRING_FLAG: u64 = 1 << 28;
/// `Py_TPFLAGS_DICT_SUBCLASS` (Include/object.h, 3.0 to 3.15).
pub(crate) const DICT_FLAG: u64 = 1 << 29;

/// `DICT_KEYS_GENERAL`: entries of hash, key, value (Include/internal/pycore_dict.h, 3.11 to 3.15).
pub(crate) const DICT_KEYS_GENERAL: u64 = 0;
/// `DICT_KEYS_UNICODE`: entries of key, value (as above).
pub(crate) const DICT_KEYS_UNICODE: u64 = 1;
/// `DICT_KEYS_SPLIT`: entries of key, value, with the values elsewhere (as above).
pub(crate) const DICT_KEYS_SPLIT: u64 = 2;
