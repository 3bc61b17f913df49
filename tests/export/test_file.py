# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402, PTH110
"""The exporter `resinstr_file`: what real providers of the SDK export, read back."""

from __future__ import annotations

import logging
import os
from importlib.metadata import entry_points

import pytest

from otel_resinstr.explain import readings
from otel_resinstr.settings import Settings
from support import run_python

MISSING = """
    import sys

    sys.modules["opentelemetry.exporter.otlp.json"] = None
    try:
        import otel_resinstr.export.file
    except ImportError as failure:
        print(failure)
"""


def test_without_the_encoders_one_message_says_what_to_install():
    """Which is what the launcher prints as it goes on without telemetry."""
    said = run_python(MISSING)

    assert said.startswith("the exporter resinstr_file needs the encoders of OTLP/JSON (")
    assert said.endswith(
        "): pip install 'otel-resinstr[file]', which needs opentelemetry-sdk 1.45 or newer\n"
    )


pytest.importorskip("opentelemetry.exporter.otlp.json.common", reason="needs a newer SDK")

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult

from otel_resinstr.export import file
from otel_resinstr.export.file import FileLogRecordExporter, FileMetricExporter, FileSpanExporter


@pytest.fixture(autouse=True)
def nothing_said_so_far(monkeypatch):
    """Each test hears its own warnings."""
    monkeypatch.setattr(file, "_warned", set())


@pytest.fixture
def providers(tmp_path):
    """Real providers that export to files below the test's folder; metrics are collected when a test says so."""
    resource = Resource({"service.name": "shop", "process.pid": 7})
    settings = Settings(file_dir=str(tmp_path / "out"))
    reader = PeriodicExportingMetricReader(FileMetricExporter(settings), export_interval_millis=float("inf"))
    metrics = MeterProvider([reader], resource, shutdown_on_exit=False)
    traces = TracerProvider(resource=resource, shutdown_on_exit=False)
    traces.add_span_processor(SimpleSpanProcessor(FileSpanExporter(settings)))
    logs = LoggerProvider(resource, shutdown_on_exit=False)
    logs.add_log_record_processor(SimpleLogRecordProcessor(FileLogRecordExporter(settings)))
    yield metrics, traces, logs
    metrics.shutdown()
    traces.shutdown()
    logs.shutdown()


def test_all_signals_are_read_back_as_one_process(providers, tmp_path):
    """Metrics, a histogram, a span and an event: each signal in one file, all of one resource."""
    metrics, traces, logs = providers
    meter = metrics.get_meter("m")
    counter = meter.create_counter("calls")
    counter.add(3, {"peer": "db"})
    meter.create_histogram("took").record(0.5)
    metrics.force_flush()
    counter.add(4, {"peer": "db"})
    metrics.force_flush()
    with traces.get_tracer("t").start_as_current_span("find", attributes={"db.system.name": "mongodb"}):
        pass
    logs.get_logger("l").emit(
        event_name="mongodb.client.churn", timestamp=5 * 10**9, body="it churns", attributes={"count": 12}
    )
    logs.force_flush()

    found = readings.read(tmp_path / "out")

    assert 0 == found.unreadable
    [process] = found.processes
    assert {"service.name": "shop", "process.pid": 7} == process.resource
    assert [3, 7] == [point.value for point in process.totals("calls")]
    [series] = process.series("calls")
    assert ({"peer": "db"}, False) == (series.attributes, series.delta)
    assert [(0.5, 1), (0.5, 1)] == [(point.value, point.count) for point in process.totals("took")]
    [span] = process.spans
    assert ("find", {"db.system.name": "mongodb"}) == (span.name, span.attributes)
    assert span.start <= span.end
    assert [readings.Event("mongodb.client.churn", 5, "it churns", {"count": 12})] == process.events
    signals = sorted(path.name.partition("-")[0] for path in (tmp_path / "out").iterdir())
    assert ["logs", "metrics", "traces"] == signals


@pytest.mark.parametrize(
    ("signal", "exporter"),
    [("metrics", FileMetricExporter), ("traces", FileSpanExporter), ("logs", FileLogRecordExporter)],
)
def test_the_entry_point_names_the_exporter(signal, exporter):
    """OTEL_METRICS_EXPORTER=resinstr_file is how it is chosen."""
    [point] = entry_points(group=f"opentelemetry_{signal}_exporter", name="resinstr_file")

    assert point.load() is exporter


def test_nothing_to_export_leaves_no_file(tmp_path):
    """An empty request is no line."""
    exporter = FileSpanExporter(Settings(file_dir=str(tmp_path / "out")))

    assert SpanExportResult.SUCCESS == exporter.export([])
    assert exporter.force_flush()
    assert not (tmp_path / "out").exists()


def span(traces):
    with traces.get_tracer("t").start_as_current_span("find"):
        pass


@pytest.mark.skipif(
    not os.path.exists("/proc/self"), reason="a folder in which nobody may write, root neither"
)
def test_a_folder_that_cannot_be_written_to_costs_one_warning(providers, caplog):
    """For all signals together, however often it is tried; the application goes on."""
    _metrics, traces, _logs = providers
    settings = Settings(file_dir="/proc/self/resinstr")
    of_metrics = FileMetricExporter(settings)
    of_logs = FileLogRecordExporter(settings)
    of_spans = FileSpanExporter(settings)
    traces.add_span_processor(SimpleSpanProcessor(of_spans))
    span(traces)
    span(traces)
    finished = traces.get_tracer("t").start_span("s")
    finished.end()

    assert SpanExportResult.FAILURE == of_spans.export([finished])
    reader = PeriodicExportingMetricReader(of_metrics, export_interval_millis=float("inf"))
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("m").create_counter("calls").add(1)
    provider.force_flush()
    provider.shutdown()
    assert of_logs.force_flush()
    assert [
        (
            "telemetry is not written to /proc/self/resinstr, and is lost: [Errno 2] No such file or directory: "
            "'/proc/self/resinstr'; set OTEL_RESINSTR_FILE_DIR to a folder that the process may write to"
        )
    ] == [record.getMessage() for record in caplog.records if record.name == "otel_resinstr"]


def test_what_cannot_be_encoded_is_a_failure_and_no_exception(tmp_path, caplog):
    """Nor is a handler of the application's that raises."""
    settings = Settings(file_dir=str(tmp_path))

    assert MetricExportResult.FAILURE == FileMetricExporter(settings).export(None)
    [message] = caplog.messages
    assert message.endswith("; please report this")

    def raises(_):
        raise RuntimeError

    logger = logging.getLogger("otel_resinstr")
    logger.addFilter(raises)
    try:
        assert LogRecordExportResult.FAILURE == FileLogRecordExporter(settings).export(None)
        file._warned.clear()
        assert LogRecordExportResult.FAILURE == FileLogRecordExporter(settings).export([None])
    finally:
        logger.removeFilter(raises)
    assert 1 == len(caplog.messages)
