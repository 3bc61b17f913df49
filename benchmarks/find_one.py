# SPDX-License-Identifier: Apache-2.0
"""A `find_one` on one shared client, and the life of a client that is used once; the server is another process."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.pymongo import CommandTracer
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from pymongo import MongoClient
from pymongo.monitoring import ConnectionPoolListener

from benchmarks.measuring import Report, Row, differences, each, interleaved, ratios
from otel_resinstr import semconv
from otel_resinstr._instruments import Instruments
from otel_resinstr.instrumentors import MongoDBInstrumentor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

ROUNDS = 150
CALLS = 50  # of find_one a round
LIVES = 30  # rounds
CLIENTS = 10  # a round


class Idle(ConnectionPoolListener):
    """A listener that does nothing."""

    def _nothing(self, event: Any) -> None:
        pass

    pool_created = pool_ready = pool_cleared = pool_closed = _nothing
    connection_created = connection_ready = connection_closed = _nothing
    connection_check_out_started = connection_check_out_failed = _nothing
    connection_checked_out = connection_checked_in = _nothing


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


class Nowhere(SpanExporter):
    """Where spans go."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002  the SDK calls it
        """Forget them."""
        return SpanExportResult.SUCCESS


def metered() -> MeterProvider:
    """A provider of its own."""
    return MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)


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
        calls = shared_client(server.uri, server.pool_name)
        lives = short_lives(server.uri, server.pool_name)
    finally:
        server.stop()

    def added(name: str) -> list[float]:
        return differences(calls[name], calls["bare"])

    return Report(
        "find_one: CPU of the client process, one shared client",
        [
            Row("bare", calls["bare"], "µs"),
            Row("+ a pool listener that does nothing", added("idle"), "µs"),
            Row("+ floor: such a listener, and the two records", added("floor"), "µs"),
            Row("+ ours: clients, pool, ledger", added("ours"), "µs"),
            Row("+ contrib pymongo, spans in batches", added("contrib"), "µs"),
            Row("ours : floor, the whole find_one", ratios(calls["ours"], calls["floor"]), at_most=1.25),
            Row("ours : floor, what is added", ratios(added("ours"), added("floor"))),
            Row("contrib : bare, the whole find_one", ratios(calls["contrib"], calls["bare"])),
            Row("construct, find, close: bare", lives["bare"], "ms"),
            Row("construct, find, close: floor : bare", ratios(lives["floor"], lives["bare"])),
            Row("construct, find, close: ours : floor", ratios(lives["ours"], lives["floor"])),
            Row("construct, find, close: ours : bare", ratios(lives["ours"], lives["bare"]), at_most=1.05),
        ],
    )


def shared_client(uri: str, pool_name: str) -> dict[str, list[float]]:
    """The CPU time of a `find_one`, by who listens; listeners belong to a client, so all are in one process."""
    spans = TracerProvider(shutdown_on_exit=False)
    spans.add_span_processor(BatchSpanProcessor(Nowhere()))
    # What its instrumentor registers for all clients.
    contrib = CommandTracer(spans.get_tracer("contrib"))
    clients: dict[str, MongoClient[dict[str, Any]]] = {
        "bare": MongoClient(uri),
        "idle": MongoClient(uri, event_listeners=[Idle()]),
        "floor": MongoClient(uri, event_listeners=[Floor(metered(), pool_name)]),
        "contrib": MongoClient(uri, event_listeners=[contrib]),
    }
    MongoDBInstrumentor().instrument(meter_provider=metered())
    clients["ours"] = MongoClient(uri)
    clients["bare"].shop.items.insert_one({"_id": 1, "name": "kettle", "price": 30})
    finds = {name: partial(client.shop.items.find_one, {"_id": 1}) for name, client in clients.items()}
    samples = interleaved({name: partial(each, find, 1) for name, find in finds.items()}, ROUNDS, CALLS)
    for client in clients.values():
        client.close()
    MongoDBInstrumentor().uninstrument()
    spans.shutdown()
    return samples


def short_lives(uri: str, pool_name: str) -> dict[str, list[float]]:
    """The CPU time of a client that makes one `find_one`; only while ours run, anything is patched."""
    original = {name: vars(MongoClient)[name] for name in ("__init__", "close")}
    MongoDBInstrumentor().instrument(meter_provider=metered())
    patched = {name: vars(MongoClient)[name] for name in original}

    def life(attributes: dict[str, Any], **options: Any) -> float:
        for name, attribute in attributes.items():
            setattr(MongoClient, name, attribute)
        return each(partial(_life, uri, options), 1)

    listeners = [Floor(metered(), pool_name)]
    variants = {
        "bare": partial(life, original),
        "floor": partial(life, original, event_listeners=listeners),
        "ours": partial(life, patched),
    }
    samples = interleaved(variants, LIVES, CLIENTS)
    life(patched)  # or else ours would not be found where it is to be taken away
    MongoDBInstrumentor().uninstrument()
    return samples


def _life(uri: str, options: dict[str, Any]) -> None:
    with MongoClient[Any](uri, **options) as client:
        client.shop.items.find_one({"_id": 1})
