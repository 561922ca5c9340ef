"""A small shop: the program that `invivo demo` looks into. Nothing in it knows of Invivo."""

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


def serve():
    number = 0
    print("ready", flush=True)
    while True:
        handle(number)
        number += 1
        if number % 1000 == 0:
            time.sleep(0.01)


serve()
