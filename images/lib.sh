# Shared by the image builds; sourced, not run.

# say TEXT: one plain line of progress.
say() { echo "images: $*"; }

# need COMMAND PACKAGE...: installs the Debian packages where the command is missing.
need() {
	local command=$1
	shift
	command -v "$command" >/dev/null && return 0
	if ! command -v apt-get >/dev/null || ((EUID != 0)); then
		echo "images: '$command' is missing; on Debian, as root: apt-get install $*" >&2
		exit 1
	fi
	say "installing $*"
	DEBIAN_FRONTEND=noninteractive apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# need_engine: an engine must answer before minutes are spent on downloads.
need_engine() {
	docker version >/dev/null 2>&1 || { echo "images: no Docker engine answers; 'make docker' installs one" >&2; exit 1; }
}

# present IMAGE: true when the image is there and no rebuild was asked for with FORCE=1.
present() {
	[[ ${FORCE:-0} != 1 ]] && docker image inspect "$1" >/dev/null 2>&1
}

# quietly COMMAND...: shows what the command printed only when it fails.
quietly() {
	local log
	log=$("$@" 2>&1) || { echo "$log" >&2; exit 1; }
}

# build IMAGE DIRECTORY: builds from a context made elsewhere. An engine without the newer builder still has the classic one.
build() {
	local builder=1
	docker buildx version >/dev/null 2>&1 || builder=0
	DOCKER_BUILDKIT=$builder quietly docker build --tag "$1" "$2"
	say "$1 built, $(docker image inspect --format '{{.Size}}' "$1" | awk '{printf "%d MB", $1 / 1e6}'), in $SECONDS s"
}

# fetch_maven POM DIRECTORY: copies what the POM names, with its pinned versions, into the directory.
fetch_maven() {
	quietly mvn --batch-mode --quiet --file "$1" dependency:copy-dependencies -DoutputDirectory="$2"
}
