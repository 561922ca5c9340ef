# Several loops in several threads, one that is not running, one whose thread has ended, and a
# thread that runs one loop after another.


async def sleeping():
    await asyncio.sleep(1000)


async def main(own):
    for n in range(5):
        own.tasks[n] = own.loop.create_task(sleeping())
    await asyncio.sleep(0)
    own.ready = True
    await own.loop.create_future()


running = [Loop(main, name="main of %d" % n) for n in range(4)]
left = []


def leave():
    loop = asyncio.new_event_loop()
    left.append(loop)
    left.append(loop.create_task(sleeping()))
    left.append(loop.create_task(sleeping()))
    loop.run_until_complete(asyncio.sleep(0, loop=loop) if sys.version_info < (3, 10)
                            else asyncio.sleep(0))


thread = threading.Thread(target=leave)
thread.start()
thread.join()
idle = asyncio.new_event_loop()
waiting = [idle.create_task(sleeping()) for _ in range(3)]
# A task of a loop that does not run belongs to no thread, or to the one that made it where the
# version keeps that.
here = threading.get_native_id() if sys.version_info >= (3, 14) else 0
tell([own.both() for own in running] + [(left[0], 0), (idle, here)])
ready()
