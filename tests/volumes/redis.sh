# Redis on a volume, its append-only file synced at each write: killed and started again, it has
# every key whose writing it acknowledged.

needs redis-server redis-cli python3
kills=${1:-1}
port=$(free_port)
volume 256M /data
printf '[network]\npublish = ["%s:%s"]\n' "$port" "$port" >> m.toml

server() {
	start -- -c "exec redis-server --dir /data --appendonly yes --appendfsync always --save '' --port $port"
	for i in $(seq 600); do
		[ "$(redis-cli -p "$port" ping 2>/dev/null)" = PONG ] && return
		kill -0 "$group" 2>/dev/null || fail "the server ended"
		sleep 0.1
	done
	fail "the server does not start"
}

server
total=0
declare -A acknowledged
for kill in $(seq "$kills"); do
	clients=()
	for client in 1 2 3; do
		seq 50000 | sed "s/.*/set $kill.$client.& &/" | redis-cli -p "$port" > "said.$client" 2>&1 &
		clients+=($!)
	done
	work said.1 '^OK$'
	crash
	kill "${clients[@]}" 2>/dev/null || true
	wait "${clients[@]}" 2>/dev/null || true
	check
	server
	for client in 1 2 3; do
		acknowledged[$kill.$client]=$(grep -c '^OK$' "said.$client" || true)
		total=$((total + ${acknowledged[$kill.$client]}))
	done
	for name in "${!acknowledged[@]}"; do
		lost=$(redis-cli -p "$port" eval "local lost = 0
			for i = 1, tonumber(ARGV[1]) do
				if redis.call('get', '$name.' .. i) ~= tostring(i) then lost = lost + 1 end
			end
			return lost" 0 "${acknowledged[$name]}")
		[ "$lost" = 0 ] || fail "kill $kill: lost $lost of ${acknowledged[$name]} keys $name"
	done
done
redis-cli -p "$port" shutdown
wait "$group" || fail "the server did not stop well"
group=
check
echo "redis: $kills kills, all of $total acknowledged keys; $(cat fsck)"
