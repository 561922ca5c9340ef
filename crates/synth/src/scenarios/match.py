"""What only Python 3.10 and later can say."""


class Point:
    __match_args__ = ("x", "y")

    def __init__(self, x, y):
        self.x = x
        self.y = y


class Guard:
    def __eq__(self, other):
        rest()
        return True


class Space:
    guard = Guard()


def match_value():
    match Point(1, 2):
        case Point(x=Space.guard):
            return 1


def match_guard():
    match {"a": [1, 2, Point(3, 4)]}:
        case {"a": [_, *others, Point(x, y)]} if rest() is None:
            return x


def many_managers():
    import contextlib

    with (
        contextlib.nullcontext() as one,
        contextlib.closing(Closed()) as two,
    ):
        return one, two


class Closed:
    def close(self):
        rest()


for scene in (match_value, match_guard, many_managers):
    start(scene)
