# The main interpreter and two more, each with tasks of its own in a thread of its own.
import os

INSIDE = """
{teller}
import os
INTERPRETER = {number}


async def sleeping():
    await asyncio.sleep(1000)


async def main():
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(sleeping()) for _ in range(5)]
    tasks[0].set_name("in {number}")
    for _ in range(3):
        await asyncio.sleep(0)
    told = lambda: os.write({descriptor}, b"x")
    stay([(loop, threading.get_native_id())], {{asyncio.current_task()}}, told)


asyncio.run(main())
"""

with open(__file__, encoding="utf-8") as own:
    TEXT = own.read().partition("# The main interpreter")[0]


def other():
    """A further interpreter: its number, and how to run text in it."""
    try:
        from concurrent import interpreters
        made = interpreters.create()
        return made.id, made.exec
    except ImportError:
        pass
    try:
        import _interpreters as interpreters
        number = interpreters.create("legacy")
    except ImportError:
        import _xxsubinterpreters as interpreters
        isolation = {"isolated": False} if sys.version_info >= (3, 9) else {}
        number = interpreters.create(**isolation)
    return int(number), lambda text: interpreters.run_string(number, text)


told, telling = os.pipe()
for _ in range(2):
    which, run = other()
    text = INSIDE.format(teller=TEXT, number=which, descriptor=telling)
    threading.Thread(target=run, args=(text,), daemon=True).start()
    os.read(told, 1)


async def main(own):
    own.tasks["one"] = own.loop.create_task(asyncio.sleep(1000))
    await asyncio.sleep(0)
    own.ready = True
    await own.loop.create_future()


own = Loop(main)
tell([own.both()])
ready()
