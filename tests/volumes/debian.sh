# A Debian system from debootstrap, imported into a volume that is mounted at /: bash runs from it,
# and apt-get finds what it would install.

needs debootstrap
[ "$(id -u)" = 0 ] || { echo "debian: skipped: not root" >&2; exit 77; }
debootstrap --variant=minbase bookworm root > log 2>&1 || fail "debootstrap"
chroot root apt-get -qq update >> log 2>&1 || fail "apt-get update"
head -c 32 /dev/urandom > key
"$BASTIDE" volume create v --size 2G --key-file key
"$BASTIDE" volume import v root --key-file key > import 2>&1 || fail "$(cat import)"
cat > m.toml <<-END
	program = "/bin/bash"
	[[mount]]
	target = "/"
	type = "volume"
	source = "v"
	key_file = "key"
END
said=$(inside 'echo "bash $BASH_VERSION of Debian $(cat /etc/debian_version)"; ls -ld /root; dpkg --audit
	apt-get --simulate install hello | grep ^Inst; echo kept > /root/file; df / | tail -1') || fail "$said"
grep -q '^Inst hello ' <<< "$said" || fail "$said"
[ "$(inside 'cat /root/file')" = kept ] || fail "a file is lost"
mkdir out
"$BASTIDE" volume export v out --key-file key > export 2>&1 || fail "$(cat export)"
# /proc and /dev are the kernel's; the rest must be the same but for what was done inside.
diff -r --no-dereference -x proc -x dev -x run -x tmp root out > differences || true
sort -o differences differences
cat > expected <<-END
	Only in out/root: file
	Only in out/var/log/apt: eipp.log.xz
END
cmp expected differences || fail "$(head differences)"
"$BASTIDE" volume fsck v --key-file key > fsck 2>&1 || fail "$(cat fsck)"
echo "debian: $(cat import | tail -1); $(head -1 <<< "$said"); $(grep ^Inst <<< "$said"); $(cat fsck)"
