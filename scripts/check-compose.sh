#!/usr/bin/env bash
# Checks docker-compose.kafka.yml with the compose tool's own parser, and that each file it mounts is there.
# Installs Debian's docker-compose where no compose tool is found. Needs no Docker engine.
set -euo pipefail
cd "$(dirname "$0")/.."

if docker compose version >/dev/null 2>&1; then
	compose=(docker compose)
elif command -v docker-compose >/dev/null; then
	compose=(docker-compose)
elif command -v apt-get >/dev/null && ((EUID == 0)); then
	echo "compose: installing docker-compose"
	DEBIAN_FRONTEND=noninteractive apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker-compose >/dev/null
	compose=(docker-compose)
else
	echo "compose: no compose tool; on Debian, as root: apt-get install docker-compose" >&2
	exit 1
fi

"${compose[@]}" -f docker-compose.kafka.yml config --quiet

missing=0
for path in $(grep -oE '\./deploy/[^:]+' docker-compose.kafka.yml) deploy/worker/Dockerfile; do
	[[ -e $path ]] || { echo "compose: docker-compose.kafka.yml names $path, which is not there" >&2; missing=1; }
done
((missing == 0))
echo "compose: docker-compose.kafka.yml passes $("${compose[@]}" version --short)"
