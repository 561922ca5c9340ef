"""asyncio as it is from Python 3.11 on."""


async def grouped(stage):
    async with asyncio.TaskGroup() as group:
        group.create_task(sleep(), name="in group")
        group.create_task(inner_group(), name="group in group")
        stage.kept.append(group)
        await asyncio.sleep(0)
        coming_to_rest()


async def inner_group():
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(nested(number), name="inner %d" % number)


async def timeouts(stage):
    async with asyncio.timeout(100000):
        stage.kept.append(asyncio.ensure_future(runner_like()))
        await asyncio.sleep(0)
        coming_to_rest()
        await sleep()


async def runner_like():
    async with asyncio.timeout(None), asyncio.Barrier(2) as barrier:
        return barrier


async def comprehensions(stage):
    coming_to_rest()
    return [[number async for number in numbers()] for _ in range(1)]


for scene in (grouped, timeouts, comprehensions):
    Loop(scene)
