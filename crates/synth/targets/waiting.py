"""Waits in the way that its first argument names, and says whether the wait was as it should be.

Its second argument is how many seconds a wait with a time-out lasts, and how long one call into C
takes at least. Once it is about to wait it prints `ready`, and when the wait is over `fine STATE
SECONDS`, or `harm STATE` and what was wrong. A wait without a time-out, and work without an end,
end when a line comes on its standard input. Then it waits for the end of its input. The third
argument is the path of the module `foreign`.
"""

import itertools
import math
import os
import queue
import re
import select
import signal
import socket
import sys
import threading
import time
import zlib

STATE, SECONDS = sys.argv[1], float(sys.argv[2])
# What a wait may end too early by the grain of the clocks it is measured with.
GRAIN = 0.002
asked = threading.Event()


def timed(wait):
    """A wait that ends by its time-out: not sooner."""

    def run():
        begin()
        outcome = wait()
        took = time.monotonic() - begun[0]
        if took < SECONDS - GRAIN:
            return "ended after %.3f s of %.3f" % (took, SECONDS)
        return outcome

    return run


def begin():
    print("ready", os.getpid(), flush=True)
    begun.append(time.monotonic())


begun = []


def line():
    """Waits for a line on the standard input, with nobody else's buffer in between."""
    os.read(0, 100)


kept = []


def keep(*closeable):
    """Has them closed at the end: a debug build complains of what nobody closes."""
    kept.extend(closeable)
    return closeable


def partner(act):
    """Another process, which does `act` when the line comes."""
    pid = os.fork()
    if pid == 0:
        line()
        act()
        os._exit(7)
    return pid


def helper(act):
    """Another thread, which does `act` when the line comes."""

    def run():
        line()
        asked.set()
        act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def expect(found, right):
    return None if found == right else "got %r, not %r" % (found, right)


# Waits with a time-out.


def sleep():
    return expect(time.sleep(SECONDS), None)


def select_():
    end, keep = os.pipe()
    return expect(select.select([end], [], [], SECONDS), ([], [], []))


def poll():
    end, keep = os.pipe()
    poller = select.poll()
    poller.register(end, select.POLLIN)
    return expect(poller.poll(SECONDS * 1000), [])


def epoll():
    end, keep = os.pipe()
    with select.epoll() as poller:
        poller.register(end, select.EPOLLIN)
        return expect(poller.poll(SECONDS), [])


def idle_asyncio():
    import asyncio

    async def main():
        return await asyncio.sleep(SECONDS, "slept")

    return expect(asyncio.run(main()), "slept")


def lock_timed():
    lock = threading.Lock()
    lock.acquire()
    return expect(lock.acquire(timeout=SECONDS), False)


def rlock_timed():
    lock = threading.RLock()
    taken = threading.Event()

    def hold():
        with lock:
            taken.set()
            threading.Event().wait()

    threading.Thread(target=hold, daemon=True).start()
    taken.wait()
    return expect(lock.acquire(timeout=SECONDS), False)


def condition_timed():
    condition = threading.Condition()
    with condition:
        return expect(condition.wait(SECONDS), False)


def event_timed():
    return expect(threading.Event().wait(SECONDS), False)


def queue_timed():
    try:
        return "got %r" % queue.Queue().get(timeout=SECONDS)
    except queue.Empty:
        return None


def join_timed():
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return expect(thread.is_alive(), True)


def subprocess_timed():
    import subprocess

    child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
    try:
        child.wait(SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        child.kill()
        child.wait()
    return "no time-out"


def recv_timed():
    ours, theirs = keep(*socket.socketpair())
    ours.settimeout(SECONDS)
    try:
        return "got %r" % ours.recv(10)
    except socket.timeout:
        return None


def sigtimedwait():
    return expect(signal.sigtimedwait([signal.SIGUSR1], SECONDS), None)


# Waits for an event, which the line brings about.


def recv():
    ours, theirs = keep(*socket.socketpair())
    child = partner(lambda: theirs.sendall(b"four"))
    theirs.close()
    begin()
    got = ours.recv(100)
    os.waitpid(child, 0)
    return expect((got, ours.recv(100)), (b"four", b""))


def accept():
    (server,) = keep(socket.socket())
    server.bind(("127.0.0.1", 0))
    server.listen()

    def call():
        with socket.create_connection(server.getsockname()) as connection:
            connection.sendall(b"caller")

    child = partner(call)
    begin()
    connection, _ = server.accept()
    keep(connection)
    got = connection.recv(100)
    os.waitpid(child, 0)
    return expect(got, b"caller")


def read_pipe():
    ours, theirs = os.pipe()
    child = partner(lambda: os.write(theirs, b"four"))
    os.close(theirs)
    begin()
    got = os.read(ours, 100)
    os.waitpid(child, 0)
    return expect((got, os.read(ours, 100)), (b"four", b""))


def stdin():
    begin()
    return expect(sys.stdin.readline(), "go\n")


def lock():
    lock = threading.Lock()
    lock.acquire()
    helper(lock.release)
    begin()
    return expect(lock.acquire(), True) or early()


def early():
    return None if asked.is_set() else "ended before anyone asked for it"


def condition():
    condition = threading.Condition()

    def notify():
        with condition:
            condition.notify()

    helper(notify)
    with condition:
        begin()
        return expect(condition.wait(), True) or early()


def event():
    event = threading.Event()
    helper(event.set)
    begin()
    return expect(event.wait(), True) or early()


def queue_get():
    items = queue.Queue()
    helper(lambda: items.put("item"))
    begin()
    return expect(items.get(), "item") or early()


def join():
    thread = helper(lambda: None)
    begin()
    thread.join()
    return expect(thread.is_alive(), False) or early()


def waitpid():
    child = partner(lambda: None)
    begin()
    return expect(os.waitpid(child, 0), (child, 7 << 8))


def subprocess_run():
    import subprocess

    begin()
    command = ["sh", "-c", "read line; echo said $line; exit 7"]
    done = subprocess.run(command, stdout=subprocess.PIPE)
    return expect((done.returncode, done.stdout), (7, b"said go\n"))


# Work, on and on until the line comes.


def working(step):
    def run():
        begin()
        while not select.select([0], [], [], 0)[0]:
            wrong = step()
            if wrong:
                return wrong
        line()
        return None

    return run


def busy():
    total = 0
    for i in range(100000):
        total += i
    return expect(total, 4999950000)


def sorted_key():
    found = sorted(range(100000), key=lambda i: (i * 7919) % 100003)
    return expect([(i * 7919) % 100003 for i in found[:3]], [0, 1, 2])


def long(prepare, size, grow=lambda size: size * 2):
    """One call that takes `SECONDS` or more, again and again."""

    def run():
        wanted, took = size, 0
        while took < 0.6 * SECONDS:
            call = prepare(wanted)
            start = time.monotonic()
            call()
            took = time.monotonic() - start
            wanted = grow(wanted)
        return working(prepare(wanted))()

    return run


def regex(size):
    return lambda: expect(re.match("(a+)+b", "a" * size), None)


def power(size):
    return lambda: expect((7**size) & 0xFF, pow(7, size, 256))


def compress(size):
    data = os.urandom(size)
    return lambda: expect(zlib.decompress(zlib.compress(data, 9)) == data, True)


def holding(size):
    return lambda: expect(math.fsum(itertools.repeat(0.5, size)), size / 2)


# Waits that no code of Python's own would go on with, so that nobody may end them.


def library():
    import ctypes

    return ctypes.CDLL(None)


def extension():
    from importlib.machinery import ExtensionFileLoader, ModuleSpec

    loader = ExtensionFileLoader("foreign", sys.argv[3])
    module = loader.create_module(ModuleSpec("foreign", loader, origin=sys.argv[3]))
    loader.exec_module(module)
    return expect(module.wait(int(SECONDS * 1000)), 0)


def c_sleep():
    # It returns the rest of its time when something ends it early.
    return expect(library().sleep(math.ceil(SECONDS)), 0)


def c_usleep():
    return expect(library().usleep(int(SECONDS * 1000000)), 0)


def c_poll():
    return expect(library().poll(None, 0, int(SECONDS * 1000)), 0)


def forever(wait):
    """A wait that only a signal's handler may end; the partner sends the signal."""

    def run():
        caught = []
        signal.signal(signal.SIGUSR1, lambda *_: caught.append(True))
        child = partner(lambda: os.kill(os.getppid(), signal.SIGUSR1))
        begin()
        wait()
        outcome = expect(caught, [True])
        os.waitpid(child, 0)
        return outcome

    return run


STATES = {
    "sleep": timed(sleep),
    "select": timed(select_),
    "poll": timed(poll),
    "epoll": timed(epoll),
    "asyncio": timed(idle_asyncio),
    "lock-timed": timed(lock_timed),
    "rlock-timed": timed(rlock_timed),
    "condition-timed": timed(condition_timed),
    "event-timed": timed(event_timed),
    "queue-timed": timed(queue_timed),
    "join-timed": timed(join_timed),
    "subprocess-timed": timed(subprocess_timed),
    "recv-timed": timed(recv_timed),
    "sigtimedwait": timed(sigtimedwait),
    "recv": recv,
    "accept": accept,
    "read": read_pipe,
    "stdin": stdin,
    "lock": lock,
    "condition": condition,
    "event": event,
    "queue": queue_get,
    "join": join,
    "waitpid": waitpid,
    "subprocess": subprocess_run,
    "busy": working(busy),
    "sorted": working(sorted_key),
    "regex": long(regex, 16, lambda size: size + 1),
    "power": long(power, 1 << 14),
    "zlib": long(compress, 1 << 10),
    "holding": long(holding, 1 << 16),
    "c-sleep": timed(c_sleep),
    "c-usleep": timed(c_usleep),
    "c-poll": timed(c_poll),
    "extension": timed(extension),
    "c-pause": forever(lambda: library().pause()),
    "signal-pause": forever(signal.pause),
}

wrong = STATES[STATE]()
for closeable in kept:
    closeable.close()
print("harm" if wrong else "fine", STATE, wrong or "%.3f" % (time.monotonic() - begun[0]), flush=True)
while os.read(0, 100):
    pass
