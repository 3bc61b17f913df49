# SPDX-License-Identifier: Apache-2.0
"""Workers of multiprocessing under the launcher: each reports itself, and its helpers are none of the application's."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

import pytest

from launched import PROGRAMS
from mongo import eventually
from received import exports

OTEL = tuple(int(part) for part in version("opentelemetry-sdk").split(".")[:2])

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the helpers of other systems differ"),
    pytest.mark.skipif(OTEL < (1, 44), reason="older SDKs give a forked worker the identity of its parent"),
]


@pytest.mark.parametrize(("method", "helpers"), [("fork", 0), ("spawn", 1), ("forkserver", 2)])
def test_each_worker_reports_itself_and_the_helpers_nothing(method, helpers, instrumented, collector):
    """Under an identity of its own, and from 0; the tracker and the fork server are left alone."""
    program = instrumented(sys.executable, PROGRAMS / "workers.py", method)
    workers = json.loads(eventually(program.says, seconds=60))
    processes = {program.process.pid, *workers}

    def latest():
        found = {export.pid: export for export in exports(collector)}
        return found if {*found} >= processes else None

    eventually(latest, seconds=60)
    others = {child.pid for child in program.children()} - processes
    again = len(exports(collector)) + 3 * len(processes)
    eventually(lambda: len(exports(collector)) >= again, seconds=60)  # who has not reported by now does not
    clients = {
        pid: (export.total("mongodb.client.created"), export.total("mongodb.client.active_instance.count"))
        for pid, export in latest().items()
    }
    assert 0 == program.finish()

    assert helpers == len(others)
    assert processes == {*latest()}
    instances = {(export.pid, export.instance) for export in exports(collector)}
    assert len(processes) == len(instances) == len({instance for _, instance in instances})
    # Who was forked from the parent has its client as well, which it did not construct.
    assert {pid: (1, 1 + (method == "fork" and pid in workers)) for pid in processes} == clients
    assert "Traceback" not in program.err.read_text()
    assert "broke and was stopped" not in program.err.read_text()
