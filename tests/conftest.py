# SPDX-License-Identifier: Apache-2.0
"""What the tests share: providers whose output can be read whole, and a watch over what the package logs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from support import Collected, Sink

import otel_resinstr
from otel_resinstr._probe import Running, Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_resinstr._probe import Probe


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Real providers of the SDK that keep what they are given in memory."""
    sink = Sink()
    yield sink
    sink.shutdown()


@pytest.fixture
def start(sink: Sink) -> Iterator[Callable[..., Running]]:
    """Start probes on `sink`; they are stopped after the test."""
    started: list[Running] = []

    def start(*probes: Probe) -> Running:
        telemetry = Telemetry(sink.meter_provider, sink.tracer_provider, sink.logger_provider)
        started.append(Running(probes, telemetry))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def collect(sink: Sink, start: Callable[..., Running]) -> Callable[..., Collected]:
    """Start probes, if any are given, and collect once."""

    def collect(*probes: Probe) -> Collected:
        if probes:
            start(*probes)
        return sink.collect()

    return collect


@pytest.fixture(autouse=True)
def no_probe_breaks(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The guard hides what breaks from the application; it must not hide it from the tests."""
    caplog.set_level(logging.DEBUG, "otel_resinstr")
    yield
    if request.node.get_closest_marker("breaks") is None:
        broken = [
            record.getMessage()
            for phase in ("setup", "call", "teardown")
            for record in caplog.get_records(phase)
            if record.name == "otel_resinstr" and "broke" in record.getMessage()
        ]
        assert [] == broken


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test leaves the process as it was: nothing instrumented, no thread of ours."""
    yield
    otel_resinstr.uninstrument()
    _ = request
