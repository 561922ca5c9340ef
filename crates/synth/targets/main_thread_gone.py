"""The main thread has ended as C code ends one; another works on. `ready` is followed by its id."""
import ctypes
import threading
import time


def survivor():
    while main.is_running():
        time.sleep(0.01)
    print("ready", threading.get_native_id(), flush=True)
    count = 0
    while True:
        count += 1
        time.sleep(0.01)


class Main:
    def __init__(self):
        self.id = threading.get_native_id()

    def is_running(self):
        with open(f"/proc/self/task/{self.id}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"


main = Main()
threading.Thread(target=survivor).start()
# 60 is the number of exit() on x86-64, 93 on aarch64.
ctypes.CDLL(None).syscall(60 if __import__("platform").machine() == "x86_64" else 93, 0)
