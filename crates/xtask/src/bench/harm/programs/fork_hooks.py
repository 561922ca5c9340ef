# Forks all the time, and is in C code for most of its time then, on its way to the fork and after
# it: a request that waits meanwhile is born with the child as well.
import functools
import threading
import time

CALLS = 100000
os.register_at_fork(
    before=functools.partial(sum, range(CALLS)),
    after_in_parent=functools.partial(sum, range(CALLS)),
    after_in_child=functools.partial(sum, range(CALLS)),
)
stopping = []


def works():
    while not stopping:
        check(sum(i * i for i in range(1000)) == 332833500, "a sum")
        count("thread")
        time.sleep(0.001)


def forks(number):
    child = os.fork()
    if child == 0:
        total = 0
        for each in range(2000):
            total += each
        os._exit(number % 100 if total == 1999000 else 200)
    _, status = os.waitpid(child, 0)
    check(status == (number % 100) << 8, f"a child ended with {status}")
    count("fork")


thread = threading.Thread(target=works, daemon=True)
thread.start()
number = 0
while len(rounds) < 2:
    forks(number)
print("ready", flush=True)
while asked():
    number += 1
    forks(number)
stopping.append(True)
thread.join(100)
check(not thread.is_alive(), "end of the thread")
