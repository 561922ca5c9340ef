"""Generators, coroutines driven by hand, and asynchronous generators."""

import types


def running():
    def generate():
        yield 1
        rest()
        yield 2

    for _ in generate():
        pass


def through_yield_from():
    def innermost():
        yield 1
        rest()
        return 3

    def middle(n):
        if n:
            got = yield from middle(n - 1)
        else:
            got = yield from innermost()
        return got

    def outer():
        yield from (value for value in middle(5))

    return list(outer())


def sent_to():
    def generate():
        got = yield
        if got:
            rest()
        yield

    generator = generate()
    next(generator)
    generator.send(1)
    generator.close()


def thrown_into():
    def inner():
        try:
            yield 1
        except ValueError:
            rest()

    def outer():
        yield from inner()

    generator = outer()
    next(generator)
    try:
        generator.throw(ValueError("thrown"))
    except StopIteration:
        pass


def closed():
    def generate():
        try:
            yield 1
        finally:
            rest()

    generator = generate()
    next(generator)
    generator.close()


def in_comprehension():
    def generate():
        for value in range(3):
            if value == 1:
                rest()
            yield value

    return [[inner for inner in generate()] for _ in range(1)]


def iterator_class():
    class Iterator:
        def __iter__(self):
            return self

        def __next__(self):
            rest()
            raise StopIteration

    def generate():
        yield from Iterator()

    return list(generate())


def by_c_code():
    def generate():
        yield 2
        rest()
        yield 1

    return max(zip(sorted(generate()), enumerate(generate())))


def suspended_ones_beside():
    def generate(n):
        yield n

    kept = [generate(n) for n in range(3)]
    for generator in kept:
        next(generator)
    rest()
    return kept


class Awaitable:
    def __await__(self):
        rest()
        yield 1
        return 2


@types.coroutine
def old_style():
    yield from Awaitable().__await__()


async def leaf():
    await old_style()


async def branch(n):
    if n:
        return await branch(n - 1)
    await leaf()


def by_hand():
    coroutine = branch(5)
    coroutine.send(None)
    coroutine.close()


async def numbers():
    yield 1
    rest()
    yield 2


async def consume():
    async for _ in numbers():
        pass
    return [value async for value in numbers()]


def drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value


def async_for():
    drive(consume())


class Manager:
    async def __aenter__(self):
        rest()

    async def __aexit__(self, *exception):
        await Nothing()


class Nothing:
    def __await__(self):
        return iter(())


async def managed():
    async with Manager():
        return 1


def async_with():
    drive(managed())


async def leaving():
    async with Leaving():
        raise ValueError("inside")


class Leaving:
    async def __aenter__(self):
        await Nothing()

    async def __aexit__(self, *exception):
        rest()
        return True


def async_exit():
    drive(leaving())


async def comprehension():
    return {key: 1 async for key in numbers()}


def async_comprehension():
    drive(comprehension())


for scene in (
    running,
    through_yield_from,
    sent_to,
    thrown_into,
    closed,
    in_comprehension,
    iterator_class,
    by_c_code,
    suspended_ones_beside,
    by_hand,
    async_for,
    async_with,
    async_exit,
    async_comprehension,
):
    start(scene)
