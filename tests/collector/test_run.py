# SPDX-License-Identifier: Apache-2.0
"""
The local configuration in a real Collector: what goes in comes out, and how it starts and stops.
"""

from __future__ import annotations

import json
import math
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from mongo import eventually

CONFIG = Path(__file__).parents[2] / "collector" / "config"
MANIFEST = Path(__file__).parents[2] / "collector" / "builder" / "manifest.yaml"
LOCAL_DEBUG = CONFIG / "local-debug.yaml"

RESOURCE = Resource({"service.name": "shop"})
RESOURCE_JSON = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
VOLATILE = {
    "timeUnixNano",
    "startTimeUnixNano",
    "endTimeUnixNano",
    "observedTimeUnixNano",
    "traceId",
    "spanId",
}

pytestmark = pytest.mark.usefixtures("otelcol")


def exporters(protocol: str, collector: Any) -> tuple[Any, Any, Any]:
    """The SDK's exporters of spans, metrics and logs to *collector* over *protocol*."""
    if protocol == "grpc":
        to = {"endpoint": collector.grpc, "insecure": True}
        return GrpcSpans(**to), GrpcMetrics(**to), GrpcLogs(**to)
    base = f"http://{collector.http}/v1"
    return HttpSpans(f"{base}/traces"), HttpMetrics(f"{base}/metrics"), HttpLogs(f"{base}/logs")


def send_one_of_each(protocol: str, collector: Any) -> None:
    """One span, one counter and one log record; returns when the SDK has its answers."""
    spans, metrics, logs = exporters(protocol, collector)

    tracer_provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    tracer_provider.add_span_processor(SimpleSpanProcessor(spans))
    tracer_provider.get_tracer("shop.cart").start_span("checkout").end()

    # Collected by force_flush only.
    reader = PeriodicExportingMetricReader(metrics, export_interval_millis=math.inf)
    meter_provider = MeterProvider([reader], resource=RESOURCE, shutdown_on_exit=False)
    meter_provider.get_meter("shop.cart").create_counter("shop.orders", unit="{order}").add(7)
    meter_provider.force_flush()

    logger_provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    logger_provider.add_log_record_processor(SimpleLogRecordProcessor(logs))
    logger_provider.get_logger("shop.cart").emit(
        LogRecord(severity_number=SeverityNumber.INFO, body="cart is empty")  # the form that 1.37 knows too
    )

    for exporter in (spans, metrics, logs):
        exporter.shutdown()


def steady(value: Any) -> Any:
    """*value* without times and ids."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if key not in VOLATILE}
    return [steady(item) for item in value] if isinstance(value, list) else value


def run_to_end(otelcol: Path, *arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the Collector's command to its end."""
    return subprocess.run(
        [otelcol, *arguments], capture_output=True, text=True, timeout=30, check=False, **options
    )


OVERLAYS = sorted(CONFIG.glob("add-*.yaml"))
BASES = [file for file in sorted(CONFIG.glob("*.yaml")) if file not in OVERLAYS]


@pytest.mark.parametrize(
    "files",
    [[base, *over] for base in BASES for over in ([], *([overlay] for overlay in OVERLAYS), OVERLAYS)],
    ids=lambda files: "+".join(file.stem for file in files),
)
def test_validate_accepts_what_we_ship(otelcol: Path, files: list[Path]) -> None:
    """Each configuration, alone and with each overlay and all, is valid with nothing in the environment."""
    done = run_to_end(otelcol, "validate", *(f"--config={file}" for file in files), env={})

    if files[0].stem == "azure-otlp-preview":  # the one file that says of itself that it was not run
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(
            '\'extensions\' unknown type: "azure_auth" for id: "azure_auth"'
        )
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_validate_refuses_a_broken_file(otelcol: Path, tmp_path: Path) -> None:
    """A pipeline that names an exporter nobody defined is not valid, and the message names it."""
    broken = tmp_path / "broken.yaml"
    broken.write_text(LOCAL_DEBUG.read_text().replace("[debug, file/logs]", "[debug, file/lost]"))

    done = run_to_end(otelcol, "validate", "--config", broken, env={})

    assert done.returncode == 1
    assert "file/lost" in done.stderr


def test_the_binary_has_what_the_manifest_lists(otelcol: Path) -> None:
    """The binary reports exactly the modules and versions of the manifest."""
    manifest = yaml.safe_load(MANIFEST.read_text())
    sections = ("receivers", "processors", "exporters", "extensions", "connectors", "providers")
    reported = yaml.safe_load(run_to_end(otelcol, "components", env={}).stdout)

    assert {section: {item["module"] for item in reported[section]} for section in sections} == {
        section: {item["gomod"] for item in manifest.get(section, [])} for section in sections
    }
    assert reported["buildinfo"]["version"] == manifest["dist"]["version"]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_one_of_each_signal_comes_out_as_it_went_in(run_collector: Callable[..., Any], protocol: str) -> None:
    """
    A span, a metric and a log record are in their files, whole, as soon as the SDK's export returns.

    So there is nothing to wait for, and a program that tails the files is never behind.
    """
    scope = {"name": "shop.cart"}
    with run_collector() as collector:
        send_one_of_each(protocol, collector)

        spans, metrics, logs = (collector.requests(signal) for signal in ("traces", "metrics", "logs"))

    span = {"name": "checkout", "kind": 1, "status": {}, "flags": 256}
    assert steady(spans) == [
        {"resourceSpans": [{"resource": RESOURCE_JSON, "scopeSpans": [{"scope": scope, "spans": [span]}]}]}
    ]
    orders = {
        "name": "shop.orders",
        "unit": "{order}",
        "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [{"asInt": "7"}]},
    }
    assert steady(metrics) == [
        {
            "resourceMetrics": [
                {"resource": RESOURCE_JSON, "scopeMetrics": [{"scope": scope, "metrics": [orders]}]}
            ]
        }
    ]
    record = {"severityNumber": 9, "body": {"stringValue": "cart is empty"}}
    assert steady(logs) == [
        {
            "resourceLogs": [
                {"resource": RESOURCE_JSON, "scopeLogs": [{"scope": scope, "logRecords": [record]}]}
            ]
        }
    ]


def test_standard_output_shows_each_record(run_collector: Callable[..., Any]) -> None:
    """A person who only looks at the terminal sees the span, the metric and the log record by name."""
    with run_collector() as collector:
        send_one_of_each("grpc", collector)

        shown = collector.stdout()

    assert [name for name in ("checkout", "shop.orders", "cart is empty") if name not in shown] == []


def test_sigterm_ends_it_cleanly_with_the_last_batch_on_disk(run_collector: Callable[..., Any]) -> None:
    """Told to stop right after a batch it exits with 0, and the batch is complete in the file."""
    with run_collector() as collector:
        spans, _, _ = exporters("grpc", collector)
        provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(spans))
        for number in range(300):
            provider.get_tracer("shop.cart").start_span(f"order {number}").end()
        provider.shutdown()

        exit_code = collector.stop()

        kept = [
            span["name"]
            for request in collector.requests("traces")
            for resource in request["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    assert exit_code == 0
    assert kept == [f"order {number}" for number in range(300)]


def test_a_restart_adds_to_the_files(run_collector: Callable[..., Any]) -> None:
    """What an earlier run wrote is still there after a later one."""
    for _ in range(2):
        with run_collector() as collector:
            send_one_of_each("grpc", collector)

    assert [len(collector.requests(signal)) for signal in ("traces", "metrics", "logs")] == [2, 2, 2]


def test_its_own_metrics_say_what_arrived(run_collector: Callable[..., Any]) -> None:
    """The count of accepted spans is on the metrics port, to look at when there is no data."""
    with run_collector() as collector:
        send_one_of_each("http", collector)
        with urllib.request.urlopen(f"http://{collector.metrics}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()

    accepted = [line for line in lines if line.startswith("otelcol_receiver_accepted_spans")]
    assert [line.rpartition(" ")[2] for line in accepted] == ["1"]


def test_its_log_has_no_word_of_deprecation(run_collector: Callable[..., Any]) -> None:
    """The pinned version warns of no key or name that is on its way out, nor of anything else."""
    with run_collector() as collector:
        send_one_of_each("grpc", collector)
        collector.stop()

        log = collector.log()

    assert "deprecated" not in log.lower()
    assert [line for line in log.splitlines() if "\twarn\t" in line or "\terror\t" in line] == []


@pytest.mark.parametrize(
    "variable",
    ["OTLP_GRPC_ENDPOINT", "OTLP_HTTP_ENDPOINT", "OTELCOL_HEALTH_ENDPOINT", "OTELCOL_METRICS_PORT"],
)
def test_a_taken_port_ends_it_with_the_address(
    otelcol: Path, collector_environment: dict[str, str], variable: str
) -> None:
    """On a port that another process has it exits with an error, and the last line names the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        taken = port if variable.endswith("_PORT") else f"127.0.0.1:{port}"

        done = run_to_end(otelcol, "--config", LOCAL_DEBUG, env={**collector_environment, variable: taken})

    assert done.returncode == 1
    assert f"127.0.0.1:{port}: bind: address already in use" in done.stderr.splitlines()[-1]


def test_verbosity_comes_from_the_environment(run_collector: Callable[..., Any]) -> None:
    """With OTELCOL_DEBUG_VERBOSITY=basic the terminal shows counts, and no record by name."""
    with run_collector(LOCAL_DEBUG, {"OTELCOL_DEBUG_VERBOSITY": "basic"}) as collector:
        send_one_of_each("grpc", collector)

        shown = collector.stdout()
        kept = json.dumps(collector.requests("traces"))

    assert "checkout" not in shown
    assert "checkout" in kept


def test_a_key_with_a_dollar_is_sent_as_the_readme_says(otelcol: Path, run_collector) -> None:
    """`$$` is one, `${...}` is filled in, any other is itself; and what looks like a number needs its quotes."""
    received: list[dict[str, Any]] = []

    class BackEnd(grpc.GenericRpcHandler):  # answers UNIMPLEMENTED, and has the headers
        def service(self, call: Any) -> None:
            received.append(dict(call.invocation_metadata))

    given = {
        "number": "123",
        "twice": "a$$b",
        "once": "a$b",
        "braces": "a$${HOST}c",
        "filled": "a${env:HOST}c",
    }
    environment = {"GATEWAY_HEADERS": json.dumps(given), "GATEWAY_PLAIN_TEXT": "true", "HOST": "shop"}
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[BackEnd()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with run_collector(
            CONFIG / "gateway.yaml", {"GATEWAY_ENDPOINT": f"127.0.0.1:{port}", **environment}
        ) as gateway:
            span = {"name": "checkout", "traceId": f"{1:032x}", "spanId": f"{1:016x}"}
            assert gateway.send("traces", {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}) == 200
            eventually(lambda: received, 60)
    finally:
        server.stop(None)
    unquoted = run_to_end(
        otelcol, "validate", f"--config={CONFIG / 'gateway.yaml'}", env={"GATEWAY_HEADERS": "{api-key: 123}"}
    )

    assert {name: received[0][name] for name in given} == {
        "number": "123",
        "twice": "a$b",
        "once": "a$b",
        "braces": "a${HOST}c",
        "filled": "ashopc",
    }
    assert unquoted.returncode != 0
    assert "headers" in unquoted.stderr
