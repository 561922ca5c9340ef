"""Many threads, one deep one, and one that rests in a finalizer while garbage is collected."""

import gc


def member():
    rest()


for number in range(200):
    start(member, "member %d" % number, warm_up=False)


def deep():
    def down(n):
        if n:
            return down(n - 1)
        rest()

    down(5000)


def deep_through_c():
    def down(n):
        if n:
            return max([n], key=lambda value: down(value - 1) or 0)
        rest()

    down(300)


sys.setrecursionlimit(20000)
threading.stack_size(256 << 20)
start(deep, warm_up=False)
start(deep_through_c, warm_up=False)


class Cyclic:
    def __init__(self):
        self.itself = self

    def __del__(self):
        rest()


def collecting():
    Cyclic()
    gc.collect()


start(collecting, "collecting", warm_up=False)
