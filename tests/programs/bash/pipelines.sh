# Pipelines, subshells, command substitution, exit statuses.
seq 1 1000 | grep 7 | sort -rn | head -3
echo one two three | { read a b; echo "$b/$a"; }
false | true; echo "${PIPESTATUS[@]} $?"
set -o pipefail
false | true || echo "pipefail"
x=$(echo inner; exit 4); echo "$x $?"
(cd /usr && pwd; exit 3); echo "$? $(basename "$PWD" | cut -c1-7)"
for i in 1 2 3; do echo $i; done | while read n; do echo $((n * n)); done
yes | head -100000 | wc -l
seq 100000 | tee >(wc -l >&2) | tail -1
cat /dev/zero | head -c 1000000 | md5sum
ls /nonexistent 2>&1 | sed 's/^/error: /'
{ echo out; echo err >&2; } 2>/dev/null
exec 3>fd3; echo through three >&3; exec 3>&-; cat fd3
echo $(( $(date +%s) > 1700000000 )) $RANDOM | cut -d' ' -f1
wait; bash -c 'kill -TERM $$'; echo "killed $?"
nosuchcommand 2>/dev/null; echo "missing $?"
/etc/passwd 2>/dev/null; echo "not executable $?"
time -p true 2>/dev/null
sleep 0.05 & wait $!; echo "background $?"
printf '%s\n' {a..e}{1..2} | paste -sd,
exit 42
