# sqlite3: transactions, two connections, threads, WAL with its shared memory, locks.
# keep
import os
import sqlite3
import subprocess
import sys
import threading

db = sqlite3.connect("test.db")
print(db.execute("pragma journal_mode = wal").fetchone())
db.execute("create table t (id integer primary key, name text, value real)")
with db:
    db.executemany("insert into t (name, value) values (?, ?)", ((f"n{n}", n / 7) for n in range(5000)))
print(db.execute("select count(*), round(sum(value), 3) from t").fetchone())
other = sqlite3.connect("test.db", timeout=0.1)
db.execute("begin immediate")
db.execute("update t set value = 0 where id < 100")
print(other.execute("select count(*) from t where value = 0").fetchone())
try:
    other.execute("insert into t (name) values ('x')")
except sqlite3.OperationalError as error:
    print(error)
db.commit()
print(other.execute("select count(*) from t where value = 0").fetchone())
code = "import sqlite3; d = sqlite3.connect('test.db'); d.execute(\"insert into t (name) values ('child')\"); d.commit()"
print(subprocess.run([sys.executable, "-c", code]).returncode)
print(db.execute("select max(id), name from t").fetchone())


def insert(n):
    with sqlite3.connect("test.db", timeout=30) as mine:
        mine.execute("insert into t (name) values (?)", (f"thread {n}",))


threads = [threading.Thread(target=insert, args=(n,)) for n in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(db.execute("select count(*) from t where name like 'thread%'").fetchone())
other.close()
print(db.execute("pragma integrity_check").fetchone(), db.execute("pragma wal_checkpoint(truncate)").fetchone()[0])
db.execute("create index i on t (value)")
db.execute("vacuum")
db.close()
with sqlite3.connect("rollback.db") as db:
    db.execute("create table a (x)")
    db.execute("pragma journal_mode = delete")
    try:
        with db:
            db.execute("insert into a values (1)")
            raise KeyError
    except KeyError:
        print(db.execute("select count(*) from a").fetchone())
db.close()
print(sorted(os.listdir(".")))
for name in os.listdir("."):
    os.unlink(name)
