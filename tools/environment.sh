#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes the virtual environment .venv, or brings it up to date; ends at once where there is nothing to do.
#
#   tools/environment.sh demo    the package with what `resinstr demo` needs
#   tools/environment.sh dev     that, and what the tests and checks need
#   tools/environment.sh uv      nothing but the installer
#
# PYTHON names the interpreter; without it the first one that runs, is 3.10 or newer and is tested is taken.

set -eu
cd "$(dirname "$0")/.."

level=$1
venv=.venv
oldest="(3, 10)"
newest_tested="(3, 13)"
unreachable='failed to fetch|error sending request|dns error|name resolution|connection broken|timed out'

fail() {
    echo "environment: $*" >&2
    exit 1
}

# The interpreter behind a name, if it runs and has a version from $2 to $3. One that a virtual environment is
# made of is given instead of the environment's: the environment may be the one that is to be made anew.
real_python() {
    "$1" -c "import sys
if $2 <= sys.version_info[:2] <= $3:
    print(getattr(sys, '_base_executable', None) or sys.executable)" 2>/dev/null || true
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        real_python "$PYTHON" "$oldest" "(9,)"
        return
    fi
    for limit in "$newest_tested" "(9,)"; do
        for name in python3 python3.13 python3.12 python3.11 python3.10 python; do
            found=$(real_python "$name" "$oldest" "$limit")
            if [ -n "$found" ]; then
                echo "$found"
                return
            fi
        done
    done
}

identity() {
    "$1" -c 'import sys; print(sys.version_info[:3], sys.base_prefix)' 2>/dev/null || true
}

# What the content of the environment follows from; it is kept in the environment when all is installed.
key() {
    pwd
    cksum pyproject.toml constraints.txt
    identity "$venv/bin/python"
}

is_installed() {
    [ -f "$venv/installed-$1" ] && [ "$(cat "$venv/installed-$1")" = "$(key)" ]
}

make_venv() {
    python=$(find_python)
    if [ -z "$python" ]; then
        fail "needs Python 3.10 or newer, ${PYTHON:-python3} is none: install it, or make PYTHON=/path/to/it"
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)"
    echo "environment: $venv with $("$python" -V) ($python)" >&2
    "$python" -m venv --clear "$venv" || fail "$python could not make $venv"
    # uv, because the pip of an older Python knows nothing of dependency groups.
    attempt "$venv/bin/python" -m pip install --disable-pip-version-check -c constraints.txt uv
}

install() {
    attempt "$venv/bin/uv" pip install --python "$venv/bin/python" -c constraints.txt \
        --only-binary secantusdb "$@"
}

attempt() {
    log=$venv/install.log
    if "$@" >"$log" 2>&1; then
        return
    fi
    if grep -qi 'secantusdb.* no .*wheels' "$log"; then
        fail "SecantusDB, which demo and tests start, has no wheel for this platform: see CONTRIBUTING.md"
    fi
    cat "$log" >&2
    if grep -qiE "$unreachable" "$log"; then
        fail "the package index is out of reach: check the network, or the proxy or mirror of pip and uv"
    fi
    fail "the installation failed, for the reason above"
}

export UV_PYTHON_DOWNLOADS=never
unset VIRTUAL_ENV || true

if [ -n "${PYTHON:-}" ] && [ "$(identity "$PYTHON")" != "$(identity "$venv/bin/python")" ]; then
    make_venv
elif is_installed dev || { [ "$level" = demo ] && is_installed demo; }; then
    exit 0
elif ! "$venv/bin/uv" --version >/dev/null 2>&1 || [ -z "$(identity "$venv/bin/python")" ]; then
    make_venv
fi

if [ "$level" = uv ]; then
    exit 0
fi
rm -f "$venv"/installed-*
echo "environment: installing what '$level' needs into $venv" >&2
case $level in
    demo) install -e '.[demo]' ;;
    dev) install -e '.[demo]' --group dev ;;
    *) fail "unknown: $level" ;;
esac
key >"$venv/installed-$level"
