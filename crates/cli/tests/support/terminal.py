"""A terminal for a program: what it shows, and whether it is left as it was.

The arguments are the program's. Each line on standard input is a JSON object that says what to do;
each is answered by one that says how the terminal stands.
"""

import codecs
import fcntl
import json
import os
import re
import select
import signal
import struct
import sys
import termios
import time
import unicodedata

PATIENCE = 60
SEQUENCE = re.compile(r"\x1b(?:\[([?>=]?)([0-9;:]*)([@-~])|[()][0-9A-B]|[=>78])")


class Screen:
    """Characters in their places, as far as full-screen programs need it."""

    def __init__(self, rows, columns):
        self.alternate = self.taken = False
        self.cursor = True
        self.pending = ""
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.other = None
        self.resize(rows, columns)

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.clear()

    def clear(self):
        self.cells = [[" "] * self.columns for _ in range(self.rows)]
        self.row = self.column = 0

    def feed(self, data):
        text = self.pending + self.decode(data)
        self.pending = ""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self.put(text[at])
                at += 1
                continue
            found = SEQUENCE.match(text, at)
            if found:
                self.control(*found.groups())
                at = found.end()
            elif len(text) - at < 32:
                self.pending = text[at:]
                return
            else:
                at += 1

    def put(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.down()
        elif character >= " ":
            if self.column >= self.columns:
                self.column = 0
                self.down()
            wide = unicodedata.east_asian_width(character) in "WF"
            self.cells[self.row][self.column] = character
            if wide and self.column + 1 < self.columns:
                self.cells[self.row][self.column + 1] = ""
            self.column += 2 if wide else 1

    def down(self):
        self.row += 1
        if self.row >= self.rows:
            self.cells.append([" "] * self.columns)
            self.cells.pop(0)
            self.row = self.rows - 1

    def control(self, private, numbers, command):
        parts = [int(part or 0) for part in (numbers or "").split(";")]
        if private == "?" and command in "hl":
            for part in parts:
                if part == 1049:
                    self.switch(command == "h")
                elif part == 25:
                    self.cursor = command == "h"
        elif command == "H" and not private:
            parts += [1, 1]
            self.row = min(max(parts[0], 1), self.rows) - 1
            self.column = min(max(parts[1], 1), self.columns) - 1
        elif command == "J" and parts[0] == 2:
            self.cells = [[" "] * self.columns for _ in range(self.rows)]
        elif command == "K":
            self.cells[self.row][self.column :] = [" "] * (self.columns - self.column)

    def switch(self, alternate):
        if alternate != self.alternate:
            before = (self.cells, self.row, self.column)
            if self.other and len(self.other[0]) == self.rows:
                self.cells, self.row, self.column = self.other
            else:
                self.clear()
            self.other = before
            self.alternate = alternate
            self.taken |= alternate

    def lines(self):
        return ["".join(row).rstrip() for row in self.cells]


class Terminal:
    def __init__(self, program, rows=24, columns=80):
        self.screen = Screen(rows, columns)
        self.master, self.slave = os.openpty()
        self.resize(rows, columns)
        self.attributes = termios.tcgetattr(self.slave)
        self.ended = None
        self.stopped = False
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.master)
            os.login_tty(self.slave)
            os.environ["TERM"] = "xterm-256color"
            # Whoever runs the tests may ignore some, and it would inherit that.
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.execv(program[0], program)

    def resize(self, rows, columns):
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)
        self.screen.resize(rows, columns)

    def read(self):
        ready, _, _ = select.select([self.master], [], [], 0.02)
        if ready:
            self.screen.feed(os.read(self.master, 65536))
        return bool(ready)

    def look(self):
        """Whether the program runs, stands still or has ended."""
        if self.ended is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if pid and os.WIFSTOPPED(status):
                self.stopped = True
            elif pid and os.WIFCONTINUED(status):
                self.stopped = False
            elif pid:
                self.ended = os.waitstatus_to_exitcode(status)

    def until(self, condition):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.look()
            silent = not self.read()
            # What it wrote last is read before it counts.
            if condition() and (silent or self.ended is None):
                return True
        return False

    def do(self, order):
        what = order["do"]
        done = True
        if what == "wait":
            done = self.until(lambda: order["text"] in "\n".join(self.screen.lines()))
        elif what == "keys":
            os.write(self.master, order["text"].encode())
        elif what == "resize":
            self.resize(order["rows"], order["columns"])
        elif what == "signal":
            os.kill(self.pid, order["number"])
        elif what == "stopped":
            done = self.until(lambda: self.stopped)
        elif what == "ended":
            done = self.until(lambda: self.ended is not None)
        return {
            "done": done,
            "screen": self.screen.lines(),
            "taken": self.screen.taken,
            "alternate": self.screen.alternate,
            "cursor": self.screen.cursor,
            "restored": termios.tcgetattr(self.slave) == self.attributes,
            "code": self.ended,
        }


def main():
    terminal = Terminal(sys.argv[1:])
    try:
        for line in sys.stdin:
            print(json.dumps(terminal.do(json.loads(line))), flush=True)
    finally:
        if terminal.ended is None:
            os.kill(terminal.pid, 9)


main()
