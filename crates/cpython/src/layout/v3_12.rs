//! CPython 3.12. It has no table of its offsets; debug builds have the same.

use super::instructions;
use super::objects;
use super::pending;
use super::structures::*;

/// Where everything lies.
pub(super) const LAYOUT: Layout = Layout {
    // Include/internal/pycore_runtime.h, 3.12: `struct pyruntimestate`.
    runtime: RuntimeLayout {
        core_initialized: 12,
        initialized: 16,
        finalizing: 24,
        interpreters_head: 40,
        main_thread: 64,
        gil: None,
        gc_collecting: None,
        current_thread: None,
    },
    // Include/internal/pycore_interp.h, 3.12: `struct _is`.
    interpreter: InterpreterLayout {
        id: 8,
        next: 0,
        threads_head: 72,
        threads_main: None,
        sysdict: 352,
        modules: 944,
        gil: Some(384),
        gc_collecting: Some(312),
        gc_frame: None,
        code_object_generation: None,
        finalizing: 44,
        audit_hooks: Some(267208),
    },
    gil: objects::GIL,
    // Include/cpython/pystate.h, 3.12: `struct _ts`.
    thread: ThreadLayout {
        next: 8,
        interpreter: 16,
        current_frame: CurrentFrame::Through {
            pointer: 56,
            inside: 0,
        },
        thread_id: 136,
        native_thread_id: Some(144),
        datastack_chunk: Some(232),
        base_frame: None,
        cframe: Some(56),
        holds_gil: None,
        gil_requested: None,
        status: Some((24, 4)),
        current_exception: 96,
        exc_info: 104,
        attachment: None,
        recursion: Recursion::Left(28),
    },
    exception_item: ExceptionItemLayout {
        value: 0,
        previous: 8,
    },
    debugger: None,
    // Include/internal/pycore_frame.h, 3.12: `_PyInterpreterFrame`.
    frame: FrameLayout {
        size: 80,
        previous: 8,
        executable: 0,
        position: FramePosition::Previous(56),
        namespace: 40,
        globals: 24,
        localsplus: 72,
        stack_top: StackTop::Count(64),
        owner: Some(objects::owner(70, 3)),
        tlbc_index: None,
        generator: None,
    },
    // Include/cpython/code.h, 3.12: `PyCodeObject`.
    code: CodeLayout {
        size: 200,
        name: 120,
        qualname: Some(128),
        filename: 112,
        first_line: 68,
        flags: 48,
        argument_count: 52,
        keyword_only_count: 60,
        line_table: (136, LineTable::Locations),
        bytecode: Bytecode::Inline(192),
        variables: CodeVariables::Together {
            names: 96,
            kinds: 104,
        },
        frame_words: Some(FrameWords::All(76)),
        version: Some(92),
        tlbc: None,
    },
    chunk: Some(objects::CHUNK),
    // Include/cpython/genobject.h, 3.12: `PyGenObject`, and Include/internal/pycore_frame.h: `PyFrameState`.
    generator: GeneratorLayout {
        frame: GeneratorFrame::Embedded(72),
        name: 24,
        qualname: 32,
        state: GeneratorState::Byte {
            at: 67,
            created: -2,
            suspended: [-1, -1, -1],
            executing: 0,
        },
    },
    // Include/cpython/object.h, 3.12: `PyHeapTypeObject`, and Include/internal/pycore_object.h.
    object: objects::object(
        objects::HEADER,
        872,
        880,
        AttributesLayout::ValuesOrDictionary(24),
    ),
    // Include/cpython/unicodeobject.h, 3.12: `PyASCIIObject`, `PyCompactUnicodeObject`.
    unicode: UnicodeLayout {
        length: 16,
        state: 32,
        ascii_data: 40,
        compact_data: 56,
        bits: objects::UNICODE_STATE,
        not_ready: None,
    },
    // Include/internal/pycore_dict.h, 3.12.
    dict: objects::dict(objects::HEADER, objects::DICT_KEYS, 0, ValuesOrder::Before),
    // Include/cpython/tupleobject.h, Include/cpython/longintrepr.h and Include/cpython/funcobject.h, 3.12.
    builtin: objects::builtin(
        objects::HEADER,
        24,
        IntSize::Tagged {
            at: 16,
            shift: objects::INT_SHIFT,
        },
        40,
    ),
    // Modules/_asynciomodule.c, 3.12: `TaskObj`.
    task: TaskLayout {
        event_loop: 16,
        state: 88,
        waiter: 128,
        coroutine: 136,
        name: 144,
        size: 176,
        links: None,
    },
    instructions: instructions::V3_12,
    // Include/internal/pycore_ceval_state.h, 3.12: `struct _ceval_state` and
    // `struct _ceval_runtime_state`.
    pending: PendingLayout {
        main: MainQueue::Runtime {
            release: 2016,
            debug: 18008,
        },
        any: Some(400),
        queue: QueueLayout {
            busy: Some((0, 4)),
            ..pending::ring(8)
        },
        breaker: EvalBreaker::Interpreter(368),
    },
};
