# Comprehensions, generator expressions, min() and sorted() with a key: C code that calls Python code.
import random
random.seed(4)
trips = [(n % 17, random.randrange(900), "abcdefgh"[: n % 8]) for n in range(400)]
def is_long(trip): return trip[1] > 300
def has_stop(trip): return any(letter in "cf" for letter in trip[2])
def by_length(trip): return -trip[1]
def chosen(): return {n: trip for n, trip in enumerate(trips) if is_long(trip) and has_stop(trip)}
def ordered(found): return sorted(found.values(), key=by_length)
def shortest(found): return min(found, key=lambda trip: trip[1])
def lines(found): return sum(trip[0] for trip in found)
print("ready", flush=True)
while True:
    found = ordered(chosen())
    shortest(found), lines(found)
