"""Thread states that other threads use than made them; see lend.c, whose library is the first
argument. The second says how: lent to one worker, or to the workers of a pool in turn. What they
compute is checked."""
import ctypes
import sys

checks = 0


def down(depth):
    return depth if depth == 0 else down(depth - 1) + 1


def worker_function():
    global checks
    import time

    for _ in range(20):
        assert down(100) == 100, "wrong"
    checks += 1
    time.sleep(0.01)


def work_on():
    while True:
        worker_function()


def main_function():
    for line in sys.stdin:
        if line.strip() == "stop":
            return
        assert down(50) == 50
        print("checked", checks, flush=True)


library = ctypes.PyDLL(sys.argv[1])
if sys.argv[2] == "lent":
    library.lend(b"work_on()")
else:
    library.pool(6, 3, b"worker_function()")
while checks < 3:
    ctypes.CDLL(None).usleep(1000)
print("ready", flush=True)
main_function()
print("checked", checks, flush=True)
import os

os._exit(0)
