import threading

ids = []
started = threading.Barrier(2)


def work(announce):
    ids.append(threading.get_native_id())
    started.wait()
    threading.main_thread().join()
    if announce:
        print("ready", *ids, flush=True)
    while True:
        sum(range(1000))


for announce in (True, False):
    threading.Thread(target=work, args=(announce,)).start()
