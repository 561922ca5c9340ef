//! CPython 3.10. It has no table of its offsets; debug builds have the same.

use super::instructions;
use super::objects;
use super::pending;
use super::structures::*;

/// Where everything lies.
pub(super) const LAYOUT: Layout = Layout {
    // Include/internal/pycore_runtime.h, 3.10: `struct pyruntimestate`.
    runtime: RuntimeLayout {
        core_initialized: 8,
        initialized: 12,
        finalizing: 16,
        interpreters_head: 32,
        main_thread: 72,
        gil: Some(352),
        gc_collecting: None,
        current_thread: Some(568),
    },
    // Include/internal/pycore_interp.h, 3.10: `struct _is`.
    interpreter: InterpreterLayout {
        id: 24,
        next: 0,
        threads_head: 8,
        threads_main: None,
        sysdict: 872,
        modules: 856,
        gil: None,
        gc_collecting: Some(816),
        gc_frame: None,
        code_object_generation: None,
        finalizing: 56,
        audit_hooks: Some(3504),
    },
    gil: objects::GIL,
    // Include/cpython/pystate.h, 3.10: `struct _ts`.
    thread: ThreadLayout {
        next: 8,
        interpreter: 16,
        current_frame: CurrentFrame::Direct(24),
        thread_id: 176,
        native_thread_id: None,
        datastack_chunk: None,
        base_frame: None,
        cframe: Some(48),
        holds_gil: None,
        gil_requested: None,
        status: None,
        current_exception: 88,
        exc_info: 144,
        attachment: None,
        recursion: Recursion::Depth {
            at: 32,
            limit: RecursionLimit::Interpreter(64),
        },
    },
    exception_item: ExceptionItemLayout {
        value: 8,
        previous: 24,
    },
    debugger: None,
    // Include/cpython/frameobject.h, 3.10: `struct _frame`.
    frame: FrameLayout {
        size: 352,
        previous: 24,
        executable: 32,
        position: FramePosition::Index { at: 96, unit: 2 },
        namespace: 56,
        globals: 48,
        localsplus: 352,
        stack_top: StackTop::Depth {
            depth: 80,
            values: 64,
        },
        owner: None,
        tlbc_index: None,
        generator: Some(88),
    },
    // Include/cpython/code.h, 3.10: `PyCodeObject`.
    code: CodeLayout {
        size: 176,
        name: 112,
        qualname: None,
        filename: 104,
        first_line: 40,
        flags: 36,
        argument_count: 16,
        keyword_only_count: 24,
        line_table: (120, LineTable::Ranges),
        bytecode: Bytecode::Object(48),
        variables: CodeVariables::Separate {
            variables: 72,
            cells: 88,
            free: 80,
            cell_to_argument: 96,
        },
        frame_words: None,
        version: None,
        tlbc: None,
    },
    chunk: None,
    // Include/genobject.h, 3.10: `PyGenObject`, and Include/cpython/frameobject.h: `PyFrameState`.
    generator: GeneratorLayout {
        frame: GeneratorFrame::Pointer(16),
        name: 40,
        qualname: 48,
        state: GeneratorState::Byte {
            at: 108,
            created: -2,
            suspended: [-1, -1, -1],
            executing: 0,
        },
    },
    // Include/cpython/object.h, 3.10: `PyHeapTypeObject`.
    object: objects::object(objects::HEADER, 864, 872, AttributesLayout::Dictionary),
    // Include/cpython/unicodeobject.h, 3.10: `PyASCIIObject`, `PyCompactUnicodeObject`.
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
    // Objects/dict-common.h, 3.10: `struct _dictkeysobject`.
    dict: objects::dict(
        objects::HEADER,
        DictKeys {
            index_bytes: IndexBytes::Count(8),
            kind: None,
            entry_count: 32,
            indices: 40,
        },
        0,
        ValuesOrder::OfKeys,
    ),
    // Include/cpython/tupleobject.h, Include/longintrepr.h and Include/funcobject.h, 3.10.
    builtin: objects::builtin(objects::HEADER, 24, IntSize::Signed(16), 40),
    // Modules/_asynciomodule.c, 3.10: `TaskObj`.
    task: TaskLayout {
        event_loop: 16,
        state: 88,
        waiter: 152,
        coroutine: 160,
        name: 168,
        size: 192,
        links: None,
    },
    instructions: instructions::OBJECTS,
    // Include/internal/pycore_interp.h, 3.10: `struct _ceval_state`.
    pending: PendingLayout {
        main: MainQueue::Interpreter(80),
        any: None,
        queue: pending::ring(0),
        breaker: EvalBreaker::Interpreter(68),
    },
};
