# SPDX-License-Identifier: Apache-2.0
"""What an application does is the same with us: its exit code, and every byte that it prints."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

from launched import PROGRAMS
from mongo import eventually
from received import exports

WAYS = {"return": 0, "exit": 3, "message": 1, "raise": 1, "fork": 0, "signal": -15, "handler": 7}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and forks of POSIX")


@pytest.fixture
def uri(request):
    """Where the database is, if there is a driver for it."""
    return request.getfixturevalue("server").uri if find_spec("pymongo") else ""


def outcome(program, way):
    """How *program* ended, and what it said."""
    if way in {"signal", "handler"}:
        eventually(lambda: program.out.read_text().endswith("waiting\n"), seconds=30)
        program.process.terminate()
    ended = program.process.wait(30)
    return ended, program.out.read_bytes(), program.err.read_bytes()


@pytest.mark.parametrize("way", WAYS)
def test_an_application_ends_as_without_us(collector, start_program, instrumented, uri, way):
    """Exit code, standard output and standard error, traceback included, are byte for byte the same."""
    command = (sys.executable, "-W", "ignore:This process:DeprecationWarning", PROGRAMS / "outcomes.py", way)
    # On a machine that is busy the loop may be found to be held, and that is a line in the log.
    environ = {"OTEL_RESINSTR_EVENTLOOP_THRESHOLD": "60"} | ({"MONGODB_URI": uri} if uri else {})
    with_us = instrumented(*command, **environ)
    without_us = start_program(*command, **environ)

    expected = outcome(without_us, way)

    assert WAYS[way] == expected[0]
    assert expected == outcome(with_us, way)
    # A signal that is not handled leaves no time for a report.
    assert way == "signal" or [] != exports(collector)
