"""Prints the line table of every code object in the standard library (but its tests), with what the
interpreter makes of it: for each, the counts of the table's bytes and of runs of instructions of
one position, and the first line; the table; the runs, each as its length and the line, end line,
column and end column, -1 where one is unknown. All numbers are little-endian 32-bit integers."""

import dis
import marshal
import os
import sys
from array import array
from importlib.util import MAGIC_NUMBER, cache_from_source
from itertools import groupby

UNIT = 2
CACHE_HEADER = 16
LIBRARY = os.path.dirname(os.__file__)
LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests"}


def sources():
    for directory, directories, files in os.walk(LIBRARY):
        directories[:] = sorted(set(directories) - LEFT_OUT)
        paths = (os.path.join(directory, name) for name in sorted(files) if name.endswith(".py"))
        yield from filter(os.path.isfile, paths)


def module(path):
    """The code object of a file; `None` where it can't be compiled, as among tests of compilers."""
    cached = cache_from_source(path)
    if os.path.isfile(cached):
        with open(cached, "rb") as file:
            if file.read(4) == MAGIC_NUMBER:
                file.seek(CACHE_HEADER)
                return marshal.load(file)
    with open(path, "rb") as file:
        source = file.read()
    try:
        return compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None


def code_objects(path):
    top = module(path)
    pending = [top] if top else []
    while pending:
        code = pending.pop()
        pending.extend(const for const in code.co_consts if hasattr(const, "co_code"))
        yield code


def positions(code):
    """The position of each unit of the bytecode."""
    if hasattr(code, "co_positions"):
        return code.co_positions()
    lines = [None] * (len(code.co_code) // UNIT)
    if hasattr(code, "co_lines"):
        parts = list(code.co_lines())
    else:
        starts = list(dis.findlinestarts(code))
        ends = [start for start, _ in starts[1:]] + [len(code.co_code)]
        parts = [(start, end, line) for (start, line), end in zip(starts, ends)]
    for start, end, line in parts:
        units = slice(start // UNIT, end // UNIT)
        lines[units] = [line] * len(lines[units])
    return [(line, None, None, None) for line in lines]


def main():
    for path in sources():
        for code in code_objects(path):
            table = code.co_linetable if hasattr(code, "co_linetable") else code.co_lnotab
            runs = array("i")
            for position, group in groupby(positions(code)):
                runs.append(len(list(group)))
                runs.extend(-1 if part is None else part for part in position)
            head = array("i", [len(table), len(runs) // 5, code.co_firstlineno])
            sys.stdout.buffer.write(head.tobytes() + table + runs.tobytes())


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    main()
