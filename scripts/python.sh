#!/usr/bin/env bash
# Makes bin/python, a virtual environment with what integration/python/requirements.txt pins by its hashes. Does nothing
# where it is current. PYTHON names an interpreter; by default it is the first that fits.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=integration/python/requirements.txt
made=bin/python

if cmp -s "$wanted" "$made/requirements.txt" && "$made/bin/python" -c 'import confluent_kafka, fastavro' 2>/dev/null; then
	exit 0
fi

# A first python3 in PATH may be one without venv, or a version that the wheels are not for.
fits='import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'
python=
for candidate in ${PYTHON:-python3 /usr/bin/python3}; do
	if "$candidate" -c "$fits" >/dev/null 2>&1; then
		python=$candidate
		break
	fi
done
if [[ -z $python ]]; then
	echo "python.sh: no Python 3.11 to 3.14 with venv among: ${PYTHON:-python3 /usr/bin/python3} (Debian: apt-get install python3-venv)" >&2
	exit 1
fi

rm -rf "$made"
mkdir -p bin
"$python" -m venv "$made"
"$made/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --only-binary :all: --require-hashes -r "$wanted" || {
	echo "python.sh: the packages of $wanted could not be installed" >&2
	exit 1
}
cp "$wanted" "$made/requirements.txt" # last: it says that the rest is whole
