//! What has lain at the same place in every version from 3.8 to 3.15, but for what the parameters
//! say. `header` is the size of `PyObject`: 16 bytes, in free-threaded builds 32.

use super::structures::*;

/// The size of `PyObject` in a build with a GIL.
pub(super) const HEADER: u64 = 16;

/// `PyObject` and `PyTypeObject` (Include/object.h and Include/cpython/object.h, 3.8 to 3.15).
pub(super) const fn object(
    header: u64,
    heap_qualname: u64,
    heap_cached_keys: u64,
    attributes: AttributesLayout,
) -> ObjectLayout {
    ObjectLayout {
        size: header,
        type_of: header - 8,
        var_size: header,
        type_name: header + 8,
        type_basicsize: header + 16,
        type_itemsize: header + 24,
        type_flags: header + 152,
        type_members: header + 224,
        type_base: header + 240,
        type_dict: header + 248,
        type_dictoffset: header + 272,
        type_mro: header + 328,
        heap_qualname,
        heap_cached_keys,
        attributes,
    }
}

/// `PyDictObject` (Include/cpython/dictobject.h, 3.8 to 3.15).
pub(super) const fn dict(
    header: u64,
    in_keys: DictKeys,
    in_values: u64,
    order: ValuesOrder,
) -> DictLayout {
    DictLayout {
        used: header,
        keys: header + 16,
        values: header + 24,
        in_keys,
        in_values,
        order,
    }
}

/// `struct _dictkeysobject` (Include/internal/pycore_dict.h, 3.11 to 3.15).
pub(super) const DICT_KEYS: DictKeys = DictKeys {
    index_bytes: IndexBytes::Logarithm(9),
    kind: Some(10),
    entry_count: 24,
    indices: 32,
};

/// The bit field `state` of strings in builds with a GIL (Include/cpython/unicodeobject.h, 3.8 to
/// 3.15).
pub(super) const UNICODE_STATE: UnicodeState = UnicodeState {
    kind_shift: 2,
    compact_bit: 5,
    ascii_bit: 6,
};

/// `struct _gil_runtime_state` of a build with a GIL (Include/internal/pycore_gil.h, 3.8 to 3.15).
pub(super) const GIL: GilLayout = GilLayout {
    locked: 16,
    last_holder: 8,
    switches: 24,
};

/// `_PyStackChunk` (Include/cpython/pystate.h, 3.11 to 3.15).
pub(super) const CHUNK: ChunkLayout = ChunkLayout {
    previous: 0,
    size: 8,
    top: 16,
    data: 24,
};

/// `enum _frameowner` (Include/internal/pycore_frame.h, 3.11 to 3.13, and
/// Include/internal/pycore_interpframe_structs.h, 3.14 and 3.15), a byte at `at`.
pub(super) const fn owner(at: u64, first_sentinel: u8) -> OwnerLayout {
    OwnerLayout {
        at,
        thread: 0,
        generator: 1,
        frame_object: 2,
        first_sentinel,
    }
}

/// Where the count of digits begins in `lv_tag` (Include/cpython/longintrepr.h, 3.12 to 3.15).
pub(super) const INT_SHIFT: u32 = 3;

/// Built-in objects, most of them variable-sized or of few fields: Include/cpython/ and
/// Include/internal/pycore_moduleobject.h; Objects/genobject.c has `asend`, `athrow` and the
/// wrapper of coroutines, Objects/descrobject.c `mappingproxyobject`, Modules/_collectionsmodule.c
/// has `deque`.
pub(super) const fn builtin(
    header: u64,
    tuple_items: u64,
    int_size: IntSize,
    function_qualname: u64,
) -> BuiltinLayout {
    BuiltinLayout {
        tuple_items,
        list_items: header + 8,
        bytes_data: header + 16,
        bytearray_start: header + 24,
        float_value: header,
        complex_value: header,
        int_size,
        int_digits: header + 8,
        set_used: header + 8,
        set_mask: header + 16,
        set_table: header + 24,
        cell_value: header,
        weakref_object: header,
        proxied_mapping: header,
        viewed_dict: header,
        module_dict: header,
        function_qualname,
        method: (header, header + 8),
        builtin_function: header,
        exception_args: header + 8,
        asend_generator: header,
        coroutine_wrapper: header,
        deque: DequeLayout {
            left_block: header + 8,
            left_index: header + 24,
            block_length: 64,
            block_items: 8,
            block_right: 8 + 64 * 8,
        },
    }
}
