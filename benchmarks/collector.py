# SPDX-License-Identifier: Apache-2.0
"""How much the Collector takes, and what it costs an application when it does not.

    .venv/bin/python -m benchmarks.collector

Not one of `make bench`: it needs a Collector ($OTELCOL_BIN, or what `make collector` built). The requests are made
beforehand, and sent by threads that do nothing else; what counts is what the Collector says that it has accepted. The
back end of the gateway answers at once and throws away. All of it shares the machine with what it measures.
"""

from __future__ import annotations

import http.client
import logging
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from concurrent import futures
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import psutil
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from otel_resinstr.cli._collector import find
from otelcol import COLLECTOR, Collector, running

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 8.0
SENDERS = 4
SPANS = 512  # the largest batch of an SDK
POINTS = 500  # about what a process with this package reports at a time, five times


def attributes(holder: Any, number: int) -> None:
    """Ten attributes, as a command's span has them."""
    for key in range(10):
        added = holder.attributes.add()
        added.key = f"attribute.{key}"
        added.value.string_value = f"value {number % 7}"


def spans() -> bytes:
    """A request of spans."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(SPANS):
        span = scope.spans.add(name=f"find orders {number % 5}", kind=3)
        span.trace_id, span.span_id = os.urandom(16), os.urandom(8)
        span.start_time_unix_nano, span.end_time_unix_nano = time.time_ns(), time.time_ns()
        attributes(span, number)
    return request.SerializeToString()


def points() -> bytes:
    """A request of points."""
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    for number in range(POINTS // 10):
        metric = scope.metrics.add(name=f"process.metric.{number}", unit="By")
        for series in range(10):
            point = metric.gauge.data_points.add(as_double=series, time_unix_nano=time.time_ns())
            added = point.attributes.add()
            added.key, added.value.string_value = "state", str(series)
    return request.SerializeToString()


@contextmanager
def back_end() -> Iterator[str]:
    """Answers every request of OTLP over gRPC with nothing, without reading it."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, _details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")

    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def flood(collector: Collector, signal: str, body: bytes) -> dict[str, float]:
    """Send *body* as fast as it is answered; what was accepted a second, and what it cost the Collector."""
    process = psutil.Process(collector.process.pid)
    end = time.monotonic() + SECONDS
    peak = 0

    def send() -> int:
        host, _, port = collector.http.partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        refused = 0
        while time.monotonic() < end:
            connection.request("POST", f"/v1/{signal}", body, {"Content-Type": "application/x-protobuf"})
            answer = connection.getresponse()
            answer.read()
            refused += answer.status != http.client.OK
        connection.close()
        return refused

    counter = "spans" if signal == "traces" else "metric_points"
    cpu, began = sum(process.cpu_times()[:2]), time.monotonic()
    with futures.ThreadPoolExecutor(SENDERS) as senders:
        sending = [senders.submit(send) for _ in range(SENDERS)]
        while not all(one.done() for one in sending):
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.1)
    passed = time.monotonic() - began
    accepted = collector.counted()[f"otelcol_receiver_accepted_{counter}"]
    return {
        "accepted": accepted / passed,
        "cpu": (sum(process.cpu_times()[:2]) - cpu) / passed,
        "peak": peak / 2**20,
        "refused": sum(one.result() for one in sending),
    }


def throughput(otelcol: Path, console: Console) -> None:
    """Through `local-debug` and `gateway`, spans and points."""
    table = Table("configuration", "", "a second", "CPUs of the Collector", "memory at most, MiB", "refused")
    with ExitStack() as stack:
        address = stack.enter_context(back_end())
        environments = {
            "local-debug": {"OTELCOL_DEBUG_VERBOSITY": "basic"},
            "gateway": {"GATEWAY_ENDPOINT": address, "GATEWAY_PLAIN_TEXT": "true"},
        }
        for name, environment in environments.items():
            for signal, body in (("traces", spans()), ("metrics", points())):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                config = COLLECTOR / "config" / f"{name}.yaml"
                with running(otelcol, config, folder, environment) as collector:
                    found = flood(collector, signal, body)
                shown = "spans" if signal == "traces" else "points"
                table.add_row(
                    name,
                    shown,
                    f"{found['accepted']:,.0f}",
                    f"{found['cpu']:.2f}",
                    f"{found['peak']:.0f}",
                    f"{found['refused']:,.0f}",
                )
    console.print(table)


@contextmanager
def black_hole() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def request_path(otelcol: Path, console: Console, rounds: int = 15, calls: int = 2000) -> None:
    """What a span costs the application whose Collector takes it, is not there, or never answers."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        collector = stack.enter_context(
            running(otelcol, COLLECTOR / "config" / "local-debug.yaml", folder, {})
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            nobody = f"127.0.0.1:{free.getsockname()[1]}"
        addresses = {
            "takes it": collector.http,
            "is not there": nobody,
            "never answers": stack.enter_context(black_hole()),
        }
        providers = {}
        for name, address in addresses.items():
            exporter = OTLPSpanExporter(f"http://{address}/v1/traces", timeout=1)
            providers[name] = TracerProvider(shutdown_on_exit=False)
            providers[name].add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=200))
        times: dict[str, list[float]] = {name: [] for name in providers}
        slowest = dict.fromkeys(providers, 0.0)
        for _ in range(rounds):
            for name, provider in providers.items():
                tracer = provider.get_tracer("benchmark")
                began = (
                    time.thread_time()
                )  # other threads export meanwhile: their turns are not the caller's cost
                for _ in range(calls):
                    call = time.perf_counter()
                    tracer.start_span("find orders").end()
                    slowest[name] = max(slowest[name], time.perf_counter() - call)
                times[name].append((time.thread_time() - began) / calls)
        table = Table("the Collector", "CPU of the caller for a span, µs", "of the first", "slowest call, ms")
        first = statistics.median(times["takes it"])
        for name, measured in times.items():
            median = statistics.median(measured)
            table.add_row(name, f"{median * 1e6:.1f}", f"{median / first:.2f}", f"{slowest[name] * 1e3:.1f}")
        console.print(table)
        stopping = [threading.Thread(target=provider.shutdown) for provider in providers.values()]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()


def main() -> int:
    """Both."""
    console = Console(width=110)
    logging.disable()  # the exporters say often what is on purpose here
    otelcol = find(None, os.environ)
    if otelcol is None:
        console.print("there is no Collector: run `make collector`, or set OTELCOL_BIN")
        return 1
    throughput(otelcol, console)
    request_path(otelcol, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
