# Tasks of every state, with names of every kind, awaiting by every means.
import types as _types


class Awaitable:
    def __init__(self, inner):
        self.inner = inner

    def __await__(self):
        return self.inner.__await__()


class Generating:
    def __init__(self, inner):
        self.inner = inner

    def __await__(self):
        yield from self.inner


@_types.coroutine
def by_generator(inner):
    yield from inner


@_types.coroutine
def bare(iterator):
    for _ in iterator:
        yield


async def values(future):
    yield 1
    await future
    yield 2


async def through(generator):
    async for value in generator:
        pass


async def nested(depth, future):
    if depth:
        await nested(depth - 1, future)
    else:
        await future


async def closing(future):
    generator = finishing(future)
    await generator.__anext__()
    await generator.aclose()


async def finishing(future):
    try:
        yield 1
    finally:
        await future


async def sending(future):
    generator = values(future)
    await generator.asend(None)
    await generator.asend(None)


async def default(future):
    generator = values(future)
    await generator.__anext__()
    await anext(generator, None)


async def sleeping():
    await asyncio.sleep(1000)


async def managed(future):
    class Manager:
        async def __aenter__(self):
            await future

        async def __aexit__(self, *_):
            pass

    async with Manager():
        pass


async def returning():
    return 1


async def main(own):
    loop = own.loop
    future = lambda: loop.create_future()
    kept = own.tasks

    def start(name, coroutine):
        kept[name] = loop.create_task(coroutine)
        kept[name].set_name(name)

    start("sleeping", sleeping())
    start("nested", nested(60, future()))
    start("awaitable", through_awaitable(Awaitable(nested(1, future()))))
    start("generating", through_awaitable(Generating(by_generator(nested(1, future()).__await__()))))
    start("generator based", through_awaitable(by_generator(future())))
    start("asynchronous generator", through(values(future())))
    start("comprehension", comprehension(values(future())))
    start("closing", closing(future()))
    start("sending", sending(future()))
    start("managed", managed(future()))
    start("finally", in_finally(future()))
    start("except", in_except(future()))
    if hasattr(__builtins__, "anext"):
        start("default", default(future()))
    start("ünïcödé", sleeping())
    start("名前\U0001f40d", sleeping())
    start("", sleeping())
    start("x" * 5000, sleeping())
    start("é" * 5000, sleeping())
    start("line\nbreak \x1b[31m", sleeping())
    kept["unnamed"] = loop.create_task(sleeping())
    kept["done"] = loop.create_task(returning())
    kept["failed"] = loop.create_task(failing())
    kept["cancelled"] = loop.create_task(sleeping())
    await asyncio.sleep(0)
    kept["cancelled"].cancel()
    await asyncio.wait([kept["done"], kept["failed"], kept["cancelled"]])
    kept["failed"].exception()
    own.ready = True
    await future()


async def through_awaitable(awaitable):
    await awaitable


async def comprehension(generator):
    return [value async for value in generator]


async def in_finally(future):
    try:
        pass
    finally:
        await future


async def in_except(future):
    try:
        raise ValueError
    except ValueError:
        await future


async def failing():
    raise KeyError("no")


own = Loop(main)
done = [own.tasks[name] for name in ("done", "failed", "cancelled")]
tell([own.both()], done=done)
ready()
