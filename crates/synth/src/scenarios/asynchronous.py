"""asyncio: loops at rest in every way, and tasks that wait for each other in every way."""

import asyncio
import gc
import inspect
import types

LINKS = hasattr(asyncio, "future_add_to_awaited_by")
STATES = {
    inspect.CORO_CREATED: "created",
    inspect.CORO_RUNNING: "running",
    inspect.CORO_SUSPENDED: "waiting",
}
PY_ALL = getattr(asyncio.tasks, "_py_all_tasks", asyncio.all_tasks)


def inner_of(awaitable):
    """The frame of a part of a coroutine chain, and the next part inwards."""
    for prefix, link in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
        if hasattr(awaitable, prefix + "_frame"):
            return getattr(awaitable, prefix + "_frame"), getattr(awaitable, link)
    if type(awaitable).__name__ in ("async_generator_asend", "async_generator_athrow", "coroutine_wrapper"):
        kinds = (types.CoroutineType, types.AsyncGeneratorType)
        held = [held for held in gc.get_referents(awaitable) if isinstance(held, kinds)]
        return None, held[0]
    return None, None


def coroutine_frames(coroutine):
    frames = []
    while coroutine is not None:
        frame, coroutine = inner_of(coroutine)
        if frame is not None:
            frames.append(frame)
    return frames[::-1]


class Loop:
    """An event loop in a thread of its own; `begin` is its first coroutine."""

    def __init__(self, begin, name=None, factory=None):
        self.loop = asyncio.new_event_loop()
        if factory:
            self.loop.set_task_factory(factory)
        self.begin = begin
        self.kept = []
        LOOPS.append(self)
        expect(1)
        self.thread = threading.Thread(target=self.run, name=name or begin.__name__, daemon=True)
        self.thread.start()

    def run(self):
        LIVE.now = True
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.begin(self))

    def tell(self, told):
        told.lines.append({"loop": {"address": id(self.loop), "ident": self.thread.ident}})
        # Python 3.14 and later know tasks that are written in Python only by Python's own function.
        for task in asyncio.all_tasks(self.loop) | PY_ALL(self.loop):
            coroutine = task.get_coro()
            if coroutine.cr_running:
                # It and all that it calls, as the thread has it.
                frames, frame = [], sys._current_frames()[self.thread.ident]
                while frame is not coroutine.cr_frame:
                    frames.append(frame)
                    frame = frame.f_back
                frames.append(frame)
            else:
                frames = coroutine_frames(coroutine)
            waiter = task._fut_waiter
            told.lines.append(
                {
                    "task": {
                        "address": id(task),
                        "loop": id(self.loop),
                        "name": text(task.get_name()),
                        "state": STATES[inspect.getcoroutinestate(coroutine)],
                        "frames": [told.frame(frame) for frame in frames],
                        "waits_for": waiter
                        and [id(waiter), type(waiter).__name__, isinstance(waiter, asyncio.Task)],
                        "awaited_by": awaited_by(task),
                    }
                }
            )


def awaited_by(task):
    """Who waits for a task; of tasks that are written in Python, nobody keeps it."""
    if LINKS and isinstance(task, asyncio.Task):
        return [id(waiter) for waiter in task._asyncio_awaited_by or ()]
    return None


async def sleep():
    await asyncio.sleep(100000)


async def sleepers(stage):
    for _ in range(SLEEPERS):
        stage.kept.append(asyncio.ensure_future(sleep()))
    await asyncio.sleep(0)
    coming_to_rest()
    await sleep()


Loop(sleepers)


async def nested(n):
    if n:
        await nested(n - 1)
    else:
        await sleep()


async def numbers():
    yield 1
    await nested(2)
    yield 2


async def iterate():
    async for number in numbers():
        await asyncio.sleep(0)


async def comprehend():
    return [number async for number in numbers()]


class Awaitable:
    def __init__(self, coroutine):
        self.coroutine = coroutine

    def __await__(self):
        return self.coroutine.__await__()


class Generating:
    def __await__(self):
        yield from sleep().__await__()


@types.coroutine
def old_style():
    yield from asyncio.sleep(100000).__await__()


async def wrapped():
    await Awaitable(nested(1))


async def generating():
    await Generating()


async def decorated():
    await old_style()


class Manager:
    async def __aenter__(self):
        await sleep()

    async def __aexit__(self, *exception):
        pass


async def managed():
    async with Manager():
        pass


async def handling():
    try:
        raise ValueError
    except ValueError:
        try:
            await sleep()
        finally:
            pass


async def closing():
    generator = numbers()
    await generator.__anext__()
    await generator.aclose()
    await generator_that_waits_when_closed()


async def generator_that_waits_when_closed():
    async def generate():
        try:
            yield 1
        finally:
            await sleep()

    generator = generate()
    await generator.asend(None)
    await generator.aclose()


async def shapes(stage):
    """A task for each shape of a coroutine chain."""
    for shape in (iterate, comprehend, wrapped, generating, decorated, managed, handling, closing):
        stage.kept.append(asyncio.ensure_future(shape()))
    stage.kept.append(asyncio.ensure_future(nested(100)))
    stage.kept.append(stage.loop.create_task(sleep(), name="l\u00e4tin \u51fd\u6570 \U0001d518 \n\x1b[31m"))
    stage.kept.append(stage.loop.create_task(sleep(), name="\u03a9" * 5000))
    stage.kept.append(stage.loop.create_task(sleep(), name=""))
    for _ in range(5):
        await asyncio.sleep(0)
    coming_to_rest()
    await sleep()


async def wait_for_task(box, key):
    await box[key]


async def links(stage):
    """Tasks that wait for tasks, straight and through what asyncio puts between them."""
    box = {}

    def task(name, coroutine):
        made = stage.loop.create_task(coroutine, name=name)
        stage.kept.append(made)
        return made

    box["a"] = task("cycle a", wait_for_task(box, "b"))
    box["b"] = task("cycle b", wait_for_task(box, "c"))
    box["c"] = task("cycle c", wait_for_task(box, "a"))
    box["leaf"] = task("leaf", sleep())
    for number in range(3):
        task("waiter %d" % number, wait_for_task(box, "leaf"))
    for number in range(CHAIN):
        box[number] = task("chain %d" % number, wait_for_task(box, number + 1))
    box[CHAIN] = task("chain end", sleep())

    async def gathers():
        await asyncio.gather(sleep(), asyncio.gather(sleep(), nested(2)))

    async def waits():
        await asyncio.wait({task("waited for", sleep()), box["leaf"]})

    async def waits_for():
        await asyncio.wait_for(task("with timeout", nested(1)), 100000)

    async def shields():
        await asyncio.shield(task("shielded", sleep()))

    async def takes():
        await asyncio.Queue().get()

    async def locks():
        lock = asyncio.Lock()
        await lock.acquire()
        async with lock:
            pass

    async def event():
        await asyncio.Event().wait()

    async def completed():
        for future in asyncio.as_completed([sleep(), sleep()]):
            await future

    async def own_future():
        await stage.loop.create_future()

    async def cancelling():
        try:
            await sleep()
        except asyncio.CancelledError:
            await sleep()

    for scene in (gathers, waits, waits_for, shields, takes, locks, event, completed, own_future):
        task(scene.__name__, scene())
    cancelled = task("cancelling", cancelling())
    ended = task("ended", asyncio.sleep(0))
    failed = task("failed", fail())
    for _ in range(3):
        await asyncio.sleep(0)
    cancelled.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert ended.done() and failed.done() and not cancelled.done()
    coming_to_rest()
    await sleep()


async def fail():
    raise ValueError("as it should")


async def running(stage):
    """A task that runs at this moment, and others that have not begun."""
    for number in range(3):
        stage.kept.append(stage.loop.create_task(nested(number), name="created %d" % number))
    await runs(3)


async def runs(n):
    if n:
        await runs(n - 1)
    else:
        plain_function()


def plain_function():
    rest()


async def in_callback(stage):
    """A loop at rest in a callback: no task runs."""
    stage.loop.call_soon(rest)
    await sleep()


async def running_generator(stage):
    """A task that runs inside an asynchronous generator inside a comprehension."""

    async def generate():
        yield 1
        rest()
        yield 2

    return [number async for number in generate()]


def python_tasks(loop, coroutine, **named):
    """Makes tasks that are written in Python."""
    return asyncio.tasks._PyTask(coroutine, loop=loop, **named)


for scene in (shapes, links, running, in_callback, running_generator):
    Loop(scene)
for scene in (shapes, links, running):
    Loop(scene, name="pure Python " + scene.__name__, factory=python_tasks)
