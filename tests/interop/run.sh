#!/bin/bash
# Real servers and clients through stagate: starts SOGo (sogo.sh), installs the Node clients into build/interop/node, runs the
# tests, and stops everything, on failure and Ctrl-C too. What each client printed is in build/interop/*.log then.
# Called by `make interop`, which has installed the packages and built stagate; PYTEST="-k curl" picks tests.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
state=$root/build/interop
export STAGATE_INTEROP=$state STAGATE_BIN=${STAGATE_BIN:-$root/build/release}

if [ "$(id -u)" != 0 ]; then
    echo "interop: this needs root, since SOGo's daemons run as their own users: try sudo make interop" >&2
    exit 1
fi
mkdir -p "$state/node"
rm -f "$state"/*.log "$state"/*.png

# Node finds packages beside the script that uses them only, and nothing is to be installed into the source tree
cp "$here"/node/* "$state/node/"
if ! cmp -s "$state/node/package-lock.json" "$state/node/node_modules/.installed"; then
    echo "interop: npm ci ($(cd "$state/node" && grep -c '"integrity"' package-lock.json) packages into build/interop/node)"
    (cd "$state/node" && npm ci --ignore-scripts --no-audit --no-fund >"$state/npm.log" 2>&1) || {
        cat "$state/npm.log" >&2
        echo "interop: npm ci failed" >&2
        exit 1
    }
    cp "$state/node/package-lock.json" "$state/node/node_modules/.installed"
fi

tests=
# shellcheck disable=SC2317  # reached by the trap
finish() {
    trap '' INT TERM HUP
    [ -z "$tests" ] || wait "$tests" || true
    "$here/sogo.sh" down
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
echo "interop: starting SOGo"
"$here/sogo.sh" up >"$state/sogo.log"

# pytest ends in good order on SIGINT and SIGTERM (conftest.py). Ctrl-C reaches it without our help.
trap : INT
trap 'kill -TERM "$tests"' TERM HUP
# shellcheck disable=SC2086  # words, as make passes them
/usr/bin/python3 -B -m pytest -q -p no:cacheprovider "$here" ${PYTEST:-} &
tests=$!
while true; do
    status=0
    wait "$tests" || status=$?
    kill -0 "$tests" 2>/dev/null || break   # else a signal ended the wait, not the tests
done
tests=
exit "$status"
