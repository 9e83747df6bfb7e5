# stderr: any
# Job control in a script: process groups, stop, continue, foreground, kill.
set -m
sleep 100 &
pid=$!
[ "$(ps -o pgid= -p $pid 2>/dev/null | tr -d ' ')" = "$pid" ] && echo "own group" || echo "group $(cut -d' ' -f5 /proc/$pid/stat | sed "s/^$pid\$/own/")"
kill -STOP $pid
for i in $(seq 100); do [ "$(cut -d' ' -f3 /proc/$pid/stat)" = T ] && break; sleep 0.01; done
cut -d' ' -f3 /proc/$pid/stat
jobs | sed 's/  */ /g'
kill -CONT $pid
for i in $(seq 100); do [ "$(cut -d' ' -f3 /proc/$pid/stat)" = S ] && break; sleep 0.01; done
cut -d' ' -f3 /proc/$pid/stat
kill %1
wait $pid; echo "status $?"
(sleep 0.1; exit 5) &
fg %% >/dev/null; echo "foreground $?"
(trap '' TERM; sleep 100) | (sleep 100) &
sleep 0.1
last=$!
kill -KILL -- -$(jobs -p %%)
wait $last; echo "group killed $?"
sleep 0.2 & sleep 0.01 & wait -n; echo "first $?"
disown -a; jobs | wc -l
