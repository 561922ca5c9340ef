import threading

ids = []
started = threading.Barrier(5)


def work():
    ids.append(threading.get_native_id())
    started.wait()
    while True:
        sum(range(1000))


threads = [threading.Thread(target=work, name=f"worker {n}") for n in range(4)]
for thread in threads:
    thread.start()
started.wait()
print("ready", *ids, flush=True)
for thread in threads:
    thread.join()
