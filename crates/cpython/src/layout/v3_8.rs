//! CPython 3.8. It has no table of its offsets; debug builds have the same.

use super::instructions;
use super::objects;
use super::pending;
use super::structures::*;

/// Where everything lies.
pub(super) const LAYOUT: Layout = Layout {
    // Include/internal/pycore_pystate.h, 3.8: `struct pyruntimestate`.
    runtime: RuntimeLayout {
        core_initialized: 8,
        initialized: 12,
        finalizing: 16,
        interpreters_head: 32,
        main_thread: 72,
        gil: Some(1152),
        gc_collecting: Some(544),
        current_thread: Some(1368),
    },
    // Include/internal/pycore_pystate.h, 3.8: `struct _is`.
    interpreter: InterpreterLayout {
        id: 16,
        next: 0,
        threads_head: 8,
        threads_main: None,
        sysdict: 72,
        modules: 56,
        gil: None,
        gc_collecting: None,
        gc_frame: None,
        code_object_generation: None,
        finalizing: 48,
        audit_hooks: Some(2704),
    },
    gil: objects::GIL,
    // Include/cpython/pystate.h, 3.8: `struct _ts`.
    thread: ThreadLayout {
        next: 8,
        interpreter: 16,
        current_frame: CurrentFrame::Direct(24),
        thread_id: 176,
        native_thread_id: None,
        datastack_chunk: None,
        base_frame: None,
        cframe: None,
        holds_gil: None,
        gil_requested: None,
        status: None,
        current_exception: 88,
        exc_info: 144,
        attachment: None,
        recursion: Recursion::Depth {
            at: 32,
            limit: RecursionLimit::Runtime(584),
        },
    },
    exception_item: ExceptionItemLayout {
        value: 8,
        previous: 24,
    },
    debugger: None,
    // Include/frameobject.h, 3.8: `struct _frame`.
    frame: FrameLayout {
        size: 360,
        previous: 24,
        executable: 32,
        position: FramePosition::Index { at: 104, unit: 1 },
        namespace: 56,
        globals: 48,
        localsplus: 360,
        stack_top: StackTop::Pointer(72),
        owner: None,
        tlbc_index: None,
        generator: Some(96),
    },
    // Include/code.h, 3.8: `PyCodeObject`.
    code: CodeLayout {
        size: 176,
        name: 112,
        qualname: None,
        filename: 104,
        first_line: 40,
        flags: 36,
        argument_count: 16,
        keyword_only_count: 24,
        line_table: (120, LineTable::Lnotab),
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
    // Include/genobject.h, 3.8: `PyGenObject`.
    generator: GeneratorLayout {
        frame: GeneratorFrame::Pointer(16),
        name: 48,
        qualname: 56,
        state: GeneratorState::Running(24),
    },
    // Include/cpython/object.h, 3.8: `PyHeapTypeObject`.
    object: objects::object(objects::HEADER, 864, 872, AttributesLayout::Dictionary),
    // Include/cpython/unicodeobject.h, 3.8: `PyASCIIObject`, `PyCompactUnicodeObject`.
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
    // Objects/dict-common.h, 3.8: `struct _dictkeysobject`.
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
    // Include/cpython/tupleobject.h, Include/longintrepr.h and Include/funcobject.h, 3.8.
    builtin: objects::builtin(objects::HEADER, 24, IntSize::Signed(16), 104),
    // Modules/_asynciomodule.c, 3.8: `TaskObj`.
    task: TaskLayout {
        event_loop: 16,
        state: 72,
        waiter: 104,
        coroutine: 112,
        name: 120,
        size: 144,
        links: None,
    },
    instructions: instructions::OBJECTS,
    // Include/internal/pycore_pystate.h, 3.8: `struct _ceval_runtime_state`.
    pending: PendingLayout {
        main: MainQueue::Runtime {
            release: 600,
            debug: 600,
        },
        any: None,
        queue: QueueLayout {
            finishing: Some(0),
            ..pending::ring(8)
        },
        breaker: EvalBreaker::Runtime(592),
    },
};
