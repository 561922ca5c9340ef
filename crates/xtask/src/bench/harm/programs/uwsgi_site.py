# Starts uwsgi (its program is the first argument) with a master, two workers and two threads in
# each, and asks it without pause. `ready` is followed by the ids of the master and the workers.
import ctypes
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

APPLICATION = """
import threading, time
local = threading.local()
def application(environ, start):
    number = int(environ["QUERY_STRING"])
    local.number = number
    total = sum(i * i for i in range(number))
    if number % 3 == 0:
        time.sleep(0.002)
    assert local.number == number
    body = b"%d" % total
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
place = tempfile.mkdtemp()
path = place + "/socket"
with open(place + "/application.py", "w") as file:
    file.write(APPLICATION)
log = open(place + "/log", "w+b")
process = ctypes.CDLL(None)


def end_with_us():
    process.prctl(1, signal.SIGKILL, 0, 0, 0)


words = "--http-socket %s --wsgi-file %s/application.py --master --processes 2 --threads 2"
words += " --enable-threads --die-on-term --no-orphans --disable-logging"
environment = dict(os.environ, PYTHONHOME=sys.base_prefix, LD_LIBRARY_PATH=sys.argv[2])
environment.pop("PYTHONPATH", None)
uwsgi = subprocess.Popen(
    [sys.argv[1]] + (words % (path, place)).split(),
    stdin=subprocess.DEVNULL,
    stdout=log,
    stderr=log,
    env=environment,
    preexec_fn=end_with_us,
)
stopping = []


def said():
    log.seek(0)
    return " / ".join(log.read().decode("utf-8", "replace").splitlines()[-5:])


def children():
    with open("/proc/%d/task/%d/children" % (uwsgi.pid, uwsgi.pid)) as file:
        return sorted(map(int, file.read().split()))


def ask(number):
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(100)
        end.connect(path)
        end.sendall(b"GET /?%d HTTP/1.0\r\n\r\n" % number)
        parts = iter(lambda: end.recv(4096), b"")
        return b"".join(parts)


def asks(name):
    number = 0
    while not stopping:
        number = (number + 7) % 500
        answer = ask(number)
        body = answer.partition(b"\r\n\r\n")[2]
        total = sum(i * i for i in range(number))
        check(body == b"%d" % total, "answer %r, uwsgi: %s" % (answer, said()))
        count(name)


until = time.monotonic() + 50
while True:
    check(uwsgi.poll() is None, "uwsgi ended: " + said())
    check(time.monotonic() < until, "uwsgi did not start: " + said())
    try:
        if len(children()) == 2 and ask(3).endswith(b"5"):
            break
    except OSError:
        pass
    time.sleep(0.01)
workers = children()
threads = [threading.Thread(target=asks, args=(n,), daemon=True) for n in range(3)]
for thread in threads:
    thread.start()
while len(rounds) < 3:
    time.sleep(0.001)
print("ready", uwsgi.pid, *workers, flush=True)
while asked():
    check(uwsgi.poll() is None, "uwsgi ended: " + said())
    check(children() == workers, "a worker of uwsgi ended: " + said())
    time.sleep(0.005)
stopping.append(True)
for thread in threads:
    thread.join(100)
    check(not thread.is_alive(), "end of a thread")
uwsgi.terminate()
check(uwsgi.wait(50) == 0, "uwsgi ended with %r: %s" % (uwsgi.returncode, said()))
