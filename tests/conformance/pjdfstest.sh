# pjdfstest 0.2.2, on a tmpfs: the host's natively, Bastide's own inside. PLACE=volume takes a sealed
# volume inside.

prepare() {
	[ -x "$WORK/bin/pjdfstest" ] || cargo install --quiet --locked pjdfstest --version 0.2.2 --root "$WORK"
	cat > "$WORK/pjdfstest.toml" <<-'END'
		[features]
		posix_fallocate = {}
		utime_now = {}
		utimensat = {}
		rename_ctime = {}
		[settings]
		naptime = 0.01
		allow_remount = false
		[dummy_auth]
		entries = [ ["nobody", "nogroup"], ["daemon", "daemon"] ]
	END
}

case_list() { # SIDE [PATTERN…]
	local prefix=() dir=/dev/shm/pjdfstest
	if [ "$1" = inside ] && [ "${PLACE:-tmpfs}" = volume ]; then
		dir=/data/pjdfstest
		(
			cd "$WORK"
			rm -f v
			head -c 32 /dev/urandom > key
			"$BASTIDE" volume create v --size 256M --key-file key
			cat > volume.toml <<-'END'
				program = "/usr/bin/env"
				[[mount]]
				target = "/"
				type = "overlay"
				source = "/"
				[[mount]]
				target = "/data"
				type = "volume"
				source = "v"
				key_file = "key"
			END
		)
		prefix=("$BASTIDE" run -q "$WORK/volume.toml" --)
	elif [ "$1" = inside ]; then
		prefix=("$BASTIDE" run -q --)
	fi
	shift
	timeout -k 5 300 "${prefix[@]}" /bin/sh -c 'umask 022; mkdir -p $0; exec "$@"' "$dir" \
		"$WORK/bin/pjdfstest" -c "$WORK/pjdfstest.toml" -p "$dir" "$@" |
		sed 's/\x1b\[[0-9;]*m//g' | awk '/(ok|FAILED|skipped)$/ { print $1, $NF }'
	rm -rf "$dir"
}
