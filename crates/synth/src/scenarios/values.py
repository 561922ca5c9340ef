"""Variables that hold objects of every kind."""

import collections
import dataclasses
import decimal
import enum
import pathlib


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


class Slotted:
    __slots__ = ("one", "two", "__weakref__")

    def __init__(self):
        self.one = 1


class Derived(Slotted):
    def __init__(self):
        super().__init__()
        self.three = [3]


class Stuffed(dict):
    pass


class Colour(enum.Enum):
    RED = 1


class Failure(Exception):
    def __init__(self, code):
        super().__init__("failed", code)
        self.code = code


Pair = collections.namedtuple("Pair", "left right")


def numbers_and_texts(first=1, *others, named=None, **rest_of_them):
    small, zero, negative = 7, 0, -5
    big, huge = 2**100, -(3**5000)
    real, not_a_number, endless = 1.5, float("nan"), float("-inf")
    complicated = 1 + 2j
    yes, no, nothing, dots, not_this = True, False, None, ..., NotImplemented
    ascii_text, latin, wide, astral = "text", "l\u00e4tin", "\u51fd\u6570", "\U0001d518"
    control, long_text, lone = "a\nb\x1b[31m\u202e\x00", "x" * 100000, "\ud800"
    raw, changing, view = b"\x00\xff", bytearray(b"abc" * 10000), memoryview(b"xyz")
    rest()
    return locals()


def collections_of_all():
    empty = ((), [], {}, set(), frozenset(), collections.deque())
    nested = [[[[[[[[[[1]]]]]]]]]]
    wide = list(range(10000))
    mixed = {1: "one", "two": 2, (3,): [3], None: {4}}
    many = {n: str(n) for n in range(5000)}
    texts = {str(n): n for n in range(300)}
    shrunk = dict.fromkeys(range(100))
    for n in range(90):
        del shrunk[n]
    several = set(range(1000))
    frozen = frozenset({"a", ("b",)})
    queue = collections.deque(range(500))
    counted = collections.Counter("abca")
    ordered = collections.OrderedDict(a=1)
    default = collections.defaultdict(list, a=[1])
    ring = []
    ring.append(ring)
    loop = {}
    loop["itself"] = loop
    pair = Pair(1, Pair(2, 3))
    rest()
    return locals()


def instances():
    point = Point(1, Point(2))
    slotted, derived, stuffed = Slotted(), Derived(), Stuffed(a=1)
    stuffed.more = 1
    crowded = Point(1)
    for n in range(200):
        setattr(crowded, "attribute%d" % n, n)
    failure, group = Failure(3), ValueError("a", 1)
    colour = Colour.RED
    path, amount = pathlib.PurePosixPath("/a/b"), decimal.Decimal("1.5")
    function, method, kind, module, builtin = instances, point.__eq__, Point, os, len
    generator = (n for n in range(3))
    cell_value = [1]

    def inner():
        free = cell_value
        rest()
        return free

    return inner()


def class_namespace():
    class Body:
        attribute = 1
        other = [attribute]
        rest()


def unbound():
    if not sys:
        never = 1
    deleted = 2
    del deleted
    for index in range(3):
        rest()
    return never


def unbound_or_not():
    try:
        unbound()
    except UnboundLocalError:
        pass


for scene in (numbers_and_texts, collections_of_all, instances, class_namespace, unbound_or_not):
    start(scene, warm_up=False)
