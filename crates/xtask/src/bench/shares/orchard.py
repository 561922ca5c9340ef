# Many small methods and properties that call each other.
class Money:
    __slots__ = ("cents",)
    def __init__(self, cents): self.cents = cents
    def __add__(self, other): return Money(self.cents + other.cents)
    def __lt__(self, other): return self.cents < other.cents
    def times(self, share): return Money(int(self.cents * share))
class Tree:
    def __init__(self, apples, price): self.apples, self.price = apples, price
    @property
    def worth(self): return Money(self.apples * self.price)
    def grown(self, rate): return Tree(self.apples * rate % 89 + 1, self.price)
class Orchard:
    def __init__(self, trees): self.trees = trees
    def worth(self):
        total = Money(0)
        for tree in self.trees: total = total + tree.worth.times(0.9)
        return total
    def best(self): return max(self.trees, key=lambda tree: tree.worth)
    def grown(self): return Orchard([tree.grown(3) for tree in self.trees])
print("ready", flush=True)
orchard = Orchard([Tree(n % 31, n % 7 + 2) for n in range(60)])
while True:
    orchard = orchard.grown()
    orchard.worth(), orchard.best()
