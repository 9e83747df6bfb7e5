# SQLite with a write-ahead log: bulk work, several writers at once, one that is killed, checkpoints.
# needs: sqlite3
# keep
# stderr: any
# seconds: 120
sqlite3 t.db <<'S'
pragma journal_mode = wal;
create table t(a integer primary key, b text, c real);
create index tb on t(b);
begin;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 50000)
insert into t select i, 'x' || (i * 7919 % 200003), i * 1.5 from n;
commit;
select count(*), sum(c) from t where b like 'x1%';
update t set c = c + 1 where a % 10 = 0;
delete from t where a % 13 = 0;
select count(*), total(c) from t;
S
for writer in 1 2 3 4; do
	(for i in $(seq 10); do
		sqlite3 -cmd '.timeout 60000' t.db "insert into t(b, c) values('w$writer', $i)"
	done) &
done
wait
sqlite3 t.db "select b, count(*) from t where b like 'w%' group by b"
# Killed in its transaction: nothing of it is there, and nobody waits for its lock.
mkfifo in out
sqlite3 t.db <in >out & victim=$!
exec 3>in 4<out
echo "begin immediate; insert into t(b) select 'lost' from t; select 'begun';" >&3
read -r line <&4; echo "$line"
sqlite3 t.db "begin immediate"; echo "busy $?"
kill -9 $victim; wait $victim; exec 3>&- 4<&-
sqlite3 t.db "insert into t(b) values('after'); select count(*) from t where b in ('lost', 'after')"
sqlite3 t.db "pragma wal_checkpoint(truncate); vacuum; pragma integrity_check; pragma journal_mode = delete"
sqlite3 t.db "pragma mmap_size = 10000000; select count(*), total(c) from t; begin exclusive; drop index tb; rollback; pragma integrity_check"
rm in out; ls; rm t.db
