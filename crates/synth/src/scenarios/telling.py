"""Tells what an interpreter knows of its threads, as lines of JSON."""

import itertools
import json
import os
import re
import sys
import threading


def text(string):
    """JSON has no lone surrogates: they are told as the private characters 0x100000 further."""
    further = lambda lone: chr(ord(lone.group()) + 0x100000)
    return string and re.sub("[\ud800-\udfff]", further, string)


class Told:
    """What the thread with the report knows, with each code object told once."""

    def __init__(self, interpreter=0):
        self.interpreter = interpreter
        self.codes = {}
        self.lines = []

    def code(self, code):
        if id(code) not in self.codes:
            # The object is kept: no other one may get its id.
            self.codes[id(code)] = code
            self.lines.append(
                {
                    "code": {
                        "address": id(code),
                        "name": text(code.co_name),
                        "qualname": text(getattr(code, "co_qualname", None)),
                        "filename": text(code.co_filename),
                        "first_line": code.co_firstlineno,
                        "flags": code.co_flags,
                    }
                }
            )
        return id(code)

    def frame(self, frame):
        code = frame.f_code
        lasti = frame.f_lasti
        line = [frame.f_lineno, None, None, None]
        if hasattr(code, "co_positions") and lasti >= 0:
            place = next(itertools.islice(code.co_positions(), lasti // 2, None))
            if place[0] != frame.f_lineno:
                raise AssertionError((code, lasti, place, frame.f_lineno))
            line = list(place)
        return [self.code(code)] + line

    def chain(self, frame):
        """A thread's frames, innermost first."""
        frames = []
        while frame is not None:
            frames.append(self.frame(frame))
            frame = frame.f_back
        return frames

    def thread(self, ident, frame, native_id, handles_exception):
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        self.lines.append(
            {
                "thread": {
                    "interpreter": self.interpreter,
                    "ident": ident,
                    "native_id": native_id,
                    "name": text(names.get(ident)),
                    "handles_exception": handles_exception,
                    "is_main": self.interpreter == 0 and ident == threading.main_thread().ident,
                    "frames": self.chain(frame),
                }
            }
        )

    def write(self, descriptor):
        for line in self.lines:
            data = (json.dumps(line) + "\n").encode()
            while data:
                data = data[os.write(descriptor, data) :]
