# The standard library of Go 1.19: its packages' tests as static binaries, in short mode.

PACKAGES="archive/tar archive/zip bufio bytes compress/gzip compress/flate container/heap container/list
context crypto/aes crypto/sha256 crypto/x509 database/sql encoding/json encoding/xml encoding/gob encoding/binary
errors expvar fmt hash/crc32 html/template io io/fs io/ioutil log math math/big mime/multipart net net/http net/url
net/rpc os os/exec os/signal os/user path/filepath reflect regexp runtime sort strconv strings sync sync/atomic
syscall text/template time unicode/utf8"

prepare() {
	dpkg-query -W golang-1.19-src > /dev/null 2>&1 || apt-get install -qy --no-install-recommends golang-1.19-src
	export GOROOT=$WORK/goroot CGO_ENABLED=0 GOFLAGS='' GOPROXY=off GOCACHE=$WORK/gocache PATH=$WORK/goroot/bin:$PATH
	[ -d "$GOROOT" ] || { mkdir -p "$GOROOT" && cp -rL /usr/lib/go-1.19/. "$GOROOT" && chmod -R u+w "$GOROOT"; }
	local package
	for package in $PACKAGES; do
		[ -x "$WORK/go/${package//\//_}" ] ||
			(cd "$GOROOT/src/$package" && go test -c -o "$WORK/go/${package//\//_}" .)
	done
}

case_list() { # SIDE [PACKAGE…]
	local prefix=() package scratch verdict
	[ "$1" = inside ] && prefix=("$BASTIDE" run -q --)
	shift
	# So marked, tests that would call the go tool leave themselves out.
	export GO_GCFLAGS=-N USER=root
	for package in ${*:-$PACKAGES}; do
		scratch=$(mktemp -d)
		chmod 755 "$scratch"
		verdict=FAILED
		(cd "$GOROOT/src/$package" && TMPDIR=$scratch timeout -k 5 180 "${prefix[@]}" \
			"$WORK/go/${package//\//_}" -test.short > "$scratch.log" 2>&1 < /dev/null) &&
			grep -qa '^PASS' "$scratch.log" && verdict=ok
		[ $verdict = ok ] || grep -aE '^ *--- FAIL|^panic|^fatal' "$scratch.log" | head -5 | sed "s|^|$package: |" >&2
		echo "$package $verdict"
		chmod -R u+rwX "$scratch"
		rm -rf "$scratch" "$scratch.log"
	done
}
