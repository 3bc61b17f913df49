# SPDX-License-Identifier: Apache-2.0
"""A `find_one` on one shared client, and the life of a client that is used once; the server is another process."""

from __future__ import annotations

import logging
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.pymongo import CommandTracer
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NoOpTracerProvider, SpanKind
from pymongo import MongoClient
from pymongo.monitoring import CommandListener, ConnectionPoolListener

from benchmarks.measuring import Report, Row, differences, each, interleaved, ratios
from otel_resinstr import semconv
from otel_resinstr._instruments import Instruments
from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.instrumentors import MongoDBInstrumentor
from otel_resinstr.mongodb._conventions import Operations
from otel_resinstr.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry import metrics, trace
    from opentelemetry.sdk.trace import ReadableSpan

ROUNDS = 100
CALLS = 50  # of find_one a round
LIVES = 30  # rounds
CLIENTS = 10  # a round

ORIGINAL = {name: vars(MongoClient)[name] for name in ("__init__", "close")}
"""What `MongoClient` has while nobody has patched it."""


class Idle(ConnectionPoolListener):
    """A pool listener that does nothing."""

    def _nothing(self, event: Any) -> None:
        pass

    pool_created = pool_ready = pool_cleared = pool_closed = _nothing
    connection_created = connection_ready = connection_closed = _nothing
    connection_check_out_started = connection_check_out_failed = _nothing
    connection_checked_out = connection_checked_in = _nothing


class IdleCommands(CommandListener):
    """A command listener that does nothing."""

    def _nothing(self, event: Any) -> None:
        pass

    started = succeeded = failed = _nothing


class Floor(Idle):
    """Makes the two records of a check-out, of times that are made up, and does nothing else."""

    def __init__(self, provider: MeterProvider, pool_name: str) -> None:
        instruments = Instruments(provider)
        self._wait_time = instruments.histogram(semconv.DB_CLIENT_CONNECTION_WAIT_TIME)
        self._use_time = instruments.histogram(semconv.DB_CLIENT_CONNECTION_USE_TIME)
        self._attributes = {semconv.DB_CLIENT_CONNECTION_POOL_NAME: pool_name}

    def connection_checked_out(self, event: Any) -> None:  # noqa: ARG002  the driver calls it
        """Record the time that it took."""
        self._wait_time.record(0.00002, self._attributes)

    def connection_checked_in(self, event: Any) -> None:  # noqa: ARG002  the driver calls it
        """Record the time of use."""
        self._use_time.record(0.0002, self._attributes)


class FloorCommands(IdleCommands):
    """Makes the span and the record of a `find_one`, with the attributes that ours have, and does nothing else."""

    def __init__(self, meters: metrics.MeterProvider, tracers: trace.TracerProvider, port: int) -> None:
        operation = Operations().of(("127.0.0.1", port), "shop", "find", "items")
        self._name = operation.span_name
        self._of_span = {**operation.span, semconv.MONGODB_POOL_WAIT_TIME: 0.00002}
        self._of_record = operation.metric
        self._tracer = tracers.get_tracer("floor")
        self._duration = Instruments(meters).histogram(semconv.DB_CLIENT_OPERATION_DURATION)

    def started(self, event: Any) -> None:  # noqa: ARG002  the driver calls it
        """Begin a span."""
        self._span = self._tracer.start_span(self._name, kind=SpanKind.CLIENT, attributes=self._of_span)

    def succeeded(self, event: Any) -> None:  # noqa: ARG002  the driver calls it
        """End it, and record the duration."""
        self._span.end()
        self._duration.record(0.0002, self._of_record)


class Nowhere(SpanExporter):
    """Where spans go."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002  the SDK calls it
        """Forget them."""
        return SpanExportResult.SUCCESS


def metered() -> MeterProvider:
    """A provider of its own."""
    return MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)


def traced() -> TracerProvider:
    """A provider of its own, which makes batches."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return provider


def run() -> Report:
    """Measure against a server that is started for it, and say what came out."""
    logging.getLogger(semconv.SCOPE).addHandler(
        logging.NullHandler()
    )  # a client per call is what it warns of
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from mongo import PROGRAM, Server

    if not PROGRAM.exists():
        raise SystemExit("SecantusDB has no wheel for this platform")
    server = Server()
    try:
        calls = shared_client(server.uri, server.port)
        lives = short_lives(server.uri, server.port)
        threads = threads_of_clients(server.uri)
    finally:
        server.stop()

    def added(name: str) -> list[float]:
        return differences(calls[name], calls["bare"])

    return Report(
        "find_one: CPU of the client process, one shared client",
        [
            Row("bare", calls["bare"], "µs"),
            Row("+ listeners for pool and commands that do nothing", added("idle"), "µs"),
            Row("+ contrib pymongo, spans in batches", added("contrib"), "µs"),
            Row("+ ours, the spans of commands alone", added("spans"), "µs"),
            Row("  its floor: such listeners, and the calls of the SDK", added("floor of spans"), "µs"),
            Row("+ ours, all metrics and no spans", added("metrics"), "µs"),
            Row("  its floor", added("floor of metrics"), "µs"),
            Row("+ ours, everything", added("ours"), "µs"),
            Row("  its floor", added("floor"), "µs"),
            Row(
                "spans alone : contrib, what is added", ratios(added("spans"), added("contrib")), at_most=0.8
            ),
            Row("  its floor : contrib", ratios(added("floor of spans"), added("contrib"))),
            Row("metrics : contrib, what is added", ratios(added("metrics"), added("contrib")), at_most=0.9),
            Row("  its floor : contrib", ratios(added("floor of metrics"), added("contrib"))),
            Row("everything : contrib, what is added", ratios(added("ours"), added("contrib")), at_most=1.5),
            Row("everything : floor, what is added", ratios(added("ours"), added("floor")), at_most=1.25),
            Row("everything : floor, the whole find_one", ratios(calls["ours"], calls["floor"])),
            Row("construct, find, close: bare", lives["bare"], "ms"),
            Row("construct, find, close: floor : bare", ratios(lives["floor"], lives["bare"])),
            Row("construct, find, close: ours : floor", ratios(lives["ours"], lives["floor"])),
            Row("construct, find, close: ours : bare", ratios(lives["ours"], lives["bare"]), at_most=1.05),
            Row("threads that a client has more than bare", threads, at_most=0),
        ],
    )


def shared_client(uri: str, port: int) -> dict[str, list[float]]:
    """The CPU time of a `find_one`, by who listens; listeners belong to a client, so all are in one process."""
    contrib, spans, floor, pool_name = traced(), traced(), traced(), f"127.0.0.1:{port}"
    no_metrics, no_spans = NoOpMeterProvider(), NoOpTracerProvider()
    clients: dict[str, MongoClient[dict[str, Any]]] = {
        "bare": MongoClient(uri),
        "idle": MongoClient(uri, event_listeners=[Idle(), IdleCommands()]),
        # What its instrumentor registers for all clients.
        "contrib": MongoClient(uri, event_listeners=[CommandTracer(contrib.get_tracer("contrib"))]),
        "floor of spans": MongoClient(uri, event_listeners=[Idle(), FloorCommands(no_metrics, spans, port)]),
        "floor of metrics": MongoClient(
            uri, event_listeners=[Floor(metered(), pool_name), FloorCommands(metered(), no_spans, port)]
        ),
        "floor": MongoClient(
            uri, event_listeners=[Floor(metered(), pool_name), FloorCommands(metered(), floor, port)]
        ),
    }
    telemetries = {
        "spans": (Telemetry(no_metrics, traced()), ["mongodb.pool", "mongodb.ledger"]),
        "metrics": (Telemetry(metered(), no_spans), []),
        "ours": (Telemetry(metered(), traced()), []),
    }
    running = []
    for name, (telemetry, disabled) in telemetries.items():
        running.append(Running(MongoDBInstrumentor().probes(Settings()), telemetry, disabled))
        clients[name] = MongoClient(uri)
        for attribute, original in ORIGINAL.items():
            setattr(MongoClient, attribute, original)  # the next client is not one of this one's
    clients["bare"].shop.items.insert_one({"_id": 1, "name": "kettle", "price": 30})
    finds = {name: partial(client.shop.items.find_one, {"_id": 1}) for name, client in clients.items()}
    samples = interleaved({name: partial(each, find, 1) for name, find in finds.items()}, ROUNDS, CALLS)
    for client in clients.values():
        client.close()
    for each_running in running:
        each_running.stop()
    return samples


def threads_of_clients(uri: str) -> list[float]:
    """How many threads a client has while it is watched, and how many it has by itself: the difference."""

    def threads() -> int:
        while any(thread.name.startswith("pymongo_") for thread in threading.enumerate()):
            time.sleep(0.05)
        clients = [MongoClient[Any](uri) for _ in range(CLIENTS)]
        for client in clients:
            client.shop.items.find_one({"_id": 1})
        count = sum(thread.name.startswith("pymongo_") for thread in threading.enumerate())
        for client in clients:
            client.close()
        return count

    bare = threads()
    MongoDBInstrumentor().instrument(meter_provider=metered())
    ours = threads()
    MongoDBInstrumentor().uninstrument()
    return [(ours - bare) / CLIENTS]


def short_lives(uri: str, port: int) -> dict[str, list[float]]:
    """The CPU time of a client that makes one `find_one`; only while ours run, anything is patched."""
    MongoDBInstrumentor().instrument(meter_provider=metered())
    patched = {name: vars(MongoClient)[name] for name in ORIGINAL}

    def life(attributes: dict[str, Any], **options: Any) -> float:
        for name, attribute in attributes.items():
            setattr(MongoClient, name, attribute)
        return each(partial(_life, uri, options), 1)

    listeners = [
        Floor(metered(), f"127.0.0.1:{port}"),
        FloorCommands(metered(), NoOpTracerProvider(), port),
    ]
    variants = {
        "bare": partial(life, ORIGINAL),
        "floor": partial(life, ORIGINAL, event_listeners=listeners),
        "ours": partial(life, patched),
    }
    samples = interleaved(variants, LIVES, CLIENTS)
    life(patched)  # or else ours would not be found where it is to be taken away
    MongoDBInstrumentor().uninstrument()
    return samples


def _life(uri: str, options: dict[str, Any]) -> None:
    with MongoClient[Any](uri, **options) as client:
        client.shop.items.find_one({"_id": 1})
