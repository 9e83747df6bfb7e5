# The small tools, one after the other.
# keep
umask 022
seq 1 100 > numbers; shuf -i 1-1000 --random-source=/usr/bin/env | md5sum
cp numbers copy; cp -a numbers archive; ln numbers hard; ln -s numbers soft; mv copy moved
stat -c '%n %s %h %F %a' numbers hard soft moved
cat -n numbers | tail -1; tac numbers | head -1; nl numbers | sed -n 50p
head -c 10 numbers | od -An -tx1; tail -c 5 numbers | xxd 2>/dev/null || true
sort -R numbers | sort -n | cmp - numbers && echo same
uniq -c <(printf 'a\na\nb\n'); cut -c2-3 <<< abcdef; tr -d aeiou <<< vowels; rev <<< abc
split -l 30 numbers part-; wc -l part-*; cat part-* | md5sum; md5sum numbers > sums; md5sum -c sums
sha256sum numbers; cksum numbers; base64 numbers | head -1; expr 6 \* 7; factor 5040; seq -s, 5
join <(printf '1 a\n2 b\n') <(printf '1 x\n2 y\n'); fold -w 10 <<< 'a long line to fold'; fmt -w 20 <<< 'words to be filled again'
dd if=/dev/zero of=zeros bs=4k count=25 2>/dev/null; truncate -s 1M sparse; stat -c '%s' zeros sparse
mkdir -p d/e/f; mktemp -d d/XXXX >/dev/null && echo made; rmdir d/e/f; rm -r d; ls
install -m 750 -D numbers x/y/z; stat -c %a x/y/z; chmod u=rwx,go= x/y/z; stat -c %A x/y/z
touch -d '2001-02-03 04:05:06' stamped; stat -c %Y stamped; date -u -d @1000000000 +%FT%T; touch -r stamped numbers
test -f numbers -a -r numbers && echo file; [ -d x ] && echo directory; [ numbers -nt /etc/hostname ] || echo older
realpath soft; readlink soft; basename /a/b/c.txt .txt; dirname /a/b/c; pathchk ok; id -u; id -un; groups; whoami
df . > /dev/null && echo df; env -i A=1 env; printenv HOME | wc -l; uname -s; nproc > /dev/null; arch; tty; hostname > /dev/null && echo host
[ $(nice -n 5 nice) -gt $(nice) ] && echo nicer; nohup echo nohup 2>/dev/null; stdbuf -oL echo buffered; sleep 0.01; sync; timeout 1 true; yes no | head -2; true; false; echo $?
numfmt --to=iec 1048576; ptx /dev/null; tsort <<< 'a b b c'; comm -3 <(seq 3) <(seq 2 4); expand <<< $'a\tb'; unexpand -a <<< '        a'
rm -f sums sparse zeros part-*
