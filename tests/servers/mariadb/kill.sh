# The server is killed under load, and recovers what it had committed.
cd /tmp
mariadb-install-db --no-defaults --datadir=/tmp/data --auth-root-authentication-method=normal \
	--skip-test-db >/dev/null
client() {
	mariadb --no-defaults --socket=/tmp/socket -u root -N "$@"
}
start() {
	mariadbd --no-defaults --datadir=/tmp/data --socket=/tmp/socket --skip-networking 2>>/tmp/log &
	server=$!
	until client -e 'select 1' >/dev/null 2>&1; do sleep 0.05; done
}
load() {
	sysbench --db-driver=mysql --mysql-socket=/tmp/socket --mysql-user=root --threads=4 \
		--table-size=2000 --time=20 oltp_read_write $1
}

start
client -e 'create database sbtest; create table sbtest.kept (n int primary key) engine=innodb'
load prepare >/dev/null
load run >/dev/null 2>&1 &
load=$!
# What the client was told of is there afterwards.
for n in $(seq 100); do client -e "insert into sbtest.kept values ($n)" && last=$n; done
kill -9 $server
wait $server 2>/dev/null
echo "status $?"
wait $load

start
[ "$(client -e 'select max(n) from sbtest.kept')" = $last ] && echo found
client -e 'check table sbtest.sbtest1'
grep -o 'Starting crash recovery' /tmp/log
kill $server
wait $server
echo "status $?"
