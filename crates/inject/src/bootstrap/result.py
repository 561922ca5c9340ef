# What the bootstrap needs for a result that is no short value: parts that go with the task.


# as text: encode (comes before the next two)

def encode(encode, value, depth, room):
    # JSON, for exact values of the types that JSON has; raises for others.
    kind = type(value)
    room[0] -= 8
    if kind is str:
        room[0] -= len(value)
        value.encode()
    if room[0] < 0 or depth < 0:
        raise ValueError
    if value is None:
        return 'null'
    if kind is bool:
        return 'true' if value else 'false'
    if kind is int or kind is float and value - value == 0:
        return repr(value)
    if kind is str:
        escapes = {code: '\\u%04x' % code for code in range(32)}
        escapes.update({34: '\\"', 92: '\\\\'})
        return '"%s"' % value.translate(escapes)
    if kind is list or kind is tuple:
        return '[%s]' % ','.join([encode(encode, one, depth - 1, room) for one in value])
    if kind is dict:
        if any(type(key) is not str for key in value):
            raise TypeError
        return '{%s}' % ','.join([
            encode(encode, key, 0, room) + ':' + encode(encode, one, depth - 1, room)
            for key, one in value.items()
        ])
    raise TypeError


# as text: whole

# A long representation, cut at 16 MiB, and the value as JSON if that is asked for (by a negative
# limit) and possible.


def send_all(data, flags):
    # As long as there is progress, where `sendall` has one timeout for all.
    data = memoryview(data)
    while data:
        data = data[sock.send(data, flags) :]


cut = len(form) > 1 << 24
if cut:
    form = form[: 1 << 24].decode('utf-8', 'ignore').encode()
json = b''
if limit < 0:
    try:
        json = encode(encode, value, 64, [1 << 22]).encode()
    except Exception:
        pass
form = (b'\1' if cut else b'\0') + len(form).to_bytes(4, 'big') + form + json
result = b'W' + len(form).to_bytes(4, 'big') + form


# as text: failure

def describe(error, outer, scope, code, ran):
    # The exception, what it came from, and what it holds, as a list in which each names others
    # by their place further down. Every part is bounded, and hostile methods are survived.
    room = [1 << 20]
    spare = [400]

    def clip(text, size=4096):
        raw = str.encode(text, 'utf-8', 'backslashreplace')
        raw = raw[: max(0, min(size, room[0]))]
        room[0] -= len(raw)
        return raw.decode('utf-8', 'ignore')

    def attempt(function, otherwise=None):
        try:
            return function()
        except BaseException:
            return otherwise

    def number(value):
        return value if type(value) is int and 0 <= value < 1 << 31 else None

    def slot(error, name):
        return BaseException.__dict__[name].__get__(error)

    def text_of(thing, what):
        return attempt(lambda: clip(str(thing), 1 << 16), '<%s str() failed>' % what)

    def kind_of(error):
        kind = type(error)
        name = clip(attempt(lambda: type.__dict__['__qualname__'].__get__(kind), '?'))
        module = attempt(lambda: clip(kind.__module__), '?')
        return name if module in ('builtins', '__main__') else module + '.' + name

    def position(code, instruction):
        # (end line, column, end column), which 3.11 and later know.
        if hasattr(code, 'co_positions') and instruction >= 0:
            for index, found in enumerate(code.co_positions()):
                if index == instruction // 2:
                    return [number(one) for one in found[1:]]
        return [None, None, None]

    def frames_of(trace):
        # The script's frames; runs of the same line are counted, and of many different ones
        # the first and the last are kept.
        runs = []
        left_out = 0
        while trace:
            code = trace.tb_frame.f_code
            if trace.tb_frame.f_globals is not scope:
                key = code, trace.tb_lineno, trace.tb_lasti
                if runs and runs[-1][0] == key:
                    runs[-1][1] += 1
                else:
                    runs.append([key, 1])
                    if len(runs) > 200:
                        left_out += runs.pop(100)[1]
            trace = trace.tb_next
        frames = []
        for (code, line, instruction), times in runs:
            if spare[0] <= 0:
                left_out += times
                continue
            spare[0] -= 1
            frames.append([
                clip(code.co_filename), clip(code.co_name),
                clip(attempt(lambda: code.co_qualname, code.co_name)),
                number(line), *position(code, instruction), times,
            ])
        return frames, left_out

    # An audit hook that refuses raises before any of the script's code runs. So may these, but
    # not from within a function of the hook.
    natural = MemoryError, RecursionError, KeyboardInterrupt
    if code is None:
        natural += SyntaxError, ValueError, OverflowError
    inner = slot(error, '__traceback__').tb_next
    while inner and inner.tb_frame.f_globals is scope:
        inner = inner.tb_next
    ran = ran or inner and inner.tb_frame.f_code is code
    if not ran and (inner or not isinstance(error, natural)):
        return b'R', clip(kind_of(error) + ': ' + text_of(error, 'exception')).encode()
    if isinstance(error, SystemExit):
        code = attempt(lambda: error.code)
        text = None if code is None else text_of(code, 'exit code')
        good = code is None or type(code) in (int, bool) and not code
        return b'Q', encode(encode, [good, text], 2, room).encode()

    queue = [error]
    seen = {id(error), id(outer)}

    def place_of(other):
        # Where this exception is going to be in the list; None where it is there already.
        if not isinstance(other, BaseException) or id(other) in seen or len(queue) > 63:
            return None
        seen.add(id(other))
        queue.append(other)
        return len(queue) - 1

    records = []
    for one in queue:
        frames, left_out = frames_of(slot(one, '__traceback__'))
        record = {
            'kind': kind_of(one), 'text': text_of(one, 'exception'),
            'frames': frames, 'left_out': left_out,
            'cause': place_of(slot(one, '__cause__')),
            'context': place_of(slot(one, '__context__')),
            'suppress': bool(slot(one, '__suppress_context__')),
        }
        notes = attempt(lambda: one.__notes__)
        if type(notes) is list:
            record['notes'] = [text_of(note, 'note') for note in notes[:100]]
        members = attempt(lambda: one.exceptions)
        if type(members) is tuple and hasattr(type(one), 'derive'):
            places = [place_of(member) for member in members]
            record['members'] = [place for place in places if place is not None]
            record['members_left_out'] = places.count(None)
        if isinstance(one, SyntaxError):
            names = {
                'message': 'msg', 'file': 'filename', 'text': 'text', 'line': 'lineno',
                'column': 'offset', 'end_line': 'end_lineno', 'end_column': 'end_offset',
            }
            record['syntax'] = details = {}
            for name, attribute in names.items():
                value = attempt(lambda: getattr(one, attribute))
                text = name in ('message', 'file', 'text')
                if not text:
                    details[name] = number(value)
                elif isinstance(value, str):
                    details[name] = clip(value)
        records.append(record)
    return b'X', encode(encode, records, 20, [1 << 23]).encode()


kind, text = describe(
    error, outer, globals(), None if code is who else code, value is not who
)
result = kind + len(text).to_bytes(4, 'big') + text
