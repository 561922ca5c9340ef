# Prints, for objects of every kind, where each is and what it holds, as `shown` in tests/values.rs
# writes it.
import builtins, collections, datetime, decimal, enum, functools, fractions, gc, re, struct, sys
import pathlib, threading, types, uuid, weakref
from collections import OrderedDict, defaultdict, deque, namedtuple

MEMBERS = type(types.FunctionType.__dict__["__globals__"])


def name_of(kind):
    """`tp_name`, or of a class made by Python code its qualified name."""
    by_python = kind.__module__ in PYTHON_MODULES or kind is collections.Counter
    if by_python or kind.__module__ == "builtins":
        return kind.__qualname__
    return kind.__module__ + "." + kind.__qualname__


PYTHON_MODULES = [
    "__main__", "uuid", "pathlib", "pathlib._local", "enum", "fractions", "threading", "abc",
    "typing",
]


def text(string):
    parts = []
    for character in string:
        code = ord(character)
        if 0xD800 <= code < 0xE000:
            code += 0x100000
        if 32 <= code < 127 and character not in '"\\':
            parts.append(character)
        else:
            units = chr(code).encode("utf-16-be")
            parts += ["\\u%02x%02x" % pair for pair in zip(units[::2], units[1::2])]
    return '"%s"' % "".join(parts)


def slots(each):
    bases, kind = [], type(each)
    while kind:
        bases.insert(0, kind)
        kind = kind.__base__
    for base in bases:
        for name, member in vars(base).items():
            if type(member) is MEMBERS and base.__module__ in PYTHON_MODULES:
                try:
                    yield name, member.__get__(each)
                except AttributeError:
                    pass


def attributes(each):
    yield from slots(each)
    for name, value in getattr(each, "__dict__", {}).items():
        yield (name if isinstance(name, str) else "<%#x>" % id(name)), value


def show(each, *outer):
    return name_of(type(each)) + ":" + contents(each, *outer)


def contents(each, *outer):
    if id(each) in outer:
        return "^%d" % (outer.index(id(each)) + 1)
    outer = (id(each),) + outer
    # A proxy pretends to be what it stands for.
    if type(each) in PROXIES:
        return "<to=%s>" % show(PROXIED[id(each)], *outer)

    def row(items):
        return ", ".join(show(item, *outer) for item in items)

    def named(pairs):
        return "<%s>" % ", ".join("%s=%s" % (name, show(value, *outer)) for name, value in pairs)

    if isinstance(each, enum.Enum):
        return named(attributes(each))
    if isinstance(each, type):
        return "@" + name_of(each)
    if isinstance(each, BaseException):
        return "(%s)" % row(each.args) + named(list(members(each)) + list(attributes(each)))
    if each is None or isinstance(each, bool):
        return repr(each)
    if isinstance(each, int):
        return int.__repr__(each)
    if isinstance(each, float):
        return struct.pack(">d", each).hex()
    if isinstance(each, complex):
        return struct.pack(">dd", each.real, each.imag).hex()
    if isinstance(each, str):
        return text(str(each) if type(each) is str else "".join(each))
    if isinstance(each, (bytes, bytearray)):
        return bytes(each).hex()
    if isinstance(each, tuple) and hasattr(type(each), "_fields"):
        return named(zip(type(each)._fields, each))
    if isinstance(each, tuple):
        return "(%s)" % row(tuple.__iter__(each))
    if isinstance(each, list):
        return "[%s]" % row(list.__iter__(each))
    if isinstance(each, frozenset):
        return "f{%s}" % row(each)
    if isinstance(each, set):
        return "{%s}" % row(each)
    if isinstance(each, deque):
        return "d[%s]" % row(each)
    if isinstance(each, NDFrame) and extents(each):
        return "None Some(%s)" % extents(each)
    if isinstance(each, weakref.ref):
        return named([("to", each())] + list(attributes(each)))
    if isinstance(each, types.MappingProxyType):
        (mapping,) = gc.get_referents(each)
        return contents(mapping, *outer) if type(mapping) is dict else named([("mapping", mapping)])
    if isinstance(each, (type({}.keys()), type({}.values()))):
        return "[%s]" % row(each)
    if isinstance(each, type({}.items())):
        return contents(dict(each), *outer)
    if isinstance(each, DICTS):
        pairs = each.items() if not isinstance(each, dict) else dict.items(each)
        return "{%s}" % ", ".join(
            "%s: %s" % (show(key, *outer), show(value, *outer)) for key, value in pairs
        )
    if isinstance(each, types.ModuleType):
        return "@" + each.__name__
    if isinstance(each, types.MethodType):
        function = each.__func__
        is_plain = isinstance(function, types.FunctionType)
        return "@" + (function.__qualname__ if is_plain else type(function).__name__)
    if isinstance(each, types.BuiltinFunctionType):
        return "@" + each.__name__
    if isinstance(each, types.CodeType):
        return "@" + getattr(each, "co_qualname", each.co_name)
    if isinstance(each, (types.FunctionType, types.GeneratorType, types.CoroutineType)):
        return "@" + each.__qualname__
    if isinstance(each, (datetime.date, datetime.time)):
        return "@" + each.isoformat()
    if isinstance(each, (datetime.timedelta, decimal.Decimal)):
        return "@" + str(each)
    if isinstance(each, (range, slice)):
        return named((name, getattr(each, name)) for name in ("start", "stop", "step"))
    if isinstance(each, functools.partial):
        return named([("func", each.func), ("args", each.args), ("keywords", each.keywords)])
    if type(each) in OPAQUE:
        return "?"
    return named(attributes(each))


DICTS = (dict, getattr(builtins, "frozendict", dict))
OPAQUE = [object, type(...), type(NotImplemented), type(iter([])), type(threading.Lock())]
PROXIES = (weakref.ProxyType, weakref.CallableProxyType)
# What proxies stand for, by where they are.
PROXIED = {}


def members(failure):
    if isinstance(failure, OSError):
        names = ["errno", "strerror", "filename", "filename2"]
    elif isinstance(failure, StopIteration):
        names = ["value"]
    else:
        names = []
    for name in names:
        # What was never set is told from what is None by nothing but the memory.
        if getattr(failure, name) is not None or name == "value":
            yield name, getattr(failure, name)


class Plain:
    def __init__(self, *values):
        for name, value in zip("abcdef", values):
            setattr(self, name, value)

    def method(self):
        pass


class Child(Plain):
    pass


class Slots:
    __slots__ = ("z", "y", "__private")

    def __init__(self):
        self.y = 1
        self.__private = "p"


class MoreSlots(Slots):
    __slots__ = ("x", "w")


class SlotsAndDict(MoreSlots):
    pass


class SlotsWithDict:
    __slots__ = ("a", "__dict__", "__weakref__")


class Meta(type):
    pass


class WithMeta(metaclass=Meta):
    class Inner:
        pass


class Loud:
    def __repr__(self):
        print("something ran", flush=True)
        return "loud"

    __str__ = __hash__ = __bool__ = __len__ = __repr__

    def __getattr__(self, name):
        print("something ran", flush=True)
        raise AttributeError(name)

    @property
    def prop(self):
        print("something ran", flush=True)

    def __init__(self):
        object.__setattr__(self, "quiet", 1)


class NDFrame:
    """Looks like the tables of pandas. Each axis is a range."""

    def __init__(self, *axes):
        ranges = [types.SimpleNamespace(_range=axis) for axis in axes]
        self._mgr = types.SimpleNamespace(blocks=(), axes=ranges)


class DataFrame(NDFrame):
    pass


class Mixin:
    pass


class Series(Mixin, NDFrame):
    pass


def extents(table):
    axes = table._mgr.axes if hasattr(table, "_mgr") else []
    known = len(axes) in (1, 2) and all(type(axis._range) is range for axis in axes)
    return [len(axis._range) for axis in reversed(axes)] if known else None


class Mapping:
    def __getitem__(self, name):
        raise KeyError(name)


class MyReference(weakref.ref):
    __slots__ = ("key",)


class MyInt(int):
    pass


class MyFloat(float):
    pass


class MyStr(str):
    pass


class MyBytes(bytes):
    pass


class MyTuple(tuple):
    pass


class MyList(list):
    pass


class MyDict(dict):
    pass


class MySet(set):
    pass


class MyDeque(deque):
    pass


class Color(enum.Enum):
    RED = 1
    BLUE = "blue"


class Number(enum.IntEnum):
    ONE = 1


class Bits(enum.Flag):
    A = 1
    B = 2


class Failure(Exception):
    pass


Point = namedtuple("Point", "x y")


class Point3(Point):
    __slots__ = ()


def generator():
    yield


async def coroutine():
    pass


def with_attributes(each, **values):
    vars(each).update(values)
    return each


def failure(kind, *args, **values):
    try:
        raise kind(*args)
    except BaseException as error:
        return with_attributes(error, **values)


def materialized(each):
    each.__dict__
    return each


def without(each, *names):
    for name in names:
        delattr(each, name)
    return each


def changed(each, **values):
    for name, value in values.items():
        setattr(each, name, value)
    return each


def replaced(each, values):
    each.__dict__ = values
    return each


def rotated(items, *ways):
    each = deque(items)
    for way in ways:
        each.rotate(way)
    return each


def less(each, remove, gone):
    for item in gone:
        remove(each, item)
    return each


def crowded():
    return changed(Plain(1), **{"attribute%d" % number: number for number in range(60)})


def many_classes():
    # Keys are shared by instances that set attributes in different orders.
    one, other, third = Child(1, 2, 3), Child(), Child()
    other.c, other.a, other.b = 3, 1, 2
    third.b = 2
    del third.b
    third.a, third.b = 1, 22
    return [one, other, third]


def proxy(each):
    made = weakref.proxy(each)
    PROXIED[id(made)] = each
    return made


referent = Plain(1, "two")
referent.b = weakref.ref(referent)
viewed = {"a": 1, 2: ["x"]}
viewed["all"] = viewed.values()

recursive_list = [1]
recursive_list.append(recursive_list)
recursive_dict = {}
recursive_dict["self"] = [recursive_dict]
recursive_instance = Plain()
recursive_instance.a = (recursive_instance, {"again": recursive_instance})

utc = datetime.timezone.utc
zone = datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))

ZOO = [
    None, True, False, ..., NotImplemented, object(),
    0, 1, -1, 255, 2**15, 2**30 - 1, 2**30, -(2**30), 2**31, 2**60, 2**63, -(2**64), 10**100,
    -(10**500), 7**1000, MyInt(0), MyInt(-5), MyInt(2**70),
    0.0, -0.0, 1.5, -1e300, 5e-324, float("nan"), float("inf"), -float("inf"), MyFloat(2.5),
    1j, complex(-0.0, float("inf")),
    "", "a", "plain text", "\x00\x01\x7f\"'\\", "caf\xe9", "\xff", "\u03a9mega", "\ud800x\udfff",
    "\U0001f600", "mixed \xe9 \u03a9 \U0001f600", "long " * 1000, "\u03a9" * 3000, MyStr("sub"),
    MyStr("s\xfcb"), MyStr("\u03a9"), sys.intern("interned"),
    b"", b"bytes", b"\x00\xff", bytes(range(256)), bytearray(), bytearray(b"array"), MyBytes(b"x"),
    bytearray(b"0123456789")[5:], less(bytearray(b"0123456789"), bytearray.remove, b"012"),
    (), (1,), (1, ("two", (3.0,))), [], [1, None, "x"], [[], [[]], [[[]]]], [()] * 3,
    MyTuple(), MyTuple((1, 2)), MyList(), MyList([1]), MyDict(), MyDict(a=1), MySet([1]),
    MyDeque([1, 2], 5),
    set(), {1}, {1, "a", None, (2,)}, set(range(100)), frozenset(), frozenset("abc"),
    less(set(range(100)), set.remove, range(90)), less({1, 2, 3}, set.remove, [1, 2, 3]),
    {}, {"a": 1}, {1: "x", None: 2, (3,): {4.0}}, {"k%d" % n: n for n in range(200)},
    dict.fromkeys(range(300)),
    less({n: n for n in range(100)}, dict.pop, range(95)),
    less({"k%d" % n: n for n in range(20)}, dict.pop, ["k0", "k19", "k7"]),
    less({"gone": 1}, dict.pop, ["gone"]), {**{"s": 1}, 2: "mixed"},
    OrderedDict([("b", 1), ("a", 2)]), defaultdict(list, x=[1]), collections.Counter("aab"),
    deque(), deque([1]), deque(range(64)), deque(range(200)), deque("abc", maxlen=2),
    rotated(range(100), 30, -50, 7), rotated(range(64), 64), rotated(range(3), 1, 1),
    less(deque(range(150)), lambda each, _: each.popleft(), range(100)),
    less(deque(range(70)), lambda each, _: each.pop(), range(69)),
    recursive_list, recursive_dict, recursive_instance,
    Plain(), Plain(1, "two", [3]), materialized(Plain(1, 2)), without(Plain(1, 2, 3), "b"),
    without(materialized(Plain(1, 2, 3)), "a"), changed(without(Plain(1, 2), "a"), a=9, new=0),
    replaced(Plain(1), {"other": 2}), replaced(Plain(), {5: 1, "x": 2}), crowded(), many_classes(),
    materialized(crowded()), changed(materialized(Plain(1)), late=2), Loud(),
    Slots(), MoreSlots(), changed(MoreSlots(), z=0, w=[1]), SlotsAndDict(),
    changed(SlotsAndDict(), free="dict", x=1), SlotsWithDict(), changed(SlotsWithDict(), a=1, b=2),
    WithMeta(), WithMeta.Inner(), with_attributes(types.SimpleNamespace(), a=1),
    Point(1, 2), Point3("x", ("y",)), Point(Point(1, 2), None),
    Color.RED, Color.BLUE, Number.ONE, Bits.A, Bits.B,
    ValueError(), ValueError("why", 2), KeyError("k"), failure(Failure, 1, [2]),
    failure(Failure, "x", detail={"a": 1}), FileNotFoundError(2, "no", "file"), OSError("plain"),
    StopIteration(5), failure(ZeroDivisionError, "z", __notes__=["a note"]),
    type, int, Plain, Slots, Color, Meta, WithMeta, WithMeta.Inner, OrderedDict, Failure, deque,
    len, "".join, show, Plain.method, Plain().method, [].append, lambda: 0, sys, generator,
    generator(), coroutine(), show.__code__, functools.partial(print, 1, end=""),
    types.MethodType(len, []), re,
    range(5), range(-1, 10**30, 3), slice(None), slice(1, "a", 3), iter([]),
    referent, weakref.ref(referent), weakref.ref(Plain()), weakref.ref(show, print),
    changed(MyReference(referent), key=5), proxy(referent), proxy(show),
    types.MappingProxyType({}), types.MappingProxyType({"a": [1]}),
    types.MappingProxyType(Mapping()),
    DataFrame(range(3), range(1000)), Series(range(5, 50, 7)), DataFrame(range(0), range(9, -9, -4)),
    Series(range(5, 1)), DataFrame(), DataFrame(range(1), range(2), range(3)), Series(7),
    Series("axis"), without(Series(range(1)), "_mgr"), [Series(range(1)), Series(range(2))],
    {}.keys(), {}.values(), {}.items(), viewed.values(), {"a": 1, 2: None}.keys(),
    {"a": 1, 2: None}.items(), less({1: 2, 3: 4}, dict.pop, [1]).items(), OrderedDict(a=1).keys(),
    threading.Lock(),
    datetime.date(1, 2, 3), datetime.datetime(2024, 12, 31, 23, 59, 58, 7),
    datetime.datetime(9999, 1, 1), datetime.time(1, 2), datetime.time(23, 59, 59, 999999, utc),
    datetime.datetime(2000, 1, 1, tzinfo=utc), datetime.datetime(2000, 1, 1, tzinfo=zone),
    datetime.timedelta(), datetime.timedelta(5, 6, 7), datetime.timedelta(-1),
    datetime.timedelta(days=-400, microseconds=1), datetime.timedelta(1),
] + [
    decimal.Decimal(number)
    for number in (
        "0 -0 1 -1.50 1E+3 1E-3 0.000001 0.0000001 -0.00 123456789012345678901234567890.12 "
        "1e-400 1E+10 0E+5 0E-10 NaN -Infinity 5e2 100"
    ).split()
] + [fractions.Fraction(1, 3), uuid.UUID(int=5)]
if hasattr(builtins, "frozendict"):
    ZOO.append(frozendict({"a": 1, 2: [3]}))
if sys.version_info >= (3, 10):
    import dataclasses

    @dataclasses.dataclass(slots=True)
    class Data:
        x: int
        name: str = "n"

    ZOO.append(Data(1))

for each in ZOO:
    print("value", id(each), show(each))

# Strings that are described by wchar_t until somebody looks at them.
if sys.version_info < (3, 12):
    import ctypes

    make = ctypes.pythonapi.PyUnicode_FromUnicode
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_ssize_t]
    characters = ctypes.pythonapi.PyUnicode_AsUnicode
    characters.restype, characters.argtypes = ctypes.c_void_p, [ctypes.py_object]
    fresh = [make(None, 5)]
    ctypes.memmove(characters(fresh[0]), "w\xefde\U0001f600".encode("utf-32-le"), 20)
    print("value", id(fresh[0]), "str:" + text("w\xefde\U0001f600"))
path = pathlib.PurePosixPath("/some/where")
big = {
    "list": list(range(100_000)), "tuple": (None,) * 100_000, "set": set(range(100_000)),
    "dict": dict.fromkeys(range(100_000)), "str": "x" * 100_000, "bytes": b"y" * 100_000,
    "deque": deque(range(100_000)), "int": 1 << 100_000, "negative": -(1 << 1000),
    "instance": crowded(), "args": ValueError(*range(100)), "path": path,
    "keys": dict.fromkeys(range(100_000)).keys(),
    "deep": functools.reduce(lambda inner, _: [inner], range(10_000), []),
    "wide": [[number] * 10 for number in range(100)],
}
print("big", *(id(value) for value in big.values()))
print("ready", flush=True)
sys.stdin.read()
