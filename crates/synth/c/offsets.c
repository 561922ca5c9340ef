/* The rest of what states.c begins, in the same file when it is compiled. */

static void frames(void)
{
#if PY_VERSION_HEX >= 0x030b0000
    PRINT("frame.size", sizeof(_PyInterpreterFrame));
    AT("frame.previous", _PyInterpreterFrame, previous);
    AT("frame.namespace", _PyInterpreterFrame, f_locals);
    AT("frame.globals", _PyInterpreterFrame, f_globals);
    AT("frame.localsplus", _PyInterpreterFrame, localsplus);
    AT("frame.owner.at", _PyInterpreterFrame, owner);
    PRINT("frame.owner.thread", FRAME_OWNED_BY_THREAD);
    PRINT("frame.owner.generator", FRAME_OWNED_BY_GENERATOR);
    PRINT("frame.owner.frame_object", FRAME_OWNED_BY_FRAME_OBJECT);
#if PY_VERSION_HEX >= 0x030e0000
    PRINT("frame.owner.first_sentinel", FRAME_OWNED_BY_INTERPRETER);
    AT("frame.stack_top.Pointer.0", _PyInterpreterFrame, stackpointer);
#else
#if PY_VERSION_HEX >= 0x030c0000
    PRINT("frame.owner.first_sentinel", FRAME_OWNED_BY_CSTACK);
#else
    PRINT("frame.owner.first_sentinel", FRAME_OWNED_BY_FRAME_OBJECT + 1);
#endif
    AT("frame.stack_top.Count.0", _PyInterpreterFrame, stacktop);
#endif
#if PY_VERSION_HEX >= 0x030d0000
    AT("frame.executable", _PyInterpreterFrame, f_executable);
    AT("frame.position.Current.0", _PyInterpreterFrame, instr_ptr);
#else
    AT("frame.executable", _PyInterpreterFrame, f_code);
    AT("frame.position.Previous.0", _PyInterpreterFrame, prev_instr);
#endif
#if PY_VERSION_HEX >= 0x030e0000 && defined(Py_GIL_DISABLED)
    AT("frame.tlbc_index", _PyInterpreterFrame, tlbc_index);
    AT("code.tlbc", PyCodeObject, co_tlbc);
#endif
#else
    AT("frame.size", PyFrameObject, f_localsplus);
    AT("frame.previous", PyFrameObject, f_back);
    AT("frame.executable", PyFrameObject, f_code);
    AT("frame.position.Index.at", PyFrameObject, f_lasti);
    AT("frame.namespace", PyFrameObject, f_locals);
    AT("frame.globals", PyFrameObject, f_globals);
    AT("frame.localsplus", PyFrameObject, f_localsplus);
    AT("frame.generator", PyFrameObject, f_gen);
#if PY_VERSION_HEX >= 0x030a0000
    PRINT("frame.position.Index.unit", 2);
    AT("frame.stack_top.Depth.depth", PyFrameObject, f_stackdepth);
    AT("frame.stack_top.Depth.values", PyFrameObject, f_valuestack);
#else
    PRINT("frame.position.Index.unit", 1);
    AT("frame.stack_top.Pointer.0", PyFrameObject, f_stacktop);
#endif
#endif
}

static void code(void)
{
    PRINT("code.size", sizeof(PyCodeObject));
    AT("code.name", PyCodeObject, co_name);
    AT("code.filename", PyCodeObject, co_filename);
    AT("code.first_line", PyCodeObject, co_firstlineno);
    AT("code.flags", PyCodeObject, co_flags);
    AT("code.argument_count", PyCodeObject, co_argcount);
    AT("code.keyword_only_count", PyCodeObject, co_kwonlyargcount);
#if PY_VERSION_HEX >= 0x030c0000
    AT("code.frame_words.All.0", PyCodeObject, co_framesize);
    AT("code.version", PyCodeObject, co_version);
#elif PY_VERSION_HEX >= 0x030b0000
    AT("code.frame_words.Stack.0", PyCodeObject, co_stacksize);
#endif
#if PY_VERSION_HEX >= 0x030b0000
    AT("code.qualname", PyCodeObject, co_qualname);
    AT("code.bytecode.Inline.0", PyCodeObject, co_code_adaptive);
    AT("code.variables.Together.names", PyCodeObject, co_localsplusnames);
    AT("code.variables.Together.kinds", PyCodeObject, co_localspluskinds);
#else
    AT("code.bytecode.Object.0", PyCodeObject, co_code);
    AT("code.variables.Separate.variables", PyCodeObject, co_varnames);
    AT("code.variables.Separate.cells", PyCodeObject, co_cellvars);
    AT("code.variables.Separate.free", PyCodeObject, co_freevars);
    AT("code.variables.Separate.cell_to_argument", PyCodeObject, co_cell2arg);
#endif
#if PY_VERSION_HEX >= 0x030a0000
    AT("code.line_table.0", PyCodeObject, co_linetable);
#else
    AT("code.line_table.0", PyCodeObject, co_lnotab);
#endif
}

static void generators(void)
{
    AT("generator.name", PyGenObject, gi_name);
    AT("generator.qualname", PyGenObject, gi_qualname);
#if PY_VERSION_HEX >= 0x030b0000
    AT("generator.frame.Embedded.0", PyGenObject, gi_iframe);
    AT("generator.state.Byte.at", PyGenObject, gi_frame_state);
#else
    AT("generator.frame.Pointer.0", PyGenObject, gi_frame);
#if PY_VERSION_HEX >= 0x030a0000
    AT("generator.state.Byte.at", PyFrameObject, f_state);
#else
    AT("generator.state.Running.0", PyGenObject, gi_running);
#endif
#endif
#if PY_VERSION_HEX >= 0x030a0000
    PRINT("generator.state.Byte.created", FRAME_CREATED);
    PRINT("generator.state.Byte.executing", FRAME_EXECUTING);
    PRINT("generator.state.Byte.suspended.0", FRAME_SUSPENDED);
#if PY_VERSION_HEX >= 0x030d0000
    PRINT("generator.state.Byte.suspended.1", FRAME_SUSPENDED_YIELD_FROM);
#else
    PRINT("generator.state.Byte.suspended.1", FRAME_SUSPENDED);
#endif
#if PY_VERSION_HEX >= 0x030f0000
    PRINT("generator.state.Byte.suspended.2", FRAME_SUSPENDED_YIELD_FROM_LOCKED);
#elif PY_VERSION_HEX >= 0x030d0000
    PRINT("generator.state.Byte.suspended.2", FRAME_SUSPENDED_YIELD_FROM);
#else
    PRINT("generator.state.Byte.suspended.2", FRAME_SUSPENDED);
#endif
#endif
}

static void objects(void)
{
    PRINT("object.size", sizeof(PyObject));
    AT("object.type_of", PyObject, ob_type);
    AT("object.var_size", PyVarObject, ob_size);
    AT("object.type_name", PyTypeObject, tp_name);
    AT("object.type_basicsize", PyTypeObject, tp_basicsize);
    AT("object.type_itemsize", PyTypeObject, tp_itemsize);
    AT("object.type_flags", PyTypeObject, tp_flags);
    AT("object.type_dictoffset", PyTypeObject, tp_dictoffset);
    AT("object.type_members", PyTypeObject, tp_members);
    AT("object.type_base", PyTypeObject, tp_base);
    AT("object.type_dict", PyTypeObject, tp_dict);
    AT("object.type_mro", PyTypeObject, tp_mro);
    AT("object.heap_qualname", PyHeapTypeObject, ht_qualname);
    AT("object.heap_cached_keys", PyHeapTypeObject, ht_cached_keys);
#if PY_VERSION_HEX >= 0x030d0000
    PRINT("object.attributes.Inline.dictionary", -(long long)MANAGED_DICT_OFFSET);
#elif PY_VERSION_HEX >= 0x030c0000
    PRINT("object.attributes.ValuesOrDictionary.0", -(long long)_PyObject_DictOrValuesPointer(0));
#elif PY_VERSION_HEX >= 0x030b0000
    PRINT("object.attributes.ValuesAndDictionary.values", -(long long)_PyObject_ValuesPointer(0));
    PRINT("object.attributes.ValuesAndDictionary.dictionary",
          -(long long)_PyObject_ManagedDictPointer(0));
#endif
    AT("unicode.length", PyASCIIObject, length);
    AT("unicode.state", PyASCIIObject, state);
    PRINT("unicode.ascii_data", sizeof(PyASCIIObject));
    PRINT("unicode.compact_data", sizeof(PyCompactUnicodeObject));
    long long state = offsetof(PyASCIIObject, state) * 8;
    PRINT("unicode.bits.kind_shift", BIT(PyASCIIObject, state.kind, 7) - state);
    PRINT("unicode.bits.compact_bit", BIT(PyASCIIObject, state.compact, 1) - state);
    PRINT("unicode.bits.ascii_bit", BIT(PyASCIIObject, state.ascii, 1) - state);
    AT("dict.used", PyDictObject, ma_used);
    AT("dict.keys", PyDictObject, ma_keys);
    AT("dict.values", PyDictObject, ma_values);
#if PY_VERSION_HEX >= 0x030b0000
    AT("dict.in_keys.index_bytes.Logarithm.0", PyDictKeysObject, dk_log2_index_bytes);
    AT("dict.in_keys.kind", PyDictKeysObject, dk_kind);
    AT("dict.in_keys.entry_count", PyDictKeysObject, dk_nentries);
    AT("dict.in_keys.indices", PyDictKeysObject, dk_indices);
    AT("dict.in_values", PyDictValues, values);
#endif
#if PY_VERSION_HEX >= 0x030d0000
    AT("dict.order.Behind.capacity", PyDictValues, capacity);
    AT("dict.order.Behind.set", PyDictValues, size);
    AT("dict.order.Behind.valid", PyDictValues, valid);
#endif
#if PY_VERSION_HEX < 0x030c0000
    AT("unicode.not_ready.characters", PyASCIIObject, wstr);
    AT("unicode.not_ready.length", PyCompactUnicodeObject, wstr_length);
#endif
}

static void builtins(void)
{
    AT("builtin.tuple_items", PyTupleObject, ob_item);
    AT("builtin.list_items", PyListObject, ob_item);
    AT("builtin.bytes_data", PyBytesObject, ob_sval);
    AT("builtin.bytearray_start", PyByteArrayObject, ob_start);
    AT("builtin.float_value", PyFloatObject, ob_fval);
    AT("builtin.complex_value", PyComplexObject, cval.real);
#if PY_VERSION_HEX >= 0x030c0000
    AT("builtin.int_size.Tagged.at", PyLongObject, long_value.lv_tag);
    PRINT("builtin.int_size.Tagged.shift", _PyLong_NON_SIZE_BITS);
    AT("builtin.int_digits", PyLongObject, long_value.ob_digit);
#else
    AT("builtin.int_size.Signed.0", PyVarObject, ob_size);
    AT("builtin.int_digits", struct _longobject, ob_digit);
#endif
    AT("builtin.set_used", PySetObject, used);
    AT("builtin.set_mask", PySetObject, mask);
    AT("builtin.set_table", PySetObject, table);
    AT("builtin.cell_value", PyCellObject, ob_ref);
    AT("builtin.weakref_object", PyWeakReference, wr_object);
#if PY_VERSION_HEX >= 0x030b0000
    AT("builtin.module_dict", PyModuleObject, md_dict);
#endif
    AT("builtin.function_qualname", PyFunctionObject, func_qualname);
    AT("builtin.method.0", PyMethodObject, im_func);
    AT("builtin.method.1", PyMethodObject, im_self);
    AT("builtin.builtin_function", PyCFunctionObject, m_ml);
    AT("builtin.exception_args", PyBaseExceptionObject, args);
}

#define LIST(name, ...) \
    list(name, (unsigned char[]){__VA_ARGS__}, sizeof((unsigned char[]){__VA_ARGS__}))

static void list(const char *name, const unsigned char *values, size_t count)
{
    for (size_t at = 0; at < count; at++) {
        printf("%s.%zu=%d\n", name, at, values[at]);
    }
}

#if PY_VERSION_HEX >= 0x030b0000 && PY_VERSION_HEX < 0x030d0000
/* How many units of cache follow an opcode, whatever it has become. */
static int caches(int opcode)
{
#if PY_VERSION_HEX >= 0x030c0000
    switch (opcode) {
    case INSTRUMENTED_CALL:
        return _PyOpcode_Caches[CALL];
    case INSTRUMENTED_FOR_ITER:
        return _PyOpcode_Caches[FOR_ITER];
    case INSTRUMENTED_LOAD_SUPER_ATTR:
        return _PyOpcode_Caches[LOAD_SUPER_ATTR];
    }
#endif
    return _PyOpcode_Caches[_PyOpcode_Deopt[opcode]];
}

static void all_caches(void)
{
    int group = 0;
    for (int count = 1; count < 256; count++) {
        unsigned char opcodes[256];
        size_t found = 0;
        for (int opcode = 0; opcode < 256; opcode++) {
            if (caches(opcode) == count) {
                opcodes[found++] = opcode;
            }
        }
        if (found > 0) {
            char name[64];
            snprintf(name, sizeof(name), "instructions.caches.%d.0", group);
            PRINT(name, count);
            snprintf(name, sizeof(name), "instructions.caches.%d.1", group++);
            list(name, opcodes, found);
        }
    }
}
#endif

/* Instrumentation hides which instruction stands there. */
#define HIDDEN INSTRUMENTED_INSTRUCTION, INSTRUMENTED_LINE

static void instructions(void)
{
#if PY_VERSION_HEX < 0x030b0000
    LIST("instructions.delegation.Next.opcodes", YIELD_FROM);
#elif PY_VERSION_HEX < 0x030c0000
    LIST("instructions.delegation.Next.opcodes", RESUME, RESUME_QUICK);
    LIST("instructions.call.remembering", CALL_PY_EXACT_ARGS, CALL_PY_WITH_DEFAULTS);
    LIST("instructions.call.others.0.1", CALL, CALL_ADAPTIVE, BINARY_SUBSCR_GETITEM);
#elif PY_VERSION_HEX < 0x030d0000
    LIST("instructions.delegation.Next.opcodes", RESUME, INSTRUMENTED_RESUME);
    LIST("instructions.call.remembering", CALL_PY_EXACT_ARGS, CALL_PY_WITH_DEFAULTS,
         CALL_BOUND_METHOD_EXACT_ARGS);
    LIST("instructions.call.others.0.1", CALL_FUNCTION_EX, INSTRUMENTED_CALL_FUNCTION_EX, HIDDEN);
    LIST("instructions.call.others.1.1", BINARY_SUBSCR_GETITEM, FOR_ITER_GEN, SEND, SEND_GEN,
         HIDDEN);
    LIST("instructions.call.others.2.1", CALL, INSTRUMENTED_CALL, HIDDEN);
    LIST("instructions.call.others.3.1", LOAD_ATTR_GETATTRIBUTE_OVERRIDDEN, LOAD_ATTR_PROPERTY,
         HIDDEN);
#else
    LIST("instructions.call.remembering", CALL_BOUND_METHOD_EXACT_ARGS, CALL_BOUND_METHOD_GENERAL,
#if PY_VERSION_HEX >= 0x030e0000
         CALL_KW_BOUND_METHOD, CALL_KW_PY,
#endif
         CALL_PY_EXACT_ARGS, CALL_PY_GENERAL);
    LIST("instructions.call.others.0.1", CALL, CALL_KW, CALL_FUNCTION_EX,
         CALL_ALLOC_AND_ENTER_INIT,
#if PY_VERSION_HEX >= 0x030e0000
         BINARY_OP_SUBSCR_GETITEM,
#else
         BINARY_SUBSCR_GETITEM,
#endif
         FOR_ITER_GEN, LOAD_ATTR_PROPERTY, LOAD_ATTR_GETATTRIBUTE_OVERRIDDEN, SEND, SEND_GEN,
         INSTRUMENTED_CALL, INSTRUMENTED_CALL_KW, INSTRUMENTED_CALL_FUNCTION_EX, HIDDEN,
         ENTER_EXECUTOR
#if PY_VERSION_HEX >= 0x030f0000
         , CALL_EX_PY, SEND_ASYNC_GEN, SEND_VIRTUAL, TRACE_RECORD
#endif
    );
#endif
#if PY_VERSION_HEX >= 0x030b0000
    /* The caches follow the instruction. */
    long long version = sizeof(_Py_CODEUNIT) + offsetof(_PyCallCache, func_version);
    long long at = 0;
#if PY_VERSION_HEX < 0x030d0000
    all_caches();
    /* The frame stands at the last of them. */
    at = -(long long)sizeof(_PyCallCache);
#endif
    PRINT("instructions.call.at", at);
    PRINT("instructions.call.version", at + version);
    AT("instructions.call.function_version", PyFunctionObject, func_version);
    AT("instructions.call.function_code", PyFunctionObject, func_code);
#if PY_VERSION_HEX >= 0x030d0000
    PRINT("instructions.call.others.0.0", 0);
#elif PY_VERSION_HEX >= 0x030c0000
    PRINT("instructions.call.others.0.0", 0);
    PRINT("instructions.call.others.1.0", -(long long)sizeof(_PyForIterCache));
    PRINT("instructions.call.others.2.0", at);
    PRINT("instructions.call.others.3.0", -(long long)sizeof(_PyLoadMethodCache));
#else
    PRINT("instructions.call.others.0.0", at);
#endif
#if PY_VERSION_HEX >= 0x030c0000
    AT("instructions.call.function", _PyInterpreterFrame, f_funcobj);
#else
    AT("instructions.call.function", _PyInterpreterFrame, f_func);
    AT("instructions.call.entry", _PyInterpreterFrame, is_entry);
#endif
#endif
}

/* What is the same in every version. */
static void constants(void)
{
    PRINT("common.INT_FLAG", Py_TPFLAGS_LONG_SUBCLASS);
    PRINT("common.LIST_FLAG", Py_TPFLAGS_LIST_SUBCLASS);
    PRINT("common.TUPLE_FLAG", Py_TPFLAGS_TUPLE_SUBCLASS);
    PRINT("common.BYTES_FLAG", Py_TPFLAGS_BYTES_SUBCLASS);
    PRINT("common.STRING_FLAG", Py_TPFLAGS_UNICODE_SUBCLASS);
    PRINT("common.DICT_FLAG", Py_TPFLAGS_DICT_SUBCLASS);
    PRINT("common.EXCEPTION_FLAG", Py_TPFLAGS_BASE_EXC_SUBCLASS);
    PRINT("common.CLASS_FLAG", Py_TPFLAGS_TYPE_SUBCLASS);
    PRINT("common.HEAP_CLASS_FLAG", Py_TPFLAGS_HEAPTYPE);
    PRINT("common.READY_FLAG", Py_TPFLAGS_READY);
#if PY_VERSION_HEX >= 0x030a0000
    PRINT("common.IMMUTABLE_CLASS_FLAG", Py_TPFLAGS_IMMUTABLETYPE);
#endif
#if PY_VERSION_HEX >= 0x030b0000
    PRINT("common.MANAGED_DICT_FLAG", Py_TPFLAGS_MANAGED_DICT);
    PRINT("common.KIND_CELL", CO_FAST_CELL);
    PRINT("common.KIND_FREE", CO_FAST_FREE);
    PRINT("common.DICT_KEYS_GENERAL", DICT_KEYS_GENERAL);
    PRINT("common.DICT_KEYS_UNICODE", DICT_KEYS_UNICODE);
    PRINT("common.DICT_KEYS_SPLIT", DICT_KEYS_SPLIT);
#endif
#if PY_VERSION_HEX >= 0x030c0000
    PRINT("common.KIND_HIDDEN", CO_FAST_HIDDEN);
#endif
#if PY_VERSION_HEX >= 0x030d0000
    PRINT("common.INLINE_VALUES_FLAG", Py_TPFLAGS_INLINE_VALUES);
#endif
    PRINT("common.CO_OPTIMIZED", CO_OPTIMIZED);
    PRINT("common.CO_VARARGS", CO_VARARGS);
    PRINT("common.CO_VARKEYWORDS", CO_VARKEYWORDS);
    PRINT("common.MEMBER_SIZE", sizeof(PyMemberDef));
    AT("common.MEMBER_NAME", PyMemberDef, name);
    AT("common.MEMBER_TYPE", PyMemberDef, type);
    AT("common.MEMBER_OFFSET", PyMemberDef, offset);
    PRINT("common.OBJECT_MEMBERS.0", T_OBJECT);
    PRINT("common.OBJECT_MEMBERS.1", T_OBJECT_EX);
}

#if PY_VERSION_HEX >= 0x030e0000
static struct {
    _Py_DebugOffsets debug_offsets;
} runtime = {.debug_offsets = _Py_DebugOffsets_INIT(_Py_Debug_Cookie)};
#elif PY_VERSION_HEX >= 0x030d0000
/* Its other fields hold addresses of what is not here: they are 0 then. */
static _PyRuntimeState runtime = _PyRuntimeState_INIT(runtime, _Py_Debug_Cookie);
#endif

static void table(void)
{
#if PY_VERSION_HEX >= 0x030d0000
    const unsigned char *bytes = (const unsigned char *)&runtime.debug_offsets;
    printf("table=");
    for (size_t at = 0; at < sizeof(runtime.debug_offsets); at++) {
        printf("%02x", bytes[at]);
    }
    printf("\n");
#endif
}

int main(void)
{
    states();
    pending();
    frames();
    code();
    generators();
    objects();
    builtins();
    instructions();
    constants();
    table();
    return 0;
}
