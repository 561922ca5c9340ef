"""Names of every width and length, and line tables of every kind and size."""


def renamed(function, **changes):
    """The function with another code object."""
    code = function.__code__
    if hasattr(code, "co_qualname") and "co_name" in changes:
        changes.setdefault("co_qualname", "Class." + changes["co_name"])
    function.__code__ = code.replace(**changes)
    return function


def template():
    def target():
        rest()

    return target


NAMES = {
    "latin": "l\u00e4tin_\u00e9",
    "greek": "\u03b1\u03b2\u03b3",
    "han": "\u51fd\u6570",
    "astral": "\U0001d518\U0001d52b",
    "long": "a" * 5000,
    "long_latin": "\u00fc" * 5000,
    "long_greek": "\u03a9" * 5000,
    "long_astral": "\U00010400" * 5000,
    "mixed": "a\u00fc\u03a9\U00010400" * 1250,
    "empty": "",
    "control": "a\nb\x1b[31m\u202e\x00c",
    "surrogate": "a\ud800b",
}
for label, name in NAMES.items():
    function = renamed(template(), co_name=name, co_filename="/tmp/" + name + ".py")
    start(function, "name_" + label)
    # And the thread's name.
    start(template(), name.replace("\ud800", "") or "empty name")

exec("def \u00e4\u00f6\u00fc():\n    rest()\nstart(\u00e4\u00f6\u00fc)")
exec("class \u7c7b:\n    def \u65b9\u6cd5(self):\n        rest()\nstart(\u7c7b().\u65b9\u6cd5)")


def generated(text, filename, name):
    namespace = {"rest": rest}
    exec(compile(text, filename, "exec"), namespace)
    code = namespace["target"].__code__
    table = code.co_linetable if hasattr(code, "co_linetable") else code.co_lnotab
    assert len(text) < 100000 or len(table) > 65536, len(table)
    start(namespace["target"], name, warm_up=False)


# A line table of over 64 KiB in one code object: the call is at its end, or at its beginning.
LINES = "    x += 1\n" * 34000
BEGINNING = "def target(x=0):\n"
generated(BEGINNING + LINES + "    rest()\n", "many_lines.py", "line_table_long")
generated(BEGINNING + "    rest()\n" + LINES, "many_lines_begin.py", "line_table_long_begin")
# Long jumps forward and back, and columns beyond those of the short forms.
generated(
    "def target():\n    x = 1\n" + "\n" * 70000 + "    y = (2,\n" + "\n" * 300 + "    rest(), x)\n    return y\n",
    "far_lines.py",
    "line_table_far",
)
generated(
    "def target():\n    return (" + " " * 9000 + "1, rest()" + " " * 3000 + ")\n",
    "far_columns.py",
    "line_table_columns",
)
generated(
    'def target():\n    return ("\u00e4\u51fd\U0001d518", rest(), "\u00e4")\n', "wide_columns.py", "columns_in_bytes"
)
generated(
    "def target():\n    for _ in range(1):\n        x = (\n            1,\n            rest(\n            ),\n            3)\n    return x\n",
    "back_lines.py",
    "line_table_backwards",
)


def first_line_far():
    """`co_firstlineno` beyond the places of the code."""


def moved():
    start(renamed(template(), co_firstlineno=2**31 - 100), "first_line_huge")
    start(renamed(template(), co_firstlineno=1), "first_line_one")


moved()
