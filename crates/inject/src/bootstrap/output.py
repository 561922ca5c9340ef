# What the bootstrap needs once something is printed: parts that go with the task.


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
