"""Calls of every kind, down to where the scene rests."""

import contextlib
import functools
import operator
import re
import types


def plain():
    def inner(
        first,
        second=2,
        *rest_of_them,
        named=3,
    ):
        return (
            rest(),
            first
            + second,
        )

    return inner(
        1,
        *[2, 3],
        named=4,
    )


start(plain)


def recursion():
    def down(n):
        if n:
            return down(n - 1) + 1
        rest()
        return 0

    assert down(50) == 50


start(recursion)


class Shapes:
    def __init__(self):
        rest()

    @classmethod
    def made_by_class(cls):
        return cls()

    @staticmethod
    def made_by_static():
        return Shapes.made_by_class()


start(Shapes.made_by_static, "class_instantiation")


def init_inside_init():
    class Inner:
        def __init__(self, value):
            self.value = value
            rest()

    class Outer:
        def __init__(self):
            self.inner = Inner(self)

    def make():
        return Outer()

    make()


start(init_inside_init)


class Meta(type):
    def __call__(cls, *arguments):
        made = super().__call__(*arguments)
        made.begin()
        return made


class Made(metaclass=Meta):
    def __new__(cls):
        return object.__new__(cls)

    def begin(self):
        rest()


def metaclass_call():
    return Made()


start(metaclass_call)


def new_that_rests():
    class New:
        def __new__(cls, value):
            rest()
            return object.__new__(cls)

    return New(1)


start(new_that_rests)


def traced(function):
    @functools.wraps(function)
    def wrapper(*arguments, **named):
        return function(*arguments, **named)

    return wrapper


@traced
@functools.lru_cache(maxsize=0)
@traced
def decorated(value=1):
    rest()
    return value


start(decorated, "decorated")


def decorator_itself():
    def decorate(function):
        rest()
        return function

    @traced
    @decorate
    def target():
        pass

    return target


start(decorator_itself)


def class_body():
    class Outer:
        attribute = 1

        class Inner:
            other = 2
            rest()

            def method(self):
                pass


start(class_body)


def class_keyword():
    class Base:
        def __init_subclass__(cls, **named):
            rest()

    class Derived(Base, option=1):
        pass


start(class_keyword)


class Described:
    def __get__(self, instance, owner):
        rest()
        return 1

    def __set__(self, instance, value):
        rest()

    def __set_name__(self, owner, name):
        self.name = name


class Owner:
    described = Described()

    @property
    def readable(self):
        return self.described

    @readable.setter
    def readable(self, value):
        rest()

    def __getattr__(self, name):
        rest()
        return 2

    def __getitem__(self, item):
        rest()
        return 3

    def __add__(self, other):
        rest()
        return 4

    def __eq__(self, other):
        rest()
        return True

    def __hash__(self):
        rest()
        return 5

    def __len__(self):
        rest()
        return 6

    def __bool__(self):
        rest()
        return True

    def __contains__(self, item):
        rest()
        return True

    def __call__(self, *arguments):
        rest()

    def __repr__(self):
        rest()
        return "Owner"

    def __iter__(self):
        rest()
        return iter(())

    def __enter__(self):
        rest()

    def __exit__(self, *exception):
        return False


def assign():
    Owner().readable = 1


def containing():
    return 1 in Owner()


def unpacking():
    first, *others = Owner(), *Owner()
    return first


def branch():
    if Owner():
        return 1


def formatted():
    return f"{1} {Owner()!r}"


SPECIAL = [
    ("property_get", lambda: Owner().readable),
    ("property_set", assign),
    ("getattr", lambda: Owner().missing),
    ("getitem", lambda: Owner()[1]),
    ("add", lambda: 1 + (Owner() + 2)),
    ("equal", lambda: Owner() == 2),
    ("key_of_dict", lambda: {Owner(): 1}),
    ("len", lambda: len(Owner())),
    ("branch", branch),
    ("contains", containing),
    ("called", lambda: Owner()(1, 2)),
    ("formatted", formatted),
    ("unpacking", unpacking),
    ("list_of", lambda: list(Owner())),
]
for label, special in SPECIAL:
    start(special, "special_" + label)


class Dying:
    def __init__(self, rests):
        self.rests = rests

    def __del__(self):
        self.rests()


def finalizer():
    dying = Dying(rest)
    del dying


def finalizer_at_return():
    def leave():
        dying = Dying(rest)
        return len(str(dying))

    leave()


start(finalizer)
start(finalizer_at_return)


@contextlib.contextmanager
def managed():
    rest()
    yield 1


def with_block():
    with contextlib.suppress(ValueError), managed() as value:
        return value


def with_body():
    with contextlib.ExitStack() as stack:
        stack.callback(len, ())
        with contextlib.nullcontext():
            rest()


def with_exit():
    class Leaving:
        def __enter__(self):
            return self

        def __exit__(self, *exception):
            rest()
            return True

    with Leaving():
        raise KeyError(1)


for scene in (with_block, with_body, with_exit):
    start(scene)


def comprehensions():
    rows = [[1, 2], [3]]
    return [
        {key: [rest() if key == 3 else key for _ in (1,)] for key in row}
        for row in rows
    ]


def set_comprehension():
    return {rest() for _ in range(1)}


def generator_expression():
    return sum(1 for value in (rest() or 1 for _ in range(1)) if value)


for scene in (comprehensions, set_comprehension, generator_expression):
    start(scene)


def by_exec():
    namespace = {"rest": rest}
    exec("def inner():\n    x = 1\n    rest()\n\n\ninner()\n", namespace)


def by_eval():
    eval("(lambda value: [rest() for _ in (value,)])(1)")


def by_compiled_lambda():
    code = compile("\n\n\n(lambda: (\nrest(),\n2))()", "ein Text \u00e4 <string>", "eval")
    eval(code)


def lambdas():
    return (lambda function: (lambda: function() or 1)())(lambda: rest())


for scene in (by_exec, by_eval, by_compiled_lambda, lambdas):
    start(scene)


def sorted_key():
    return sorted([3, 1], key=lambda value: rest() or value)


def mapped():
    return list(map(lambda value: rest(), filter(lambda value: value, [0, 1])))


def reduced():
    return functools.reduce(lambda left, right: rest() or left, [1, 2])


def substituted():
    return re.sub("b+", lambda match: rest() or "x", "abbb")


def partial():
    return functools.partial(functools.partial(lambda *values: rest(), 1), 2)()


def compared():
    def compare(left, right):
        rest()
        return left - right

    return max([1, 2], key=functools.cmp_to_key(compare))


def method_caller():
    return operator.methodcaller("begin")(Made.__new__(Made))


for scene in (sorted_key, mapped, reduced, substituted, partial, compared, method_caller):
    start(scene)


def through_c_and_back():
    def down(n):
        return sorted([n], key=lambda value: down(value - 1) if value else rest() or 0)

    down(10)


start(through_c_and_back)


def simple_namespace_module():
    module = types.ModuleType("made_up")
    module.rest = rest
    exec(compile("class A:\n  def f(self):\n    return rest()\nA().f()", "made_up.py", "exec"), vars(module))


start(simple_namespace_module)
