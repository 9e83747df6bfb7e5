# Scripts of busybox's own shell and its applets.
# needs: busybox
# run: busybox sh
# stderr: any
echo "$0" | busybox sed 's|.*/||'
busybox seq 5 | busybox awk '{ s += $1 } END { print s }'
f() { local i=$1; while [ $i -gt 0 ]; do echo -n "$i "; i=$((i - 1)); done; echo; }
f 5
busybox cat <<END | busybox tr a-z A-Z
here document $((6 * 7))
END
(exit 3) || echo "status $?"
busybox sleep 1 & kill $!; wait $!; echo "killed $?"
trap 'echo exit' EXIT
trap 'echo usr1' USR1; kill -USR1 $$
for i in $(busybox seq 30); do busybox true || echo bad; done
busybox mkdir -p a/b; echo text > a/b/c; busybox find a | busybox sort
busybox tar cf - a | busybox gzip | busybox gunzip | busybox tar tf -
busybox md5sum a/b/c; busybox stat -c '%s %a' a/b/c; busybox ls -l a/b | busybox awk '{ print $1, $NF }'
busybox cp -r a d; busybox diff -r a d && echo same; busybox rm -r a d
echo 'one two' | busybox xargs -n1 echo; busybox printf '%s-%d\n' x 5; busybox expr 3 + 4
busybox ash -c 'echo nested; exit 9'; echo $?
busybox ps > /dev/null && echo ps; busybox uname -s; busybox id -u; busybox dd if=/dev/zero bs=1k count=3 2>/dev/null | busybox wc -c
set -- x y z; shift; echo "$# $*"; case $1 in y) echo y;; esac
busybox nc -h 2>&1 | busybox head -1 | busybox cut -c1-7
exit 17
