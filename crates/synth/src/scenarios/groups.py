"""What only Python 3.11 and later can say."""


def except_star():
    try:
        raise ExceptionGroup("group", [ValueError(1), TypeError(2)])
    except* ValueError:
        rest()
    except* TypeError:
        pass


def nested_star():
    try:
        raise ExceptionGroup("group", [ExceptionGroup("inner", [ValueError(1)])])
    except* ValueError as group:
        [rest() for _ in group.exceptions]


async def nested_comprehension():
    return [{key async for key in numbers()} for _ in range(1)]


def nested_async_comprehension():
    drive(nested_comprehension())


for scene in (except_star, nested_star, nested_async_comprehension):
    start(scene)
