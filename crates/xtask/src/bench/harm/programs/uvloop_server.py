# A server and its clients in one event loop of uvloop, with timers, an executor and a client in
# another thread.
import asyncio
import socket
import threading

import uvloop

stopping = []


async def answer(reader, writer):
    while True:
        line = await reader.readline()
        if not line:
            break
        writer.write(b"%d\n" % sum(range(int(line))))
        await writer.drain()
    writer.close()


def sum_below(number):
    return number * (number - 1) // 2


async def client(port, name):
    while not stopping:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(1, 50):
            writer.write(b"%d\n" % number)
            check(int(await reader.readline()) == sum_below(number), "answer")
            count(name)
        writer.close()
        await writer.wait_closed()


def client_in_thread(port):
    while not stopping:
        with socket.create_connection(("127.0.0.1", port)) as end:
            lines = end.makefile("rwb")
            for number in range(1, 50):
                lines.write(b"%d\n" % number)
                lines.flush()
                check(int(lines.readline()) == sum_below(number), "answer to a thread")
                count("thread")
            lines.close()


async def timers():
    loop = asyncio.get_running_loop()
    while not stopping:
        begun = loop.time()
        await asyncio.sleep(0.002)
        check(loop.time() - begun >= 0.001, "a timer was early")
        try:
            await asyncio.wait_for(asyncio.sleep(10), 0.002)
            check(False, "a timeout did not come")
        except asyncio.TimeoutError:
            pass
        check(await loop.run_in_executor(None, sum_below, 100) == 4950, "an executor")
        count("timer")


async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=client_in_thread, args=(port,))
    thread.start()
    parts = [asyncio.ensure_future(client(port, f"client {n}")) for n in range(4)]
    parts.append(asyncio.ensure_future(timers()))
    while len(rounds) < 6:
        await asyncio.sleep(0.001)
    print("ready", flush=True)
    while asked():
        for part in parts:
            check(not part.done(), part)
        check(thread.is_alive(), "a thread ended")
        await asyncio.sleep(0.001)
    stopping.append(True)
    await asyncio.gather(*parts)
    while thread.is_alive():
        await asyncio.sleep(0.001)
    server.close()
    await server.wait_closed()


loop = uvloop.new_event_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(main())
loop.run_until_complete(loop.shutdown_default_executor()) if hasattr(
    loop, "shutdown_default_executor"
) else None
loop.close()
