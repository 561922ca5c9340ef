import ctypes

PR_SET_DUMPABLE = 4
assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
print("ready", flush=True)
while True:
    sum(range(1000))
