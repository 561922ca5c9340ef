//! CPython 3.11. It has no table of its offsets; debug builds have the same.

use super::instructions;
use super::objects;
use super::pending;
use super::structures::*;

/// Where everything lies.
pub(super) const LAYOUT: Layout = Layout {
    // Include/internal/pycore_runtime.h, 3.11: `struct pyruntimestate`.
    runtime: RuntimeLayout {
        core_initialized: 12,
        initialized: 16,
        finalizing: 24,
        interpreters_head: 40,
        main_thread: 80,
        gil: Some(360),
        gc_collecting: None,
        current_thread: Some(576),
    },
    // Include/internal/pycore_interp.h, 3.11: `struct _is`.
    interpreter: InterpreterLayout {
        id: 48,
        next: 0,
        threads_head: 16,
        threads_main: None,
        sysdict: 904,
        modules: 888,
        gil: None,
        gc_collecting: Some(848),
        gc_frame: None,
        code_object_generation: None,
        finalizing: 84,
        audit_hooks: Some(3552),
    },
    gil: objects::GIL,
    // Include/cpython/pystate.h, 3.11: `struct _ts`.
    thread: ThreadLayout {
        next: 8,
        interpreter: 16,
        current_frame: CurrentFrame::Through {
            pointer: 56,
            inside: 8,
        },
        thread_id: 152,
        native_thread_id: Some(160),
        datastack_chunk: Some(296),
        base_frame: None,
        cframe: Some(56),
        holds_gil: None,
        gil_requested: None,
        status: None,
        current_exception: 96,
        exc_info: 120,
        attachment: None,
        recursion: Recursion::Left(32),
    },
    exception_item: ExceptionItemLayout {
        value: 0,
        previous: 8,
    },
    debugger: None,
    // Include/internal/pycore_frame.h, 3.11: `_PyInterpreterFrame`.
    frame: FrameLayout {
        size: 80,
        previous: 48,
        executable: 32,
        position: FramePosition::Previous(56),
        namespace: 24,
        globals: 8,
        localsplus: 72,
        stack_top: StackTop::Count(64),
        owner: Some(objects::owner(69, 3)),
        tlbc_index: None,
        generator: None,
    },
    // Include/cpython/code.h, 3.11: `PyCodeObject`.
    code: CodeLayout {
        size: 192,
        name: 120,
        qualname: Some(128),
        filename: 112,
        first_line: 72,
        flags: 48,
        argument_count: 56,
        keyword_only_count: 64,
        line_table: (136, LineTable::Locations),
        bytecode: Bytecode::Inline(184),
        variables: CodeVariables::Together {
            names: 96,
            kinds: 104,
        },
        frame_words: Some(FrameWords::Stack(68)),
        version: None,
        tlbc: None,
    },
    chunk: Some(objects::CHUNK),
    // Include/cpython/genobject.h, 3.11: `PyGenObject`, and Include/internal/pycore_frame.h: `PyFrameState`.
    generator: GeneratorLayout {
        frame: GeneratorFrame::Embedded(80),
        name: 32,
        qualname: 40,
        state: GeneratorState::Byte {
            at: 75,
            created: -2,
            suspended: [-1, -1, -1],
            executing: 0,
        },
    },
    // Include/cpython/object.h, 3.11: `PyHeapTypeObject`, and Include/internal/pycore_object.h.
    object: objects::object(
        objects::HEADER,
        864,
        872,
        AttributesLayout::ValuesAndDictionary {
            values: 32,
            dictionary: 24,
        },
    ),
    // Include/cpython/unicodeobject.h, 3.11: `PyASCIIObject`, `PyCompactUnicodeObject`.
    unicode: UnicodeLayout {
        length: 16,
        state: 32,
        ascii_data: 48,
        compact_data: 72,
        bits: objects::UNICODE_STATE,
        not_ready: Some(NotReadyLayout {
            characters: 40,
            length: 64,
        }),
    },
    // Include/internal/pycore_dict.h, 3.11.
    dict: objects::dict(objects::HEADER, objects::DICT_KEYS, 0, ValuesOrder::Before),
    // Include/cpython/tupleobject.h, Include/cpython/longintrepr.h and Include/cpython/funcobject.h, 3.11.
    builtin: objects::builtin(objects::HEADER, 24, IntSize::Signed(16), 40),
    // Modules/_asynciomodule.c, 3.11: `TaskObj`.
    task: TaskLayout {
        event_loop: 16,
        state: 88,
        waiter: 128,
        coroutine: 136,
        name: 144,
        size: 176,
        links: None,
    },
    instructions: instructions::V3_11,
    // Include/internal/pycore_interp.h, 3.11: `struct _ceval_state`.
    pending: PendingLayout {
        main: MainQueue::Interpreter(112),
        any: None,
        queue: pending::ring(0),
        breaker: EvalBreaker::Interpreter(100),
    },
};
