#!/bin/bash
# The image may use baseline x86-64 only: the entry code saves xmm0-15 and leaves the rest of the
# vector and x87 state, and %fs, to the application. See DESIGN.md section 4.
set -euo pipefail
cd "$(dirname "$0")/../.."
image=${1:-$(ls -t target/release/build/bastide-outer-*/out/image/release/bastide-image | head -1)}
[ -s "$image" ] || { echo "no image: build it with cargo build --release"; exit 1; }
objdump -d --no-show-raw-insn "$image" > "${TMPDIR:-/tmp}/image.$$"
trap 'rm -f "${TMPDIR:-/tmp}/image.$$"' EXIT
listing=${TMPDIR:-/tmp}/image.$$
failed=0
check() { # WHAT PATTERN
	local found
	found=$(grep -cE "$2" "$listing" || true)
	if [ "$found" != 0 ]; then
		echo "the image has $found instructions that use $1:"
		grep -nE "$2" "$listing" | head -5
		failed=1
	fi
}
check "ymm or zmm registers" '%[yz]mm[0-9]'
check "AVX-512 registers" '%xmm(1[6-9]|2[0-9]|3[01])|%k[0-7]\b'
check "VEX encodings" $'\tv[a-z0-9]+ .*%xmm'
check "x87 or MMX registers" '%st(\(|,|$)|%mm[0-7]\b'
check "the application's thread pointer" '%fs:'
[ "$(nm -u "$image" 2>/dev/null | wc -l)" = 0 ] || { echo "the image has undefined symbols:"; nm -u "$image"; failed=1; }
[ $failed = 0 ] && echo "image: $(grep -cE '^ +[0-9a-f]+:' "$listing") instructions, all baseline; $(stat -c %s "$image") bytes"
exit $failed
