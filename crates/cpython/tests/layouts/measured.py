"""Prints where fields lie that only CPython's C files define, as found in live objects: one line
each, the layout's name for it, `=`, a number of bytes."""

import asyncio
import collections
import ctypes
import dis
import sys
import types

WORD = 8
VERSION = sys.version_info[:2]


def at(address, size):
    return ctypes.string_at(address, size)


def words(address, count):
    return list((ctypes.c_uint64 * count).from_buffer_copy(at(address, count * WORD)))


def words_of(thing):
    return words(id(thing), type(thing).__basicsize__ // WORD)


def place(haystack, value):
    """Where in words the only one of this value is."""
    places = [index * WORD for index, word in enumerate(haystack) if word == value]
    assert len(places) == 1, (places, value)
    return places[0]


def say(name, value):
    print("{}={}".format(name, value))


def generators():
    async def generator():
        yield

    async def coroutine():
        pass

    one = generator()
    step = one.asend(None)
    found = place(words_of(step), id(one))
    throw = one.athrow(ValueError)
    assert place(words_of(throw), id(one)) == found
    say("builtin.asend_generator", found)
    step.close()
    throw.close()
    waited = coroutine()
    wrapper = waited.__await__()
    say("builtin.coroutine_wrapper", place(words_of(wrapper), id(waited)))
    wrapper.close()


def views():
    viewed = {1: 2}
    say("builtin.viewed_dict", place(words_of(viewed.keys()), id(viewed)))
    assert place(words_of(viewed.items()), id(viewed)) == place(words_of(viewed.keys()), id(viewed))
    say("builtin.proxied_mapping", place(words_of(types.MappingProxyType(viewed)), id(viewed)))


def deques():
    things = [object() for _ in range(100)]
    deque = collections.deque()
    deque.append(things[0])
    deque.append(things[1])
    before = words_of(deque)
    deque.popleft()
    after = words_of(deque)
    # The index begins in the middle of a block: the count of changes is smaller.
    (left_index,) = [i for i, word in enumerate(before) if after[i] == word + 1 and word > 16]
    # A single block is the leftmost and the rightmost.
    (left_block,) = [i for i, word in enumerate(after[:-1]) if word > 4096 and word == after[i + 1]]
    say("builtin.deque.left_block", left_block * WORD)
    say("builtin.deque.left_index", left_index * WORD)
    block = words(after[left_block], 40)
    items = place(block, id(things[1])) - after[left_index] * WORD
    say("builtin.deque.block_items", items)
    deque = collections.deque(things[:64])
    left, right = words_of(deque)[left_block : left_block + 2]
    assert left != right
    # What stands before the items leads to the left, and nowhere here.
    link = items + place(words(left + items, 65), right)
    say("builtin.deque.block_right", link)
    say("builtin.deque.block_length", (link - items) // WORD)


def old_dictionaries():
    values = [object() for _ in range(5)]
    table = {name: value for name, value in zip("abcde", values)}
    del table["a"], table["b"]
    keys = ctypes.c_uint64.from_address(id(table) + dict_keys()).value
    found = words(keys, 6)
    say("dict.in_keys.index_bytes.Count.0", place(found, 8))
    say("dict.in_keys.entry_count", place(found, 5))
    # Entries of hash, key, value follow the indices, of which each is a byte.
    third = place(words(keys, 40), id(values[2]))
    say("dict.in_keys.indices", third - 2 * WORD - 2 * 3 * WORD - 8)

    class Thing:
        def __init__(self):
            self.first = values[0]
            self.second = values[1]

    one, _ = Thing(), Thing()
    split = ctypes.c_uint64.from_address(id(one.__dict__) + dict_keys() + WORD).value
    say("dict.in_values", place(words(split, 2), id(values[0])))
    say("builtin.module_dict", place(words_of(sys), id(sys.__dict__)))


def dict_keys():
    """The pointer to the keys; the one to values follows. Empty dictionaries share both."""
    one, two = words_of({}), words_of({})
    alike = [i for i, word in enumerate(one) if word == two[i] and word > 4096 and word != id(dict)]
    return alike[0] * WORD


def delegation():
    """The least argument of what follows where a generator waits for another object."""

    def generator():
        yield from ()

    async def coroutine():
        await generator()

    arguments = []
    for function in (generator, coroutine):
        steps = list(dis.get_instructions(function))
        after = zip(steps, steps[1:])
        arguments += [two.arg for one, two in after if one.opname == "YIELD_VALUE"]
    say("instructions.delegation.Next.least", min(arguments) if VERSION >= (3, 11) else 0)


def byte_that_is(ones, zeros, start):
    """The first byte from `start` on that is 1 in all of some objects and 0 in all of others."""
    size = min(type(thing).__basicsize__ for thing in ones + zeros)
    contents = [[at(id(thing), size) for thing in things] for things in (ones, zeros)]
    places = [
        index
        for index in range(start, size)
        if all(content[index] == 1 for content in contents[0])
        and all(content[index] == 0 for content in contents[1])
    ]
    return places[0]


async def tasks():
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    async def wait(awaited):
        await awaited

    async def end():
        pass

    pending = loop.create_task(wait(future), name="pending one")
    await asyncio.sleep(0)
    done = loop.create_task(end())
    cancelled = loop.create_task(wait(loop.create_future()))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done.done() and cancelled.cancelled() and not pending.done()
    size = asyncio.Task.__basicsize__
    say("task.size", size)
    found = words_of(pending)
    say("task.event_loop", place(found, id(loop)))
    say("task.waiter", place(found, id(future)))
    say("task.coroutine", place(found, id(pending.get_coro())))
    say("task.name", place(found, id(pending.get_name())))
    states = zip(*(at(id(task), size)[::4] for task in (pending, done, cancelled)))
    (state,) = [index * 4 for index, these in enumerate(states) if these == (0, 2, 1)]
    say("task.state", state)
    if VERSION >= (3, 14):
        await links(loop, pending, state)
    future.set_result(None)
    await pending


async def links(loop, task, state):
    async def wait():
        await task

    first = loop.create_task(wait())
    await asyncio.sleep(0)
    awaited_by = place(words_of(task), id(first))
    say("task.links.awaited_by", awaited_by)
    second = loop.create_task(wait())
    await asyncio.sleep(0)
    waiters = ctypes.cast(words_of(task)[awaited_by // WORD], ctypes.py_object).value
    assert waiters == {first, second}
    say("task.links.awaited_by_is_set", byte_that_is([task], [first, second], state))
    future = loop.create_future()
    say("task.links.is_task", byte_that_is([first, second], [future, future], state))
    # The newest task stands at the end of the list, behind the one before it.
    before, behind = words_of(first), words_of(second)
    nodes = [
        index * WORD
        for index in range(len(before) - 1)
        if before[index] == id(second) + index * WORD
        and behind[index + 1] == id(first) + index * WORD
    ]
    (node,) = nodes or [
        index * WORD
        for index in range(len(before) - 1)
        if behind[index] == id(first) + index * WORD
        and before[index + 1] == id(second) + index * WORD
    ]
    say("task.links.node", node)


if __name__ == "__main__":
    generators()
    deques()
    views()
    if VERSION <= (3, 10):
        old_dictionaries()
    if VERSION <= (3, 12):
        delegation()
    asyncio.run(tasks())
