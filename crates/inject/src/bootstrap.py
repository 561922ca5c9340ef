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
