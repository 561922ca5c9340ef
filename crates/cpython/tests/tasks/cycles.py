# Tasks that wait for each other in circles, one that waits for itself, and futures between
# tasks, in a circle too.


async def awaiting(box):
    await box[0]


async def main(own):
    one, two = [None], [None]
    kept = own.tasks
    kept["one"] = own.loop.create_task(awaiting(one))
    kept["two"] = own.loop.create_task(awaiting(two))
    one[0], two[0] = kept["two"], kept["one"]
    ring = [[None] for _ in range(50)]
    for n, box in enumerate(ring):
        kept["ring %d" % n] = own.loop.create_task(awaiting(box))
    for n, box in enumerate(ring):
        box[0] = kept["ring %d" % ((n + 1) % 50)]
    for _ in range(5):
        await asyncio.sleep(0)
    own.futures = []
    own.edges = [(kept["one"], kept["two"]), (kept["two"], kept["one"])]
    own.edges += [(kept["ring %d" % ((n + 1) % 50)], kept["ring %d" % n]) for n in range(50)]
    if hasattr(asyncio, "future_add_to_awaited_by"):
        sleeper = kept["awaits itself"] = own.loop.create_task(asyncio.sleep(1000))
        await asyncio.sleep(0)
        asyncio.future_add_to_awaited_by(sleeper, sleeper)
        own.edges.append((sleeper, sleeper))
        link = asyncio.future_add_to_awaited_by
        own.futures = [own.loop.create_future() for _ in range(4)]
        first, second, third, fourth = own.futures
        link(sleeper, first)
        link(first, kept["one"])
        link(first, kept["two"])
        link(first, second)
        link(second, third)
        link(third, second)
        link(third, fourth)
        own.edges += [(sleeper, kept["one"]), (sleeper, kept["two"])]
    own.ready = True
    await own.loop.create_future()


own = Loop(main)
tell([own.both()], edges=own.edges, futures=own.futures)
ready()
