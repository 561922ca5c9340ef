# Stands in frames of every kind at once, each in a call of the one before.
import sys


def positional(first, second, /, third, fourth=4, *rest, only, other="o", **more):
    local = first + second
    if not local:
        unbound = 1
    gone = 1
    del gone
    arguments(only=local)


def arguments(*args, **kwargs):
    closures("captured", 2)


def closures(argument, plain):
    shared = ["shared"]
    later = None
    del later

    def inner(own):
        nonlocal shared
        mine = own

        def innermost():
            return later, mine, argument

        comprehension(innermost and 5)
        return shared, argument, later

    inner(plain)
    later = 1


def comprehension(number):
    return [namespaces(each, number) for each in ("item",)]


def namespaces(each, number):
    class Body:
        attribute = each
        __hidden__ = 1
        method = lambda self: __class__
        before(attribute)
        after = 1


def before(value):
    scope = {"given": value, "__name__": "made up", 5: "no name"}
    exec("result = given * 2\nrun(result)", {"run": generators}, scope)


def generators(value):
    def generator(start):
        inside = start
        yield coroutine(inside)

    list(generator(value))


def coroutine(value):
    async def waiting(awaited):
        result = await deeper(awaited)

    async def deeper(argument):
        Base().go(argument)

    waiting(value).send(None)


class Base:
    def go(self, value):
        Derived().go(value)


class Derived(Base):
    def go(self, value):
        swap = None

        def cell_argument(value):
            def deep():
                return value, self

            last(deep)

        swap = super().__init__
        del swap
        cell_argument(value)


def last(function):
    print("ready", flush=True)
    sys.stdin.read()


MODULE_NAME = "module"
[positional(1, 2, 3, only=(hidden,), extra=7) for hidden in (6,)]
