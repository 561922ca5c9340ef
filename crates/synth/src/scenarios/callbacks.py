"""C code that calls Python, threads without Python frames, and threads that C code made."""

import _thread
import bisect
import ctypes
import decimal
import importlib.abc
import importlib.machinery
import io
import json
import pickle
import weakref

LIBRARY = ctypes.CDLL(None)
COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
ROUTINE = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


def quicksort():
    numbers = (ctypes.c_int * 2)(2, 1)

    def compare(left, right):
        rest()
        return 0

    LIBRARY.qsort(numbers, 2, 4, COMPARE(compare))


start(quicksort)


def parsed():
    return json.loads('{"a": {"b": 1}}', object_hook=lambda value: rest() or value)


def unpickled():
    class Loader(pickle.Unpickler):
        def find_class(self, module, name):
            rest()
            return super().find_class(module, name)

    return Loader(io.BytesIO(pickle.dumps(decimal.Decimal("1.5")))).load()


def bisected():
    class Number:
        def __lt__(self, other):
            rest()
            return False

    return bisect.bisect_left([Number(), Number()], Number())


def weak_callback():
    class Thing:
        pass

    thing = Thing()
    kept = weakref.ref(thing, lambda reference: rest())
    del thing
    return kept


def written():
    class Sink(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            rest()
            return len(data)

    sink = io.BufferedWriter(Sink())
    sink.write(b"x")
    sink.flush()


for scene in (parsed, unpickled, bisected, weak_callback, written):
    start(scene)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name == "invivo_scene_module":
            return importlib.machinery.ModuleSpec(name, self)
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.rest = rest
        exec(compile("value = 1\nrest()\n", "invivo_scene_module.py", "exec"), vars(module))


sys.meta_path.append(Finder())


def importing():
    # Once only: what is imported is not imported again.
    import invivo_scene_module

    return invivo_scene_module


start(importing, warm_up=False)


# A thread whose function is C code: it has a thread state and no frame.
FRAMELESS.append(_thread.start_new_thread(GATE.acquire, ()))


def unnamed():
    """A thread that `threading` does not know."""
    LIVE.now = True
    rest()


expect(1)
_thread.start_new_thread(unnamed, ())


def foreign(argument):
    """A thread that C code made and that calls Python."""
    LIVE.now = True
    rest()
    return 0


KEPT = ROUTINE(foreign)
expect(1)
handle = ctypes.c_ulong()
LIBRARY.pthread_create(ctypes.byref(handle), None, KEPT, None)
# And one that knows nothing of Python.
LIBRARY.pthread_create(ctypes.byref(handle), None, LIBRARY.pause, None)


def renamed_later():
    threading.current_thread().name = "another name"
    rest()


start(renamed_later)
