# Generators: left and right never meet in a stack.
def left_source(count):
    for n in range(count): yield left_step(n)
def left_step(n): return n * 3
def left_even(stream):
    for n in stream:
        if n % 2 == 0: yield n
def left(): return sum(left_even(left_source(40)))
def right_source(count):
    n = 0
    while n < count:
        yield right_step(n)
        n += 1
def right_step(n): return n ^ 5
def right(): return max(right_step(n) for n in right_source(40))
print("ready", flush=True)
while True: left(); right()
