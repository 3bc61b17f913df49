#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Writes constraints.txt: one version of each package, for each Python and platform, that fits all extras and
# dependency groups. Versions that are there stay, as far as they fit; --upgrade takes the newest of all.

set -eu
cd "$(dirname "$0")/.."

kept=$(mktemp)
trap 'rm -f "$kept"' EXIT
if [ -f constraints.txt ]; then
    cp constraints.txt "$kept"
fi

UV_PYTHON_DOWNLOADS=never .venv/bin/uv pip compile --quiet --universal --python-version 3.10 --no-header \
    --no-annotate --no-emit-index-url --no-emit-find-links --all-extras --group dev pyproject.toml \
    --output-file "$kept" "$@" >/dev/null

{
    echo "# Versions for development and CI, made from pyproject.toml. \`make constraints\` fits them to a"
    echo "# change of it; \`make constraints ARGS=--upgrade\` takes the newest."
    grep -v '^#' "$kept"
} >constraints.txt
