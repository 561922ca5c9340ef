"""An interpreter that was made in the main thread and works in another one. What it computes is
checked, and written to a pipe."""
import os
import sys
import threading

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

from_it, to_us = os.pipe()
os.set_blocking(to_us, False)
CODE = f"""
import os, time
def down(depth):
    return depth if depth == 0 else down(depth - 1) + 1
def view_in_sub():
    while True:
        for _ in range(20):
            assert down(100) == 100
        try:
            os.write({to_us}, b"x")
        except BlockingIOError:
            pass
        time.sleep(0.01)
view_in_sub()
"""


def run(made):
    (getattr(interpreters, "run_string", None) or interpreters.exec)(made, CODE)
    os._exit(4)


made = interpreters.create()
threading.Thread(target=run, args=(made,), daemon=True, name="worker").start()
checks = len(os.read(from_it, 1))
os.set_blocking(from_it, False)


def more():
    try:
        return len(os.read(from_it, 1 << 16))
    except BlockingIOError:
        return 0


print("ready", int(made), flush=True)
for line in sys.stdin:
    if line.strip() == "stop":
        break
    checks += more()
    print("checked", checks, flush=True)
print("checked", checks, flush=True)
os._exit(0)
