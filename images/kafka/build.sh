#!/usr/bin/env bash
# Builds parley/kafka:4.4.0 where the public image cannot be pulled. FORCE=1 rebuilds it.
set -euo pipefail
cd "$(dirname "$0")"
. ../lib.sh

image=parley/kafka:4.4.0
need_engine
if present "$image"; then
	say "$image is there"
	exit 0
fi
../java/build.sh
need mvn maven

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
fetch_maven pom.xml "$stage/libs"
cp -r Dockerfile docker "$stage/"
build "$image" "$stage"
