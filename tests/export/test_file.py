# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402  what is imported needs what is looked for before
"""The exporter `resinstr_file`: what real providers of the SDK export, read back."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points

import pytest

from otel_resinstr.explain import readings
from otel_resinstr.settings import Settings
from support import clean_environ

MISSING = """
    import os, sys

    sys.modules["opentelemetry.exporter.otlp.json"] = None
    from opentelemetry.instrumentation.auto_instrumentation import initialize

    initialize()  # what the launcher does before the application begins
    print("the application goes on")
"""


@pytest.mark.parametrize("signal", ["METRICS", "TRACES", "LOGS"])
def test_without_the_encoders_the_log_says_what_to_install(signal):
    """With this SDK or an older one; the application runs without telemetry."""
    others = {f"OTEL_{name}_EXPORTER": "none" for name in ("METRICS", "TRACES", "LOGS")}
    program = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MISSING)],
        env=clean_environ(**{**others, f"OTEL_{signal}_EXPORTER": "resinstr_file"}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (0, "the application goes on\n") == (program.returncode, program.stdout)
    assert (
        "ImportError: the exporter resinstr_file needs the encoders of OTLP/JSON: "
        "pip install 'otel-resinstr[file]', which needs opentelemetry-sdk 1.45 or newer\n"
    ) in program.stderr


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


def test_a_folder_that_cannot_be_written_to_costs_one_warning(providers, caplog, tmp_path):
    """For all signals together, however often it is tried; the application goes on."""
    _metrics, traces, _logs = providers
    (tmp_path / "taken").write_text("a file has the folder's place")
    settings = Settings(file_dir=str(tmp_path / "taken"))
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
            f"telemetry is not written to {tmp_path / 'taken'}, and is lost: [Errno 17] File exists: "
            f"'{tmp_path / 'taken'}'; set OTEL_RESINSTR_FILE_DIR to a folder that the process may write to"
        )
    ] == [record.getMessage() for record in caplog.records if record.name == "otel_resinstr"]


# Arguments: a folder, one of its own, to mount a small disk at; another to keep a copy of what is on it.
MOUNTED = """
    import os, shutil, subprocess, sys
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from otel_resinstr.export.file import FileSpanExporter
    from otel_resinstr.settings import Settings

    disk, kept = sys.argv[1:]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    os.chdir(disk)
    traces = TracerProvider(shutdown_on_exit=False)
    traces.add_span_processor(SimpleSpanProcessor(FileSpanExporter(Settings(file_dir=disk))))

    def spans(first, last):
        for number in range(first, last):
            traces.get_tracer("t").start_span(str(number), attributes={"filling": "x" * 1000}).end()

    spans(0, 100)
    shutil.copytree(disk, f"{kept}/full")
    for name in os.listdir():
        os.unlink(name)
    spans(100, 110)
    shutil.copytree(disk, f"{kept}/again")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    spans(110, 120)
    shutil.copytree(disk, f"{kept}/read_only")
"""


def test_a_full_and_a_read_only_disk_cost_telemetry_and_two_warnings(tmp_path):
    """The application goes on; what is written stays whole, and writing goes on once there is room."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    mounting = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    if (
        not shutil.which("unshare")
        or subprocess.run(
            [*mounting, "mount", "-t", "tmpfs", "tmpfs", disk], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("nothing may be mounted here")

    program = subprocess.run(
        [*mounting, sys.executable, "-W", "error", "-c", textwrap.dedent(MOUNTED), disk, kept],
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == program.returncode, program.stderr
    full, read_only = program.stderr.splitlines()
    lost = f"telemetry is not written to {disk}, and is lost: "
    assert full.startswith(f"{lost}[Errno 28] No space left on device; make room there, ")
    assert read_only.startswith(f"{lost}[Errno 30] Read-only file system: '{disk}/traces-")
    assert read_only.endswith("; set OTEL_RESINSTR_FILE_DIR to a folder that the process may write to")
    assert names_in(kept / "full") == [str(number) for number in range(len(names_in(kept / "full")))]
    assert 20 < len(names_in(kept / "full")) < 64
    assert (
        names_in(kept / "again")
        == names_in(kept / "read_only")
        == [str(number) for number in range(100, 110)]
    )


def names_in(folder):
    """The names of the spans in the files of *folder*, all of whose lines are whole."""
    [process] = (found := readings.read(folder)).processes
    assert 0 == found.unreadable
    return [span.name for span in process.spans]


ENDLESS = """
    import itertools, sys
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from otel_resinstr.export.file import FileSpanExporter
    from otel_resinstr.settings import Settings

    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(FileSpanExporter(Settings(file_dir=sys.argv[1]))))
    for number in itertools.count():
        traces.get_tracer("t").start_span(str(number), attributes={"filling": "x" * 50000}).end()
        if number == 10:
            print("now", flush=True)
"""


def test_what_is_killed_leaves_files_that_are_read_up_to_the_last_whole_line(tmp_path):
    """SIGKILL while it writes: no span is missing in between, and at most the last line was cut."""
    command = [sys.executable, "-c", textwrap.dedent(ENDLESS), tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environ()) as program:
        assert b"now\n" == program.stdout.readline()
        program.kill()

    found = readings.read(tmp_path)

    [process] = found.processes
    assert [str(number) for number in range(len(process.spans))] == [span.name for span in process.spans]
    assert len(process.spans) > 10
    assert found.unreadable <= 1


def test_what_cannot_be_encoded_is_a_failure_and_no_exception(tmp_path, caplog):
    """Nor is a handler of the application's that raises."""
    settings = Settings(file_dir=str(tmp_path))

    assert MetricExportResult.FAILURE == FileMetricExporter(settings).export(None)
    [message] = caplog.messages
    assert (
        f"telemetry is not written to {tmp_path}, and is lost: AttributeError; please report this" == message
    )

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
