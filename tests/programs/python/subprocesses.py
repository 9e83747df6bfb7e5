# subprocess: pipes, exit codes, timeouts, signals, groups, descriptors.
import os
import signal
import subprocess
import sys

print(subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout, end="")
print(subprocess.run(["tr", "a-z", "A-Z"], input=b"x" * 300000, capture_output=True).stdout[:5])
print(subprocess.run("exit 7", shell=True).returncode)
print(subprocess.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]).returncode)
try:
    subprocess.run(["sleep", "10"], timeout=0.1)
except subprocess.TimeoutExpired:
    print("timeout")
try:
    subprocess.run(["/nonexistent"])
except FileNotFoundError as error:
    print(error.errno)
first = subprocess.Popen(["seq", "1000"], stdout=subprocess.PIPE)
second = subprocess.Popen(["wc", "-l"], stdin=first.stdout, stdout=subprocess.PIPE)
first.stdout.close()
print(second.communicate()[0])
child = subprocess.Popen(["sleep", "100"], start_new_session=True)
print(os.getsid(child.pid) == child.pid)
os.killpg(child.pid, signal.SIGTERM)
print(child.wait())
r, w = os.pipe()
child = subprocess.Popen(["sh", "-c", f"echo inherited >&{w}"], pass_fds=[w])
os.close(w)
print(os.read(r, 100), child.wait())
print(subprocess.check_output(["pwd"], cwd="/usr", env={"PATH": "/bin", "A": "b"}))
children = [subprocess.Popen([sys.executable, "-c", f"exit({n})"]) for n in range(10)]
print(sum(child.wait() for child in children))
print(subprocess.getoutput("echo out; echo err >&2"))
pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], os.environ)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
sys.exit(11)
