# sqlite (a rollback journal whose removal is synced too, and a log) and git on a volume: killed while they
# write, they find all that they finished, and nothing half. git leaves the rename that ends a commit to
# whoever syncs the directory.

needs sqlite3 git
kills=${1:-1}
volume 512M /data
inside 'cd /data
	for mode in delete wal; do sqlite3 $mode "pragma journal_mode = $mode; create table t (n, filling)"; done
	git init -q r; cd r; git config user.name n; git config user.email n@localhost; git config core.fsync all' > /dev/null

declare -A done=([delete]=0 [wal]=0 [git]=0)
for kill in $(seq "$kills"); do
	start --quiet -- -c 'cd /data
		for mode in delete wal; do
			(n=$(sqlite3 $mode "select coalesce(max(n), 0) from t")
			while n=$((n + 1)); do echo "insert into t values ($n, hex(randomblob(700))); select \"$mode\", $n;"; done |
				sqlite3 -batch -separator " " -cmd "pragma synchronous = extra" $mode) &
		done
		cd r
		rm -f .git/*.lock .git/refs/heads/*.lock
		n=$(git rev-list --count HEAD 2>/dev/null || echo 0)
		while n=$((n + 1)); do
			echo "$n $n $n" >> log; echo $n > f$((n % 50)); git add . && git commit -qm "$n" && sync .git/refs/heads || exit
			echo git $n
		done'
	work log '^delete [0-9]' '^wal [0-9]' '^git [0-9]'
	crash
	for name in "${!done[@]}"; do
		last=$(grep -a "^$name [0-9]*$" log | tail -1 | cut -d' ' -f2)
		done[$name]=${last:-${done[$name]}}
	done
	check
	for mode in delete wal; do
		said=$(inside 'sqlite3 -separator " " "/data/$0" "pragma integrity_check; select count(*), max(n) from t"' "$mode" | xargs)
		read -r ok count max <<< "$said"
		[ "$ok $count" = "ok $max" ] && [ "$max" -ge "${done[$mode]}" ] ||
			fail "kill $kill: sqlite, $mode: $said, and ${done[$mode]} were finished"
		done[$mode]=$max
	done
	said=$(inside 'cd /data/r; git fsck --full --no-dangling --no-progress 2>&1 | grep -v ^notice: || true
		git rev-list --count HEAD; test "$(git show HEAD:log | tail -1)" = "$(git log -1 --format="%s %s %s")" && echo whole' | xargs) ||
		fail "kill $kill: git: $said"
	read -r count whole <<< "$said"
	[ "$whole" = whole ] && [ "$count" -ge "${done[git]}" ] ||
		fail "kill $kill: git: $said, and ${done[git]} were finished"
	done[git]=$count
done
echo "programs: $kills kills; sqlite: ${done[delete]} and ${done[wal]} rows, git: ${done[git]} commits; $(cat fsck)"
