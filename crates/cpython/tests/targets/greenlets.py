# Greenlets in every state: suspended in plain calls, below C code that called Python code, in a
# generator, and two deep; not begun, ended, and the one that runs.
import sys

import greenlet


def waiting(name):
    mine = [name]
    greenlet.getcurrent().parent.switch()
    return mine


def plain(name):
    waiting(name)


def below_c(name):
    return sorted([name, name], key=lambda one: plain(one))


def inside():
    yield plain("generated")


def in_generator():
    for each in inside():
        pass


class Named(greenlet.greenlet):
    def run(self):
        plain("derived")


def unbegun():
    plain("never")


def ended():
    pass


kept = [
    greenlet.greenlet(plain),
    greenlet.greenlet(below_c),
    greenlet.greenlet(in_generator),
    Named(),
]
for each, arguments in zip(kept, [("one",), ("two",), (), ()]):
    each.switch(*arguments)
others = [greenlet.greenlet(unbegun), greenlet.greenlet(ended)]
others[1].switch()


def running():
    print("ready", *map(id, kept), flush=True)
    sys.stdin.read()


def main():
    last = greenlet.greenlet(running)
    last.switch()


main()
