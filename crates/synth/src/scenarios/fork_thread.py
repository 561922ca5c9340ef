"""Forked by another thread than the main one: which then is the child's main thread."""


def forks():
    fork()
    run(rest)


threading.Thread(target=forks).start()
while True:
    time.sleep(1000)
