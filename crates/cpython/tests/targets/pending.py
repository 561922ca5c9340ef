"""Adds calls for its main thread, writes to its own memory and holds locks, as it is told: a line of
standard input each, answered by `done`."""

import ctypes
import sys
import threading

api = ctypes.pythonapi
api.PyThread_acquire_lock.argtypes = [ctypes.c_void_p, ctypes.c_int]
api.PyThread_release_lock.argtypes = [ctypes.c_void_p]
if sys.version_info >= (3, 13):
    api.PyMutex_Lock.argtypes = api.PyMutex_Unlock.argtypes = [ctypes.c_void_p]
gate = threading.Lock()
inside = threading.Lock()
WAITS = 1000


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
def made(argument):
    say("made", argument, threading.current_thread().name)
    if argument == WAITS:
        inside.acquire()
    return 0


api.Py_AddPendingCall.argtypes = [type(made), ctypes.c_void_p]


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def obey(command, *words):
    if command == "add":
        return api.Py_AddPendingCall(made, int(words[0]))
    if command == "write":
        # Each piece by itself, and nothing of Python in between.
        pieces = [bytes.fromhex(word) for word in words[1::2]]
        for address, piece in zip(words[::2], pieces):
            ctypes.memmove(int(address), piece, len(piece))
    elif command == "lock":
        api.PyThread_acquire_lock(int(words[0]), 1)
    elif command == "unlock":
        api.PyThread_release_lock(int(words[0]))
    elif command == "mutex":
        api.PyMutex_Lock(int(words[0]))
    elif command == "unmutex":
        api.PyMutex_Unlock(int(words[0]))
    elif command == "leave":
        inside.release()
    elif command == "open":
        gate.release()
    return 0


def worker():
    for line in sys.stdin:
        say("done", obey(*line.split()))


gate.acquire()
inside.acquire()
threading.Thread(target=worker, name="worker", daemon=True).start()
main = threading.current_thread()
main.name = "main"
say("ready", ctypes.cast(made, ctypes.c_void_p).value)
while True:
    # No call is made while it waits for a lock.
    gate.acquire()
    for _ in range(100):
        pass
    say("through")
