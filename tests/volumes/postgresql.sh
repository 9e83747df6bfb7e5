# PostgreSQL on a volume: clients write rows, one transaction each, beside pgbench; all of the enclave
# is killed at a random moment, and started again. Every row that was acknowledged must be there,
# and pgbench's sums must agree.

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
PATH=$PATH:$bin
needs initdb psql pgbench python3
kills=${1:-1}
port=$(free_port)
volume 1G /data
inside 'mkdir /data/pg; chown postgres /data/pg'
cat >> m.toml <<-END
	[[mount]]
	target = "/var/run/postgresql"
	type = "tmpfs"
	mode = "1777"
	[network]
	publish = ["$port:$port"]
END
sed -i '1i user = "postgres"' m.toml

server() {
	start -- -c "cd /data/pg; umask 077; test -s d/PG_VERSION || $bin/initdb --locale=C.UTF-8 d || exit
		exec $bin/postgres -D d -p $port"
	for i in $(seq 600); do
		sql 'select 1' > /dev/null 2>&1 && return
		kill -0 "$group" 2>/dev/null || fail "the server ended"
		sleep 0.1
	done
	fail "the server does not start"
}

sql() { psql -qAtX -h 127.0.0.1 -p "$port" -U postgres -c "$1" postgres; }

verify() {
	sql 'select n from rows' | sort > there
	cat acknowledged.* | sort > acknowledged
	comm -23 acknowledged there > lost
	[ ! -s lost ] || fail "kill $kill: lost $(wc -l < lost) of $(wc -l < acknowledged) rows: $(head -3 lost | xargs)"
	[ "$(sort -u there | wc -l)" = "$(wc -l < there)" ] || fail "kill $kill: rows twice"
	[ "$(sql 'select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches)
		and (select sum(bbalance) from pgbench_branches) = (select coalesce(sum(delta), 0) from pgbench_history)')" = t ] ||
		fail "kill $kill: the sums differ"
}

server
pgbench -iq -h 127.0.0.1 -p "$port" -U postgres postgres > bench 2>&1 || fail "$(cat bench)"
sql 'create table rows (n bigint primary key)'
touch acknowledged.0
for kill in $(seq "$kills"); do
	clients=()
	for client in 1 2 3; do
		seq "$kill${client}00000" "$kill${client}99999" | sed 's/.*/insert into rows values (&) returning n;/' |
			psql -qAtX -h 127.0.0.1 -p "$port" -U postgres postgres > "acknowledged.$kill.$client" 2> /dev/null &
		clients+=($!)
	done
	pgbench -n -c 4 -T 60 -h 127.0.0.1 -p "$port" -U postgres postgres > bench 2>&1 &
	clients+=($!)
	work "acknowledged.$kill.1" .
	crash
	wait "${clients[@]}" 2>/dev/null || true
	check
	server
	verify
done
sql 'checkpoint'
kill -TERM "$group"
wait "$group" || fail "the server did not stop well"
group=
check
echo "postgresql: $kills kills, all of $(wc -l < acknowledged) acknowledged rows and" \
	"$(wc -l < there) in all; $(cat fsck)"
