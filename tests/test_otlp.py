# SPDX-License-Identifier: Apache-2.0
"""OTLP/JSON as the official encoder writes it, for what the package observes and reports."""

from __future__ import annotations

import json
import math

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.metrics import Observation
from opentelemetry.sdk.trace import TracerProvider

from otel_resinstr import _otlp
from otel_resinstr._instruments import Instruments, observed
from otel_resinstr.semconv import (
    DB_CLIENT_CONNECTION_COUNT,
    PROCESS_CPU_TIME,
    PROCESS_CPU_UTILIZATION,
    PROCESS_MEMORY_USAGE,
    PROCESS_UPTIME,
)

VOLATILE = {"timeUnixNano", "startTimeUnixNano", "observedTimeUnixNano", "description"}


def steady(value):
    """*value* without times, and without what a dump leaves out."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if key not in VOLATILE}
    return [steady(item) for item in value] if isinstance(value, list) else value


def scope_of(line):
    """The one resource and the one scope of *line*."""
    [(_, [of_resource])] = json.loads(line).items()
    [of_scope] = of_resource.get("scopeMetrics") or of_resource["scopeLogs"]
    return of_resource["resource"], of_scope


def test_metrics_are_what_the_official_encoder_makes_of_the_sdks(sink):
    """A gauge, a counter and an up-down counter; whole numbers and others; attributes of each type."""
    encoder = pytest.importorskip(
        "opentelemetry.exporter.otlp.json.common.metrics_encoder", reason="needs a newer SDK"
    )
    instruments = Instruments(sink.meter_provider)
    attributes = {"text": "ä", "flag": True, "number": 7, "share": 0.5, "several": ("a", "b")}
    ends = [
        instruments.observe(PROCESS_CPU_UTILIZATION, lambda: 0.25),
        instruments.observe(PROCESS_CPU_TIME, lambda: [Observation(1.5, attributes), Observation(2)]),
        instruments.observe(PROCESS_MEMORY_USAGE, lambda: 2**40),
        instruments.observe(PROCESS_UPTIME, lambda: None),
    ]
    expected = encoder.encode_metrics(sink.reader.get_metrics_data()).to_dict()
    encoded = [_otlp.metric(metric, found, 5, 7) for metric, found in observed() if found]
    for end in ends:
        end()
    line = _otlp.line(_otlp.metrics(encoded), {"service.name": "shop"})

    resource, scope = scope_of(line)
    assert {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]} == resource
    [of_resource] = expected["resourceMetrics"]
    assert [steady(scope)] == steady(of_resource["scopeMetrics"])
    [_, point] = scope["metrics"][1]["sum"]["dataPoints"]  # process.cpu.time
    assert {"timeUnixNano": "7", "startTimeUnixNano": "5", "asInt": "2"} == point


def test_the_official_decoder_reads_the_line():
    """And finds in it what was put in."""
    service = pytest.importorskip(
        "opentelemetry.proto_json.collector.metrics.v1.metrics_service", reason="needs a newer SDK"
    )
    encoded = _otlp.metric(DB_CLIENT_CONNECTION_COUNT, [Observation(3, {"state": "idle"})], 5, 7)
    line = _otlp.line(_otlp.metrics([encoded]), {"process.pid": 42})

    decoded = service.ExportMetricsServiceRequest.from_dict(json.loads(line))

    [of_resource] = decoded.resource_metrics
    [of_pid] = of_resource.resource.attributes
    [metric] = of_resource.scope_metrics[0].metrics
    [point] = metric.sum.data_points
    assert ("process.pid", 42) == (of_pid.key, of_pid.value.int_value)
    assert (DB_CLIENT_CONNECTION_COUNT.name, 2) == (metric.name, metric.sum.aggregation_temporality)
    assert (3, 5, 7) == (point.as_int, point.start_time_unix_nano, point.time_unix_nano)
    assert ("state", "idle") == (point.attributes[0].key, point.attributes[0].value.string_value)


def test_what_is_no_number_is_no_point():
    """JSON has no word for it."""
    found = [Observation(value) for value in (math.nan, math.inf, 1.0)]

    encoded = _otlp.metric(PROCESS_CPU_UTILIZATION, found, 5, 7)

    assert [1.0] == [point["asDouble"] for point in encoded["gauge"]["dataPoints"]]


ATTRIBUTES = {"line": 12, "stack": ["a.py:1", "b.py:2"], "share": 0.5, "held": False, "of": {"peer": "db"}}


def test_an_event_is_what_the_official_encoder_makes_of_the_sdks(sink):
    """With the trace in which it happened."""
    encoder = pytest.importorskip(
        "opentelemetry.exporter.otlp.json.common._log_encoder", reason="needs a newer SDK"
    )
    with TracerProvider(shutdown_on_exit=False).get_tracer("t").start_as_current_span("request"):
        record = LogRecord(
            timestamp=5,
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            body="it stands still",
            attributes=ATTRIBUTES,
            event_name="test.stalled",
        )
    sink.logger_provider.get_logger("l").emit(record)
    expected = encoder.encode_logs(sink._logs.get_finished_logs()).to_dict()

    _, scope = scope_of(_otlp.line(_otlp.logs([_otlp.log_record(record)]), {}))

    [of_resource] = expected["resourceLogs"]
    assert steady(of_resource["scopeLogs"][0]["logRecords"]) == steady(scope["logRecords"])
    assert ["5"] == [found["timeUnixNano"] for found in scope["logRecords"]]


def test_an_event_without_all_that_one_may_have():
    """What is not known is absent; what JSON cannot say is text."""
    record = LogRecord(observed_timestamp=7, attributes={"share": math.inf, "raw": b"x"})

    assert {
        "timeUnixNano": "7",
        "observedTimeUnixNano": "7",
        "attributes": [
            {"key": "share", "value": {"stringValue": "inf"}},
            {"key": "raw", "value": {"stringValue": "b'x'"}},
        ],
    } == _otlp.log_record(record)
