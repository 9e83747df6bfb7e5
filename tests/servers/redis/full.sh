# The file system that holds the append-only file becomes full: a rewrite fails and leaves the old
# one, writes are refused, and go on when there is room again.
cd /small
redis-server --dir /small --appendonly yes --save '' --logfile /tmp/log &
server=$!
until redis-cli ping 2>&1 | grep -q PONG; do sleep 0.05; done
value=$(head -c 100000 /dev/zero | tr '\0' x)
status() {
	redis-cli info persistence | tr -d '\r' | grep "$1"
}

for i in $(seq 45); do echo "set key$i $value"; done | redis-cli | uniq -c | sed 's/^ *//'
redis-cli config set rdbcompression no >/dev/null
redis-cli bgrewriteaof >/dev/null
until status aof_rewrite_in_progress | grep -q 0; do sleep 0.05; done
status aof_last_bgrewrite
status aof_last_write
redis-cli set after yes

dd if=/dev/zero of=/small/filler bs=64k 2>/dev/null
i=0
until redis-cli set filler $value | grep MISCONF; do
	i=$((i + 1))
	[ $i -lt 100 ] || break
done
status aof_last_write
rm /small/filler
# It tries again each second.
until redis-cli del filler 2>&1 | grep -qv MISCONF; do sleep 0.1; done
redis-cli set filler 1
redis-cli del filler >/dev/null && echo OK
echo "$(redis-cli --scan --pattern 'key*' | wc -l) keys, $(redis-cli get after)"
kill $server
wait $server
echo "status $?"
