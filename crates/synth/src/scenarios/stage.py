"""The stage: runs scenes until each has come to rest, tells what they are, and stays.

A scene is a function that calls `rest()` where it is to be looked at. Each runs in a thread of
its own, first some dozens of times without resting, so that its code gets specialized. When
nothing moves any more, one thread tells what `sys._current_frames()` and `asyncio` say of all of
it, as lines of JSON, prints `ready PID`, and comes to rest as well. The process ends with its
standard input.
"""

import os
import sys
import threading
import time

GATE = threading.Lock()
GATE.acquire()
LIVE = threading.local()
# By thread ident: what a thread can say only of itself.
RESTING = {}
# Threads that are to come to rest, or to run no Python code at all.
EXPECTED = 0
LOOPS = []
FRAMELESS = []
# What sub-interpreters tell of themselves, the threads that only they have, and the ids of all.
OTHERS = []
FOREIGN = []
INTERPRETERS = [0]
WARM_UP = 64


def rest():
    if not getattr(LIVE, "now", False):
        return
    RESTING[threading.get_ident()] = [
        threading.get_native_id(),
        sys.exc_info()[0] is not None,
    ]
    GATE.acquire()


def coming_to_rest():
    """For a thread that rests in a call of its own, right after this one."""
    RESTING[threading.get_ident()] = [threading.get_native_id(), sys.exc_info()[0] is not None]


def play(function, warm_up):
    if warm_up:
        for _ in range(WARM_UP):
            function()
    LIVE.now = True
    function()


def start(function, name=None, warm_up=True):
    """Starts a scene in a thread of its own."""
    expect(1)
    thread = threading.Thread(
        target=play, args=(function, warm_up), name=name or function.__name__, daemon=True
    )
    thread.start()
    return thread


def expect(count):
    global EXPECTED
    EXPECTED += count


def movement(tids):
    """Each thread's state letter and how often it has gone to sleep or been made to wait."""
    found = []
    for tid in tids:
        with open("/proc/self/task/%d/status" % tid, "rb") as file:
            fields = dict(line.partition(b":\t")[::2] for line in file)
        switches = fields[b"voluntary_ctxt_switches"], fields[b"nonvoluntary_ctxt_switches"]
        found.append((tid, fields[b"State"][:1], *switches))
    return found


def stillness(own):
    """Returns when all other threads sleep, and did so while this one let go of the GIL."""
    before = None
    while True:
        tids = [int(name) for name in os.listdir("/proc/self/task") if int(name) != own]
        now = movement(tids)
        still = all(state == b"S" for _, state, *_ in now)
        if still and now == before and len(RESTING) == EXPECTED:
            return
        before = now
        time.sleep(0.01)


def report():
    stillness(threading.get_native_id())
    told = Told()
    me = threading.get_ident()
    for ident, frame in sys._current_frames().items():
        if ident not in FRAMELESS and ident not in FOREIGN:
            told.thread(ident, frame, *RESTING.get(ident, (threading.get_native_id(), False)))
    told.lines.append({"reporter": me})
    told.lines += [{"frameless": ident} for ident in FRAMELESS]
    for loop in LOOPS:
        loop.tell(told)
    told.lines += OTHERS
    told.lines.append({"interpreters": INTERPRETERS})
    told.write(1)
    return b"ready %d\n" % os.getpid()


def reporter():
    os.write(1, report()); GATE.acquire()  # noqa: E702: one line, which the test knows


# How many tasks just sleep, and how many wait for each other in a row.
SLEEPERS = 5000
CHAIN = 50
# The scene of the thread that runs the cast.
MAIN = rest


def run(scene):
    """Lets a thread report when all rests, and plays a scene in this one."""
    expect(2)
    threading.Thread(target=reporter, name="reporter", daemon=True).start()
    threading.Thread(target=ending, name="ending", daemon=True).start()
    LIVE.now = True
    scene()


def ending():
    coming_to_rest()
    os.read(0, 1)
    os._exit(0)
