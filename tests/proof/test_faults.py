# SPDX-License-Identifier: Apache-2.0
"""Whatever of ours fails, and whatever the driver hides: the application and other instrumentations go on."""

from __future__ import annotations

import asyncio
import gc
import inspect
from itertools import count

import pymongo
import pytest
from opentelemetry.instrumentation.pymongo import PymongoInstrumentor
from pymongo import monitoring
from pymongo.errors import InvalidURI, OperationFailure

from otel_resinstr import semconv
from otel_resinstr.instrumentors import MongoDBInstrumentor
from otel_resinstr.mongodb import _driver
from otel_resinstr.settings import Settings
from support import Sink

# Dropping clients is a part of what the application does; the driver warns of each.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")

SETTINGS = Settings(server_interval=0.01, query_text_length=100)
NUMBERS = count()
COMMANDS = 6  # of the application, all of which contrib makes a span for


def application(server):
    """What an application does with clients, and what comes of it."""
    results = []
    orders = f"orders{next(NUMBERS)}"
    with pymongo.MongoClient(server.uri) as client:
        results.append(client.shop[orders].insert_one({"_id": 1}).inserted_id)
        results.extend(client.shop[orders].find())
        try:
            client.shop.command("nonsense")
        except OperationFailure as error:
            results.append(error.code)
        client.shop.drop_collection(orders)
    results.append(pymongo.MongoClient(server.uri).admin.command("ping")["ok"])
    gc.collect()
    try:
        pymongo.MongoClient("http://nonsense")
    except InvalidURI as error:
        results.append(str(error))

    async def main():
        async with pymongo.AsyncMongoClient(server.uri) as client:
            return (await client.admin.command("ping"))["ok"]

    results.append(asyncio.run(main()))
    return results


# They make the application's own call, and guard what they do besides.
WRAPPERS = {"_close", "_close_async", "_listeners_of_the_application"}

# Each function of each probe of the subject, but for those that make it.
HOOKS = [
    pytest.param(type(probe), name, id=f"{type(probe).__name__}.{name}")
    for probe in MongoDBInstrumentor().probes(SETTINGS)
    for name, _ in inspect.getmembers(type(probe), inspect.isfunction)
    if name not in {"__init__", *WRAPPERS}
]


@pytest.fixture(scope="module")
def expected(server):
    """What comes of the application without us."""
    return application(server)


@pytest.fixture(scope="module")
def theirs():
    """Contrib's instrumentation of the driver, beside ours, and the spans that it makes.

    Once for all: when it is instrumented again, it goes on with the provider that it had first.
    """
    sink, instrumentor = Sink(), PymongoInstrumentor()
    before = list(monitoring._LISTENERS.command_listeners)
    instrumentor.instrument(tracer_provider=sink.tracer_provider)
    yield sink
    instrumentor.uninstrument()
    # It knows no way back: its listener stays registered, with its first provider.
    monitoring._LISTENERS.command_listeners[:] = before
    instrumentor._commandtracer_instance = None
    sink.shutdown()


@pytest.mark.breaks
@pytest.mark.parametrize(("probe", "name"), HOOKS)
def test_c_32_whatever_fails_the_application_and_others_go_on(
    server, sink, theirs, expected, monkeypatch, capfd, probe, name
):
    """Same results, nothing printed, contrib's spans are there, and one event for each probe that broke."""
    spans = len(theirs.spans())

    def fails(*_args, **_kwargs):
        raise ArithmeticError

    monkeypatch.setattr(probe, name, fails)
    MongoDBInstrumentor().instrument(settings=SETTINGS, **sink.providers)
    try:
        found = application(server)
        sink.collect()
    finally:
        MongoDBInstrumentor().uninstrument()
        gc.collect()

    assert expected == found
    assert "" == capfd.readouterr().err
    assert COMMANDS <= len(theirs.spans()) - spans
    broken = [event.attributes["resinstr.probe"] for event in sink.events("resinstr.probe.disabled")]
    assert sorted(set(broken)) == sorted(broken)


HIDDEN = {
    "existing": [],
    "seed": None,
    "monitor_pools": [],
    "pools": [],
    "left_open": [],
    "sockets": None,
    "pool_sockets": None,
    "pending": None,
    "hide_listeners": None,
    "remove_listeners": None,
    "other_tracers": (),
    "owns": False,
    "handled_error": None,
}


def test_c_12_a_driver_that_hides_all_of_its_private_attributes(server, sink, expected, monkeypatch):
    """What only they tell is absent; what the driver says in public is all there."""
    private = {
        name for name, _ in inspect.getmembers(_driver, inspect.isfunction) if not name.startswith("_")
    }
    for name in private:
        monkeypatch.setattr(_driver, name, lambda *_args, name=name: HIDDEN[name])
    MongoDBInstrumentor().instrument(settings=SETTINGS, **sink.providers)
    try:
        with pymongo.MongoClient(server.uri) as client:
            client.admin.command("ping")
            assert expected == application(server)
            names = set(sink.collect().names())
    finally:
        MongoDBInstrumentor().uninstrument()

    assert private <= {*HIDDEN}
    assert semconv.DB_CLIENT_CONNECTION_PENDING_REQUESTS.name not in names
    assert {
        "db.client.connection.count",
        "db.client.connection.wait_time",
        "db.client.operation.duration",
        "mongodb.client.active_instance.count",
        "mongodb.client.closed",
        "mongodb.client.created",
        "mongodb.client.socket.count",
        "mongodb.connection.created",
    } <= names
