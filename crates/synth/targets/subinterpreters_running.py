import os
import threading
from concurrent import interpreters

WORK = """
import os
os.write({descriptor}, b"x")
while True:
    sum(range(1000))
"""

started, starting = os.pipe()
others = [interpreters.create() for _ in range(2)]
for other in others:
    code = WORK.format(descriptor=starting)
    threading.Thread(target=other.exec, args=(code,), daemon=True).start()
for _ in others:
    os.read(started, 1)
print("ready", *[other.id for other in others], flush=True)
while True:
    sum(range(1000))
