"""Forks as C code does, without telling Python; the child computes, and ends with its parent.
`ready` is followed by the child's id."""
import ctypes
import os
import sys

parent = os.getpid()


def child_computes():
    while os.getppid() == parent:
        sum(range(300))


child = ctypes.PyDLL(None).fork()
if child == 0:
    child_computes()
    os._exit(0)
print("ready", child, flush=True)
for line in sys.stdin:
    if line.strip() == "stop":
        break
    print("checked 1", flush=True)
os._exit(0)
