#!/usr/bin/env python3
"""The functions that every start runs lie together in the command and in the image: the host maps
text by 64 KiB, and each such window that is touched costs a fault, and more when the process ends.

Runs a few programs under Bastide with a breakpoint on every function. With --write it puts those that
were called into the `start.ld` that each is linked with, by names without what the compiler adds to
them, so that another version's names match too; one that is gone does no harm. Without, it fails if a
start touches more windows than it should, as it will when the lists have become stale.

    cargo build --release && tests/checks/order.py [--write]
"""

import ctypes
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ROOT / "target/release/bastide"
LISTS = {"command": ROOT / "tools/bastide/start.ld", "image": ROOT / "pal/linux/image/start.ld"}
# Beside the linker's own script, and in image.ld.
FORMS = {"command": "SECTIONS {{ .text.start : {{\n{}}} }}\nINSERT BEFORE .text;\n", "image": "{}"}
# Windows of text that a start of the first program may touch: some ten if the lists are new, more
# than thirty without any.
MOST = {"command": 20, "image": 20}
WINDOW = 16
IMAGE_BASE = 0x2000_0000_0000
PROGRAMS = [
    ["/bin/true"],
    ["/bin/sh", "-c", "/bin/ls -l / | /bin/cat >/dev/null; exec /bin/true"],
    ["/usr/bin/python3", "-c", "pass"],
]

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong]
libc.ptrace.restype = ctypes.c_long
TRACEME, CONT, SETOPTIONS = 0, 7, 0x4200
GETREGS, SETREGS = 12, 13
# Ends with its tracer; tells of fork, vfork, clone.
OPTIONS = 1 << 20 | 1 << 1 | 1 << 2 | 1 << 3
RIP = 16


class Functions:
    """What a program's file says of its functions."""

    def __init__(self, file):
        self.at = {}
        out = subprocess.run(["nm", "-S", "--defined-only", file], capture_output=True, text=True, check=True)
        for line in out.stdout.splitlines():
            parts = line.split()
            if len(parts) == 4 and parts[2] in "tTwW" and int(parts[1], 16):
                self.at.setdefault(int(parts[0], 16), (parts[3], int(parts[1], 16)))


class Memory:
    """The memory of a stopped process."""

    def __init__(self, pid):
        self.fd = os.open(f"/proc/{pid}/mem", os.O_RDWR)

    def swap(self, addr, byte):
        old = os.pread(self.fd, 1, addr)
        os.pwrite(self.fd, byte, addr)
        return old

    def close(self):
        os.close(self.fd)


def trap(pid, addresses, original):
    memory = Memory(pid)
    for addr in addresses:
        original[addr] = memory.swap(addr, b"\xcc")
    memory.close()


def trace(argv, command, image):
    """The functions of the command and of the image that a run calls, in order."""
    pid = os.fork()
    if pid == 0:
        libc.ptrace(TRACEME, 0, 0, 0)
        os.execv(argv[0], argv)
    os.waitpid(pid, 0)
    libc.ptrace(SETOPTIONS, pid, 0, OPTIONS)
    with open(f"/proc/{pid}/maps") as maps:
        base = int(maps.readline().split("-")[0], 16)
    original = {}
    launcher = pid
    trap(pid, [base + addr for addr in command.at], original)
    called = {"command": [], "image": []}
    seen = set()
    started = False
    regs = (ctypes.c_ulong * 27)()
    libc.ptrace(CONT, pid, 0, 0)
    while True:
        try:
            pid, status = os.waitpid(-1, 0x40000000)
        except ChildProcessError:
            return called
        if not os.WIFSTOPPED(status):
            continue
        deliver = os.WSTOPSIG(status)
        if deliver == signal.SIGSTOP or status >> 16:
            deliver = 0
        # The image is in place when the launcher makes the first process, which has a copy of it.
        if not started and pid != launcher:
            started = True
            trap(pid, image.at, original)
        if deliver == signal.SIGTRAP:
            deliver = 0
            libc.ptrace(GETREGS, pid, 0, ctypes.addressof(regs))
            addr = regs[RIP] - 1
            if addr in original:
                memory = Memory(pid)
                memory.swap(addr, original[addr])
                memory.close()
                regs[RIP] = addr
                libc.ptrace(SETREGS, pid, 0, ctypes.addressof(regs))
                if addr not in seen:
                    seen.add(addr)
                    if addr in image.at:
                        called["image"].append(addr)
                    else:
                        called["command"].append(addr - base)
        libc.ptrace(CONT, pid, 0, deliver)


def archive_members():
    """Which member of the static C library defines a function."""
    path = subprocess.run(["cc", "-print-file-name=libc.a"], capture_output=True, text=True, check=True).stdout.strip()
    out = subprocess.run(["nm", "-A", "--defined-only", path], capture_output=True, text=True).stdout
    members = {}
    for line in out.splitlines():
        place, _, rest = line.rpartition(":")
        kind, name = rest.split()[-2:]
        if kind in "tTwWi":
            members.setdefault(name, set()).add(place.split(":")[1])
    return {name: of.pop() for name, of in members.items() if len(of) == 1}


def pattern(name):
    """What a linker finds the function by, whatever the compiler has put into its name."""
    if name.startswith("_ZN"):
        return re.sub(r"17h[0-9a-f]{16}E.*", "17h*", name)
    if name.startswith("_R"):
        name = re.sub(r"\.llvm\.\d+$", "*", name)
        name = re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", name)
        return re.sub(r"B[0-9A-Za-z]*_", "B*_", name)
    return name


def sections(name, members):
    """The sections of the function, for a linker script: the C library's are whole members."""
    if name in members:
        return f"*libc.a:{members[name]}(.text .text.*)"
    name = pattern(name)
    return f"*(.text.{name} .text.unlikely.{name})"


def main():
    write = sys.argv[1:] == ["--write"]
    images = ROOT.glob("target/release/build/bastide-outer-*/out/image/release/bastide-image")
    elf = {"command": COMMAND, "image": max(images, key=lambda path: path.stat().st_mtime)}
    functions = {what: Functions(file) for what, file in elf.items()}
    failed = False
    called = {"command": {}, "image": {}}
    for n, program in enumerate(PROGRAMS if write else PROGRAMS[:1]):
        run = trace([str(COMMAND), "run", "-q", "--", *program], functions["command"], functions["image"])
        for what, addresses in run.items():
            called[what].update(dict.fromkeys(addresses))
            windows = {addr >> WINDOW for addr in addresses}
            size = sum(functions[what].at[addr][1] for addr in addresses)
            print(f"{program[0]}, {what}: {len(addresses)} functions, {size} bytes, {len(windows)} windows")
            if n == 0 and len(windows) > MOST[what]:
                print(f"that is more than {MOST[what]} windows: bring the lists up to date, tests/checks/order.py --write")
                failed = True
    if write:
        members = archive_members()
        for what, addresses in called.items():
            names = [functions[what].at[addr][0] for addr in addresses]
            lines = dict.fromkeys(sections(name, members) for name in names)
            text = FORMS[what].format("".join(f"{line}\n" for line in lines))
            LISTS[what].write_text(f"/* What every start runs: written by tests/checks/order.py. */\n{text}")
    sys.exit(failed and not write)


main()
