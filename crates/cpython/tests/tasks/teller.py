"""Tells what this process knows of its own tasks, for a reader to hold against what it finds.

A program defines what it wants and calls `tell`. Everything is told as lines of words between
tabs; text that may hold anything as the hexadecimal digits of its UTF-8.
"""

import asyncio
import gc
import inspect
import sys
import threading
import types

# The number of the interpreter that this runs in.
INTERPRETER = 0

PASSING_ON = ("coroutine_wrapper", "async_generator_asend", "async_generator_athrow",
              "anext_awaitable")
GENERATORS = (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)


def frame_of(generator):
    for prefix in ("cr", "gi", "ag"):
        if hasattr(generator, prefix + "_frame"):
            return prefix, getattr(generator, prefix + "_frame")


def coroutines(coroutine):
    """The frames from a coroutine in to where it waits, innermost first."""
    frames = []
    while coroutine is not None:
        if type(coroutine).__name__ in PASSING_ON:
            inner = gc.get_referents(coroutine)
            coroutine = next((o for o in inner if isinstance(o, GENERATORS)
                              or type(o).__name__ in PASSING_ON), None)
            continue
        if not isinstance(coroutine, GENERATORS):
            break
        prefix, frame = frame_of(coroutine)
        if frame is not None:
            frames.insert(0, frame)
        waits = {"cr": "cr_await", "gi": "gi_yieldfrom", "ag": "ag_await"}[prefix]
        coroutine = getattr(coroutine, waits)
    return frames


def running(task, frame):
    """The frames from this one out to a task's coroutine."""
    frames = []
    own = frame_of(task.get_coro())[1]
    while frame is not None:
        frames.append(frame)
        if frame is own:
            return frames
        frame = frame.f_back
    raise AssertionError("the task does not run here")


def state(task, current):
    if task.done():
        return "Done"
    if task in current:
        return "Running"
    coroutine = task.get_coro()
    if isinstance(coroutine, types.CoroutineType):
        if inspect.getcoroutinestate(coroutine) == "CORO_CREATED":
            return "Created"
    return "Waiting"


def number(o):
    return id(o) if o is not None else 0


def hexadecimal(text):
    return text.encode("utf-8").hex()


def lines_of(frame):
    code = frame.f_code
    return "%s|%s|%d" % (code.co_name, hexadecimal(code.co_filename), frame.f_lineno)


def waiter(task):
    return getattr(task, "_fut_waiter", None)


def tell_task(task, current, here, thread):
    stack = running(task, here) if task in current else coroutines(task.get_coro())
    if task.done():
        stack = []
    awaiters = getattr(task, "_asyncio_awaited_by", None) or ()
    waits = waiter(task)
    print("task", number(task), state(task, current), number(task.get_loop()), thread or 0,
          number(waits), type(waits).__name__ if waits is not None else "-",
          ",".join(str(number(a)) for a in awaiters) or "-",
          ";".join(map(lines_of, stack)) or "-",
          hexadecimal(task.get_name()), INTERPRETER, sep="\t")


def tell_future(future):
    awaiters = getattr(future, "_asyncio_awaited_by", None) or ()
    print("future", number(future), ",".join(str(number(a)) for a in awaiters) or "-", sep="\t")


def tell(loops, edges=(), done=(), current=(), futures=(), others=(), here=None):
    """Tells of all tasks of `loops` (pairs of a loop and the number of the thread it runs in), of
    those in `others` that `all_tasks` leaves out, and of `done` ones that are kept. `edges` are
    pairs of a task and one that waits for it, be it through other futures. The tasks in `current`
    run, the innermost of them in the frame `here`."""
    for loop, thread in loops:
        tasks = set(asyncio.all_tasks(loop))
        tasks.update(task for task in others if task.get_loop() is loop)
        tasks.update(task for task in done if task.get_loop() is loop)
        for task in tasks:
            tell_task(task, current, here, thread)
    for future in futures:
        tell_future(future)
    for task, awaiter in edges:
        print("edge", number(task), number(awaiter), sep="\t")


def settle(loop, done):
    """From another thread: waits until nothing is left to do in a loop but to wait."""
    settled = threading.Event()

    def look():
        # This one is running, so nothing else is ready where none of the others is.
        if done() and not [h for h in loop._ready if not h._cancelled]:
            settled.set()
        else:
            loop.call_later(0.001, look)

    loop.call_soon_threadsafe(look)
    assert settled.wait(60)


class Loop:
    """An event loop in a thread of its own, with the coroutine `main` as its first task."""

    def __init__(self, main, name=None, factory=None):
        self.started = threading.Event()
        self.tasks = {}
        self.ready = False
        self.thread = threading.Thread(target=self.run, args=(main, name, factory), daemon=True)
        self.thread.start()
        assert self.started.wait(60)
        settle(self.loop, lambda: self.ready)

    def run(self, main, name, factory):
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        if factory:
            self.loop.set_task_factory(factory)
        self.native_id = threading.get_native_id()
        task = self.loop.create_task(main(self))
        if name:
            task.set_name(name)
        self.tasks["main"] = task
        self.loop.call_soon(self.started.set)
        self.loop.run_forever()

    def both(self):
        return self.loop, self.native_id


def ready():
    print("ready", flush=True)
    sys.stdin.read()


def stay(loops, current, told=lambda: print("ready", flush=True)):
    """Tells what there is while `current` run, and stays so: in this function."""
    tell(loops, current=current, here=sys._getframe(1))
    sys.stdout.flush()
    told()
    sys.stdin.read()
