# SPDX-License-Identifier: Apache-2.0
"""
Exporters in these tests send to where the test says, and to nowhere else. What the package sends is recorded once.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launched import EXAMPLES, LAUNCHER, Program, environment, settings
from mongo import Server
from otelcol import LOCAL_DEBUG, running

SIGNALS = ("metrics", "traces", "logs")


@pytest.fixture(autouse=True)
def _no_inherited_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporters in tests see neither the developer's OTEL_* variables nor a proxy."""
    for name in os.environ:
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@dataclass(frozen=True)
class Recorded:
    """What an application sent, request for request, and from when on: no process of it started before."""

    requests: dict[str, list[dict[str, Any]]]
    since: int
    """In nanoseconds."""


@pytest.fixture(scope="session")
def recorded(otelcol: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """
    The export requests of the example that makes a client per call, as `local-debug` wrote them down.

    An application under the launcher, with the package's own defaults, and MongoDB's protocol on the wire.
    """
    folder = tmp_path_factory.mktemp("recorded")
    since = time.time_ns()
    with running(otelcol, LOCAL_DEBUG, folder, {}) as collector:
        program = Program(
            [LAUNCHER, sys.executable, EXAMPLES / "zero_code" / "app.py", "closed", "3"],
            folder,
            environment(
                HOME=str(folder),
                MONGODB_URI=server.uri,
                # The oldest SDK sends none of its own accord.
                OTEL_RESOURCE_ATTRIBUTES="service.instance.id=recorded",
                **settings(collector, "http/protobuf"),
            ),
        )
        try:
            assert program.process.wait(100) == 0, program.err.read_text()
        finally:
            program.kill()
        requests = {signal: collector.requests(signal) for signal in SIGNALS}
    assert all(requests.values())
    return Recorded(requests, since)
