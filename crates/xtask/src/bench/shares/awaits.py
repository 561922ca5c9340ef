# Coroutines that await coroutines: left and right never meet in a stack.
import asyncio
async def left_price(n):
    total = 0
    for part in range(15): total += part * n
    return total
async def left_order(count): return [await left_price(n) for n in range(count)]
async def right_weight(n):
    total = 1
    for part in range(15): total ^= part + n
    return total
async def right_load(count):
    heavy = 0
    for n in range(count): heavy = max(heavy, await right_weight(n))
    return heavy
async def left(): await left_order(40)
async def right(): await right_load(40)
async def main():
    print("ready", flush=True)
    while True:
        await left()
        await right()
asyncio.run(main())
