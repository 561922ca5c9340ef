"""Goes down two chains of calls in turn, without pause: main → hot_a → … → leaf_a and main → hot_b
→ … → leaf_b. The first argument says how many calls lie between main and the leaf; each function
stands on two lines and calls on the second one. The leaf of a works three times as long as that
of b: the second argument says how many rounds b's is."""

import sys

depth, work = int(sys.argv[1]), int(sys.argv[2])


def function(name, body):
    return f"def {name}():\n    {body}\n"


def chain(letter, work):
    names = [f"hot_{letter}"] + [f"{letter}{n}" for n in range(1, depth)] + [f"leaf_{letter}"]
    calls = [function(name, f"{callee}()") for name, callee in zip(names, names[1:])]
    return "".join(calls) + function(names[-1], f"for _ in range({work}): pass")


MAIN = "def main(left=-1):\n while left:\n  hot_a(); left -= 1\n  hot_b()\n"
namespace = {}
exec(compile(chain("a", 3 * work) + chain("b", work) + MAIN, "chains", "exec"), namespace)
namespace["main"](1000)
print("ready", flush=True)
namespace["main"]()
