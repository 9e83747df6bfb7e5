# Process substitution and named pipes.
diff <(seq 1 5) <(seq 1 6); echo "diff $?"
paste <(seq 3) <(seq 4 6) <(seq 7 9)
seq 10 > >(sort -rn | head -2); wait; sleep 0.1
comm -12 <(printf 'a\nb\nc\n') <(printf 'b\nc\nd\n')
while read -r line; do n=$((n + line)); done < <(seq 100); echo $n
mkfifo pipe; (echo through; echo it) > pipe & cat pipe; wait
exec 4<> pipe; echo both ways >&4; read -r -u 4 line; echo "$line"; exec 4>&-
coproc tr a-z A-Z; echo coprocess >&${COPROC[1]}; exec {COPROC[1]}>&-; cat <&${COPROC[0]}
cat <(cat <(cat <(echo nested)))
