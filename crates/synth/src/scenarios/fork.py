"""A child by `fork` of a process with threads, which goes on with threads of its own."""


def before():
    rest()


def after():
    rest()


def forget():
    """The threads that only the parent has."""
    global EXPECTED
    EXPECTED = 0
    RESTING.clear()


def fork():
    child = os.fork()
    if child:
        # The child ends with the standard input, which is the parent's as well.
        os.waitpid(child, 0)
        os._exit(0)
    forget()
    for number in range(3):
        start(after, "after %d" % number)


for number in range(3):
    start(before, "before %d" % number)
