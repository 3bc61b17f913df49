# SPDX-License-Identifier: Apache-2.0
"""A child that is forked in the middle of an export exports: shown with the real SDK, without us and with us."""

from __future__ import annotations

import os
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from otel_resinstr import _fork
from otel_resinstr.process.export_lock import _MAKE, _NAMES, ExportLock, _parts, _readers
from support import Sink, run_python

# An exporter that hangs in the parent: the fork comes in the middle. What the child exports goes through a pipe.
PROGRAM = """
import os, sys, threading, time, warnings
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader
import otel_resinstr

warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
parent = os.getpid()
exporting, go, exported = threading.Event(), threading.Event(), threading.Event()

def hang(where):
    if sys.argv[3] == where and os.getpid() == parent:
        exporting.set()
        go.wait(60)

class Hanging(MetricExporter):
    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        hang("export")
        if os.getpid() != parent:
            exported.set()
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **kwargs):
        pass

reader = PeriodicExportingMetricReader(Hanging(), export_interval_millis=1000)
provider = MeterProvider([reader], shutdown_on_exit=False)
def observe(_options):
    hang("collection")
    return [Observation(1)]

meter = provider.get_meter("test")
meter.create_counter("test").add(1)
meter.create_observable_counter("test.observed", [observe])
if sys.argv[1] == "with":
    otel_resinstr.instrument(otel_resinstr.Settings(disabled_probes=sys.argv[2]), meter_provider=provider)
assert exporting.wait(60)
child = os.fork()
if not child:
    if sys.argv[1] == "with" and not sys.argv[2]:
        meter.create_observable_counter("test.later")
    # Whoever is held up by the lock is so for ever: two intervals tell.
    came = exported.wait(60 if sys.argv[1] == "with" and not sys.argv[2] else 3)
    os._exit(int(came))
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print("exports" if status else "is silent")
go.set()
provider.shutdown()
"""

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")


@fork
@pytest.mark.parametrize("where", ["export", "collection"])
@pytest.mark.parametrize("arguments", [("without", ""), ("with", "process.export_lock")])
def test_without_it_the_child_is_silent(arguments, where):
    """The SDK's own fault: if this fails, the SDK has mended it, and the probe can go."""
    assert "is silent\n" == run_python(PROGRAM, *arguments, where)


@fork
@pytest.mark.parametrize("where", ["export", "collection"])
def test_with_it_the_child_exports(where):
    """Though its parent still hangs; and instruments can be made in it."""
    assert "exports\n" == run_python(PROGRAM, "with", "", where)


def in_a_child():
    """Call what a forked child calls, but for what starts threads that are here already."""
    for callback in _fork._callbacks:
        callback()


def test_only_a_lock_that_is_held_is_renewed(start):
    """One that is free, of another kind or not there at all is no business of ours: the SDK may have mended it."""
    held, free, other = threading.Lock(), threading.Lock(), threading.RLock()
    held.acquire()
    other.acquire()
    readers = [types.SimpleNamespace(_export_lock=lock) for lock in (held, free, other)]
    start(ExportLock(lambda: [*readers, object()]))

    in_a_child()

    assert [False, True, True] == [
        reader._export_lock is lock for reader, lock in zip(readers, (held, free, other), strict=True)
    ]
    assert not readers[0]._export_lock.locked()


def test_the_locks_down_to_each_series_are_renewed(start):
    """Of the real SDK: each of them is held for a moment by another thread in a collection."""
    sink = Sink()
    sink.meter_provider.get_meter("test").create_counter("test").add(1)
    parts = list(_parts(sink.reader))
    held = [(part, name) for part in parts for name in _NAMES if type(getattr(part, name, None)) in _MAKE]
    assert {
        "InMemoryMetricReader",
        "SynchronousMeasurementConsumer",
        "MetricReaderStorage",
        "_SumAggregation",
    } <= {type(part).__name__ for part, _ in held}
    with ThreadPoolExecutor(1) as pool:
        for part, name in held:
            pool.submit(getattr(part, name).acquire).result()
        start(ExportLock(lambda: [sink.reader]))
        in_a_child()

        assert 1 == sink.collect().points("test")[()]
    sink.shutdown()


def test_it_finds_the_readers_of_the_sdk():
    """Of all providers of the process."""
    sink = Sink()

    assert sink.reader in _readers()
    sink.shutdown()


@pytest.mark.parametrize(
    "module",
    [None, types.SimpleNamespace(), types.SimpleNamespace(MeterProvider=object)],
    ids=["sdk", "provider", "readers"],
)
def test_what_is_absent_is_not_looked_into(module, monkeypatch):
    """A process without the SDK, or with a later one that keeps its readers elsewhere."""
    if module is None:
        monkeypatch.delitem(sys.modules, "opentelemetry.sdk.metrics")
    else:
        monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", module)

    assert [] == _readers()
