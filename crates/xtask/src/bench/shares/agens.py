# Asynchronous generators: left and right never meet in a stack.
import asyncio
async def left_numbers(count):
    for n in range(count): yield await left_square(n)
async def left_square(n): return n * n
async def left():
    total = 0
    async for n in left_numbers(40): total += n
async def right_numbers(count):
    for n in range(count):
        await right_check(n)
        yield n
async def right_check(n): return n < 9
async def right(): return [n async for n in right_numbers(40) if n % 3]
async def main():
    print("ready", flush=True)
    while True:
        await left()
        await right()
asyncio.run(main())
