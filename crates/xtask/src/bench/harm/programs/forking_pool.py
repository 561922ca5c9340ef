# A pool whose workers do two tasks each: it forks all the time, from a thread of its own.
import multiprocessing
import multiprocessing.pool
import time

Pool = multiprocessing.pool.Pool
join = Pool._join_exited_workers


def join_and_check(pool):
    for worker in pool:
        check(worker.exitcode in (None, 0), f"a worker ended with {worker.exitcode}")
    return join(pool)


Pool._join_exited_workers = staticmethod(join_and_check)


def work(number):
    time.sleep(0.005)
    total = 0
    for each in range(number * 100):
        total += each
    return total


if __name__ == "__main__":
    pool = multiprocessing.get_context("fork").Pool(2, maxtasksperchild=2)
    right = [n * 100 * (n * 100 - 1) // 2 for n in range(8)]

    def once():
        check(pool.map_async(work, range(8), chunksize=1).get(100) == right, "results")
        count("map")

    once()
    print("ready", flush=True)
    while asked():
        once()
    pool.close()
    pool.join()
