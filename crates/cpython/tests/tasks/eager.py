# Eager tasks: suspended ones, and one within the other at this moment.


async def sleeping():
    await asyncio.sleep(1000)


async def inner():
    current = list(stack)
    current.append(asyncio.current_task())
    loop = asyncio.get_running_loop()
    stay([(loop, threading.get_native_id())], current)


async def middle(depth):
    stack.append(asyncio.current_task())
    if depth:
        asyncio.get_running_loop().create_task(middle(depth - 1), name="middle %d" % depth)
    else:
        asyncio.get_running_loop().create_task(inner(), name="inner")


async def outer():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    tasks = [loop.create_task(sleeping(), name="eager %d" % n) for n in range(3)]
    stack.append(asyncio.current_task())
    loop.create_task(middle(3), name="middle")


stack = []
asyncio.run(outer())
