"""Writes over structures of its own interpreter, and puts them right again soon afterwards.

Its threads wait and its tasks sleep, so nothing but the one thread that writes uses what is written
over; it may crash all the same, now and then. The argument is the seed of its choices. It begins
when a line arrives on its standard input.
"""

import asyncio
import ctypes
import gc
import random
import sys
import threading

gc.disable()
gc.freeze()
choose = random.Random(int(sys.argv[1]))
gate = threading.Lock()
gate.acquire()
started = threading.Semaphore(0)
frames = []


class Thing:
    def __init__(self, value):
        self.value = value
        self.name = "a name of %r" % (value,)


def generate(n):
    thing, table, texts = Thing(n), {"key": n, n: "v\u00e4lue"}, ["text"] * 5 + ["\u51fd" * 40]
    number, items = 3**200, {1, 2, (n, "three")}
    for value in range(n):
        frames.append((sys._getframe(), thing, table, texts, number, items))
        started.release()
        gate.acquire()
        yield value


def down(n):
    return down(n - 1) if n else list(generate(3))


async def nested(n):
    if n:
        return await nested(n - 1)
    await asyncio.sleep(100000)


async def asynchronous():
    tasks = [asyncio.ensure_future(nested(n)) for n in range(10)]
    tasks.append(asyncio.ensure_future(gathers(tasks)))
    for _ in range(3):
        await asyncio.sleep(0)
    frames.append((None, *tasks))
    started.release()
    await asyncio.sleep(100000)


async def gathers(tasks):
    await asyncio.gather(*tasks[:5])


for n in range(6):
    threading.Thread(target=down, args=(n * 5,), daemon=True).start()
    started.acquire()
threading.Thread(target=lambda: asyncio.new_event_loop().run_until_complete(asynchronous()), daemon=True).start()
started.acquire()


def size_of(thing):
    # What follows may be what the writing thread uses: no byte more than there is.
    outside = isinstance(thing, (dict, list, set))
    return max(16, min(type(thing).__basicsize__ if outside else thing.__sizeof__(), 600))


def places():
    """Where structures lie that nothing uses while all rests, with their sizes."""
    found = []
    api = ctypes.pythonapi
    for name in ("PyThreadState_Get", "PyInterpreterState_Head", "PyInterpreterState_ThreadHead", "PyThreadState_Next"):
        getattr(api, name).restype = ctypes.c_void_p
    own = api.PyThreadState_Get()
    thread = api.PyInterpreterState_ThreadHead(ctypes.c_void_p(api.PyInterpreterState_Head()))
    while thread:
        if thread != own:
            found.append((thread, 300))
        thread = api.PyThreadState_Next(ctypes.c_void_p(thread))
    for frame, *things in frames:
        while frame is not None:
            code = frame.f_code
            found.append((id(frame), size_of(frame)))
            found += [(id(part), size_of(part)) for part in (code.co_consts, code.co_varnames)]
            if code.co_name in ("down", "generate"):
                found += [(id(part), size_of(part)) for part in (code, code.co_name, code.co_filename)]
            if sys.version_info >= (3, 11):
                # The frame proper, which the frame object points to.
                inner = ctypes.c_void_p.from_address(id(frame) + object.__basicsize__ + 8).value
                found.append((inner, 88))
            frame = frame.f_back if code.co_name in ("down", "generate") else None
        for thing in things:
            found.append((id(thing), size_of(thing)))
            if isinstance(thing, dict):
                # Its keys, which it points to.
                keys = ctypes.c_void_p.from_address(id(thing) + object.__basicsize__ + 16).value
                found.append((keys, 100))
            if isinstance(thing, asyncio.Task):
                found.append((id(thing.get_coro()), size_of(thing.get_coro())))
            if isinstance(thing, Thing):
                found.append((id(thing.name), size_of(thing.name)))
    return found


HUGE = [2**64 - 1, 2**63 - 1, 2**63, 2**31, 2**47, 2**20, 4096]


def value(old, addresses, huge, choose):
    kind = choose.randrange(6)
    if kind == 0:
        return choose.choice(addresses)
    if kind == 1:
        return choose.randrange(64)
    if kind == 2:
        return choose.choice(huge)
    if kind == 3:
        return old ^ (1 << choose.randrange(64))
    if kind == 4:
        return choose.getrandbits(64)
    return (old + choose.randrange(-64, 64)) % 2**64


def scribble(places, huge, choose, value, word_at, range):
    # All that it uses is in variables of its own: a look-up among the module's names would compare
    # with those of the functions that it writes over.
    addresses = [address for address, _ in places]
    while True:
        written = []
        for _ in range(choose.randrange(1, 6)):
            address, size = choose.choice(places)
            # Not the reference count: it would be used when this thread lets go of the object.
            word = address + 8 * choose.randrange(1, size // 8)
            old = word_at(word).value
            written.append((word, old))
            word_at(word).value = value(old, addresses, huge, choose)
        for _ in range(choose.randrange(3000)):
            pass
        for word, old in reversed(written):
            word_at(word).value = old


print("ready", flush=True)
sys.stdin.readline()
scribble(places(), HUGE, choose, value, ctypes.c_uint64.from_address, range)
