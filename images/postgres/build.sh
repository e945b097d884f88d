#!/usr/bin/env bash
# Builds parley/postgres:15 from Debian's packages, where the public image cannot be pulled. FORCE=1 rebuilds it.
set -euo pipefail
cd "$(dirname "$0")"
. ../lib.sh

version=15
image=parley/postgres:$version
need_engine
if present "$image"; then
	say "$image is there"
	exit 0
fi
need busybox busybox-static
programs=/usr/lib/postgresql/$version
if ! [[ -x $programs/bin/postgres ]]; then
	# The package would start a server of its own on this machine.
	mkdir -p /etc/postgresql-common
	[[ -e /etc/postgresql-common/createcluster.conf ]] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
	need "$programs/bin/postgres" postgresql-$version
fi

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
root=$stage/rootfs
mkdir -p "$root"/{bin,etc,tmp,run/postgresql,var/lib/postgresql,usr/share}

cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
	[[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
done

# The server and what it needs to make a cluster; without the libraries for just-in-time compilation.
binaries=("$programs"/bin/{postgres,initdb,pg_ctl,psql} "$programs"/lib/{plpgsql,dict_snowball}.so)
cp -L --parents "${binaries[@]}" "$root"
cp -rL --parents /usr/share/postgresql/$version "$root"
cp -rL --parents /usr/share/zoneinfo "$root"
ldd "${binaries[@]}" |
	awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && NF == 2 { print $1 }' |
	grep -v ':$' | sort -u |
	xargs -I{} cp -L --parents {} "$root"

ln -s /run "$root/var/run"
echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
echo 'postgres:x:999:999::/var/lib/postgresql:/bin/sh' >>"$root/etc/passwd"
printf 'root:x:0:\npostgres:x:999:\n' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"

cp Dockerfile run "$stage/"
build "$image" "$stage"
