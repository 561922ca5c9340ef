# Five thousand tasks.


async def outer(n):
    await inner(n)


async def inner(n):
    await asyncio.sleep(1000 + n)


async def main(own):
    for n in range(5000):
        task = own.loop.create_task(outer(n))
        if n % 3:
            task.set_name("number %d" % n)
        own.tasks[n] = task
    await asyncio.sleep(0)
    own.ready = True
    await asyncio.gather(*list(own.tasks.values())[1:])


own = Loop(main)
gathering = own.tasks["main"]
edges = [(task, gathering) for n, task in own.tasks.items() if n != "main"]
tell([own.both()], edges=edges)
ready()
