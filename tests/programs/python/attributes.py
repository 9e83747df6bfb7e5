# Extended attributes, access lists of modes, owners, special bits, large files.
import errno
import os
import stat

open("file", "w").close()
os.setxattr("file", "user.name", b"value")
os.setxattr("file", "user.empty", b"")
print(sorted(os.listxattr("file")), os.getxattr("file", "user.name"))
try:
    os.setxattr("file", "user.name", b"x", os.XATTR_CREATE)
except OSError as error:
    print(errno.errorcode[error.errno])
os.removexattr("file", "user.name")
try:
    os.getxattr("file", "user.name")
except OSError as error:
    print(errno.errorcode[error.errno])
for mode in (0o4755, 0o2755, 0o1777, 0o000):
    os.chmod("file", mode)
    print(stat.filemode(os.stat("file").st_mode))
if os.geteuid() == 0:
    os.chown("file", 1234, 5678)
    print(os.stat("file").st_uid, os.stat("file").st_gid)
with open("large", "wb") as file:
    file.seek(5 << 30)
    file.write(b"end")
print(os.stat("large").st_size, os.stat("large").st_blocks < 1000)
with open("large", "rb") as file:
    print(file.seek(1, os.SEEK_END), os.pread(file.fileno(), 10, 5 << 30))
os.makedirs("/".join(["d" * 100] * 30))
print(sum(len(dirs) for _, dirs, _ in os.walk(".")))
print(os.pathconf(".", "PC_NAME_MAX"), os.statvfs(".").f_namemax)
