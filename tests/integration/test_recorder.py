# SPDX-License-Identifier: Apache-2.0
"""A server is swapped away inside its export interval: what it measured last is in the recorder's files."""

from __future__ import annotations

import signal
import socket
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from launched import LAUNCHER, PROGRAMS, answer
from mongo import eventually
from otel_resinstr.explain import readings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals")

OTEL = tuple(int(part) for part in version("opentelemetry-sdk").split(".")[:2])
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:{port}")
SERVERS = [
    ("uvicorn", "ending:app", "--port", "{port}"),
    (*GUNICORN, "ending:wsgi"),
    (*GUNICORN, "ending:app", "--worker-class", "uvicorn.workers.UvicornWorker"),
]


@pytest.mark.skipif(OTEL < (1, 44), reason="older SDKs give a forked worker the identity of its parent")
def test_sigterm_leaves_the_last_seconds_of_each_server(start_program, tmp_path):
    """Also of uvicorn's worker under gunicorn, for which nobody handles the signal; nothing is sent anywhere."""
    ports = free_ports(len(SERVERS))
    programs = [
        start_program(
            LAUNCHER,
            Path(sys.executable).with_name(command[0]),
            *(part.format(port=port) for part in command[1:]),
            PYTHONPATH=str(PROGRAMS),
            OTEL_METRICS_EXPORTER="none",
            OTEL_TRACES_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
            OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="pymongo,system_metrics,asgi,fastapi,flask,starlette",
            OTEL_RESINSTR_RECORDER_DIR=str(tmp_path / "out"),
            OTEL_RESINSTR_FLUSH_TIMEOUT="60",
        )
        for command, port in zip(SERVERS, ports, strict=True)
    ]
    workers = [eventually(lambda port=port: answer(port), seconds=100) for port in ports]
    asked = time.time()
    for program in programs:
        program.process.send_signal(signal.SIGTERM)

    assert [-15, 0, 0] == [program.process.wait(100) for program in programs]
    read = readings.read(tmp_path / "out")
    assert 0 == read.unreadable
    found = {process.resource["process.pid"]: process for process in read.processes}
    assert {*workers} <= {*found}
    for worker in workers:
        assert asked <= found[worker].totals("process.uptime")[-1].at
        assert 1 == found[worker].totals("mongodb.client.active_instance.count")[-1].value
    assert [] == list((tmp_path / "out").glob("*.txt"))


def free_ports(count):
    """Ports at which nobody listens."""
    bound = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in bound]
    for server in bound:
        server.close()
    return ports
