# SPDX-License-Identifier: Apache-2.0
"""A library that is not installed is one whose probes have nothing to do."""

from __future__ import annotations

import sys

import pytest

from launched import PROGRAMS, wait_for_names
from otel_resinstr import semconv
from received import shapes

# Stands for a library that is not there, before one that may be.
ABSENT = """raise ModuleNotFoundError(f"No module named {__name__!r}", name=__name__)\n"""

# It tries to import the library, runs a loop, and ends when its standard input does.
PROGRAM = """
import asyncio, importlib, sys

try:
    importlib.import_module(sys.argv[1])
except ModuleNotFoundError as error:
    print(error)
asyncio.run(asyncio.to_thread(sys.stdin.read))
"""

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="other systems tell less of a process")


def names_of(*subjects):
    """The names of the metrics of *subjects*, but for those that need something to happen, or to be asked for."""
    rare = {
        "process.windows.handle.count",
        "asyncio.eventloop.blocked",
        "cpython.memory.traced",
        "cpython.memory.traced.peak",
    }
    off = ("process.sockets", "runtime.gc_pauses", "runtime.objects")
    return {
        metric.name
        for metric in semconv.METRICS
        if metric.probe.startswith(subjects) and metric.probe not in off
    } - rare


@LINUX_ONLY
@pytest.mark.parametrize("library", ["pymongo", "uvloop"])
def test_without_a_library_all_other_subjects_report(collector, instrumented, tmp_path, library):
    """The application gets the error that it expects, nothing is said in its log, nothing is made up."""
    absent = tmp_path / "absent"
    absent.mkdir()
    (absent / f"{library}.py").write_text(ABSENT)
    program = instrumented(
        sys.executable, "-c", PROGRAM, library, PYTHONPATH=str(absent), OTEL_RESINSTR_EVENTLOOP_THRESHOLD="60"
    )
    wanted = names_of("process.", "runtime.", "eventloop.")
    wait_for_names(collector, program, {"metrics": wanted})

    assert 0 == program.finish()
    assert (f"No module named '{library}'\n", "") == (program.says(), program.err.read_text())
    # What the host has to say depends on the machine; the loop has a thread for its default executor.
    others = {metric.name for metric in semconv.METRICS if metric.probe.startswith(("host.", "threadpool."))}
    assert wanted == {*shapes(collector)["metrics"]} - others


@LINUX_ONLY
def test_clients_are_reported_where_uvloop_is_absent(collector, server, instrumented, tmp_path):
    """The loops of asyncio and the clients of pymongo do not depend on it."""
    (tmp_path / "uvloop.py").write_text(ABSENT)
    program = instrumented(
        sys.executable, PROGRAMS / "everything.py", PYTHONPATH=str(tmp_path), MONGODB_URI=server.uri
    )

    wait_for_names(collector, program, {"metrics": names_of("eventloop.", "mongodb.")})

    assert 0 == program.finish()
