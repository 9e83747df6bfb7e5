# ctypes: calls, structures, callbacks, the dynamic linker, errno; mmap and struct.
import ctypes
import ctypes.util
import mmap
import os
import struct

libc = ctypes.CDLL("libc.so.6", use_errno=True)
print(libc.strlen(b"hello"), libc.abs(-5))
libc.atof.restype = ctypes.c_double
print(libc.atof(b"2.5"))
print(libc.open(b"/nonexistent", 0), ctypes.get_errno())


class Timeval(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("usec", ctypes.c_long)]


now = Timeval()
print(libc.gettimeofday(ctypes.byref(now), None), now.sec > 1000000000)
compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
values = (ctypes.c_int * 5)(5, 3, 1, 4, 2)
libc.qsort(values, 5, ctypes.sizeof(ctypes.c_int), compare(lambda a, b: a[0] - b[0]))
print(list(values))
libm = ctypes.CDLL(ctypes.util.find_library("m"))
libm.cos.restype, libm.cos.argtypes = ctypes.c_double, [ctypes.c_double]
print(libm.cos(0.0))
print(libc.syscall(39) == os.getpid())
buffer = ctypes.create_string_buffer(16)
libc.snprintf(buffer, 16, b"%d-%s", 7, b"x")
print(buffer.value)
shared = mmap.mmap(-1, 4096)
if os.fork() == 0:
    shared[:4] = struct.pack("<I", 123456)
    os._exit(0)
os.wait()
print(struct.unpack("<I", shared[:4]))
with open("file", "w+b") as file:
    file.write(b"0" * 8192)
    file.flush()
    with mmap.mmap(file.fileno(), 0) as mapped:
        mapped[4096:4100] = b"abcd"
        print(mapped.find(b"abcd"), len(mapped))
        mapped.flush()
    file.seek(4096)
    print(file.read(5))
os.unlink("file")
