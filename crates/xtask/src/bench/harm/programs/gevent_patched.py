# Everything of the standard library that waits is gevent's; greenlets work, ask each other through
# sockets, queues and locks, and use threads of gevent's pool.
from gevent import monkey

monkey.patch_all()

import queue
import socket
import threading
import time

import gevent
import gevent.pool

stopping = []
ours, theirs = socket.socketpair()
there, back = queue.Queue(1), queue.Queue(1)
shared = threading.Lock()
balance = [0, 0]


def echoes():
    while True:
        data = theirs.recv(100)
        if not data:
            theirs.close()
            return
        theirs.sendall(data)


def talks():
    while not stopping:
        word = b"%d;" % rounds.get("talk", 0)
        ours.sendall(word)
        check(ours.recv(100) == word, "echo")
        count("talk")
    ours.close()


def answers():
    while True:
        number = there.get()
        if number is None:
            return
        back.put(-number)


def asks():
    while not stopping:
        number = rounds.get("ask", 0)
        there.put(number)
        check(back.get() == -number, "answer")
        count("ask")
        time.sleep(0.001)
    there.put(None)


def locks():
    while not stopping:
        with shared:
            balance[0] += 1
            time.sleep(0)
            balance[1] -= 1
            check(sum(balance) == 0, "balance")
        count("lock")


def raises():
    while not stopping:
        try:
            with gevent.Timeout(0.002):
                gevent.sleep(10)
            check(False, "a timeout did not come")
        except gevent.Timeout:
            count("timeout")


def pooled():
    pool = gevent.get_hub().threadpool
    while not stopping:
        check(pool.spawn(sum, range(1000)).get() == 499500, "a pool's thread")
        count("pool")


def computes():
    while not stopping:
        check(sum(i * i for i in range(2000)) == 2664667000, "sum")
        count("compute")
        gevent.sleep(0)


parts = [gevent.spawn(part) for part in (echoes, talks, answers, asks, raises, pooled, computes)]
# What the program takes for threads are greenlets too.
threads = [threading.Thread(target=locks) for _ in range(3)]
for thread in threads:
    thread.start()
while len(rounds) < 6:
    gevent.sleep(0.001)
print("ready", flush=True)
while asked():
    gevent.sleep(0.001)
stopping.append(True)
gevent.joinall(parts, timeout=100, raise_error=True)
for thread in threads:
    thread.join(100)
    check(not thread.is_alive(), "end of a thread")
