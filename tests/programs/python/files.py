# tempfile, shutil, pathlib, os: files as Python uses them; select, sockets, locks, resources.
# keep
import errno
import fcntl
import os
import pathlib
import pickle
import resource
import select
import shutil
import socket
import stat
import tempfile

with tempfile.TemporaryDirectory() as directory:
    path = pathlib.Path(directory)
    (path / "a" / "b").mkdir(parents=True)
    for n in range(100):
        (path / "a" / f"{n}.txt").write_text("x" * n)
    print(len(list(path.rglob("*.txt"))), sum(p.stat().st_size for p in path.rglob("*.txt")))
    shutil.copytree(path / "a", path / "copy")
    shutil.make_archive(str(path / "archive"), "gztar", path / "a")
    shutil.unpack_archive(path / "archive.tar.gz", path / "out")
    print(sorted(p.name for p in path.iterdir()), len(os.listdir(path / "out")))
print(os.path.exists(directory))
with tempfile.NamedTemporaryFile("w+") as file:
    file.write("named")
    file.seek(0)
    print(file.read(), stat.filemode(os.stat(file.name).st_mode))
with tempfile.TemporaryFile() as file:
    pickle.dump({"a": [1, 2]}, file)
    file.seek(0)
    print(pickle.load(file))
with tempfile.SpooledTemporaryFile(max_size=10) as file:
    file.write(b"x" * 100)
    print(file.tell())
os.symlink("target", "link")
print(os.readlink("link"), os.path.lexists("link"), os.path.exists("link"))
for call in (lambda: os.rmdir("missing"), lambda: os.open("link", os.O_RDONLY), lambda: os.mkdir(".")):
    try:
        call()
    except OSError as error:
        print(errno.errorcode[error.errno])
os.unlink("link")
fd = os.open("locked", os.O_RDWR | os.O_CREAT, 0o644)
fcntl.lockf(fd, fcntl.LOCK_EX)
if os.fork() == 0:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os._exit(0)
    except OSError:
        os._exit(1)
print(os.waitstatus_to_exitcode(os.wait()[1]))
os.utime("locked", (1, 2))
print(os.stat("locked").st_mtime, os.truncate("locked", 1000), os.stat("locked").st_size)
os.unlink("locked")
a, b = socket.socketpair()
poll = select.poll()
poll.register(a, select.POLLIN)
print(poll.poll(10))
b.send(b"x")
print(len(poll.poll(1000)), select.select([a], [b], [], 1)[0] == [a])
epoll = select.epoll()
epoll.register(a, select.EPOLLIN | select.EPOLLET)
print(len(epoll.poll(1)), len(epoll.poll(0.01)))
socket.send_fds(a, [b"fd"], [0])
message, fds, _, _ = socket.recv_fds(b, 10, 5)
print(message, len(fds))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0, os.cpu_count() == os.sysconf("SC_NPROCESSORS_ONLN"))
print(os.getpgrp() == os.getpgid(0), os.getlogin.__name__, len(os.urandom(16)), os.get_terminal_size.__name__)
pid, master = os.forkpty()
if pid == 0:
    print("in a pty", os.isatty(0), flush=True)
    os._exit(3)
output = b""
try:
    while data := os.read(master, 1000):
        output += data
except OSError:
    pass
print(output, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
