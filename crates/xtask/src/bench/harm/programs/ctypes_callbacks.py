# C calls Python: a comparison for qsort, in the main thread and in others, and threads that C
# made, each of which is new to Python.
import ctypes
import random
import threading
import time

library = ctypes.CDLL(None)
COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
ROUTINE = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
stopping = []
library.qsort.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, COMPARE]
library.pthread_create.argtypes = [
    ctypes.POINTER(ctypes.c_ulong),
    ctypes.c_void_p,
    ROUTINE,
    ctypes.c_void_p,
]
library.pthread_join.argtypes = [ctypes.c_ulong, ctypes.POINTER(ctypes.c_void_p)]


@COMPARE
def compare(one, other):
    return one[0] - other[0]


def sorts(part):
    numbers = [random.randrange(1000) for _ in range(60)]
    held = (ctypes.c_int * len(numbers))(*numbers)
    library.qsort(held, len(numbers), ctypes.sizeof(ctypes.c_int), compare)
    check(list(held) == sorted(numbers), "order")
    count(part)


@ROUTINE
def routine(number):
    time.sleep(0.001)
    sorts("thread of C")
    return (number or 0) + 1


def starts():
    handles = []
    for number in range(3):
        handle = ctypes.c_ulong()
        made = library.pthread_create(ctypes.byref(handle), None, routine, number)
        check(made == 0, "pthread_create")
        handles.append(handle)
    for number, handle in enumerate(handles):
        result = ctypes.c_void_p()
        check(library.pthread_join(handle, ctypes.byref(result)) == 0, "pthread_join")
        check(result.value == number + 1, "what a thread of C gave back")
    count("start")


def repeat(step, *arguments):
    while not stopping:
        step(*arguments)


threads = [
    threading.Thread(target=repeat, args=(sorts, "thread"), daemon=True),
    threading.Thread(target=repeat, args=(starts,), daemon=True),
]
for thread in threads:
    thread.start()
sorts("main")
while len(rounds) < 4:
    sorts("main")
print("ready", flush=True)
while asked():
    sorts("main")
    for thread in threads:
        check(thread.is_alive(), "a thread ended")
stopping.append(True)
for thread in threads:
    thread.join(100)
    check(not thread.is_alive(), "end of a thread")
