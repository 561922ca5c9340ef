# Who waits for whom, by every means that asyncio has.
import contextlib


async def sleeping():
    await asyncio.sleep(1000)


async def awaiting(other):
    await other


async def gathering(*others):
    await asyncio.gather(*others)


async def gathering_gathered(one, two, three):
    await asyncio.gather(asyncio.gather(one, two), three)


async def waiting_for(other):
    await asyncio.wait_for(other, 1000)


async def waiting_for_without_limit(other):
    await asyncio.wait_for(other, None)


async def shielding(other):
    await asyncio.shield(other)


async def waiting(*others):
    await asyncio.wait(others)


async def grouping(own):
    async with asyncio.TaskGroup() as group:
        for name in ("in group 1", "in group 2"):
            own.tasks[name] = group.create_task(sleeping(), name=name)


async def main(own):
    kept = own.tasks
    edges = own.edges = []

    def start(name, coroutine, *others):
        kept[name] = own.loop.create_task(coroutine)
        kept[name].set_name(name)
        edges.extend((kept[other], kept[name]) for other in others)

    for n in range(20):
        start("sleeping %d" % n, sleeping())
    s = ["sleeping %d" % n for n in range(20)]
    start("awaiting", awaiting(kept[s[0]]), s[0])
    start("awaiting one more", awaiting(kept[s[0]]), s[0])
    start("awaiting an awaiting one", awaiting(kept["awaiting"]), "awaiting")
    start("gathering", gathering(kept[s[1]], kept[s[2]]), s[1], s[2])
    start("gathering gathered", gathering_gathered(kept[s[3]], kept[s[4]], kept[s[5]]),
          s[3], s[4], s[5])
    start("waiting for", waiting_for(kept[s[6]]), s[6])
    start("waiting for without limit", waiting_for_without_limit(kept[s[7]]), s[7])
    start("shielding", shielding(kept[s[8]]), s[8])
    start("waiting", waiting(kept[s[9]], kept[s[10]]), s[9], s[10])
    start("gathering a shared one", gathering(kept[s[10]], kept[s[11]]), s[10], s[11])
    start("everything", gathering(*(kept[name] for name in s[12:])), *s[12:])
    if hasattr(asyncio, "TaskGroup"):
        start("grouping", grouping(own))
    # As many turns as the longest of these takes until it waits.
    for _ in range(10):
        await asyncio.sleep(0)
    if hasattr(asyncio, "TaskGroup"):
        for name in ("in group 1", "in group 2"):
            edges.append((kept[name], kept["grouping"]))
    own.ready = True
    await own.loop.create_future()


own = Loop(main)
tell([own.both()], edges=own.edges)
ready()
