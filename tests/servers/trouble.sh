# nginx as a child, and a way to kill one of its workers: SIGUSR1.
mkdir /tmp/pages
echo page > /tmp/pages/index.html
head -c 8M /dev/zero | tr '\0' x > /tmp/pages/big
nginx -c /srv/trouble.conf &
master=$!
trap 'kill -KILL "$(pgrep -n -f "worker process")"' USR1
trap 'kill $master' TERM
while kill -0 $master 2>/dev/null; do
	wait $master
done
# A trap cuts a wait short; this one has the master's own status.
wait $master
