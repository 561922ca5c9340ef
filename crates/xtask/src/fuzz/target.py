"""A program of the shape that a seed says: whatever a program can do to those who look at it."""

import asyncio, os, random, sys, tempfile, threading, time

seed = int(sys.argv[1])
chance = random.Random(seed)
ODD = ["\x1b[2J", "\x9b31m", "\u202e", "\u200b", "\x00", "\n", "\x7f", "\ud800", "\U0001f600", "é", "x", "%s", "{}", "\\"]


def text(longest):
    size = chance.choice([0, 1, 7, 200, 5000, longest])
    return "".join(chance.choice(ODD) for _ in range(min(size, 64))) * (1 + min(size, longest) // 64)


def name(longest):
    return text(longest).replace("\x00", "").encode("utf-8", "replace").decode()


if len(sys.argv) == 2 and chance.random() < 0.5:
    words = [name(20_000) for _ in range(chance.choice([1, 30]))]
    os.execv(sys.executable, [sys.executable, sys.argv[0], sys.argv[1], "again", *words])

HUGE = [text(64 << 20)] if chance.random() < 0.1 else ["short"]
VALUES = [
    lambda: text(10_000),
    lambda: os.urandom(chance.choice([0, 10, 100_000])),
    lambda: 1 << chance.choice([0, 63, 64, 100_000]),
    lambda: -(10 ** chance.choice([1, 30, 2000])),
    lambda: [value(2) for _ in range(chance.choice([0, 3, 60]))],
    lambda: {name(300): value(2) for _ in range(chance.choice([0, 3, 60]))},
    lambda: list(range(chance.choice([0, 1_000_000]))),
    lambda: type(name(1000).replace(".", "") or "T", (), {name(300) or "a": 1})(),
    lambda: float("nan"),
    lambda: 3.5j,
    lambda: HUGE[0],
    lambda: circle(),
    lambda: nested(),
    lambda: BaseException(text(100_000)),
]


def value(depth):
    return chance.choice(VALUES[:4] if depth else VALUES)()


def circle():
    one = []
    one.append(one)
    return one


def nested():
    one = ()
    for _ in range(chance.choice([10, 50_000])):
        one = (one,)
    KEPT.append(one)
    return one


KEPT = []
stop = threading.Event()
directory = tempfile.mkdtemp(prefix="fuzzed-")


def source():
    """A file with a function of an odd name, in lines of odd lengths."""
    kind = chance.choice(["plain", "one line", "empty lines", "controls"])
    path = os.path.join(directory, (name(100).replace("/", "")[:60] or "f") + ".py")
    before = {"plain": "", "one line": "#" * (4 << 20), "empty lines": "\n" * 3_000_000, "controls": "# \x1b\x9b\u202e" * 1000}[kind]
    body = "def f(then):\n" + "".join(f"    v{i} = {i}\n" for i in range(chance.choice([0, 5, 500]))) + "    then()\n"
    if kind == "one line":
        body = body.replace("then()\n", "then() #" + "x\x1b" * (1 << 20) + "\n")
    text = before + "\n" + body
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except (OSError, ValueError):
        path = name(2000)
    code = compile(body, path, "exec")
    space = {"__name__": name(2000)}
    exec(code, space)
    return space["f"]


def work(depth, kind):
    if depth:
        kept = value(1) if depth % 50 == 0 else None
        return work(depth - 1, kind)
    if kind == "wait":
        stop.wait()
    elif kind == "sleep":
        time.sleep(10_000)
    elif kind == "raise":
        try:
            raise ValueError(text(100_000))
        except ValueError:
            stop.wait()
    elif kind == "tasks":
        asyncio.run(tasks())
    else:
        while not stop.is_set():
            sum(range(1000))
            time.sleep(0.002)


async def tasks():
    async def wait(depth):
        if depth:
            await wait(depth - 1)
        await asyncio.sleep(10_000)

    for _ in range(chance.choice([1, 30, 1000])):
        task = asyncio.ensure_future(wait(chance.choice([0, 3, 100])))
        KEPT.append(task)
        task.set_name(name(10_000))
    await asyncio.sleep(10_000)


def run(kind, depth, values, through):
    local = [value(0) for _ in range(values)]
    through(lambda: work(depth, kind)) if through else work(depth, kind)
    return local


kinds = ["wait", "sleep", "raise", "tasks", "loop"]
sys.setrecursionlimit(40_000)
threading.stack_size(64 << 20)
for _ in range(chance.choice([0, 1, 4, 60])):
    depth = chance.choice([0, 5, 200, 3000 if sys.version_info < (3, 12) else 15_000])
    arguments = chance.choice(kinds[:4]), depth, chance.choice([0, 2, 8]), source() if chance.random() < 0.5 else None
    thread = threading.Thread(target=run, args=arguments, daemon=True)
    try:
        thread.name = name(100_000)
    except Exception:
        pass
    thread.start()
parent = os.getppid()


def end_with_parent():
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)


threading.Thread(target=end_with_parent, daemon=True).start()
print("ready", flush=True)
run(chance.choice(["loop", "loop", "wait", "tasks"]), chance.choice([0, 100]), 2, source())
