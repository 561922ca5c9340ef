# What Invivo runs inside a target: it calls back, gets its task, does it, reports, and goes.
#
# Invivo puts one line before this text, `invivo = (...)`, and the target runs both as one script
# in a fresh dictionary that holds nothing but __builtins__, in any thread, between any two
# bytecodes of anyone's code. So:
#
# - Nothing may stay behind: no module, class, thread, file descriptor, hook or cycle of
#   references. Hence closures that refer to each other in one direction only, modules and
#   namespaces as objects where a class would have been natural (a class is a cycle), and no
#   import that registers anything. One thing does: from 3.12 on, in a target that has never
#   imported `socket`, each run loads a copy of `_socket`, whose types wait for the collector.
# - Nothing may harm the target: every failure of ours ends in silence, and nothing of ours is
#   ever written to its stdout or stderr.
# - What `stand_in` returns lives as long as somebody keeps it. Once the script has ended it uses
#   no global and no builtin by name, since the globals are emptied at the end.
#
# It runs on every CPython from 3.8 on. Compiling is what takes the time, so what stands below a
# line "as text" is handed over as a string and compiled by `make` only where it is needed.
#
# A signal handler of the target that raises while the script runs raises inside the script, as
# it would inside any code: such an exception is reported as the script's, and the interrupted
# code does not see it.


def run(token, reply, directory, script, deadline, payload, texts, scope):
    import sys

    modules = sys.modules
    namespace = type(sys.implementation)
    lookup = getattr

    def make(name):
        exec(texts[name], scope)
        return scope.pop('made')

    def load(name):
        # The target's own module if it has it ready, else a copy that is registered nowhere: an
        # import would leave an entry behind, or wait for a lock that the interrupted code holds.
        module = modules.get(name)
        if module and not lookup(lookup(module, '__spec__', 0), '_initializing', 0):
            return module
        return make('load')(name, sys, namespace(name=name, origin=None))

    posix = load('posix')
    thread = load('_thread')
    get_ident = thread.get_ident
    getpid = posix.getpid
    me = get_ident()
    pid = getpid()
    # What the interrupted code is handling becomes the context of whatever the script raises,
    # but is no part of it.
    outer = sys.exc_info()[1]
    sock = send = None
    # Whether the script is running, so that what this thread prints is the script's output.
    mine = sending = False
    unsent = bytearray()
    # Output that is still to be sent, and of which stream.
    output = namespace(text=bytearray(), kind=b'O')

    def push(kind, data=b''):
        # Sends a frame. If the other end is gone, or has not read anything for as long as the
        # socket's timeout, this and everything after it is dropped. A signal handler may run
        # inside `send` and print: that is queued behind. If it raises, the rest stays queued.
        nonlocal send, sending
        if not send or getpid() != pid:
            return
        unsent.extend(kind + len(data).to_bytes(4, 'big') + data)
        if sending:
            return
        sending = True
        try:
            while unsent:
                # MSG_NOSIGNAL (0x4000): the target may have SIGPIPE at its default.
                del unsent[: send(unsent[:65536], 0x4000)]
        except OSError:
            send = None
            unsent.clear()
        finally:
            sending = False

    def flush():
        data = bytes(output.text)
        output.text.clear()
        for at in range(0, len(data), 65536):
            push(output.kind, data[at : at + 65536])

    # What this run has put into `sys`, and by the same names what that replaced, in lists so
    # that another run that ends earlier can take itself out of the chain.
    placed = {}
    replaced = {}

    def place(name, thing, link):
        replaced[name] = link
        placed[name] = thing
        setattr(sys, name, thing)

    def ours():
        return mine and get_ident() == me and getpid() == pid

    def stand_in(name, kind):
        # A stand-in for a stream: the script's thread finds the functions of `own` in it, other
        # threads find what the replaced object has, link[0]. A module is the one builtin type
        # whose instances may look up attributes by a function.
        link = [lookup(sys, name, None)]
        own = {}

        def behind(attribute):
            if link[0] is None and attribute in ('write', 'flush', 'writelines'):
                return lambda *_: None
            return lookup(link[0], attribute)

        def find(attribute):
            if ours():
                if not own:
                    own.update(make('stream')(name, kind, ours, behind, output, flush, namespace))
                if attribute in own:
                    return own[attribute]
            return behind(attribute)

        proxy = type(sys)(name)
        proxy.__dict__.clear()
        proxy.__dict__.update(__getattr__=find, invivo=replaced)
        place(name, proxy, link)

    def restore():
        # Does nothing when it is done again. What somebody else has put into `sys` meanwhile
        # stays; where that is the stand-in of another run, ours comes out from behind it.
        for name, thing in placed.items():
            before = replaced[name][0]
            if lookup(sys, name, None) is thing:
                setattr(sys, name, before)
                continue
            for base in ('stdout', 'stderr'):
                other = lookup(sys, base, None)
                while type(other) is type(sys) and 'invivo' in other.__dict__:
                    links = other.__dict__['invivo']
                    if name in links and links[name][0] is thing:
                        links[name][0] = before
                    other = links[base][0]

    def call_back():
        # Connects to Invivo, and returns what it wants done, or None.
        nonlocal sock, send
        socket = load('_socket')
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(2)
        path = directory + b'/s'
        if len(path) < 108:
            sock.connect(path)
        else:
            make('connect')(posix, sock, directory)
        peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        user = int.from_bytes(peer[4:8], sys.byteorder)
        if user not in (0, posix.geteuid()) and not make('unmapped')(posix, user):
            return None

        def receive(size):
            data = bytearray()
            while len(data) < size:
                part = sock.recv(min(size - len(data), 1 << 20))
                if not part:
                    raise OSError
                data += part
            return bytes(data)

        send = sock.send
        push(b'H', token + pid.to_bytes(8, 'big') + thread.get_native_id().to_bytes(8, 'big'))
        head = receive(5)
        size = int.from_bytes(head[1:], 'big')
        if head[:1] == b'G' and receive(16) == reply:
            return receive(size - 16)

    def perform():
        # Runs the script and returns the frame that tells how it ended. What the script leaves
        # dies in here, while what its finalizers print is still the script's output.
        fields = []
        at = 2
        while at < len(payload):
            end = at + 4 + int.from_bytes(payload[at : at + 4], 'big')
            fields.append(payload[at + 4 : end])
            at = end
        source = fields[1]
        file, *arguments = [part.decode() for part in fields[:1] + fields[2:]]
        place('argv', arguments, [lookup(sys, 'argv', None)])
        code = None
        ran = False
        try:
            mode = 'exec'
            if payload[:1] == b'e':
                mode = 'eval'
                source = source.lstrip(b' \t')
            if payload[1:2] == b'm':
                names = modules['__main__'].__dict__
            else:
                names = {'__name__': '__main__', '__doc__': None, '__file__': file}
            code = compile(source, file, mode, 0, True)
            value = eval(code, names)
            ran = True
            return (b'V', make('value')(value)) if mode == 'eval' else None
        except BaseException as error:
            return make('error')(error, outer, scope, code, ran)

    try:
        try:
            if load('time').time() * 1000 > deadline:
                return
            payload = payload or call_back()
        finally:
            for remove, path in (
                (posix.unlink, b'/' + script), (posix.unlink, b'/s'), (posix.rmdir, b'')
            ):
                try:
                    remove(directory + path)
                except Exception:
                    pass
        if not payload:
            return
        try:
            stand_in('stdout', b'O')
            stand_in('stderr', b'E')
            mine = True
            result = perform()
            flush()
        finally:
            mine = False
            try:
                restore()
            finally:
                restore()
        if result:
            push(*result)
        push(b'D')
    finally:
        if sock:
            sock.close()


try:
    run(*invivo, globals())
except BaseException:
    pass
finally:
    globals().clear()


# as text: load


def made(name, sys, spec):
    imp = sys.modules['_imp']
    if imp.is_builtin(name):
        module = imp.create_builtin(spec)
        imp.exec_builtin(module)
        return module
    posix = sys.modules['posix']
    for folder in sys.path:
        for suffix in imp.extension_suffixes():
            spec.origin = '%s/%s%s' % (folder, name, suffix)
            try:
                posix.stat(spec.origin)
            except (OSError, ValueError):
                continue
            known = name in sys.modules
            module = imp.create_dynamic(spec)
            imp.exec_dynamic(module)
            # It holds on to itself from 3.12 on, in a way that no collector sees.
            module.__dict__.pop('CAPI', None)
            # Modules of the old kind register themselves when they are created.
            if not known and sys.modules.get(name) is module:
                del sys.modules[name]
            return module


# as text: connect


def made(posix, sock, directory):
    # The path is too long for a socket's address.
    folder = posix.open(directory, posix.O_RDONLY)
    try:
        sock.connect('/proc/self/fd/%d/s' % folder)
    finally:
        posix.close(folder)


# as text: unmapped


def made(posix, user):
    # In a user namespace, whoever has no number in it appears as the overflow user.
    fields = []
    for file in ('/proc/self/uid_map', '/proc/sys/kernel/overflowuid'):
        fd = posix.open(file, posix.O_RDONLY)
        try:
            fields.append(posix.read(fd, 4096).split())
        finally:
            posix.close(fd)
    return fields[0] != [b'0', b'0', b'4294967295'] and user == int(fields[1][0])


# as text: stream


def made(name, kind, ours, behind, output, flush, namespace):
    # What the script's thread finds in a stream. The script may keep any of these functions and
    # call it elsewhere or later.
    def put(data):
        # Gathers the pieces of a line, and keeps the order between the two streams.
        if kind != output.kind:
            flush()
            output.kind = kind
        output.text.extend(data)
        if len(output.text) > 4095 or b'\n' in data:
            flush()

    def write(string):
        if not ours():
            return behind('write')(string)
        if not isinstance(string, str):
            raise TypeError('write() argument must be str, not ' + type(string).__name__)
        put(str.encode(string, 'utf-8', 'backslashreplace'))
        return len(string)

    def write_bytes(data):
        if not ours():
            return behind('buffer').write(data)
        data = bytes(memoryview(data))
        put(data)
        return len(data)

    def writelines(lines):
        for line in lines:
            write(line)

    def push_out():
        flush() if ours() else behind('flush')()

    def fileno():
        if not ours():
            return behind('fileno')()
        raise unsupported('fileno')

    def no(*_, **__):
        return False

    def yes():
        return True

    import sys

    unsupported = sys.modules['_io'].UnsupportedOperation
    own = {
        'flush': push_out, 'fileno': fileno, 'isatty': no, 'readable': no, 'seekable': no,
        'writable': yes, 'close': no, 'closed': False, 'name': '<%s>' % name,
        'writelines': writelines,
    }
    own.update(
        buffer=namespace(write=write_bytes, **own), write=write, reconfigure=no, mode='w',
        encoding='utf-8', errors='backslashreplace', newlines=None, line_buffering=True,
    )
    return own


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


# as text: value


def made(value):
    # The representation, cut at 16 MiB, and the value as JSON if it can be.
    limit = 1 << 24
    form = str.encode(repr(value), 'utf-8', 'backslashreplace')
    cut = len(form) > limit
    if cut:
        form = form[:limit].decode('utf-8', 'ignore').encode()
    try:
        json = encode(encode, value, 64, [1 << 22]).encode()
    except Exception:
        json = b''
    return (b'\1' if cut else b'\0') + len(form).to_bytes(4, 'big') + form + json


# as text: error


def made(error, outer, scope, code, ran):
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
