/* Prints what the headers of one CPython say of the structures that a layout names: one line
 * each, the layout's name for it, `=`, a number; and the table of offsets as the interpreter would
 * hold it, in hexadecimal. What only CPython's C files define is measured elsewhere.
 *
 * FREE_THREADED makes it a free-threaded build's, WITH_GIL the other's, Py_DEBUG a debug build's,
 * RELEASE the other's, whatever these headers are for. */

#define Py_BUILD_CORE 1
#define NDEBUG 1
#include <pyconfig.h>
#ifdef FREE_THREADED
#undef Py_GIL_DISABLED
#define Py_GIL_DISABLED 1
#endif
#ifdef WITH_GIL
#undef Py_GIL_DISABLED
#endif
#ifdef RELEASE
#undef Py_DEBUG
#endif
#include <Python.h>
#include <stddef.h>
#include <string.h>
#if PY_VERSION_HEX >= 0x03090000
#include <internal/pycore_runtime.h>
#include <internal/pycore_interp.h>
#else
#include <internal/pycore_pystate.h>
#endif
#include <internal/pycore_code.h>
#include <internal/pycore_gil.h>
#include <internal/pycore_object.h>
#include <frameobject.h>
#if PY_VERSION_HEX >= 0x030b0000
#include <internal/pycore_dict.h>
#include <internal/pycore_frame.h>
#include <internal/pycore_moduleobject.h>
#endif
#if PY_VERSION_HEX >= 0x030e0000
#include <internal/pycore_interpframe.h>
#include <internal/pycore_genobject.h>
#include <internal/pycore_tstate.h>
#endif
#if PY_VERSION_HEX >= 0x030d0000
#include <internal/pycore_ceval.h>
#include <internal/pycore_long.h>
#include <internal/pycore_runtime_init.h>
#endif
#include <opcode.h>
#include <structmember.h>
#if PY_VERSION_HEX >= 0x030b0000 && PY_VERSION_HEX < 0x030d0000
#define NEED_OPCODE_TABLES
#include <internal/pycore_opcode.h>
#endif

#define PRINT(name, value) printf("%s=%lld\n", name, (long long)(value))
#define AT(name, type, field) PRINT(name, offsetof(type, field))

/* The first bit that differs between `zero` and an object in which one bit field is all ones. */
static long long first_bit(const void *object, size_t size)
{
    const unsigned char *bytes = object;
    for (size_t bit = 0; bit < size * 8; bit++) {
        if (bytes[bit / 8] >> bit % 8 & 1) {
            return (long long)bit;
        }
    }
    return -1;
}

#define BIT(type, field, value) \
    (memset(&a_##type, 0, sizeof(a_##type)), a_##type.field = (value), \
     first_bit(&a_##type, sizeof(a_##type)))

static PyASCIIObject a_PyASCIIObject;

static void states(void)
{
    AT("runtime.interpreters_head", _PyRuntimeState, interpreters.head);
    AT("runtime.main_thread", _PyRuntimeState, main_thread);
#if PY_VERSION_HEX >= 0x03090000
    AT("runtime.finalizing", _PyRuntimeState, _finalizing);
    AT("interpreter.gc_collecting", PyInterpreterState, gc.collecting);
#else
    AT("runtime.finalizing", _PyRuntimeState, finalizing);
    AT("runtime.gc_collecting", _PyRuntimeState, gc.collecting);
#endif
#if PY_VERSION_HEX < 0x030c0000
    AT("runtime.gil", _PyRuntimeState, ceval.gil);
    AT("interpreter.modules", PyInterpreterState, modules);
    AT("thread.current_exception", PyThreadState, curexc_type);
#else
    AT("interpreter.gil", PyInterpreterState, ceval.gil);
    AT("interpreter.modules", PyInterpreterState, imports.modules);
    AT("thread.current_exception", PyThreadState, current_exception);
    static PyThreadState a_PyThreadState;
    long long bit = BIT(PyThreadState, _status.active, 1);
    PRINT("thread.status.0", bit / 32 * 4);
    PRINT("thread.status.1", bit % 32);
#endif
#if PY_VERSION_HEX >= 0x030e0000
    AT("interpreter.threads_main", PyInterpreterState, threads.main);
    AT("interpreter.code_object_generation", PyInterpreterState, _code_object_generation);
#endif
#if PY_VERSION_HEX >= 0x030f0000
    AT("interpreter.gc_frame", PyInterpreterState, gc.frame);
    AT("thread.base_frame", PyThreadState, base_frame);
    AT("thread.holds_gil", PyThreadState, holds_gil);
    AT("thread.gil_requested", PyThreadState, gil_requested);
#endif
    AT("interpreter.id", PyInterpreterState, id);
    AT("interpreter.next", PyInterpreterState, next);
    AT("interpreter.sysdict", PyInterpreterState, sysdict);
    AT("gil.locked", struct _gil_runtime_state, locked);
    AT("gil.last_holder", struct _gil_runtime_state, last_holder);
    AT("gil.switches", struct _gil_runtime_state, switch_number);
#if PY_VERSION_HEX >= 0x030a0000 && PY_VERSION_HEX < 0x030d0000
    AT("thread.cframe", PyThreadState, cframe);
#endif
    AT("thread.next", PyThreadState, next);
    AT("thread.interpreter", PyThreadState, interp);
    AT("thread.thread_id", PyThreadState, thread_id);
    AT("thread.exc_info", PyThreadState, exc_info);
    AT("exception_item.value", _PyErr_StackItem, exc_value);
    AT("exception_item.previous", _PyErr_StackItem, previous_item);
#if PY_VERSION_HEX >= 0x030b0000
    AT("interpreter.threads_head", PyInterpreterState, threads.head);
    AT("thread.native_thread_id", PyThreadState, native_thread_id);
    AT("thread.datastack_chunk", PyThreadState, datastack_chunk);
    AT("chunk.previous", _PyStackChunk, previous);
    AT("chunk.size", _PyStackChunk, size);
    AT("chunk.top", _PyStackChunk, top);
    AT("chunk.data", _PyStackChunk, data);
#else
    AT("interpreter.threads_head", PyInterpreterState, tstate_head);
#endif
#if PY_VERSION_HEX >= 0x030d0000
    AT("thread.current_frame.Direct.0", PyThreadState, current_frame);
#elif PY_VERSION_HEX >= 0x030b0000
    AT("thread.current_frame.Through.pointer", PyThreadState, cframe);
    AT("thread.current_frame.Through.inside", _PyCFrame, current_frame);
#else
    AT("thread.current_frame.Direct.0", PyThreadState, frame);
#endif
#ifdef Py_REMOTE_DEBUG
    AT("debugger.enabled", PyInterpreterState, config.remote_debug);
    AT("debugger.eval_breaker", PyThreadState, eval_breaker);
    AT("debugger.pending_call", PyThreadState, remote_debugger_support.debugger_pending_call);
    AT("debugger.script_path", PyThreadState, remote_debugger_support.debugger_script_path);
    PRINT("debugger.script_path_size",
          sizeof(((PyThreadState *)0)->remote_debugger_support.debugger_script_path));
#endif
}

static void pending(void)
{
    typedef struct _pending_calls Queue;
#if PY_VERSION_HEX < 0x03090000
#define MAIN_QUEUE ceval.pending
    AT("pending.breaker.Runtime.0", _PyRuntimeState, ceval.eval_breaker);
    AT("pending.queue.finishing", Queue, finishing);
#elif PY_VERSION_HEX < 0x030d0000
    AT("pending.breaker.Interpreter.0", PyInterpreterState, ceval.eval_breaker);
#else
    AT("pending.breaker.Thread.0", PyThreadState, eval_breaker);
#endif
#if PY_VERSION_HEX >= 0x030c0000
#define MAIN_QUEUE ceval.pending_mainthread
    AT("pending.any", PyInterpreterState, ceval.pending);
#elif PY_VERSION_HEX >= 0x03090000
    AT("pending.main.Interpreter.0", PyInterpreterState, ceval.pending);
#endif
#ifdef MAIN_QUEUE
#ifdef Py_DEBUG
    AT("pending.main.Runtime.debug", _PyRuntimeState, MAIN_QUEUE);
#else
    AT("pending.main.Runtime.release", _PyRuntimeState, MAIN_QUEUE);
#endif
#endif
    PRINT("pending.queue.size", sizeof(Queue));
    AT("pending.queue.calls", Queue, calls);
    static Queue queue;
    PRINT("pending.queue.call_size", sizeof(queue.calls[0]));
    PRINT("pending.queue.places", sizeof(queue.calls) / sizeof(queue.calls[0]));
    PRINT("common.CALL_FUNCTION", (char *)&queue.calls[0].func - (char *)&queue.calls[0]);
    PRINT("common.CALL_ARGUMENT", (char *)&queue.calls[0].arg - (char *)&queue.calls[0]);
    AT("pending.queue.first", Queue, first);
#if PY_VERSION_HEX >= 0x030d0000
    AT("pending.queue.lock.Mutex.0", Queue, mutex);
    AT("pending.queue.next", Queue, next);
    AT("pending.queue.count.Number.at", Queue, npending);
    AT("pending.queue.count.Number.most", Queue, max);
    AT("pending.queue.count.Number.round", Queue, maxloop);
    PRINT("pending.queue.count.Number.of_main.0", MAXPENDINGCALLS_MAIN);
    PRINT("pending.queue.count.Number.of_main.1", MAXPENDINGCALLSLOOP_MAIN);
    PRINT("pending.queue.count.Number.of_any.0", MAXPENDINGCALLS);
    PRINT("pending.queue.count.Number.of_any.1", MAXPENDINGCALLSLOOP);
    AT("pending.queue.busy.0", Queue, handling_thread);
    PRINT("pending.queue.busy.1", sizeof(queue.handling_thread));
    PRINT("pending.queue.call_flags", (char *)&queue.calls[0].flags - (char *)&queue.calls[0]);
    PRINT("common.CALL_FLAGS_MAIN", _Py_PENDING_MAINTHREADONLY);
    PRINT("common.CALLS_TO_DO", _PY_CALLS_TO_DO_BIT);
    PRINT("common.MUTEX_LOCKED", _Py_LOCKED);
    PRINT("common.THREAD_ATTACHED", _Py_THREAD_ATTACHED);
    AT("thread.attachment", PyThreadState, state);
#else
    AT("pending.queue.lock.Semaphore.0", Queue, lock);
    AT("pending.queue.next", Queue, last);
    AT("pending.queue.count.Flag.0", Queue, calls_to_do);
#if PY_VERSION_HEX >= 0x030c0000
    AT("pending.queue.busy.0", Queue, busy);
    PRINT("pending.queue.busy.1", sizeof(queue.busy));
#endif
#endif
#if PY_VERSION_HEX < 0x030c0000
    AT("runtime.current_thread", _PyRuntimeState, gilstate.tstate_current);
#endif
    AT("runtime.core_initialized", _PyRuntimeState, core_initialized);
    AT("runtime.initialized", _PyRuntimeState, initialized);
    AT("interpreter.finalizing", PyInterpreterState, finalizing);
    /* It is not known of a debug build of 3.13, where it lies elsewhere. */
#if PY_VERSION_HEX < 0x030d0000 || PY_VERSION_HEX < 0x030e0000 && !defined(Py_DEBUG)
    AT("interpreter.audit_hooks", PyInterpreterState, audit_hooks);
#endif
#if PY_VERSION_HEX >= 0x030c0000
    AT("thread.recursion.Left.0", PyThreadState, py_recursion_remaining);
#elif PY_VERSION_HEX >= 0x030b0000
    AT("thread.recursion.Left.0", PyThreadState, recursion_remaining);
#else
    AT("thread.recursion.Depth.at", PyThreadState, recursion_depth);
#if PY_VERSION_HEX >= 0x03090000
    AT("thread.recursion.Depth.limit.Interpreter.0", PyInterpreterState, ceval.recursion_limit);
#else
    AT("thread.recursion.Depth.limit.Runtime.0", _PyRuntimeState, ceval.recursion_limit);
#endif
#endif
}
