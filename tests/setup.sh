#!/bin/bash
# Installs what the tests run: Debian's compilers, interpreters, tools and servers. Needs root once;
# does nothing when all is there. The servers are not started.
set -euo pipefail
packages=(
	bash bc binutils busybox-static coreutils default-jdk-headless findutils g++ gcc git golang-go
	less libc6-dev make mawk musl-tools nodejs perl procps python3 tar tmux xxd xz-utils zstd
	apache2 caddy gunicorn haproxy nginx-light
	mariadb-server memcached postgresql-15 redis-server redis-tools sqlite3 sysbench
)
missing=()
for package in "${packages[@]}"; do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
done
[ ${#missing[@]} = 0 ] && exit 0
echo "installing ${missing[*]}"
sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -q
# Debian starts a server when its package is installed, unless this forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
	$sudo chmod 755 $policy
	trap '$sudo rm -f $policy' EXIT
fi
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
