//! The layout that a table says, and what it leaves unsaid.

use invivo_model::Result;

use super::common::QUEUE_AROUND;
use super::minor::{Beyond, MainQueues, Minor};
use super::objects;
use super::pending;
use super::structures::*;
use super::table::{Table, invalid};

/// Where the pointers begin in the values of a split table: four bytes of counts stand first
/// (Include/internal/pycore_dict.h, `struct _dictvalues`, 3.13 to 3.15).
const DICT_VALUES: u64 = 8;
/// What those bytes say, and the bytes behind the pointers (as above).
const VALUES_ORDER: ValuesOrder = ValuesOrder::Behind {
    capacity: 0,
    set: 1,
    valid: 3,
};
/// The number of the bit `active` in `_status` (Include/cpython/pystate.h, 3.13 to 3.15).
const ACTIVE_BIT: u32 = 4;
/// Bytes before an object where the pointer to its dictionary is
/// (Include/internal/pycore_object.h, `MANAGED_DICT_OFFSET`, 3.13 to 3.15).
const MANAGED_DICTIONARY: u64 = 24;
/// The same in a free-threaded build, whose objects have no header of the garbage collector.
const MANAGED_DICTIONARY_FREE_THREADED: u64 = 8;

/// The layout of an interpreter with this table.
pub(super) fn layout(table: &Table, minor: &Minor, free_threaded: bool) -> Result<Layout> {
    let beyond = minor.beyond;
    let header = table.offset("pyobject.size")?;
    // What static data says of objects is said of those of a build with a GIL.
    let grown = header.saturating_sub(objects::HEADER);
    Ok(Layout {
        runtime: runtime(table, beyond)?,
        interpreter: interpreter(table, beyond, free_threaded)?,
        gil: gil(table)?,
        thread: thread(table, beyond)?,
        exception_item: ExceptionItemLayout {
            value: table.value("err_stackitem.exc_value").unwrap_or(0),
            previous: 8,
        },
        debugger: debugger(table)?,
        frame: frame(table, beyond)?,
        code: code(table, header)?,
        chunk: Some(objects::CHUNK),
        generator: generator(table, beyond, grown)?,
        object: object(table, beyond, header, free_threaded)?,
        unicode: unicode(table, beyond, free_threaded)?,
        dict: DictLayout {
            keys: table.offset("dict_object.ma_keys")?,
            values: table.offset("dict_object.ma_values")?,
            ..objects::dict(header, objects::DICT_KEYS, DICT_VALUES, VALUES_ORDER)
        },
        builtin: builtin(table, header)?,
        task: task(&beyond.task, grown),
        instructions: instructions(&beyond.instructions, grown),
        pending: pending(table, &beyond.pending_main, free_threaded)?,
    })
}

fn runtime(table: &Table, beyond: &Beyond) -> Result<RuntimeLayout> {
    let interpreters_head = table.offset("runtime_state.interpreters_head")?;
    let main_thread = interpreters_head + beyond.main_thread_behind_head;
    if main_thread + 8 > table.offset("runtime_state.size")? {
        return Err(invalid("runtime_state ends before main_thread"));
    }
    let finalizing = table.offset("runtime_state.finalizing")?;
    // Include/internal/pycore_runtime.h, 3.13, and Include/internal/pycore_runtime_structs.h, 3.14
    // and 3.15: `core_initialized` and `initialized` stand before it.
    let before = |bytes| {
        let field = finalizing.checked_sub(bytes);
        field.ok_or_else(|| invalid("nothing lies before finalizing"))
    };
    Ok(RuntimeLayout {
        core_initialized: before(12)?,
        initialized: before(8)?,
        finalizing,
        interpreters_head,
        main_thread,
        gil: None,
        gc_collecting: None,
        current_thread: None,
    })
}

fn interpreter(table: &Table, beyond: &Beyond, free_threaded: bool) -> Result<InterpreterLayout> {
    let size = table.offset("interpreter_state.size")?;
    let hooks = beyond.audit_hooks;
    let hooks = hooks.map(|(gil, free)| if free_threaded { free } else { gil });
    let gc = table.offset("interpreter_state.gc")?;
    let threads_head = table.offset("interpreter_state.threads_head")?;
    // Include/internal/pycore_interp.h, 3.13, and Include/internal/pycore_interp_structs.h, 3.14
    // and 3.15.
    let finalizing = threads_head.checked_sub(24);
    Ok(InterpreterLayout {
        id: table.offset("interpreter_state.id")?,
        next: table.offset("interpreter_state.next")?,
        threads_head,
        threads_main: table.value("interpreter_state.threads_main"),
        sysdict: table.offset("interpreter_state.sysdict")?,
        modules: table.offset("interpreter_state.imports_modules")?,
        gil: Some(table.offset("interpreter_state.ceval_gil")?),
        gc_collecting: Some(gc + table.offset("gc.collecting")?),
        gc_frame: table.value("gc.frame").map(|frame| gc + frame),
        code_object_generation: table.value("interpreter_state.code_object_generation"),
        finalizing: finalizing.ok_or_else(|| invalid("threads_head lies too far in front"))?,
        audit_hooks: hooks.filter(|hooks| hooks + 8 <= size),
    })
}

/// The table says where the fields are in the interpreter state, which holds a GIL. The one that
/// its threads take may be another interpreter's.
fn gil(table: &Table) -> Result<GilLayout> {
    let start = table.offset("interpreter_state.gil_runtime_state")?;
    let inside = |name: &str| {
        let field = table.offset(name)?.checked_sub(start);
        field.ok_or_else(|| invalid(format!("{name} lies before the GIL")))
    };
    let locked = inside("interpreter_state.gil_runtime_state_locked")?;
    Ok(GilLayout {
        locked,
        last_holder: inside("interpreter_state.gil_runtime_state_holder")?,
        // Include/internal/pycore_gil.h, 3.13 to 3.15: it follows the int `locked`.
        switches: locked + 8,
    })
}

fn thread(table: &Table, beyond: &Beyond) -> Result<ThreadLayout> {
    Ok(ThreadLayout {
        next: table.offset("thread_state.next")?,
        interpreter: table.offset("thread_state.interp")?,
        current_frame: CurrentFrame::Direct(table.offset("thread_state.current_frame")?),
        thread_id: table.offset("thread_state.thread_id")?,
        native_thread_id: Some(table.offset("thread_state.native_thread_id")?),
        datastack_chunk: Some(table.offset("thread_state.datastack_chunk")?),
        base_frame: table.value("thread_state.base_frame"),
        cframe: None,
        holds_gil: table.value("thread_state.holds_gil"),
        gil_requested: table.value("thread_state.gil_requested"),
        status: Some((table.offset("thread_state.status")?, ACTIVE_BIT)),
        current_exception: match beyond.current_exception {
            Some(offset) => offset,
            None => table.offset("thread_state.current_exception")?,
        },
        exc_info: beyond.exc_info,
        attachment: Some(beyond.attachment),
        recursion: Recursion::Left(beyond.recursion_left),
    })
}

fn pending(table: &Table, main: &MainQueues, free_threaded: bool) -> Result<PendingLayout> {
    let end = main.release + QUEUE_AROUND + pending::COUNTED.size;
    if end > table.offset("runtime_state.size")? {
        return Err(invalid("runtime_state ends before pending_mainthread"));
    }
    Ok(PendingLayout {
        main: MainQueue::Runtime {
            release: main.release,
            debug: if free_threaded {
                main.debug_free_threaded
            } else {
                main.debug
            },
        },
        // Include/internal/pycore_ceval_state.h, 3.13, and
        // Include/internal/pycore_interp_structs.h, 3.14 and 3.15: `struct _ceval_state`, in which
        // the pointer to the GIL and an `int` stand before it.
        any: Some(table.offset("interpreter_state.ceval_gil")? + 16),
        queue: pending::COUNTED,
        // Include/cpython/pystate.h, 3.13 to 3.15.
        breaker: EvalBreaker::Thread(24),
    })
}

/// The protocol's places, where the version has it.
fn debugger(table: &Table) -> Result<Option<DebuggerLayout>> {
    let Some(support) = table.value("debugger_support.remote_debugger_support") else {
        return Ok(None);
    };
    let pending_call = support + table.offset("debugger_support.debugger_pending_call")?;
    let script_path = support + table.offset("debugger_support.debugger_script_path")?;
    let script_path_size = table.offset("debugger_support.debugger_script_path_size")?;
    let thread_size = table.offset("thread_state.size")?;
    let overlap = pending_call + 4 > script_path && script_path + script_path_size > pending_call;
    if overlap || script_path + script_path_size > thread_size || pending_call + 4 > thread_size {
        return Err(invalid("debugger_support reaches out of the thread state"));
    }
    Ok(Some(DebuggerLayout {
        enabled: table.offset("debugger_support.remote_debugging_enabled")?,
        eval_breaker: table.offset("debugger_support.eval_breaker")?,
        pending_call,
        script_path,
        script_path_size,
    }))
}

fn frame(table: &Table, beyond: &Beyond) -> Result<FrameLayout> {
    let owner = table.offset("interpreter_frame.owner")?;
    Ok(FrameLayout {
        size: table.offset("interpreter_frame.size")?,
        previous: table.offset("interpreter_frame.previous")?,
        executable: table.offset("interpreter_frame.executable")?,
        position: FramePosition::Current(table.offset("interpreter_frame.instr_ptr")?),
        // Include/internal/pycore_frame.h, 3.13, and Include/internal/pycore_interpframe_structs.h,
        // 3.14 and 3.15.
        globals: 24,
        namespace: 40,
        localsplus: table.offset("interpreter_frame.localsplus")?,
        stack_top: match beyond.stack_count {
            Some(count) => StackTop::Count(count),
            None => StackTop::Pointer(table.offset("interpreter_frame.stackpointer")?),
        },
        owner: Some(objects::owner(owner, beyond.first_sentinel)),
        tlbc_index: present(table, "interpreter_frame.tlbc_index"),
        generator: None,
    })
}

fn instructions(known: &InstructionsLayout, grown: u64) -> InstructionsLayout {
    let call = known.call.map(|call| CallLayout {
        function_version: call.function_version + grown,
        function_code: call.function_code + grown,
        ..call
    });
    InstructionsLayout {
        call,
        ..known.clone()
    }
}

fn code(table: &Table, header: u64) -> Result<CodeLayout> {
    Ok(CodeLayout {
        size: table.offset("code_object.size")?,
        name: table.offset("code_object.name")?,
        qualname: Some(table.offset("code_object.qualname")?),
        filename: table.offset("code_object.filename")?,
        first_line: table.offset("code_object.firstlineno")?,
        argument_count: table.offset("code_object.argcount")?,
        line_table: (table.offset("code_object.linetable")?, LineTable::Locations),
        bytecode: Bytecode::Inline(table.offset("code_object.co_code_adaptive")?),
        variables: CodeVariables::Together {
            names: table.offset("code_object.localsplusnames")?,
            kinds: table.offset("code_object.localspluskinds")?,
        },
        // Include/cpython/code.h, 3.13 to 3.15.
        flags: header + 32,
        keyword_only_count: header + 44,
        frame_words: Some(FrameWords::All(header + 60)),
        version: Some(header + 76),
        tlbc: present(table, "code_object.co_tlbc"),
    })
}

fn generator(table: &Table, beyond: &Beyond, grown: u64) -> Result<GeneratorLayout> {
    // Include/internal/pycore_interpframe_structs.h, 3.14 and 3.15, and Include/cpython/genobject.h,
    // 3.13: `PyGenObject`.
    let field = |name: &str, static_offset: u64| table.value(name).unwrap_or(static_offset + grown);
    let states = &beyond.generator_states;
    Ok(GeneratorLayout {
        frame: GeneratorFrame::Embedded(field("gen_object.gi_iframe", 72)),
        name: field("gen_object.gi_name", 24),
        qualname: 32 + grown,
        state: GeneratorState::Byte {
            at: field("gen_object.gi_frame_state", 67),
            created: states.created,
            suspended: states.suspended,
            executing: states.executing,
        },
    })
}

fn object(
    table: &Table,
    beyond: &Beyond,
    header: u64,
    free_threaded: bool,
) -> Result<ObjectLayout> {
    let grown = header.saturating_sub(objects::HEADER);
    let attributes = AttributesLayout::Inline {
        dictionary: if free_threaded {
            MANAGED_DICTIONARY_FREE_THREADED
        } else {
            MANAGED_DICTIONARY
        },
    };
    let heap_cached_keys = match beyond.heap_cached_keys {
        Some(offset) => offset + grown,
        None => table.offset("heap_type_object.ht_cached_keys")?,
    };
    let heap_qualname = beyond.heap_qualname + grown;
    let known = objects::object(header, heap_qualname, heap_cached_keys, attributes);
    Ok(ObjectLayout {
        type_of: table.offset("pyobject.ob_type")?,
        type_name: table.offset("type_object.tp_name")?,
        type_flags: table.offset("type_object.tp_flags")?,
        type_basicsize: table
            .value("type_object.tp_basicsize")
            .unwrap_or(known.type_basicsize),
        type_dictoffset: table
            .value("type_object.tp_dictoffset")
            .unwrap_or(known.type_dictoffset),
        ..known
    })
}

fn unicode(table: &Table, beyond: &Beyond, free_threaded: bool) -> Result<UnicodeLayout> {
    let ascii_data = table.offset("unicode_object.asciiobject_size")?;
    Ok(UnicodeLayout {
        length: table.offset("unicode_object.length")?,
        state: table.offset("unicode_object.state")?,
        ascii_data,
        // `utf8_length` and `utf8` follow PyASCIIObject (Include/cpython/unicodeobject.h, 3.13
        // to 3.15).
        compact_data: table
            .value("unicode_object.compactunicodeobject_size")
            .unwrap_or(ascii_data + 16),
        bits: if free_threaded {
            beyond.unicode_state_free_threaded
        } else {
            objects::UNICODE_STATE
        },
        not_ready: None,
    })
}

fn builtin(table: &Table, header: u64) -> Result<BuiltinLayout> {
    let known = objects::builtin(
        header,
        table.offset("tuple_object.ob_item")?,
        IntSize::Tagged {
            at: table.offset("long_object.lv_tag")?,
            shift: objects::INT_SHIFT,
        },
        // Include/cpython/funcobject.h, 3.13 to 3.15.
        header + 24,
    );
    Ok(BuiltinLayout {
        list_items: table.offset("list_object.ob_item")?,
        bytes_data: table.offset("bytes_object.ob_sval")?,
        float_value: table.offset("float_object.ob_fval")?,
        int_digits: table.offset("long_object.ob_digit")?,
        set_used: table.value("set_object.used").unwrap_or(known.set_used),
        set_mask: table.value("set_object.mask").unwrap_or(known.set_mask),
        set_table: table.value("set_object.table").unwrap_or(known.set_table),
        ..known
    })
}

/// What lies where in a task of which each object header has grown by so much.
fn task(task: &TaskLayout, grown: u64) -> TaskLayout {
    TaskLayout {
        event_loop: task.event_loop + grown,
        state: task.state + grown,
        waiter: task.waiter + grown,
        coroutine: task.coroutine + grown,
        name: task.name + grown,
        size: task.size + grown,
        links: task.links.map(|links| TaskLinksLayout {
            awaited_by: links.awaited_by + grown,
            awaited_by_is_set: links.awaited_by_is_set + grown,
            is_task: links.is_task + grown,
            node: links.node + grown,
        }),
    }
}

/// The value of a field that only free-threaded builds have.
fn present(table: &Table, name: &str) -> Option<u64> {
    table.value(name).filter(|value| *value != 0)
}
