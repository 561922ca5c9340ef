# Chains of "yield from": left and right never meet in a stack.
def left_leaves(tree):
    if isinstance(tree, int): yield left_leaf(tree)
    else:
        for branch in tree: yield from left_leaves(branch)
def left_leaf(n): return n + 1
def right_leaves(depth):
    if depth: yield from right_leaves(depth - 1)
    else:
        for n in range(30): yield right_leaf(n)
def right_leaf(n): return n - 1
tree = [[1, [2, 3, [4, 5]], 6], [[7, [8, [9]]], 10, 11]]
def left(): return sum(left_leaves(tree))
def right(): return sum(right_leaves(8))
print("ready", flush=True)
while True: left(); right()
