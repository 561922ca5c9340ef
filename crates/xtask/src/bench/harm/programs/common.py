"""What the programs of `bench harm` share; it comes before each. A program checks all that it
does and counts. On its standard input `report` makes it print `checked N`, where N is the count of
whichever part has done least; `stop`, or the end of the input, does so and ends it with status 0. A
wrong result makes it print `wrong ...` and end with status 3."""

import os
import warnings

# Of 3.12 and later, about forks beside threads: it is what some programs do.
warnings.simplefilter("ignore", DeprecationWarning)
os.set_blocking(0, False)
rounds = {}


def check(holds, what):
    if not holds:
        os.write(1, b"wrong %s\n" % str(what).encode())
        os._exit(3)


def count(part):
    rounds[part] = rounds.get(part, 0) + 1


def asked():
    """Answers what has been asked; false when it is to end."""
    try:
        request = os.read(0, 4096)
    except BlockingIOError:
        return True
    if not request:
        # Who watches has gone, and nobody reads what we would print.
        os._exit(0)
    print("checked", min(rounds.values()), flush=True)
    return b"stop" not in request


