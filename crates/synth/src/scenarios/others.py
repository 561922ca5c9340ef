"""Sub-interpreters: idle ones, and such with threads of their own."""

import json

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

SCRIPT = """
import os, threading

def leaf(started):
    # From now on `threading` knows this thread, if it did not.
    threading.current_thread()
    told = Told({interpreter})
    told.thread(threading.get_ident(), sys._getframe(), threading.get_native_id(), sys.exc_info()[0] is not None)
    if started:
        threading.Thread(target=worker, name="of {interpreter}").start()
    # It rests in the last line.
    told.lines[-1]["thread"]["frames"][0][1] = sys._getframe().f_lineno + 1
    told.write({writing}); os.read({reading}, 1)

def down(n, started):
    return [down(n - 1, started) for _ in range(1)] if n else leaf(started)

def worker():
    os.read({release}, 1)
    down(7, False)

down(3, True)
"""


def create(kind):
    """An interpreter's id: of old an object, with which it goes."""
    try:
        return interpreters.create(kind)
    except TypeError:
        pass
    try:
        return interpreters.create(isolated=kind == "isolated")
    except TypeError:
        return interpreters.create()


def execute(identity, script):
    if hasattr(interpreters, "exec"):
        return interpreters.exec(identity, script)
    return interpreters.run_string(identity, script)


def told_by(descriptor):
    """All that a thread of another interpreter writes: a line for each code object, and its own."""
    data = b""
    while b'{"thread"' not in data or not data.endswith(b"\n"):
        data += os.read(descriptor, 1 << 16)
    return [json.loads(line) for line in data.splitlines()]


def busy(kind):
    own, writing = os.pipe()
    reading, _kept = os.pipe()
    release, let_go = os.pipe()

    def runs_another():
        # Until 3.12, an interpreter's first thread state says that it is that of the thread which
        # made the interpreter, whoever runs it.
        identity = create(kind)
        KEPT.append(identity)
        script = TELLING + SCRIPT.format(
            interpreter=int(identity), writing=writing, reading=reading, release=release
        )
        coming_to_rest()
        execute(identity, script)

    start(runs_another, "runs " + kind, warm_up=False)
    OTHERS.extend(told_by(own))
    # The worker's turn comes when the first one has told: both write into one pipe.
    os.write(let_go, b"x")
    worker = told_by(own)
    OTHERS.extend(worker)
    FOREIGN.append(worker[-1]["thread"]["ident"])


# Before 3.12, an isolated one may have no threads.
KINDS = ["legacy", "isolated"] if sys.version_info >= (3, 12) else ["legacy"]
KEPT = []
for kind in KINDS:
    KEPT.append(create(kind))
    busy(kind)
for listed in interpreters.list_all():
    INTERPRETERS.append(int(listed[0] if isinstance(listed, tuple) else listed))
INTERPRETERS[:] = sorted(set(INTERPRETERS))
