//! What a layout says: plain numbers, bytes from the start of the structure they are named for.
//! `None` where a version (or build) has no such thing.

mod objects;
mod pending;

pub(crate) use objects::*;
pub(crate) use pending::*;

/// Where everything lies in one interpreter. What its table of offsets says has been checked
/// against the sizes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub(crate) runtime: RuntimeLayout,
    pub(crate) interpreter: InterpreterLayout,
    pub(crate) gil: GilLayout,
    pub(crate) thread: ThreadLayout,
    pub(crate) exception_item: ExceptionItemLayout,
    /// The remote debugging protocol; `None` where the version has none.
    pub(crate) debugger: Option<DebuggerLayout>,
    pub(crate) frame: FrameLayout,
    pub(crate) code: CodeLayout,
    /// The data stack; `None` where each frame is an object of its own.
    pub(crate) chunk: Option<ChunkLayout>,
    pub(crate) generator: GeneratorLayout,
    pub(crate) object: ObjectLayout,
    pub(crate) unicode: UnicodeLayout,
    pub(crate) dict: DictLayout,
    pub(crate) builtin: BuiltinLayout,
    pub(crate) task: TaskLayout,
    pub(crate) instructions: InstructionsLayout,
    pub(crate) pending: PendingLayout,
}

/// What has to be known of bytecode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InstructionsLayout {
    /// Opcodes, specialized ones included, by how many units of cache follow them; the others have
    /// none. Only of versions whose frames stand at the last unit of a call.
    pub(crate) caches: &'static [(usize, &'static [u8])],
    pub(crate) delegation: Delegation,
    /// `None` where calls push no frames.
    pub(crate) call: Option<CallLayout>,
}

/// How a suspended generator shows that it waits for another object (`yield from`, `await`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delegation {
    /// By its state: any of [`GeneratorState::Byte`]'s suspended ones but the first.
    State,
    /// By the instruction behind the one it stands at.
    Next {
        /// Its opcode is one of these.
        opcodes: &'static [u8],
        /// And its argument is not less.
        least: u8,
    },
}

/// Instructions that push a frame for Python code, without C code in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallLayout {
    /// Opcodes of calls that remember which function they called last, and what: those that call
    /// no other.
    pub(crate) remembering: &'static [u8],
    /// Where the opcode of such a call is: bytes from where its frame says that it stands.
    pub(crate) at: i64,
    /// Where it remembers the version of the function, a `uint32`: likewise.
    pub(crate) version: i64,
    /// The other opcodes, by where they are: likewise.
    pub(crate) others: &'static [(i64, &'static [u8])],
    /// In a frame: the function that it runs, which may be a tagged reference.
    pub(crate) function: u64,
    /// In a function: its version.
    pub(crate) function_version: u64,
    /// In a function: its code.
    pub(crate) function_code: u64,
    /// In a frame: a byte that says whether C code called it, where no sentinel does.
    pub(crate) entry: Option<u64>,
}

/// `_PyRuntimeState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeLayout {
    /// An `int`: whether there is a main interpreter with its first modules.
    pub(crate) core_initialized: u64,
    /// An `int`: whether all is there. Some versions say so before they import `site`, others
    /// after it.
    pub(crate) initialized: u64,
    /// The thread state that shuts Python down, or null.
    pub(crate) finalizing: u64,
    pub(crate) interpreters_head: u64,
    pub(crate) main_thread: u64,
    /// The GIL (`struct _gil_runtime_state`), where the runtime state holds the only one.
    pub(crate) gil: Option<u64>,
    /// `gc.collecting`, where the runtime state holds it.
    pub(crate) gc_collecting: Option<u64>,
    /// The thread state that runs, where the runtime state says which.
    pub(crate) current_thread: Option<u64>,
}

/// `PyInterpreterState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InterpreterLayout {
    pub(crate) id: u64,
    pub(crate) next: u64,
    pub(crate) threads_head: u64,
    pub(crate) threads_main: Option<u64>,
    pub(crate) sysdict: u64,
    /// The dictionary `sys.modules`.
    pub(crate) modules: u64,
    /// The pointer to the GIL (`struct _gil_runtime_state`) that its threads take.
    pub(crate) gil: Option<u64>,
    /// `gc.collecting`, an `int`.
    pub(crate) gc_collecting: Option<u64>,
    /// `gc.frame`: the frame that the running collection began in, or null.
    pub(crate) gc_frame: Option<u64>,
    /// A number that changes whenever code objects are freed.
    pub(crate) code_object_generation: Option<u64>,
    /// An `int`: whether it is being shut down, or will be once its threads have ended.
    pub(crate) finalizing: u64,
    /// The list of the audit hooks that Python code has added, or null.
    pub(crate) audit_hooks: Option<u64>,
}

/// `struct _gil_runtime_state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GilLayout {
    /// An `int`: 1 while somebody holds it.
    pub(crate) locked: u64,
    /// The thread state that holds it, or held it last.
    pub(crate) last_holder: u64,
    /// A number that grows whenever another thread state takes it.
    pub(crate) switches: u64,
}

/// `PyThreadState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThreadLayout {
    pub(crate) next: u64,
    pub(crate) interpreter: u64,
    pub(crate) current_frame: CurrentFrame,
    pub(crate) thread_id: u64,
    pub(crate) native_thread_id: Option<u64>,
    /// The newest chunk of its data stack.
    pub(crate) datastack_chunk: Option<u64>,
    /// The pointer to the sentinel that its outermost frame leads to.
    pub(crate) base_frame: Option<u64>,
    /// `cframe`: the pointer to what the innermost evaluation of bytecode keeps on the C stack;
    /// where there is none, to a part of the thread state.
    pub(crate) cframe: Option<u64>,
    /// An `int`.
    pub(crate) holds_gil: Option<u64>,
    /// An `int`.
    pub(crate) gil_requested: Option<u64>,
    /// The bit field `_status`, and the number of its bit `active`.
    pub(crate) status: Option<(u64, u32)>,
    /// The exception being raised, or before 3.12 its class; null where there is none.
    pub(crate) current_exception: u64,
    /// The pointer to the innermost `_PyErr_StackItem`.
    pub(crate) exc_info: u64,
    /// An `int`: 1 while it is attached to its interpreter, so that it may run Python code.
    pub(crate) attachment: Option<u64>,
    pub(crate) recursion: Recursion,
}

/// Where a thread state says how deep it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recursion {
    /// An `int`: how many more calls are possible.
    Left(u64),
    /// An `int`: how many calls there are.
    Depth {
        /// Where it is.
        at: u64,
        /// The `int` that says how many there may be.
        limit: RecursionLimit,
    },
}

/// Where it stands how many calls there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecursionLimit {
    /// In the runtime state.
    Runtime(u64),
    /// In the interpreter state.
    Interpreter(u64),
}

/// Where a thread state says which frame it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CurrentFrame {
    /// The pointer is in the thread state.
    Direct(u64),
    /// The thread state points to a structure that holds the pointer.
    Through {
        /// In the thread state.
        pointer: u64,
        /// In the structure.
        inside: u64,
    },
}

/// `_PyErr_StackItem`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExceptionItemLayout {
    /// The exception being handled; NULL or `None` where there is none.
    pub(crate) value: u64,
    pub(crate) previous: u64,
}

/// The remote debugging protocol's places. All but `enabled` are in the thread state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DebuggerLayout {
    /// In the interpreter state.
    pub(crate) enabled: u64,
    pub(crate) eval_breaker: u64,
    pub(crate) pending_call: u64,
    pub(crate) script_path: u64,
    pub(crate) script_path_size: u64,
}

/// `_PyInterpreterFrame`, and before 3.11 `PyFrameObject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameLayout {
    /// Bytes up to where `localsplus` begins, at least: what has to be read of any frame.
    pub(crate) size: u64,
    pub(crate) previous: u64,
    /// The code object; a tagged reference in some versions.
    pub(crate) executable: u64,
    pub(crate) position: FramePosition,
    /// `f_locals`.
    pub(crate) namespace: u64,
    /// `f_globals`.
    pub(crate) globals: u64,
    pub(crate) localsplus: u64,
    pub(crate) stack_top: StackTop,
    /// Who owns the frame's memory, a byte; `None` where a frame is an object of its own.
    pub(crate) owner: Option<OwnerLayout>,
    /// Which of the bytecode's copies it runs, an `int32` (free-threaded builds).
    pub(crate) tlbc_index: Option<u64>,
    /// The generator, coroutine or none that runs it, where a frame is an object of its own.
    pub(crate) generator: Option<u64>,
}

/// The byte that says who owns a frame's memory, and what its values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnerLayout {
    pub(crate) at: u64,
    pub(crate) thread: u8,
    pub(crate) generator: u8,
    /// A frame object that has outlived its call.
    pub(crate) frame_object: u8,
    /// The least value of a frame that is no Python code; none has it where sentinels don't exist.
    pub(crate) first_sentinel: u8,
}

/// How a frame says where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FramePosition {
    /// An `int`: the index of the last instruction begun, in units of so many bytes; negative
    /// before the first.
    Index {
        /// Where it is.
        at: u64,
        /// Bytes that 1 stands for.
        unit: u32,
    },
    /// A pointer to the last instruction begun; one before the code where none is.
    Previous(u64),
    /// A pointer to the instruction that runs.
    Current(u64),
}

/// How a frame says where its value stack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StackTop {
    /// A pointer; null while the frame runs.
    Pointer(u64),
    /// An `int`: how many values lie on the stack that `values` points to; -1 while the frame
    /// runs.
    Depth {
        /// The `int`.
        depth: u64,
        /// The pointer to the bottom.
        values: u64,
    },
    /// An `int`: how many words of `localsplus` are in use; -1 while the frame runs.
    Count(u64),
}

/// `PyCodeObject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodeLayout {
    /// Bytes of it that hold all the fields named here.
    pub(crate) size: u64,
    pub(crate) name: u64,
    pub(crate) qualname: Option<u64>,
    pub(crate) filename: u64,
    /// An `int`.
    pub(crate) first_line: u64,
    /// An `int`.
    pub(crate) flags: u64,
    /// An `int`, with the positional-only ones.
    pub(crate) argument_count: u64,
    /// An `int`.
    pub(crate) keyword_only_count: u64,
    /// The bytes object that holds the line table, and its form.
    pub(crate) line_table: (u64, LineTable),
    pub(crate) bytecode: Bytecode,
    pub(crate) variables: CodeVariables,
    /// How many words a frame of it takes; `None` where frames are objects of their own.
    pub(crate) frame_words: Option<FrameWords>,
    /// A `uint32`: what call sites remember a function of this code by.
    pub(crate) version: Option<u64>,
    /// The pointer to the threads' own copies of the bytecode (free-threaded builds).
    pub(crate) tlbc: Option<u64>,
}

/// How a code object says how many words a frame of it takes on the data stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameWords {
    /// An `int`: all of them.
    All(u64),
    /// An `int`: those of its value stack, to which what it begins with and its variables come.
    Stack(u64),
}

/// The forms that line tables have had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineTable {
    /// `co_lnotab`: pairs of a step of bytes and a signed step of lines (Objects/lnotab_notes.txt,
    /// 3.8 and 3.9).
    Lnotab,
    /// `co_linetable` of PEP 626: pairs of a number of bytes and a signed step of lines, -128 for
    /// no line (Objects/lnotab_notes.txt, 3.10).
    Ranges,
    /// `co_linetable` of PEP 657: lines and columns (Objects/locations.md, 3.11 to 3.13;
    /// InternalDocs/code_objects.md, 3.14 and 3.15).
    Locations,
}

/// Where a code object's instructions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bytecode {
    /// In a bytes object.
    Object(u64),
    /// At the end of the code object itself.
    Inline(u64),
}

/// How a code object names its variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CodeVariables {
    /// Three tuples of names, and the table of which cell is an argument (an array of
    /// `Py_ssize_t`, or of `Py_ssize_t`-sized -1s; null where none is).
    Separate {
        /// `co_varnames`.
        variables: u64,
        /// `co_cellvars`.
        cells: u64,
        /// `co_freevars`.
        free: u64,
        /// `co_cell2arg`.
        cell_to_argument: u64,
    },
    /// A tuple of names and a bytes object of their kinds, in the order of the slots.
    Together {
        /// `co_localsplusnames`.
        names: u64,
        /// `co_localspluskinds`.
        kinds: u64,
    },
}

/// `_PyStackChunk`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkLayout {
    pub(crate) previous: u64,
    pub(crate) size: u64,
    pub(crate) top: u64,
    pub(crate) data: u64,
}

/// `PyGenObject`, and coroutines and asynchronous generators with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GeneratorLayout {
    pub(crate) frame: GeneratorFrame,
    pub(crate) name: u64,
    pub(crate) qualname: u64,
    pub(crate) state: GeneratorState,
}

/// Where a generator's frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GeneratorFrame {
    /// A pointer to a frame object; null once it has ended.
    Pointer(u64),
    /// Inside the generator itself.
    Embedded(u64),
}

/// How a generator says where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GeneratorState {
    /// By its frame object: `gi_running` is a byte in the generator; the index of the last
    /// instruction is negative before it has begun.
    Running(u64),
    /// A signed byte, in the frame object where [`GeneratorFrame`] is a pointer, else in the
    /// generator.
    Byte {
        /// Where it is.
        at: u64,
        /// `FRAME_CREATED`.
        created: i8,
        /// All values that say that it is suspended, those in `yield from` or `await` included;
        /// a value may stand twice.
        suspended: [i8; 3],
        /// `FRAME_EXECUTING`.
        executing: i8,
    },
}
