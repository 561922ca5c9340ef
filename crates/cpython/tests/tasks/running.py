# A task that runs, in a function that a coroutine called; others wait or have not begun.


def function(tasks):
    current = {asyncio.current_task()}
    stay([(asyncio.get_running_loop(), threading.get_native_id())], current)


async def inner(tasks):
    function(tasks)


async def outer(tasks):
    tasks.append(asyncio.get_running_loop().create_task(asyncio.sleep(1000)))
    tasks.append(asyncio.get_running_loop().create_task(asyncio.sleep(1000)))
    await asyncio.sleep(0)
    tasks.append(asyncio.get_running_loop().create_task(asyncio.sleep(1000)))
    await inner(tasks)


asyncio.run(outer([]))
