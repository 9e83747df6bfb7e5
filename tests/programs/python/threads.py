# threading and concurrent.futures: locks, conditions, events, timers, pools, signals.
import queue
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

total, lock = 0, threading.Lock()


def add():
    global total
    for _ in range(1000):
        with lock:
            total += 1


threads = [threading.Thread(target=add) for _ in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(total)
work = queue.Queue(5)
consumer = threading.Thread(target=lambda: print(sum(iter(work.get, None))))
consumer.start()
for n in range(200):
    work.put(n)
work.put(None)
consumer.join()
barrier, order = threading.Barrier(4), []
for n in range(3):
    threading.Thread(target=lambda: (barrier.wait(), order.append(1))).start()
barrier.wait()
while len(order) < 3:
    time.sleep(0.001)
print(order)
start = time.monotonic()
print(threading.Event().wait(0.05), time.monotonic() - start >= 0.05)
fired = threading.Event()
threading.Timer(0.01, fired.set).start()
print(fired.wait(10))
with ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(lambda n: n * 2, range(1000))))
local = threading.local()
local.x = 1
thread = threading.Thread(target=lambda: print(hasattr(local, "x")))
thread.start()
thread.join()
signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.02)
signal.pause()
threading.Thread(target=lambda: signal.raise_signal(signal.SIGALRM)).start()
time.sleep(0.05)
print(threading.active_count(), time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID) > 0)
if __name__ == "__main__":
    with ProcessPoolExecutor(2) as pool:
        print(list(pool.map(abs, range(-5, 0))))
