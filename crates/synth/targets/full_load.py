"""Does everything at once that a script from outside could disturb, and checks all of it.

It allocates, raises, recurses, forks, takes signals with handlers, and has threads that use
locks, conditions, queues and asyncio, at full load, with faulthandler on (but not in free-threaded
builds). `ready` is followed by the ids of its threads, the main one first. On its standard input
`report` makes it print `checked N`, where N counts the rounds of whichever part has done fewest;
`stop`, or the end of the input, does so and ends it with status 0. A wrong result makes it print
`wrong …` and end with status 3.
"""

import asyncio
import faulthandler
import gc
import os
import queue
import select
import selectors
import signal
import socket
import sys
import threading
import time
import warnings

# A thread switches often, so that a script meets the others everywhere.
sys.setswitchinterval(0.0005)
# Of 3.12 and later, about forks beside threads.
warnings.simplefilter("ignore", DeprecationWarning)
# From 3.14 on CPython opens a debugger script with the builtins of whatever function runs. Named
# tuples are made by one that has none, and asyncio makes many: CPython would then say on stderr
# that it can't open the script, which is told as that (SECURITY.md).
selectors.SelectorKey.__new__.__globals__["__builtins__"] = __builtins__
# In free-threaded builds faulthandler may crash on threads that run.
with_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
nowhere = open(os.devnull, "w")
if with_gil:
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2, file=nowhere)

rounds = {}
stopping = False


def check(holds, what):
    if not holds:
        os.write(1, b"wrong %s\n" % str(what).encode())
        os._exit(3)


def part(step):
    """Takes the step on and on and counts."""
    name = step.__name__
    rounds[name] = 0

    def run():
        while not stopping:
            step()
            rounds[name] += 1

    return run


# What the main thread does.

ticks, calls = [0], [0]


def on_alarm(number, frame):
    check(number == signal.SIGALRM, "alarm %d" % number)
    ticks[0] += 1
    check(sorted([3, 1, 2]) == [1, 2, 3], "work in a handler")


def on_call(number, frame):
    check(number == signal.SIGUSR1, "call %d" % number)
    calls[0] += 1


def allocate():
    table = {str(i): [i] * (i % 17) for i in range(400)}
    check(sum(map(len, table.values())) == sum(i % 17 for i in range(400)), "allocated")
    text = "".join(table)
    check(len(text) == 10 + 90 * 2 + 300 * 3, "text")
    loop = []
    loop.append(loop)


class Own(Exception):
    pass


def raises():
    def fall(depth):
        if depth == 0:
            raise Own("bottom")
        try:
            fall(depth - 1)
        finally:
            seen.append(depth)

    seen = []
    try:
        fall(30)
    except Own as error:
        check(error.args == ("bottom",), "exception")
        check(sys.exc_info()[1] is error, "exc_info")
    check(sys.exc_info() == (None, None, None), "exc_info left")
    check(seen == list(range(1, 31)), "finally")


def recurses():
    def down(depth):
        return 0 if depth == 0 else 1 + down(depth - 1)

    check(down(200) == 200, "recursion")


def forks():
    before = calls[0]
    child = os.fork()
    if child == 0:
        total = sum(i * i for i in range(200))
        os.kill(os.getppid(), signal.SIGUSR1)
        os._exit(7 if total == 2646700 else 8)
    check(os.waitpid(child, 0) == (child, 7 << 8), "child")
    # The signal came before its end, but the kernel may have given it to a thread that waits for a
    # processor, and Python's handler runs once that one has got it: late, and never lost.
    until = time.monotonic() + 60
    while calls[0] == before:
        check(time.monotonic() < until, "signal of a child is lost")
        time.sleep(0)
    check(calls[0] == before + 1, "signal of a child came twice")


def dumps():
    if with_gil:
        os.kill(os.getpid(), signal.SIGUSR2)
        faulthandler.dump_traceback(nowhere)
    gc.collect()


# What the others do.

shared = threading.Lock()
balance = [0, 0]


def locks():
    with shared:
        balance[0] += 1
        balance[1] -= 1
        check(balance[0] + balance[1] == 0, "balance")


there, back = queue.Queue(1), queue.Queue(1)


def asks():
    there.put(rounds["asks"])
    check(back.get(timeout=100) == -rounds["asks"], "answer")


def answers():
    try:
        back.put(-there.get(timeout=0.01))
    except queue.Empty:
        pass


turn = threading.Condition()
whose = [0]


def takes_turn(own):
    with turn:
        check(turn.wait_for(lambda: whose[0] == own or stopping, 100), "turn")
        whose[0] = 1 - own
        turn.notify_all()


def first():
    takes_turn(0)


def second():
    takes_turn(1)


def naps():
    start = time.monotonic()
    time.sleep(0.002)
    check(time.monotonic() - start >= 0.002, "nap")
    start = time.monotonic()
    check(select.select([], [], [], 0.002) == ([], [], []), "select")
    check(time.monotonic() - start >= 0.0019, "select's time")


def loops():
    """An event loop that never idles for long."""

    async def echo(reader, writer):
        while True:
            data = await reader.read(100)
            if not data:
                break
            writer.write(data)
        writer.close()

    async def client(end, count):
        end.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=end)
        for number in range(count):
            word = b"%d;" % number
            writer.write(word)
            check(await reader.readexactly(len(word)) == word, "echo")
            await asyncio.sleep(0.0001 if number % 5 == 0 else 0)
        writer.close()
        return count

    async def main():
        pairs = [socket.socketpair() for _ in range(3)]
        servers = []
        for _, theirs in pairs:
            theirs.setblocking(False)
            servers.append(asyncio.ensure_future(echo(*await asyncio.open_connection(sock=theirs))))
        counts = await asyncio.gather(*(client(ours, 20) for ours, _ in pairs))
        check(counts == [20, 20, 20], "gathered")
        await asyncio.gather(*servers)

    asyncio.run(main())


def report():
    """Answers what has been asked; false when it is to end."""
    if not select.select([0], [], [], 0)[0]:
        return True
    request = os.read(0, 4096)
    check(threading.active_count() == 1 + len(threads), "number of threads")
    print("checked", min(rounds.values()), flush=True)
    return bool(request) and b"stop" not in request


signal.signal(signal.SIGUSR1, on_call)
signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
threads = [
    threading.Thread(target=part(step), daemon=True)
    for step in (locks, asks, answers, first, second, naps, loops)
]
for thread in threads:
    thread.start()
rounds["main"] = 0
ids = " ".join(str(thread.native_id) for thread in threads)
print("ready", os.getpid(), ids, flush=True)
while report():
    for step in (allocate, raises, recurses, forks, dumps):
        step()
    rounds["main"] += 1
stopping = True
for thread in threads:
    thread.join(100)
    check(not thread.is_alive(), "end of a thread")
# Python's end would leave the alarm without its handler.
signal.setitimer(signal.ITIMER_REAL, 0)
check(ticks[0] > 0 and calls[0] > 0, "signals")
