"""Computes without pause and checks each result by computing it another way."""

import os
import select


def triangle(n):
    total = 0
    for i in range(n + 1):
        total += i
    return total == n * (n + 1) // 2


def order(n):
    values = [(i * 7919) % 1009 for i in range(n)]
    ordered = sorted(values)
    return sum(values) == sum(ordered) and all(a <= b for a, b in zip(ordered, ordered[1:]))


def words(n):
    table = {str(i): i for i in range(n)}
    return [int(key) for key in table] == list(table.values()) == list(range(n))


def errors(n):
    try:
        [][n]
    except IndexError as error:
        return error.args == ("list index out of range",)
    return False


def fractions(n):
    return abs(sum(1 / (i * (i + 1)) for i in range(1, n + 1)) - (1 - 1 / (n + 1))) < 1e-9


def main():
    checked = 0
    print("ready", flush=True)
    while True:
        for n in range(20, 60):
            for check in (triangle, order, words, errors, fractions):
                if not check(n):
                    print("wrong", check.__name__, n, flush=True)
                    raise SystemExit(3)
                checked += 1
        if select.select([0], [], [], 0)[0]:
            request = os.read(0, 4096)
            print("checked", checked, flush=True)
            if not request or b"stop" in request:
                return


main()
