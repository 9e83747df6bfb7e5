"""epoll on TCP connections: level- and edge-triggered, once, changed, more than are taken at a
time, and threads that share a set."""
import select
import socket
import threading

server = socket.create_server(("127.0.0.1", 0), backlog=200)


def pair():
    client = socket.create_connection(server.getsockname())
    return client, server.accept()[0]


IN, OUT, ET, ONCE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLET, select.EPOLLONESHOT
RDHUP = select.EPOLLRDHUP


def show(what, epoll, files, timeout=0.2):
    names = {f.fileno(): name for name, f in files.items()}
    print(what, sorted((names[fd], events) for fd, events in epoll.poll(timeout)))


client, level = pair()
other, edge = pair()
third, once = pair()
files = {"level": level, "edge": edge, "once": once}
epoll = select.epoll()
epoll.register(level, IN | RDHUP)
epoll.register(edge, IN | RDHUP | ET)
epoll.register(once, IN | ONCE)
show("nothing", epoll, files)
for c in client, other, third:
    c.sendall(b"0123456789")
while len(set(fd for fd, _ in epoll.poll(0.1))) == 3:
    pass
show("again", epoll, files)
level.recv(4)
edge.recv(4)
show("read in part", epoll, files)
level.recv(100)
show("read", epoll, files)
for c in client, other, third:
    c.sendall(b"more")
show("more", epoll, files)
epoll.modify(once, IN | ONCE)
show("once more", epoll, files)
show("and not again", epoll, files)
epoll.modify(level, IN | OUT)
show("both ways", epoll, files)
epoll.modify(level, RDHUP)
show("only the end", epoll, files)
client.shutdown(socket.SHUT_WR)
other.close()
show("ends", epoll, files)
show("ends again", epoll, files)
epoll.modify(level, 0)
epoll.unregister(edge)
show("not watched", epoll, files)
client.close()
level.close()
show("closed", epoll, files)

pairs = [pair() for _ in range(150)]
many = select.epoll()
for _, s in pairs:
    many.register(s, IN)
for c, _ in pairs:
    c.sendall(b"x")
seen = set()
while len(seen) < len(pairs):
    seen |= {fd for fd, _ in many.poll(5, 100)}
print("few at a time", len(seen), len(many.poll(5, 1000)), len(many.poll(5, 7)))
for _, s in pairs[:100]:
    s.recv(10)
print("the rest", len(many.poll(5, 1000)))
for _, s in pairs[100:]:
    s.recv(10)
print("none", many.poll(0.05))

# Each message wakes a thread; each is read by one.
got = []
done = threading.Event()


def work():
    while not done.is_set():
        for fd, _ in many.poll(0.05, 4):
            try:
                data = by_fd[fd].recv(1, socket.MSG_DONTWAIT)
                got.append(data)
            except BlockingIOError:
                pass


by_fd = {s.fileno(): s for _, s in pairs}
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads:
    t.start()
for round in range(20):
    for c, _ in pairs[:50]:
        c.sendall(b"y")
for _ in range(400):
    if len(got) >= 1000:
        break
    done.wait(0.02)
done.set()
for t in threads:
    t.join()
print("threads", len(got), set(got))
