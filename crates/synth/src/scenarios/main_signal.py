"""The main thread rests in a signal handler that interrupted a computation."""

import signal


def handler(number, frame):
    rest()


def computing():
    for value in range(3):
        signal.raise_signal(signal.SIGUSR1)
        value += 1


def begin():
    signal.signal(signal.SIGUSR1, handler)
    computing()


MAIN = begin
