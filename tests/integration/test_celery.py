# SPDX-License-Identifier: Apache-2.0
"""Celery's prefork pool under the launcher."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from launched import PROGRAMS
from mongo import eventually
from received import exports

pytest.importorskip("celery")

OTEL = tuple(int(part) for part in version("opentelemetry-sdk").split(".")[:2])

pytestmark = [
    pytest.mark.timeout(400),  # it waits for long on a busy machine
    pytest.mark.skipif(sys.platform != "linux", reason="the helpers of other systems differ"),
    pytest.mark.skipif(OTEL < (1, 44), reason="older SDKs give a forked worker the identity of its parent"),
]

TASKS = 10


@pytest.mark.parametrize("flushes", [True, False])
def test_each_worker_reports_itself_if_it_flushes_when_it_ends(flushes, instrumented, collector, tmp_path):
    """Celery ends its workers without atexit: what they have done since the last export is out by `flush`, or lost."""
    broker = tmp_path / "broker"
    broker.mkdir()
    program = instrumented(
        Path(sys.executable).with_name("celery"),
        *("-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "INFO"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        BROKER=str(broker),
        FLUSH="1" * flushes,
        PYTHONPATH=str(PROGRAMS),
        OTEL_METRIC_EXPORT_INTERVAL="3600000",
    )
    eventually(lambda: TASKS == program.err.read_text().count(" succeeded in "), seconds=120)
    workers = {child.pid for child in program.children()}
    assert 2 == len(workers)
    assert 0 == program.terminate()

    found = {export.pid: export for export in exports(collector)}
    assert {program.process.pid, *(workers if flushes else ())} == {*found}
    assert len(found) == len({export.instance for export in found.values()})
    clients = {
        pid: (export.total("mongodb.client.created"), export.total("mongodb.client.active_instance.count"))
        for pid, export in found.items()
    }
    assert (None, None) == clients.pop(program.process.pid)
    assert TASKS * flushes == sum(created or 0 for created, _ in clients.values())
    assert [] == [pid for pid, (created, active) in clients.items() if created != active]
    assert "Traceback" not in program.err.read_text()
