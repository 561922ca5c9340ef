# What Invivo runs inside a target: it calls back, gets its task, does it, reports, and goes.
#
# Invivo puts one line before this text, `invivo = (...)`, and the target runs both as one script
# in a fresh dictionary that holds nothing but __builtins__, in any thread, between any two
# bytecodes of anyone's code. So:
#
# - Nothing may stay behind: no module, class, thread, file descriptor, hook or cycle of
#   references. All names live in that dictionary, and lose their values at the end; what may live
#   on (the stand-ins for the streams, and what the script takes from them) refers to its own parts
#   in one direction only. There is no class, for a class is a cycle, and no import.
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
    (hello, reply, directory, script, deadline, mode, limit, stop_after, task, own, remove, note,
     files, connect, peer) = invivo
    modules = getattr(sys, 'modules', {})
    pid = posix.getpid()
    # A child that was forked with the request in its memory has none of its own, and its parent
    # still needs the files.
    if own and own != pid:
        raise OSError
    # Of types that are written in Python bit 9 is set and bit 8 is not.
    flags = type.__dict__['__flags__'].__get__

    def find_type(home, module, name):
        # A type that is written in C, which no program can have patched, though it may have put
        # another thing in its place.
        kind = home.__dict__.get(name) if type(home) is type(sys) else None
        if type(kind) is type and flags(kind) & 768 != 512:
            return kind
        for kind in object.__subclasses__():
            if flags(kind) & 768 != 512 and (kind.__module__, kind.__name__) == (module, name):
                return kind

    # Who holds this runs the script: `_thread.get_ident` may be anything.
    lock = find_type(core['_thread'], '_thread', 'RLock')()
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
        kind = find_type(modules.get('_socket'), '_socket', 'socket')
        if kind:
            sock = kind(1)
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
            # Whoever listens (SOL_SOCKET, SO_PEERCRED) must be root or the target's own user.
            user = sock.getsockopt(1, 17, 12)[4:8]
            if any(user):
                exec(peer)
            # MSG_NOSIGNAL (0x4000): the target may have SIGPIPE at its default.
            sock.send(hello, 0x4000)
            # The task ends with what only Invivo knows. Whoever hangs up before, or does not stop,
            # is not there any more.
            task = bytearray()
            while not task.endswith(reply):
                part = len(task) < 1 << 26 and sock.recv(65536)
                if not part:
                    raise FileNotFoundError
                task += part
        else:
            exec(files)
        # end
    except BaseException as error:
        # if attended
        exec(note)
        # end
        # if unattended
        exec(remove)
        # end
        raise
    # if unattended
    exec(remove)
    # end
    stream, others, mute, unchain, whole, failure, source, *texts = task[:-16].split(b'\xff')
    file, *arguments = [text.decode('utf-8', 'surrogatepass') for text in texts]
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
    # if stop
    traced = sys.gettrace()

    def halt(frame, _, argument, who=who, times=posix.times, until=posix.times()[4] + stop_after,
             file=file):
        # In the script's own frames alone, and only while it runs: what it leaves in the program
        # is not touched.
        if who and frame.f_code.co_filename == file:
            # 3.10 and 3.11 tell of no line where a loop is nothing but a jump to itself.
            frame.f_trace_opcodes = sys.hexversion >> 16 in (0x30a, 0x30b)
            if times()[4] > until:
                raise KeyboardInterrupt('stopped, as it was to be after %g s' % stop_after)
        return halt
    # end
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
        namespace = [modules['__main__'].__dict__]
        # end
        # if fresh
        namespace = [{'__name__': '__main__', '__doc__': None, '__file__': file}]
        # end
        # if unbounded
        value = eval(code, namespace.pop())
        # end
        # if stop
        # What runs within a trace function of the program's is not traced, unless a debugger asks
        # for it so. 3.11 traces what was to be traced when the innermost code was entered.
        sys.call_tracing(
            exec, ('sys.settrace(halt)\nvalue = eval(code, namespace.pop())', globals())
        )
        # end
        # if evaluate
        form = str.encode(repr(value), 'utf-8', 'backslashreplace')
        result = b'V' + len(form).to_bytes(4, 'big') + form
        if len(form) > limit:
            exec(whole)
        # end
    except BaseException as error:
        # if stop
        sys.settrace(traced)
        # end
        exec(failure)
    # if stop
    sys.settrace(traced)
    # end
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


# as text: remove

for name in b'/' + script, b'/s', b'/t', b'/r', b'/o', b'':
    try:
        (posix.unlink if name else posix.rmdir)(directory + name)
    except Exception:
        pass


# as text: note

# Why there is no script, for Invivo, which then removes the files; where it is gone, nobody would.
# A link takes no file descriptor, which may be what is lacking.
gone = ConnectionRefusedError, FileNotFoundError
try:
    if isinstance(error, gone):
        raise error
    text = str.encode('%s: %s' % (type(error).__name__, error), 'ascii', 'backslashreplace')
    posix.symlink(text.replace(b'\0', b'')[:1000], directory + b'/e')
except Exception:
    exec(remove)


# as text: files

# A program that has no sockets is given none: they would have to be loaded. Its task lies in one
# file, and what it sends goes into another. Who waits for it holds a lock on the first for as long
# as it lives, and removes it when it no longer waits.
opened = []


def is_attended():
    try:
        posix.lockf(opened[0], posix.F_TEST, 0)
    except OSError:
        return True


def send(data, _=0):
    # Blocks of 512 bytes: what has been read is taken out of the file.
    if not is_attended() or posix.fstat(opened[1]).st_blocks > 1 << 17:
        raise ConnectionRefusedError
    return posix.write(opened[1], data)


def send_all(data, _=0):
    data = memoryview(data)
    while data:
        data = data[send(data) :]


def close():
    while opened:
        posix.close(opened.pop())


sock = type(sys.implementation)(send=send, close=close)
how = posix.O_CLOEXEC | posix.O_NOFOLLOW
opened.append(posix.open(directory + b'/t', how | posix.O_RDONLY))
how |= posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_APPEND
opened.append(posix.open(directory + b'/o', how, 0o600))
send_all(hello)
# Either this is done, or Invivo has removed it.
posix.rename(directory + b'/t', directory + b'/r')
task = bytearray()
while not task.endswith(reply):
    task += posix.read(opened[0], 1 << 20) or None


# as text: connect

# The path is too long for a socket's address.
folder = posix.open(directory, posix.O_RDONLY)
try:
    sock.connect('/proc/self/fd/%d/s' % folder)
finally:
    posix.close(folder)


# as text: peer

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
