# Three nodes that share the keys, on the enclave's own loopback.
cd /tmp
ports="7000 7001 7002"
for port in $ports; do
	mkdir n$port
	(cd n$port && exec redis-server --port $port --cluster-enabled yes --cluster-node-timeout 5000 \
		--appendonly yes --logfile log) &
	nodes="$nodes $!"
done
for port in $ports; do
	until redis-cli -p $port ping 2>&1 | grep -q PONG; do sleep 0.05; done
done
redis-cli --cluster create 127.0.0.1:7000 127.0.0.1:7001 127.0.0.1:7002 \
	--cluster-replicas 0 --cluster-yes >create || { cat create; exit 1; }
for port in $ports; do
	until redis-cli -p $port cluster info | grep -q cluster_state:ok; do sleep 0.05; done
done
redis-cli -p 7000 cluster info | tr -d '\r' | grep -E 'state|known'
for i in $(seq 30); do echo "set key$i value$i"; done | redis-cli -c -p 7000 >set
for i in $(seq 30); do echo "get key$i"; done | redis-cli -c -p 7001 >get
echo "$(grep -c OK set) set"
echo "$(grep -c ^value get) found"
kill $nodes
for node in $nodes; do
	wait $node
	echo "status $?"
done
