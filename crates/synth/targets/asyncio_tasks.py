import asyncio


async def wait(n, waiting):
    waiting.release()
    await asyncio.Event().wait()


async def main():
    waiting = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(wait(n, waiting), name=f"waiter {n}") for n in range(3)]
    for _ in tasks:
        await waiting.acquire()
    print("ready", flush=True)
    await asyncio.gather(*tasks)


asyncio.run(main())
