#!/usr/bin/env bash
# Builds parley/apicurio-registry:3.3.3 where the public image cannot be pulled. FORCE=1 rebuilds it.
set -euo pipefail
cd "$(dirname "$0")"
. ../lib.sh

image=parley/apicurio-registry:3.3.3
need_engine
if present "$image"; then
	say "$image is there"
	exit 0
fi
../java/build.sh
need mvn maven

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
fetch_maven pom.xml "$stage/archive"
mkdir "$stage/deployments"
tar -xzf "$stage"/archive/apicurio-registry-app-*-all.tar.gz -C "$stage/deployments"
rm -r "$stage/archive"
cp Dockerfile "$stage/"
build "$image" "$stage"
