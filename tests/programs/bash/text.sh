# grep, sed, awk, sort and diff on real text.
cat /usr/share/common-licenses/GPL-3 > text 2>/dev/null || cat /etc/services > text
grep -c the text; grep -ow '[A-Z][a-z]*' text | sort | uniq -c | sort -rn -k1,1 -k2 | head -5
grep -nE '^[[:space:]]+[0-9]+\.' text | head -3; grep -v e text | wc -l; grep -rl GNU . | sort; grep -q nothing-here text; echo $?
sed -n '10,12p' text; sed -E 's/([A-Z])([a-z]+)/\2\1/g; 5q' text; sed '$!N;s/\n/ /;P;D' text | md5sum; sed -i.bak 's/the/THE/g' text; grep -c THE text; ls
awk '{ words += NF } END { print NR, words }' text
awk -F: '$3 < 10 { printf "%-10s %5d\n", $1, $3 }' /etc/passwd
awk 'BEGIN { for (i = 0; i < 10; i++) { ("echo " i) | getline x; s = s x } print s; print systime() > "/dev/null"; printf "%.3f %s\n", atan2(0, -1), toupper("done"); exit 3 }'; echo $?
awk '{ n[$1]++ } END { for (k in n) print n[k], k | "sort -rn | head -3" }' text
diff text text.bak | head -4; diff -u text text.bak | tail -n +3 | md5sum; cmp text text.bak | sed 's/.*differ/differ/'
sort -k2 -t: /etc/passwd | md5sum; sort -u --parallel=2 -S 1M text | md5sum; tr -cs A-Za-z '\n' < text | sort -f | uniq -ic | sort -rn | head -3
printf '3\n1\n2\n' | sort -n | xargs -P3 -I{} sh -c 'echo {}' | sort; xargs -n 2 echo < <(seq 5)
perl -pe 's/(\w+)/<$1>/' text | head -2; column -t /etc/fstab 2>/dev/null | wc -l; bc <<< '2^100' 2>/dev/null || true
