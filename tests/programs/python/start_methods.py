# Pool, queue, pipe, lock, value, event, shared memory and manager, with each way to start a process.
# args: fork
# args: spawn
# args: forkserver
# seconds: 180
import multiprocessing as mp
import sys
from multiprocessing import shared_memory


def square(n):
    return n * n


def produce(queue, lock, value, event, array):
    event.wait(20)
    for n in range(50):
        with lock:
            value.value += 1
        queue.put(n)
    array[0] += 1


def reply(connection):
    while (message := connection.recv()) is not None:
        connection.send(message[::-1])


def fill(name):
    memory = shared_memory.SharedMemory(name=name)
    memory.buf[:4] = b"done"
    memory.close()


def manage(items, table, n):
    items.append(n)
    table[n] = n * 10


def fail():
    raise SystemExit(5)


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
    with mp.Pool(3) as pool:
        print(pool.map(square, range(20)))
        print(sorted(pool.imap_unordered(square, range(5))))
        try:
            pool.apply(divmod, (1, 0))
        except ZeroDivisionError as error:
            print(error)
    queue, lock, value, event = mp.Queue(), mp.Lock(), mp.Value("i", 0), mp.Event()
    array = mp.Array("d", 4)
    workers = [mp.Process(target=produce, args=(queue, lock, value, event, array)) for _ in range(3)]
    for worker in workers:
        worker.start()
    event.set()
    print(sum(queue.get(timeout=30) for _ in range(150)))
    for worker in workers:
        worker.join()
    print(value.value, array[0] >= 1, [worker.exitcode for worker in workers])
    here, there = mp.Pipe()
    worker = mp.Process(target=reply, args=(there,))
    worker.start()
    here.send([1, 2, 3])
    print(here.recv())
    here.send("x" * 200000)
    print(len(here.recv()))
    here.send(None)
    worker.join()
    memory = shared_memory.SharedMemory(create=True, size=4096)
    worker = mp.Process(target=fill, args=(memory.name,))
    worker.start()
    worker.join()
    print(bytes(memory.buf[:4]))
    memory.close()
    memory.unlink()
    with mp.Manager() as manager:
        items, table = manager.list(), manager.dict()
        workers = [mp.Process(target=manage, args=(items, table, n)) for n in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(sorted(items), sorted(table.items()))
    worker = mp.Process(target=fail)
    worker.start()
    worker.join()
    print(worker.exitcode, mp.active_children())
    semaphore = mp.BoundedSemaphore(2)
    print(semaphore.acquire(), semaphore.acquire(), semaphore.acquire(timeout=0.05))
