"""A small shop: the program that `invivo demo` looks into. Nothing in it knows of Invivo."""

import asyncio
import threading
import time

orders = {}
total = 0


def price(item, count):
    return {"tea": 4, "cake": 7, "bread": 3}[item] * count


def handle(number):
    global total
    item = ("tea", "cake", "bread")[number % 3]
    orders[number % 1000] = (item, number % 5 + 1)
    total += price(*orders[number % 1000])


async def courier(parcels, district):
    while True:
        parcel = await parcels.get()
        await asyncio.sleep(len(parcel + district))


async def deliver():
    parcels = asyncio.Queue()
    districts = ("north", "south")
    couriers = [courier(parcels, district) for district in districts]
    tasks = map(asyncio.ensure_future, couriers)
    await asyncio.gather(*tasks)


def serve():
    number = 0
    print("ready", flush=True)
    while True:
        handle(number)
        number += 1
        if number % 1000 == 0:
            time.sleep(0.01)


threading.Thread(
    target=lambda: asyncio.run(deliver()), name="deliveries", daemon=True
).start()
serve()
