# A target that runs what it is told: each line of its input is the literal of a Python text. Its
# scripts have sockets; where they have none, `invivo exec` is tested as a whole.
import _socket
import gc
import os
import sys
import threading

streams = sys.stdout, sys.stderr, sys.argv


def run(path):
    # As CPython runs a debugger script, which only 3.14 and later do by themselves.
    with open(path, 'rb') as file:
        text = file.read()
    names = {'__builtins__': __builtins__}
    exec(compile(text, '<string>', 'exec'), names)
    # While the script's last bytecodes run, the target may import things by this dictionary.
    assert [name for name in names if names[name] is not None] == ['__builtins__']


def state():
    # What a run might leave behind.
    same = all(one is two for one, two in zip(streams, (sys.stdout, sys.stderr, sys.argv)))
    hooks = sys.gettrace(), sys.getprofile(), sys.displayhook is sys.__displayhook__
    last = hasattr(sys, 'last_value') or hasattr(sys, 'last_exc')
    return (
        sorted(os.listdir('/proc/self/fd')), threading.active_count(),
        len(os.listdir('/proc/self/task')), sorted(sys.modules), same, hooks, last,
        sys.exc_info(), list(sys.argv),
    )


def answer(*what):
    print('answer', *what, flush=True)


print('ready', flush=True)
for line in sys.stdin:
    exec(eval(line))
