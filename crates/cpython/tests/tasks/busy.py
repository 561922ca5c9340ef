# Fifty tasks that wait, each in two coroutines, while others come, run and go without pause.


async def waiting():
    await event.wait()


async def brief(n):
    for _ in range(n % 4):
        await asyncio.sleep(0)


async def churning():
    n = 0
    while True:
        tasks = [asyncio.ensure_future(brief(n + i)) for i in range(n % 50)]
        for task in tasks:
            if hasattr(task, "set_name"):
                task.set_name("brief")
        if n % 3:
            await asyncio.gather(*tasks)
        await asyncio.sleep(0)
        n += 1


async def main():
    global event
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    asyncio.current_task().set_name("main")
    tasks = [loop.create_task(waiting()) for _ in range(50)]
    for n, task in enumerate(tasks):
        task.set_name("stays %d" % n)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    loop.call_soon(lambda: print("ready", flush=True))
    await churning()


asyncio.run(main())
