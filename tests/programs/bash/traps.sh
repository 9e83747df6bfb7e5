# Traps: EXIT, INT, TERM, CHLD, USR1, ERR, in subshells and functions.
# stderr: any
trap 'echo "exit $?"' EXIT
trap 'echo usr1' USR1
kill -USR1 $$
(trap 'echo subshell exit' EXIT; exit 2); echo "sub $?"
trap 'echo "error in line"' ERR
false
trap - ERR
trap 'echo term' TERM
bash -c "sleep 0.05; kill -TERM $$" &
wait $!; echo "waited $?"
wait; echo "then $?"
trap '' INT; kill -INT $$; echo ignored
trap - INT
bash -c 'trap "echo child int; exit 7" INT; kill -INT $$; sleep 5'; echo "int $?"
trap 'children=$((children + 1))' CHLD
sleep 0.01 & sleep 0.02 & wait
echo "children $((children >= 2))"
trap 'echo debug' DEBUG; true; trap - DEBUG
bash -c 'kill -SEGV $$'; echo "segv $?"
timeout 0.1 sleep 5; echo "timeout $?"
timeout -s KILL 0.1 sleep 5; echo "timeout kill $?"
exit 6
