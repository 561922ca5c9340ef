"""Runs commands one after the other, each within bounds, and tells how it went.

A line of JSON comes in for each, a line goes out. The kernel's word counts for what it took.
"""

import json, os, resource, select, signal, sys, time

LIMIT = int(sys.argv[1]) << 20


def run(words, seconds, stdout, stderr):
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            for number, path in (1, stdout), (2, stderr):
                how = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                os.dup2(os.open(path, how, 0o600), number)
            resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.execv(words[0], words)
        finally:
            os._exit(99)
    end = os.pidfd_open(pid)
    in_time = bool(select.select([end], [], [], seconds)[0])
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    os.close(end)
    _, status, use = os.wait4(pid, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "in_time": in_time,
        "seconds": time.monotonic() - begun,
        "processor": use.ru_utime + use.ru_stime,
        "mebibytes": use.ru_maxrss // 1024,
    }


for line in sys.stdin:
    asked = json.loads(line)
    words = [bytes(word) for word in asked["words"]]
    print(json.dumps(run(words, asked["seconds"], asked["stdout"], asked["stderr"])), flush=True)
