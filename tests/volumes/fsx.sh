# fsx.c on a volume: first against the host's file system, then on and on, each time in a new
# enclave that finds the files of the one before.

needs gcc
seconds=${1:-3}
gcc -O2 -Wall -o fsx "$proofs/fsx.c"
volume 256M /data "${@:2}"

mkdir native
./fsx native "$SEED" 3000 > native.out
inside 'exec "$0" /data "$1" 3000' "$WORK/fsx" "$SEED" > inside.out || fail "$(cat inside.out)"
cmp native.out inside.out || fail "$(cat native.out inside.out)"

total=3000 rounds=1 end=$((SECONDS + seconds))
while [ "$SECONDS" -lt "$end" ]; do
	left=$((end - SECONDS))
	said=$(inside 'exec "$0" /data "$1" 1000000000 "$2"' "$WORK/fsx" $((SEED + rounds)) $((left < 60 ? left : 60))) ||
		fail "round $rounds: $said"
	total=$((total + ${said%% *})) rounds=$((rounds + 1))
	inside 'for i in 0 1 2 3; do cmp /data/f$i /data/f$i.model; done' || fail "round $rounds: a file changed at the end"
	check
done
echo "fsx: $total operations in $rounds enclaves, all as expected; $(cat fsck)"
