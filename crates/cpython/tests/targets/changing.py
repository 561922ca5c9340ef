# Its variables change all the time, each in a way that can be checked: integers are multiples of
# TOTAL, and what they were kept in is used again for other things at once.
import sys

TOTAL = sum(i * i for i in range(300))


class Box:
    pass


def callee(number, text):
    mine = number + TOTAL
    other = [number, text]
    return len(other) + (mine > 0)


def crunch():
    x = shared = 0
    box = Box()
    box.held = 0
    items = [0]
    table = {"held": 0}
    hot = None

    def closure():
        return shared

    while True:
        value = sum(i * i for i in range(300))
        x += value
        shared += value
        box.held += value
        items[0] += value
        table["held"] += value
        for _ in range(20):
            hot = x + TOTAL
            hot = None
            reused = (value, x), [x], 1.5 * value, range(7)
        reused = None
        for step in range(20):
            callee(x, "text %d" % step)


print("ready", TOTAL, flush=True)
crunch()
