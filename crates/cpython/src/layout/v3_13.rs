//! CPython 3.13.

use super::instructions;
use super::minor::{Beyond, GeneratorStates, MainQueues, Minor, Rule::*};
use super::objects;
use super::structures::TaskLayout;

/// This minor version.
pub(super) const MINOR: Minor = Minor {
    major: 3,
    minor: 13,
    prereleases: &[],
    fields: FIELDS,
    beyond: &BEYOND,
};

/// What the table leaves unsaid.
const BEYOND: Beyond = Beyond {
    // Include/internal/pycore_runtime.h, 3.13: `struct pyinterpreters` is mutex, head, main,
    // next_id, and `main_thread` follows it.
    main_thread_behind_head: 24,
    // Include/cpython/pystate.h, 3.13: `struct _ts`.
    current_exception: Some(112),
    exc_info: 120,
    attachment: 40,
    recursion_left: 44,
    // Include/internal/pycore_runtime.h, 3.13: `struct pyruntimestate`.
    pending_main: MainQueues {
        release: 2640,
        debug: 18632,
        debug_free_threaded: 18640,
    },
    // Include/internal/pycore_interp.h, 3.13: `struct _is`.
    audit_hooks: Some((10808, 17440)),
    // Include/internal/pycore_frame.h, 3.13: FRAME_OWNED_BY_CSTACK.
    first_sentinel: 3,
    // Include/internal/pycore_frame.h, 3.13: `_PyInterpreterFrame`.
    stack_count: Some(64),
    // Include/internal/pycore_frame.h, 3.13: `PyFrameState`.
    generator_states: GeneratorStates {
        created: -3,
        suspended: [-2, -1, -1],
        executing: 0,
    },
    // Include/cpython/object.h, 3.13: `PyHeapTypeObject`.
    heap_qualname: 872,
    heap_cached_keys: Some(880),
    // Include/cpython/unicodeobject.h, 3.13.
    unicode_state_free_threaded: objects::UNICODE_STATE,
    // Modules/_asynciomodule.c, 3.13: `TaskObj`.
    task: TaskLayout {
        event_loop: 16,
        state: 96,
        waiter: 112,
        coroutine: 120,
        name: 128,
        size: 144,
        links: None,
    },
    instructions: instructions::V3_13,
};

/// `_Py_DebugOffsets` of 3.13 behind its cookie, version and `free_threaded`
/// (Include/internal/pycore_runtime.h): every field is a `u64`, 584 bytes in all.
const FIELDS: &[(&str, super::minor::Rule)] = &[
    ("runtime_state.size", State),
    ("runtime_state.finalizing", At(8)),
    ("runtime_state.interpreters_head", At(8)),
    ("interpreter_state.size", State),
    ("interpreter_state.id", At(8)),
    ("interpreter_state.next", At(8)),
    ("interpreter_state.threads_head", At(8)),
    ("interpreter_state.gc", At(8)),
    ("interpreter_state.imports_modules", At(8)),
    ("interpreter_state.sysdict", At(8)),
    ("interpreter_state.builtins", At(8)),
    ("interpreter_state.ceval_gil", At(8)),
    ("interpreter_state.gil_runtime_state", At(8)),
    (
        "interpreter_state.gil_runtime_state_enabled",
        InsideOrAbsent("interpreter_state", 4),
    ),
    ("interpreter_state.gil_runtime_state_locked", At(4)),
    ("interpreter_state.gil_runtime_state_holder", At(8)),
    ("thread_state.size", Object),
    ("thread_state.prev", At(8)),
    ("thread_state.next", At(8)),
    ("thread_state.interp", At(8)),
    ("thread_state.current_frame", At(8)),
    ("thread_state.thread_id", At(8)),
    ("thread_state.native_thread_id", At(8)),
    ("thread_state.datastack_chunk", At(8)),
    ("thread_state.status", At(4)),
    ("interpreter_frame.size", Object),
    ("interpreter_frame.previous", At(8)),
    ("interpreter_frame.executable", At(8)),
    ("interpreter_frame.instr_ptr", At(8)),
    ("interpreter_frame.localsplus", At(8)),
    ("interpreter_frame.owner", At(1)),
    ("code_object.size", Object),
    ("code_object.filename", At(8)),
    ("code_object.name", At(8)),
    ("code_object.qualname", At(8)),
    ("code_object.linetable", At(8)),
    ("code_object.firstlineno", At(4)),
    ("code_object.argcount", At(4)),
    ("code_object.localsplusnames", At(8)),
    ("code_object.localspluskinds", At(8)),
    ("code_object.co_code_adaptive", At(1)),
    ("pyobject.size", Object),
    ("pyobject.ob_type", At(8)),
    ("type_object.size", Object),
    ("type_object.tp_name", At(8)),
    ("type_object.tp_repr", At(8)),
    ("type_object.tp_flags", At(8)),
    ("tuple_object.size", Object),
    ("tuple_object.ob_item", At(8)),
    ("tuple_object.ob_size", At(8)),
    ("list_object.size", Object),
    ("list_object.ob_item", At(8)),
    ("list_object.ob_size", At(8)),
    ("dict_object.size", Object),
    ("dict_object.ma_keys", At(8)),
    ("dict_object.ma_values", At(8)),
    ("float_object.size", Object),
    ("float_object.ob_fval", At(8)),
    ("long_object.size", Object),
    ("long_object.lv_tag", At(8)),
    ("long_object.ob_digit", At(4)),
    ("bytes_object.size", Object),
    ("bytes_object.ob_size", At(8)),
    ("bytes_object.ob_sval", At(1)),
    ("unicode_object.size", Object),
    ("unicode_object.state", At(4)),
    ("unicode_object.length", At(8)),
    ("unicode_object.asciiobject_size", At(0)),
    ("gc.size", State),
    ("gc.collecting", At(4)),
];
