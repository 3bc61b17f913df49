# SPDX-License-Identifier: Apache-2.0
"""What the tests share: providers whose output can be read whole, and a watch over what the package logs."""

from __future__ import annotations

import gc
import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

import otel_resinstr
from fakes import MACHINES, Machine
from otel_resinstr import _azure, _flush, _fork, _instruments, duplicates, settings
from otel_resinstr._probe import Running, Telemetry
from support import Collected, Sink, own_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_resinstr._probe import Probe

pytest_plugins = ["ingestion", "mongo", "otelcol", "prometheus"]

# How long an example takes is a matter of the machine, and of what else runs on it.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


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

    def start(*probes: Probe, clock: Callable[[], float] = time.monotonic) -> Running:
        telemetry = Telemetry(**sink.providers, clock=clock)
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


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], Machine]:
    """Copy one of the machines of `fakes`, to be changed."""
    return lambda name: Machine(Path(shutil.copytree(MACHINES / name, tmp_path / name)))


@pytest.fixture
def no_earlier_pools() -> Iterator[None]:
    """Thread pools that other tests, or libraries such as motor, have made in this process are not found."""
    gc.collect()
    gc.freeze()  # what is frozen is not among the objects of the garbage collector
    yield
    gc.unfreeze()


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
def nothing_is_left() -> Iterator[None]:
    """Each test leaves the process as it was: nothing reports, no thread of ours, nothing in the list for forks."""
    settings._warned.clear()
    duplicates._said.clear()
    _azure.exporter_version.cache_clear()
    at_fork = _fork._callbacks
    yield
    otel_resinstr.uninstrument()
    _azure.exporter_version.cache_clear()
    assert {} == _instruments._live
    assert ((), ()) == (_flush._callbacks, _flush._in_use)
    assert [] == own_threads()
    assert at_fork == _fork._callbacks
