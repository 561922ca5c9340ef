# What Invivo runs inside a target: it calls back, gets its task, does it, reports, and goes.
#
# Invivo puts one line before this text, `invivo = (...)`, and the target runs both as one script
# in a fresh dictionary that holds nothing but __builtins__, in any thread, between any two
# bytecodes of anyone's code. So:
#
# - Nothing may stay behind: no module, class, thread, file descriptor, hook or cycle of
#   references. All names live in that dictionary, and lose their values at the end; what may live
#   on (the stand-ins for the streams, and what the script takes from them) refers to its own parts
#   in one direction only. There is no class, for a class is a cycle, and no import that registers
#   anything. One thing does stay: from 3.12 on, in a target that has never imported `socket`,
#   each run loads a copy of `_socket`, whose types wait for the collector.
# - Nothing may harm the target: every failure of ours ends in silence, and nothing of ours is
#   ever written to its stdout or stderr.
# - What may be called once the script has ended uses no global before it has found that the
#   script still runs (`who`), since they are None by then.
#
# It runs on every CPython from 3.8 on. Compiling is what takes the time, and parsing is most of
# that, so the target gets no more than this run needs:
#
# - What stands between "if" and "end" is left out where the condition does not hold.
# - What stands below a line "as text" is handed over as a string, in the first line or with the
#   task, and run in the same dictionary when it is needed. A signal handler that prints may run
#   such a part anew while it is being run, which must do no harm.
# - The rest is flat: every function costs as much as several lines.
#
# A signal handler of the target that raises while the script runs raises inside the script, as
# it would inside any code: such an exception is reported as the script's, and the interrupted
# code does not see it.

sock = None
# What this run has put into `sys`.
placed = {}
try:
    # An import would run what the program has put in its way. The import system itself holds all
    # that is needed, also where a program has emptied `sys.modules`.
    core = __loader__.find_spec.__globals__
    sys = core['sys']
    posix = core['_bootstrap_external']._os
    (hello, reply, directory, script, deadline, mode, limit, task, remove, load, extension,
     connect, peer, locks) = invivo
    modules = getattr(sys, 'modules', {})
    pid = posix.getpid()
    # Who holds this runs the script: `_thread.get_ident` may have been patched. No type that is
    # written in C can be, but its name. (Of types written in Python bit 9 is set, bit 8 is not.)
    flags = type.__dict__['__flags__'].__get__
    lock = getattr(core['_thread'], 'RLock', None)
    if type(lock) is not type or flags(lock) & 768 == 512:
        exec(locks)
    lock = lock()
    lock.acquire()
    is_owned = lock._is_owned
    # What the interrupted code is handling becomes the context of whatever the script raises,
    # but is no part of it.
    outer = sys.exc_info()[1]
    try:
        # if unattended
        # The kernel tells the time, whatever a program has made of `time.time`.
        posix.unlink(directory + b'/' + script)
        if posix.stat(directory).st_ctime * 1000 > deadline:
            raise OSError
        # end
        # if attended
        # The target's own module if it has it ready.
        socket = modules.get('_socket')
        if not socket or getattr(getattr(socket, '__spec__', 0), '_initializing', 0):
            exec(load)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(2)
        send_all = sock.sendall
        # end
        # if near
        sock.connect(directory + b'/s')
        # end
        # if far
        exec(connect)
        # end
        # if attended
        # Whoever listens must be root or the target's own user.
        if any(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[4:8]):
            exec(peer)
        # MSG_NOSIGNAL (0x4000): the target may have SIGPIPE at its default.
        sock.send(hello, 0x4000)
        # The task ends with what only Invivo knows. `None` can't be added: that is the way out
        # when the other end hangs up or does not stop.
        task = bytearray()
        while not task.endswith(reply):
            task += len(task) < 1 << 26 and sock.recv(65536) or None
        # end
    except BaseException:
        exec(remove)
        raise
    # if unattended
    exec(remove)
    # end
    stream, others, mute, unchain, whole, failure, source, *texts = task[:-16].split(b'\xff')
    file, *arguments = map(bytearray.decode, texts)
    # By the names in `placed` what that replaced: what is used, and what comes back in the end.
    # A list, so that another run that ends earlier can take itself out of the chain.
    replaced = {}
    # The process that runs the script, while it does. What the thread that holds `lock` prints in
    # it is the script's output, what others print is for the replaced object.
    who = []
    output = {}

    def restore():
        # Does nothing when it is done again. What somebody else has put into `sys` meanwhile
        # stays; where that is the stand-in of another run, ours comes out from behind it.
        who.clear()
        for name, thing in placed.items():
            if getattr(sys, name, None) is thing:
                setattr(sys, name, replaced[name][-1])
            else:
                exec(unchain, globals())
        placed.clear()

    for name in ('stdout', 'stderr'):
        replaced[name] = link = [getattr(sys, name, None)]
        if link[0] is None:
            exec(mute)

        # A stand-in for a stream. A module is the one builtin type whose instances may look up
        # attributes by a function. This one makes way for a better one when the script prints.
        def find(attribute, name=name, link=link, who=who, is_owned=is_owned, lookup=getattr):
            if who and is_owned():
                exec(stream, globals())
                return getattr(placed[name], attribute)
            return lookup(link[0], attribute)

        placed[name] = proxy = type(sys)(name)
        proxy.__dict__.clear()
        proxy.__getattr__ = find
        proxy.invivo = replaced
        setattr(sys, name, proxy)
    replaced['argv'] = [getattr(sys, 'argv', None)]
    placed['argv'] = sys.argv = arguments
    who.append(pid)
    result = b''
    # Neither is known yet.
    code = value = who
    try:
        # if announce
        # As a target that runs a debugger script by itself does.
        sys.audit('cpython.remote_debugger_script', (directory + b'/' + script).decode('utf-8',
                  'surrogateescape'))
        # end
        code = compile(source, file, mode, 0, True)
        # if main
        value = eval(code, modules['__main__'].__dict__)
        # end
        # if fresh
        value = eval(code, {'__name__': '__main__', '__doc__': None, '__file__': file})
        # end
        # if evaluate
        form = str.encode(repr(value), 'utf-8', 'backslashreplace')
        result = b'V' + len(form).to_bytes(4, 'big') + form
        if len(form) > limit:
            exec(whole)
        # end
    except BaseException as error:
        exec(failure)
    # What the script leaves dies here: what its finalizers print is still its output.
    code = value = None
    if output:
        flush()
    restore()
    # if attended
    if posix.getpid() == pid:
        send_all(result + b'D\0\0\0\0', 0x4000)
    # end
except BaseException:
    pass
try:
    if sock:
        sock.close()
    if placed:
        restore()
except BaseException:
    pass
# At once, and not `__builtins__`: from here on, still within this script, the target may begin
# with another one, and what it imports for that it finds by the dictionary that is in use.
globals().update(dict.fromkeys(globals().keys() - {'__builtins__'}))


# as text: locks

lock = [
    kind for kind in object.__subclasses__()
    if flags(kind) & 768 != 512 and kind.__name__ == 'RLock'
][0]


# as text: remove

for unlink, name in (posix.unlink, b'/' + script), (posix.unlink, b'/s'), (posix.rmdir, b''):
    try:
        unlink(directory + name)
    except Exception:
        pass


# as text: load

# Sets `socket` to a copy of the module that is registered nowhere: an import would leave an entry
# behind, or wait for a lock that the interrupted code holds.
imp = core['_imp']
spec = type(sys.implementation)(name='_socket', origin=None)
socket = imp.create_builtin(spec)
if socket:
    imp.exec_builtin(socket)
else:
    exec(extension)


# as text: extension

# The same where it is no builtin module.
for folder in sys.path:
    for suffix in imp.extension_suffixes():
        spec.origin = '%s/_socket%s' % (folder, suffix)
        try:
            posix.stat(spec.origin)
        except (OSError, ValueError):
            continue
        known = '_socket' in modules
        socket = imp.create_dynamic(spec)
        imp.exec_dynamic(socket)
        # It holds on to itself from 3.12 on, in a way that no collector sees.
        socket.__dict__.pop('CAPI', None)
        # Modules of the old kind register themselves when they are created.
        if not known and modules.get('_socket') is socket:
            del modules['_socket']
        break
    if socket:
        break


# as text: connect

# The path is too long for a socket's address.
folder = posix.open(directory, posix.O_RDONLY)
try:
    sock.connect('/proc/self/fd/%d/s' % folder)
finally:
    posix.close(folder)


# as text: peer

user = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[4:8]
user = int.from_bytes(user, sys.byteorder)
if user != posix.geteuid():
    # In a user namespace, whoever has no number in it appears as the overflow user.
    fields = []
    for file in ('/proc/self/uid_map', '/proc/sys/kernel/overflowuid'):
        fd = posix.open(file, posix.O_RDONLY)
        try:
            fields.append(posix.read(fd, 4096).split())
        finally:
            posix.close(fd)
    if fields[0] == [b'0', b'0', b'4294967295'] or user != int(fields[1][0]):
        raise OSError


# as text: mute

# There is nothing to replace: what other threads print goes nowhere, as before.
link[:] = type(sys.implementation)(), None
for method in ('write', 'flush', 'writelines'):
    setattr(link[0], method, lambda *_: None)


# as text: unchain

for name in placed:
    for base in ('stdout', 'stderr'):
        other = getattr(sys, base, None)
        while type(other) is type(sys) and 'invivo' in other.__dict__:
            links = other.__dict__['invivo']
            if name in links and links[name][0] is placed[name]:
                links[name][:] = replaced[name]
            other = links[base][0]


# as text: stream

# Puts into the stand-ins what the script's thread finds in a stream. The script may keep any of
# these functions and call it elsewhere or later.

# Output that is still to be sent, and of which stream; and frames that are being sent.
output.setdefault('state', type(sys.implementation)(
    text=b'', kind=b'O', unsent=bytearray(), sending=False
))


def flush():
    # Sends the output. If the other end is gone, or has not read anything for as long as the
    # socket's timeout, this and everything after it is dropped. A signal handler may run inside
    # `send` and print: that is queued behind. If it raises, the rest stays queued.
    state = output['state']
    text = state.text
    state.text = b''
    if not sock or posix.getpid() != pid:
        return
    unsent = state.unsent
    for at in range(0, len(text), 65536):
        piece = text[at : at + 65536]
        unsent.extend(state.kind + len(piece).to_bytes(4, 'big') + piece)
    if state.sending:
        return
    state.sending = True
    try:
        while unsent:
            del unsent[: sock.send(unsent[:65536], 0x4000)]
    except OSError:
        sock.close()
        unsent.clear()
    finally:
        state.sending = False


def put(kind, data):
    # Gathers the pieces of a line, and keeps the order between the two streams.
    state = output['state']
    if kind != state.kind:
        flush()
        state.kind = kind
    state.text += data
    if len(state.text) > 4095 or b'\n' in data:
        flush()


def finder(name, kind, link, who, is_owned, getpid, lookup):
    def ours():
        return who and is_owned() and getpid() in who

    def write(string):
        if not ours():
            return lookup(link[0], 'write')(string)
        if not isinstance(string, str):
            raise TypeError('write() argument must be str, not ' + type(string).__name__)
        put(kind, str.encode(string, 'utf-8', 'backslashreplace'))
        return len(string)

    def find(attribute):
        if not ours():
            return lookup(link[0], attribute)
        if attribute == 'write':
            return write
        if name not in output:
            exec(others, globals())
            output[name] = others_of(name, kind, link, ours, lookup, write)
        return output[name](attribute)

    return find


for name, kind in ('stdout', b'O'), ('stderr', b'E'):
    placed[name].__getattr__ = finder(
        name, kind, replaced[name], who, is_owned, posix.getpid, getattr
    )


# as text: others

def others_of(name, kind, link, ours, lookup, write):
    # What there is in a stream besides `write`: a function that finds it by its name.
    def write_bytes(data):
        if not ours():
            return lookup(link[0], 'buffer').write(data)
        data = bytes(memoryview(data))
        put(kind, data)
        return len(data)

    def writelines(lines):
        for line in lines:
            write(line)

    def push_out():
        flush() if ours() else lookup(link[0], 'flush')()

    def fileno():
        if not ours():
            return lookup(link[0], 'fileno')()
        raise core['_bootstrap_external']._io.UnsupportedOperation('fileno')

    def no(*_, **__):
        return False

    def yes():
        return True

    attributes = {
        'flush': push_out, 'fileno': fileno, 'isatty': no, 'readable': no, 'seekable': no,
        'writable': yes, 'close': no, 'closed': False, 'name': '<%s>' % name,
        'writelines': writelines,
    }
    buffer = type(sys.implementation)(write=write_bytes, **attributes)
    attributes.update(
        buffer=buffer, reconfigure=no, mode='w', encoding='utf-8', errors='backslashreplace',
        newlines=None, line_buffering=True,
    )

    def find_other(attribute):
        if attribute in attributes:
            return attributes[attribute]
        return lookup(link[0], attribute)

    return find_other


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
