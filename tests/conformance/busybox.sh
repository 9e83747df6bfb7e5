# The test suite of busybox 1.35, on Debian's busybox-static; one run for each applet.

prepare() {
	[ -d "$WORK"/busybox-1.35.0 ] && return
	grep -rqs '^Types:.*deb-src\|^deb-src' /etc/apt/sources.list /etc/apt/sources.list.d || {
		sed 's/^Types: deb$/Types: deb-src/' /etc/apt/sources.list.d/debian.sources > /etc/apt/sources.list.d/sources.sources
		apt-get update -q
	}
	(cd "$WORK" && apt-get source -q --download-only busybox && dpkg-source -x busybox_1.35.0-*.dsc busybox-1.35.0) > /dev/null
}

case_list() { # SIDE [APPLET…]
	local prefix=() tree=$WORK/busybox-tree implemented
	[ "$1" = inside ] && prefix=("$BASTIDE" run -q --mount "$tree:$tree:rw" --)
	shift
	rm -rf "$tree"
	mkdir -p "$tree/runtest-tempdir-links"
	cp -a "$WORK/busybox-1.35.0/testsuite" "$tree/"
	rm "$tree/testsuite/mdev.tests" # needs to make devices
	cat "$WORK"/busybox-1.35.0/debian/config/{os/linux,pkg/static} > "$tree/.config"
	cp /usr/bin/busybox "$tree/busybox"
	implemented="busybox $(/usr/bin/busybox --list | grep -vx busybox | tr '\n' ' ')"
	for applet in $implemented; do
		ln -s "$tree/busybox" "$tree/runtest-tempdir-links/$applet"
	done
	# The suite's own list of applets and links would be made anew at each call: it is given above.
	python3 - "$tree/testsuite/runtest" <<-'END'
		import sys
		path = sys.argv[1]
		text = open(path).read()
		start, end = text.index('implemented=$('), text.index('applets="$implemented"')
		text = text[:start] + 'implemented="$BB_IMPLEMENTED"\n' + text[end:]
		start, end = text.index('rm -rf "$LINKSDIR" 2'), text.index("# Set up option flags")
		open(path, "w").write(text[:start] + text[end:])
	END
	(
		cd "$tree/testsuite"
		export LANG=C.UTF-8 LC_ALL=C.UTF-8 SKIP_INTERNET_TESTS=y SKIP_KNOWN_BUGS=y SHELL=/bin/sh
		export ECHO=/bin/echo BB_IMPLEMENTED="$implemented"
		for applet in ${*:-$implemented}; do
			[ -f "$applet.tests" ] || [ -d "$applet" ] || continue
			timeout -k 5 120 "${prefix[@]}" /bin/sh ./runtest "$applet" 2>&1 < /dev/null
		done
	) | sed -nE 's/^PASS: (.*)/\1 ok/p; s/^FAIL: (.*)/\1 FAILED/p'
}
