#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Says in which folder prometheus and promtool are, of which the tests of rules and dashboards start one.
#
#   tools/prometheus.sh find       on the PATH, else unpacked here; fails if they are in neither place
#   tools/prometheus.sh unpack     the same, but unpacks Debian's package into .tools/prometheus if need be
#
# Unpacked, not installed: no service comes with it, and no other user is needed.

set -eu
cd "$(dirname "$0")/.."

folder=$PWD/.tools/prometheus

if found=$(command -v promtool) && command -v prometheus >/dev/null; then
    dirname "$found"
elif [ -x "$folder/usr/bin/promtool" ]; then
    echo "$folder/usr/bin"
elif [ "${1:-}" = unpack ]; then
    part=$folder.$$
    trap 'rm -rf "$part"' EXIT
    mkdir -p "$part"
    (
        cd "$part"
        apt-get download prometheus || { apt-get update && apt-get download prometheus; }
        dpkg-deb -x prometheus_*.deb .
    ) >&2
    rm -f "$part"/prometheus_*.deb
    mv -T "$part" "$folder" 2>/dev/null || test -x "$folder/usr/bin/promtool" # another run was faster
    echo "$folder/usr/bin"
else
    echo "prometheus.sh: no prometheus and promtool: run 'sh tools/prometheus.sh unpack' on Debian, or install them" >&2
    exit 1
fi
