# Here-documents, here-strings, functions, arrays, arithmetic, globbing, read, printf.
name=world
cat <<END
hello $name $((1 + 2))
END
cat <<'END'
no $expansion
END
cat <<-END
	stripped tabs
END
tr a-z A-Z <<< "here string"
# Longer than a pipe holds.
big=$(seq 1 30000); wc -c <<< "$big"
function f() { local x=$1; [ $x -le 1 ] && echo 1 || echo $((x * $(f $((x - 1))))); }
f 10
declare -A map=([one]=1 [two]=2); for k in "${!map[@]}"; do echo "$k=${map[$k]}"; done | sort
list=(a b c); list+=(d); echo "${#list[@]} ${list[-1]} ${list[@]:1:2}"
mkdir g; touch g/{a,b,c}.txt g/.hidden; cd g; echo *; echo .h*; shopt -s nullglob; echo *.none; cd ..
s=filename.tar.gz; echo "${s%%.*} ${s##*.} ${s/tar/zip} ${#s} ${s^^}"
case $s in *.gz) echo gz;; *) echo other;; esac
[[ abc123 =~ ([a-z]+)([0-9]+) ]] && echo "${BASH_REMATCH[2]}"
while IFS=: read -r user _ uid _; do echo "$user $uid"; done < /etc/passwd | head -2
printf '%05d %x %s %q\n' 42 255 str "a b"
mapfile -t lines < <(seq 3); echo "${lines[2]}"
select x in one two; do echo "chose $x"; break; done <<< 2 2>/dev/null
