# Threads that wait in every way, in the order of their names on the command line.
import ctypes
import os
import queue
import select
import socket
import ssl
import subprocess
import sys
import threading
import time

LONG = 10**6
libc = ctypes.CDLL(None)
r, w = os.pipe()
one, other = socket.socketpair()
server = socket.socket()
server.bind(('127.0.0.1', 0))
server.listen()
held = threading.Lock()
held.acquire()


def epoll():
    poller = select.epoll()
    poller.register(r, select.EPOLLIN)
    poller.poll()


def poll():
    poller = select.poll()
    poller.register(r, select.POLLIN)
    poller.poll()


def condition():
    condition = threading.Condition()
    with condition:
        condition.wait()


def waitpid():
    child = os.fork()
    if child == 0:
        os.close(w)
        os.read(r, 1)
        os._exit(0)
    os.waitpid(child, 0)


def handshake():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    mine, theirs = socket.socketpair()
    try:
        context.wrap_socket(mine)
    finally:
        theirs.close()


WAITS = {
    'sleep': lambda: time.sleep(LONG),
    'select': lambda: select.select([r], [], []),
    'select-until': lambda: select.select([r], [], [], LONG),
    'poll': poll,
    'epoll': epoll,
    'recv': lambda: one.recv(1),
    'accept': server.accept,
    'read': lambda: os.read(r, 1),
    'stdin': sys.stdin.readline,
    'lock': held.acquire,
    'lock-until': lambda: held.acquire(timeout=LONG),
    'condition': condition,
    'event': lambda: threading.Event().wait(),
    'queue': lambda: queue.Queue().get(),
    'queue-until': lambda: queue.Queue().get(timeout=LONG),
    'waitpid': waitpid,
    'subprocess': lambda: subprocess.run(['cat'], stdin=r),
    'callback': ctypes.CFUNCTYPE(None)(lambda: time.sleep(LONG)),
    'usleep': lambda: libc.usleep(LONG * 1000),
    'foreign-poll': lambda: libc.poll(None, 0, -1),
    'pause': libc.pause,
    'ssl': handshake,
}

threads = []
for name in sys.argv[1:]:
    thread = threading.Thread(target=WAITS[name], daemon=True)
    thread.start()
    threads.append(thread)
print('ready', threading.get_native_id(), *(thread.native_id for thread in threads), flush=True)
threads[0].join()
