#!/usr/bin/env bash
# Installs a Docker engine on Debian and starts it in the background, where none answers yet.
# Needs root. Does nothing when an engine answers. The engine's log: $DOCKERD_LOG.
set -euo pipefail

DOCKERD_LOG=${DOCKERD_LOG:-/var/log/dockerd.log}

answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# wait_for SECONDS: true as soon as the engine answers, false when it did not, or ended, before.
wait_for() {
	local deadline=$((SECONDS + $1))
	while ((SECONDS < deadline)); do
		answers && return 0
		pgrep -x dockerd >/dev/null || return 1
		sleep 0.5
	done
	return 1
}

done_with() {
	echo "docker: engine $(docker version --format '{{.Server.Version}}') answers," \
		"storage driver $(docker info --format '{{.Driver}}')"
	exit 0
}

answers && done_with

if [[ -n ${DOCKER_HOST:-} ]]; then
	echo "docker: DOCKER_HOST is set but nothing answers there; unset it to use a local engine" >&2
	exit 1
fi
if ((EUID != 0)); then
	echo "docker: no engine answers, and installing one needs root: sudo $0" >&2
	exit 1
fi

if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null || ! command -v pgrep >/dev/null; then
	echo "docker: installing docker.io"
	command -v apt-get >/dev/null || { echo "docker: no apt-get here; install a Docker engine by hand" >&2; exit 1; }
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends docker.io iptables procps ca-certificates >/dev/null
fi

# With systemd the package has started the engine already; elsewhere one may be starting.
if pgrep -x dockerd >/dev/null && wait_for 30; then
	done_with
fi
if pgrep -x dockerd >/dev/null; then
	echo "docker: dockerd runs but does not answer after 30 s" >&2
	exit 1
fi

# Inside containers some kernels refuse overlay mounts or address translation: each line asks for less.
# Published ports still work without iptables, through docker-proxy.
for options in \
	"" \
	"--storage-driver=vfs" \
	"--storage-driver=vfs --iptables=false --ip6tables=false"; do
	# A pid file left by a killed engine can name a living process of another kind, and then stops the start.
	rm -f /var/run/docker.pid
	echo "docker: starting dockerd $options"
	# shellcheck disable=SC2086 # the options are words
	setsid nohup dockerd $options >"$DOCKERD_LOG" 2>&1 </dev/null &
	engine=$!
	sleep 0.5
	wait_for 30 && done_with
	tail -n 3 "$DOCKERD_LOG" >&2
	kill "$engine" 2>/dev/null || true
	sleep 1
done
echo "docker: dockerd does not start; its log: $DOCKERD_LOG" >&2
exit 1
