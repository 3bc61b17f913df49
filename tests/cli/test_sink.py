# SPDX-License-Identifier: Apache-2.0
"""The sink, fed by the SDK's own exporters."""

from __future__ import annotations

import gzip
import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from otel_resinstr.cli._collector import Collector
from otel_resinstr.cli._sink import Sink

RESOURCE = Resource({"service.name": "shop", "ratio": 0.5, "on": True, "list": ["a", "b"], "pid": 1 << 40})


@pytest.fixture
def sink(tmp_path):
    sink = Sink(tmp_path / "sink")
    yield sink
    sink.stop()


def send_one_of_each(*endpoints, compression=Compression.NoCompression):
    """The same spans, metrics and log record to each of *endpoints*; returns when there are answers."""
    spans = [OTLPSpanExporter(f"{endpoint}/v1/traces", compression=compression) for endpoint in endpoints]
    tracers = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    for exporter in spans:
        tracers.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = tracers.get_tracer("shop", "1.0", "https://opentelemetry.io/schemas/1.44.0")
    with tracer.start_as_current_span(
        "parent", kind=SpanKind.CLIENT, attributes={"n": 3, "f": 2.0}
    ) as parent:
        parent.add_event("half way", {"left": 1})
        links = [Link(parent.get_span_context(), {"why": "so"})]
        child = tracer.start_span("child", links=links)
        child.set_status(Status(StatusCode.ERROR, "broken"))
        child.end()

    readers = [  # collected once: at the end
        PeriodicExportingMetricReader(
            OTLPMetricExporter(f"{endpoint}/v1/metrics", compression=compression), export_interval_millis=1e12
        )
        for endpoint in endpoints
    ]
    meters = MeterProvider(readers, resource=RESOURCE, shutdown_on_exit=False)
    meter = meters.get_meter("shop")
    meter.create_counter("orders", unit="{order}").add(7, {"paid": True})
    meter.create_up_down_counter("level").add(-0.25)
    meter.create_histogram("wait", unit="s", description="Waiting: für dich").record(0.3)
    meter.create_gauge("nothing").set(0)

    logs = [OTLPLogExporter(f"{endpoint}/v1/logs", compression=compression) for endpoint in endpoints]
    loggers = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    for exporter in logs:
        loggers.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    loggers.get_logger("shop").emit(
        LogRecord(
            timestamp=1,
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            body="cart is empty",
            attributes={"n": 1},
            event_name="cart.empty",
        )
    )
    for provider in (tracers, meters, loggers):
        provider.shutdown()


def lines_in(folder):
    return {
        file.stem: [json.loads(line) for line in file.read_text().splitlines()]
        for file in folder.glob("*.jsonl")
    }


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_one_of_each_signal_is_one_line_each(sink, tmp_path, compression):
    """It is there when the SDK has its answer, however it was packed; ids are in hex, times are text."""
    send_one_of_each(sink.endpoint, compression=compression)

    lines = lines_in(tmp_path / "sink")

    assert {"traces": 2, "metrics": 1, "logs": 1} == {
        signal: len(of_signal) for signal, of_signal in lines.items()
    }
    [child], [parent] = (line["resourceSpans"][0]["scopeSpans"][0]["spans"] for line in lines["traces"])
    assert ("child", parent["spanId"], parent["traceId"]) == (
        child["name"],
        child["parentSpanId"],
        child["traceId"],
    )
    assert (32, 16, 3, str) == (
        len(parent["traceId"]),
        len(parent["spanId"]),
        parent["kind"],
        type(parent["endTimeUnixNano"]),
    )


def test_a_line_is_that_of_the_collector(sink, otelcol, programs, tmp_path):
    """What the Collector's file exporter writes of the same batch is the same, but for fields that are empty."""
    collected = tmp_path / "collector"
    collected.mkdir()
    collector = Collector(programs, otelcol, collected)

    send_one_of_each(sink.endpoint, collector.endpoint)

    assert normal(lines_in(collected)) == normal(lines_in(tmp_path / "sink"))


def normal(value):
    """*value* without what says nothing, and without the times of collections: each reader has its own."""
    if isinstance(value, list):
        return [normal(item) for item in value]
    if isinstance(value, dict):
        found = {key: normal(item) for key, item in value.items()}
        empty = ("", {}, [], None)
        if "dataPoints" in found:
            for point in found["dataPoints"]:
                point.pop("timeUnixNano")
                point.pop("startTimeUnixNano", None)
        return {key: item for key, item in found.items() if item not in empty}
    return value


def post(endpoint, path, body=b"", **headers):
    request = urllib.request.Request(
        f"{endpoint}{path}", body, {"Content-Type": "application/x-protobuf", **headers}, method="POST"
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize(
    ("status", "path", "body", "headers"),
    [
        (404, "/v1/profiles", b"", {}),
        (415, "/v1/traces", b"{}", {"Content-Type": "application/json"}),
        (413, "/v1/traces", b"", {"Content-Length": str(1 << 40)}),
        (400, "/v1/metrics", b"\xff\xff", {}),
        (400, "/v1/logs", b"\xff\xff", {"Content-Encoding": "gzip"}),
        (400, "/v1/logs", gzip.compress(b"x" * 99, mtime=0)[:-4], {"Content-Encoding": "gzip"}),
        (400, "/v1/logs", b"\xff\xff", {"Content-Encoding": "deflate"}),
        (200, "/v1/logs", b"", {}),
    ],
)
def test_what_is_no_otlp_is_refused(sink, tmp_path, status, path, body, headers):
    """With the status that says why, and without a line in a file; an empty request is one."""
    assert status == post(sink.endpoint, path, body, **headers)
    assert (["{}\n"] if status == 200 else []) == [
        file.read_text() for file in (tmp_path / "sink").glob("*.jsonl")
    ]


def test_senders_do_not_mix_their_lines(sink, tmp_path):
    """Many at a time write whole lines."""
    body = b"\x0a\x00"  # a resource without anything
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(sink.endpoint, "/v1/logs", body), range(64)))

    assert [200] * 64 == answers
    assert ['{"resourceLogs":[{}]}\n'] * 64 == (tmp_path / "sink" / "logs.jsonl").read_text().splitlines(
        keepends=True
    )


def test_a_sink_that_was_stopped_does_not_answer(sink):
    """Stopping it twice is stopping it once."""
    sink.stop()

    with pytest.raises(urllib.error.URLError):
        post(sink.endpoint, "/v1/logs")
