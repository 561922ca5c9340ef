# Tasks of Python code, alone and mixed with native ones; and one of another make.
PyTask = asyncio.tasks._PyTask


class Own(asyncio.Task):
    pass


class OwnPython(PyTask):
    pass


async def sleeping():
    await asyncio.sleep(1000)


async def awaiting(other):
    await other


async def main(own):
    kept = own.tasks
    edges = own.edges = []
    for name, make in [("native", asyncio.tasks._CTask), ("python", PyTask), ("own", Own),
                       ("own python", OwnPython)]:
        kept[name] = make(sleeping(), loop=own.loop, name=name)
        kept[name + " awaiting"] = make(awaiting(kept[name]), loop=own.loop)
        edges.append((kept[name], kept[name + " awaiting"]))
    kept["python gathering"] = PyTask(gathering(kept["native"], kept["python"]), loop=own.loop)
    edges.append((kept["native"], kept["python gathering"]))
    edges.append((kept["python"], kept["python gathering"]))
    kept["unfinished"] = PyTask(returning(), loop=own.loop, name="done python")
    for _ in range(5):
        await asyncio.sleep(0)
    kept["created"] = PyTask(sleeping(), loop=own.loop, name="created python")
    own.ready = True
    await own.loop.create_future()


async def gathering(*others):
    await asyncio.gather(*others)


async def returning():
    return 1


own = Loop(main, factory=lambda loop, coroutine, **more: PyTask(coroutine, loop=loop, **more))
print("mixed")
tell([own.both()], edges=own.edges, done=[own.tasks["unfinished"]], others=own.tasks.values())
ready()
