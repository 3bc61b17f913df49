# SPDX-License-Identifier: Apache-2.0
"""The exporter `resinstr_console`: what it shows on a terminal, in a pipe, and where nobody reads."""

from __future__ import annotations

import io
import os
import re
import select
import sys
from importlib.metadata import entry_points

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from otel_resinstr import semconv
from otel_resinstr.export.console import ConsoleMetricExporter
from support import run_python

MIB = 2**20

ALL = {
    semconv.PROCESS_CPU_UTILIZATION: [(0.03, {"cpu.mode": "user"}), (0.09, {"cpu.mode": "system"})],
    semconv.PROCESS_MEMORY_USAGE: [(128 * MIB, {})],
    semconv.PROCESS_MEMORY_UTILIZATION: [(0.25, {})],
    semconv.PROCESS_THREAD_COUNT: [(21, {})],
    semconv.CPYTHON_THREAD_COUNT: [
        (1, {"cpython.thread.group": "main"}),
        (6, {"cpython.thread.group": "pymongo.monitor"}),
        (3, {"cpython.thread.group": "pymongo.rtt"}),
    ],
    semconv.PROCESS_UNIX_FILE_DESCRIPTOR_COUNT: [(38, {})],
    semconv.RESINSTR_PROCESS_FILE_DESCRIPTOR_LIMIT: [(1024, {})],
    semconv.ASYNCIO_EVENTLOOP_DELAY_MAX: [
        (0.0042, {"asyncio.eventloop.thread": "main"}),
        (0.75, {"asyncio.eventloop.thread": "worker"}),
    ],
    semconv.CPYTHON_THREAD_POOL_THREAD_BUSY: [
        (5, {"thread_pool.name": "a", "thread_pool.type": "executor"}),
        (1, {"thread_pool.name": "b", "thread_pool.type": "executor"}),
    ],
    semconv.CPYTHON_THREAD_POOL_THREAD_LIMIT: [
        (8, {"thread_pool.name": "a", "thread_pool.type": "executor"})
    ],
    semconv.CPYTHON_THREAD_POOL_QUEUE_LENGTH: [(2, {})],
    semconv.CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX: [(1.2, {})],
    semconv.MONGODB_CLIENT_ACTIVE_INSTANCE_COUNT: [(1, {"mongodb.client.type": "sync"})],
    semconv.MONGODB_CLIENT_CREATED: [
        (1000, {"mongodb.client.site": "a"}),
        (234, {"mongodb.client.site": "b"}),
    ],
    semconv.MONGODB_CLIENT_CLOSED: [
        (1233, {"mongodb.client.close.reason": "closed"}),
        (0, {"mongodb.client.close.reason": "dropped"}),
    ],
    semconv.MONGODB_CLIENT_SOCKET_COUNT: [
        (1, {"mongodb.client.socket.type": "pool"}),
        (2, {"mongodb.client.socket.type": "monitor"}),
    ],
    semconv.DB_CLIENT_CONNECTION_PENDING_REQUESTS: [(4, {})],
    semconv.RESINSTR_PRESSURE_STALL_MAX: [
        (0.1, {"resinstr.pressure.resource": "memory", "resinstr.pressure.scope": "system"}),
        (0.5, {"resinstr.pressure.resource": "memory", "resinstr.pressure.scope": "container"}),
        (0.03, {"resinstr.pressure.resource": "io", "resinstr.pressure.scope": "system"}),
    ],
}
PANEL = """\
shop[{}]
  cpu             12%
  memory          128.0 MiB of 512.0 MiB
  threads         21, 9 of pymongo
  descriptors     38 of 1,024
  event loop      late by 750 ms at most
  thread pools    6 of 8 busy, 2 queued, waited 1.20 s at most
  mongodb clients 1 open, 1,234 made, 1,233 closed, 0 dropped
  mongodb sockets 1 in pools, 2 of monitors
  mongodb pools   waited 250 ms at most, 4 waiting now
  pressure        memory 50%, io 3%
"""
LINE = (
    "shop[{}] cpu 12%; memory 128.0 MiB of 512.0 MiB; threads 21, 9 of pymongo; descriptors 38 of 1,024; "
    "event loop late by 750 ms at most; thread pools 6 of 8 busy, 2 queued, waited 1.20 s at most; "
    "mongodb clients 1 open, 1,234 made, 1,233 closed, 0 dropped; mongodb sockets 1 in pools, 2 of monitors; "
    "mongodb pools waited 250 ms at most, 4 waiting now; pressure memory 50%, io 3%\n"
)


class Exported(ConsoleMetricExporter):
    """An exporter to *stream* with a provider whose metrics are collected when a test says so."""

    def __init__(self, stream, observed, scope=semconv.SCOPE):
        super().__init__(stream)
        reader = PeriodicExportingMetricReader(self, export_interval_millis=float("inf"))
        self.provider = MeterProvider([reader], Resource({"service.name": "shop"}), shutdown_on_exit=False)
        meter = self.provider.get_meter(scope)
        make = {
            semconv.Kind.OBSERVABLE_COUNTER: meter.create_observable_counter,
            semconv.Kind.OBSERVABLE_GAUGE: meter.create_observable_gauge,
            semconv.Kind.OBSERVABLE_UP_DOWN_COUNTER: meter.create_observable_up_down_counter,
        }
        for metric, points in observed.items():
            observations = [Observation(value, attributes) for value, attributes in points]
            make[metric.kind](metric.name, [lambda _, them=observations: them])
        self.waits = meter.create_histogram(semconv.DB_CLIENT_CONNECTION_WAIT_TIME.name)

    def export(self, *arguments, **named):
        """As the reader calls it, which does not tell how it went."""
        self.result = super().export(*arguments, **named)
        return self.result

    def collect(self):
        """Export once, and say how it went."""
        assert self.provider.force_flush()
        return self.result


@pytest.fixture
def exported():
    """Makes providers, which are shut down after the test."""
    made = []

    def make(*arguments, **named):
        made.append(Exported(*arguments, **named))
        return made[-1]

    yield make
    for one in made:
        one.provider.shutdown()


@pytest.fixture
def pipe():
    """Both ends of a pipe: what reads, and a stream to write to."""
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as reader, os.fdopen(write, "w", encoding="utf-8") as writer:
        yield reader, writer


def without_time(text):
    """*text* without the time in front of it, which is there."""
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ ", text)
    return text[21:]


def test_a_pipe_gets_one_line(exported, pipe):
    """For a log: all that there is to say of this moment, of all that the package reports."""
    reader, writer = pipe
    of_shop = exported(writer, ALL)
    of_shop.waits.record(0.25)

    assert MetricExportResult.SUCCESS == of_shop.collect()
    assert LINE.format(os.getpid()) == without_time(reader.read(4096).decode())


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="terminals of Unix")
def test_a_terminal_gets_a_panel(exported):
    """For a person who looks on."""
    read, write = os.openpty()
    with os.fdopen(read, "rb", buffering=0) as reader, os.fdopen(write, "w", encoding="utf-8") as writer:
        of_shop = exported(writer, ALL)
        of_shop.waits.record(0.25)

        assert MetricExportResult.SUCCESS == of_shop.collect()
        seen = reader.read(4096).decode()

    assert PANEL.format(os.getpid()) == without_time(seen.replace("\r\n", "\n"))


def test_what_is_not_known_is_left_out(exported, pipe):
    """No row without a figure, and no limit that nobody knows."""
    reader, writer = pipe
    known = {
        semconv.PROCESS_MEMORY_USAGE: ALL[semconv.PROCESS_MEMORY_USAGE],
        semconv.PROCESS_WINDOWS_HANDLE_COUNT: [(300, {})],
        semconv.CPYTHON_THREAD_POOL_THREAD_BUSY: ALL[semconv.CPYTHON_THREAD_POOL_THREAD_BUSY],
    }

    assert MetricExportResult.SUCCESS == exported(writer, known).collect()
    assert (f"shop[{os.getpid()}] memory 128.0 MiB; descriptors 300; thread pools 6 busy\n") == without_time(
        reader.read(4096).decode()
    )


def test_without_a_figure_nothing_is_shown(exported, pipe):
    """No head without a body."""
    reader, writer = pipe

    assert MetricExportResult.SUCCESS == exported(writer, {semconv.PROCESS_UPTIME: [(3.5, {})]}).collect()
    assert ([], [], []) == select.select([reader], [], [], 0)


def test_others_metrics_are_not_shown(exported, pipe):
    """Another instrumentation may use the same names: they would be counted twice."""
    reader, writer = pipe

    assert MetricExportResult.SUCCESS == exported(writer, ALL, scope="another").collect()
    assert ([], [], []) == select.select([reader], [], [], 0)


def test_the_longest_wait_is_that_since_the_last_panel(exported, pipe):
    """What was long over is not shown for ever."""
    reader, writer = pipe
    of_shop = exported(writer, {})
    for seconds in (0.5, 0.125):
        of_shop.waits.record(seconds)
        of_shop.collect()
    of_shop.collect()

    assert [
        f"shop[{os.getpid()}] mongodb pools waited 500 ms at most",
        f"shop[{os.getpid()}] mongodb pools waited 125 ms at most",
    ] == [without_time(line) for line in reader.read(4096).decode().splitlines()]


def test_nobody_waits_for_a_pipe_that_is_full(exported, pipe):
    """What the other end does not read is left out, and shown again as soon as it does."""
    reader, writer = pipe
    full = 0
    while select.select([], [writer], [], 0)[1]:
        full += os.write(writer.fileno(), b"x" * 4096)
    of_shop = exported(writer, ALL)

    assert MetricExportResult.FAILURE == of_shop.collect()

    while full:
        full -= len(reader.read(full))
    assert MetricExportResult.SUCCESS == of_shop.collect()
    assert reader.read(4096).endswith(b"pressure memory 50%, io 3%\n")


NO_READER = """
    import os, signal
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from otel_resinstr.export.console import ConsoleMetricExporter

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as many programs for the command line do
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as stream:
        exporter = ConsoleMetricExporter(stream)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=float("inf"))
        provider = MeterProvider([reader])
        provider.get_meter("otel_resinstr").create_up_down_counter("process.thread.count").add(3)
        provider.force_flush()
        print("alive")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a signal of Unix")
def test_a_pipe_without_a_reader_does_not_kill(exported):
    """Who has switched SIGPIPE on again is not ended by what we write."""
    assert "alive\n" == run_python(NO_READER)


@pytest.mark.parametrize("gone", [None, "closed"])
def test_no_standard_error_is_no_failure_of_the_application(exported, monkeypatch, gone):
    """None under pythonw, closed where a daemon has begun."""
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", gone and stream)

    assert MetricExportResult.FAILURE == exported(None, ALL).collect()


def test_a_stream_of_the_applications_is_written_to(exported, monkeypatch):
    """Standard error as it is at that moment, also if it is no file."""
    of_shop = exported(None, {semconv.PROCESS_THREAD_COUNT: [(3, {})]})
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    assert MetricExportResult.SUCCESS == of_shop.collect()
    assert f"shop[{os.getpid()}] threads 3\n" == without_time(sys.stderr.getvalue())


def test_where_no_stream_can_be_asked_it_is_written_to(exported, pipe, monkeypatch):
    """Windows, and gevent, have no poll."""
    monkeypatch.delattr(select, "poll")
    reader, writer = pipe

    assert MetricExportResult.SUCCESS == exported(writer, {semconv.PROCESS_THREAD_COUNT: [(3, {})]}).collect()
    assert f"shop[{os.getpid()}] threads 3\n" == without_time(reader.read(4096).decode())


def test_the_entry_point_names_the_exporter():
    """OTEL_METRICS_EXPORTER=resinstr_console is how it is chosen."""
    [point] = entry_points(group="opentelemetry_metrics_exporter", name="resinstr_console")

    assert point.load() is ConsoleMetricExporter
