# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import threading
import traceback
from types import SimpleNamespace

import pymongo
import pytest
from pymongo import monitoring
from pymongo.asynchronous import topology as asynchronous
from pymongo.errors import AutoReconnect, ConfigurationError, InvalidURI, ServerSelectionTimeoutError
from pymongo.synchronous import topology as synchronous

from mongo import eventually
from otel_resinstr import semconv
from otel_resinstr._site import Site
from otel_resinstr.mongodb._listener import HeartbeatListener, PoolListener
from otel_resinstr.mongodb.clients import Client, Clients
from otel_resinstr.mongodb.failures import Failures
from otel_resinstr.mongodb.ledger import Ledger
from support import run_python

SELECTIONS = semconv.MONGODB_CLIENT_SERVER_SELECTION_FAILURES
CLEARED = semconv.MONGODB_POOL_CLEARED
CONSTRUCTORS = semconv.MONGODB_CLIENT_CREATE_FAILURES

NOWHERE = "mongodb+srv://user:secret@nowhere.invalid/?connectTimeoutMS=200"  # never a name: RFC 6761

# Since 4.15 the name is resolved by the first operation, where the constructor is told not to connect.
lazily_resolved = pytest.mark.skipif(
    not hasattr(pymongo.MongoClient, "_resolve_srv"),
    reason="this driver resolves the name in the constructor",
)


# The asynchronous driver forgets a socket of a connection that could not be opened; asyncio warns of each.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def no_socket_is_left_to_another_test():
    """What the driver has forgotten is collected where its warning is expected."""
    yield
    gc.collect()


@pytest.fixture
def failures(start):
    """The probe, started."""
    clients = Clients()
    failures = Failures(clients)
    failures.running = start(clients, failures)
    return failures


@pytest.fixture
def closed_uri():
    """A port at which nobody listens, and nobody will: it is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"mongodb://user:secret@127.0.0.1:{taken.getsockname()[1]}/?serverSelectionTimeoutMS=200"


@pytest.fixture
def refusing_uri(closed_uri):
    """The same, with the time for a first heartbeat to fail on a machine that is busy."""
    return closed_uri.replace("=200", "=1000")


def select(uri, kind):
    """The error with which an operation of a client ends."""
    if kind == "sync":
        with pymongo.MongoClient(uri, connect=False) as client, pytest.raises(Exception) as caught:  # noqa: PT011
            client.admin.command("ping")
        return caught.value

    async def main():
        async with pymongo.AsyncMongoClient(uri, connect=False) as client:
            with pytest.raises(Exception) as caught:  # noqa: PT011
                await client.admin.command("ping")
        return caught.value

    return asyncio.run(main())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_c_9_a_server_that_cannot_be_selected_is_told(sink, failures, refusing_uri, kind):
    """A point and an event in the trace of the request, with the error's class; the error is the driver's own."""
    tracer = sink.tracer_provider.get_tracer("test")
    with tracer.start_as_current_span("request") as request:
        error = select(refusing_uri, kind)
    (event,) = sink.events()

    assert type(error) is ServerSelectionTimeoutError
    assert (None, None) == (error.__cause__, error.__context__)
    assert {("ServerSelectionTimeoutError", "127.0.0.1"): 1} == sink.collect().points(SELECTIONS)
    assert "mongodb.server.unreachable" == event.event_name
    assert request.context.trace_id == event.trace_id
    assert ("ServerSelectionTimeoutError", "127.0.0.1", kind) == (
        event.attributes["error.type"],
        event.attributes["server.address"],
        event.attributes["mongodb.client.type"],
    )
    port = refusing_uri.rpartition(":")[2].partition("/")[0]
    site = event.attributes["mongodb.client.site"]
    assert site.startswith("test_failures.py:")
    assert (
        f"no server of 127.0.0.1 can be selected for an operation of the client of {site}: "
        f"ServerSelectionTimeoutError; heartbeats fail: 127.0.0.1:{port} AutoReconnect"
    ) == event.body
    assert "secret" not in str(event)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_error_is_as_without_us(start, refusing_uri, kind):
    """Its class, what it came from, and where it came from, but for the frame of the wrapper."""

    def facts():
        error = select(refusing_uri, kind)
        frames = [
            frame.name
            for frame in traceback.extract_tb(error.__traceback__)
            if "otel_resinstr" not in frame.filename
        ]
        return type(error), error.args[0].partition(",")[0], error.__cause__, error.__context__, frames

    without = facts()
    clients = Clients()
    start(clients, Failures(clients))

    assert without == facts()


def test_repeated_failures_are_counted_each_and_told_once(sink, failures, closed_uri):
    """A cause is told once a minute."""
    for _ in range(3):
        select(closed_uri, "sync")

    assert {("ServerSelectionTimeoutError", "127.0.0.1"): 3} == sink.collect().points(SELECTIONS)
    assert 1 == len(sink.events())


def test_a_selection_that_is_cancelled_has_not_failed(sink, failures, closed_uri):
    """The application has changed its mind."""

    async def main():
        async with pymongo.AsyncMongoClient(closed_uri.replace("=200", "=20000")) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.admin.command("ping"), 0.1)

    asyncio.run(main())

    assert ({}, []) == (sink.collect().points(SELECTIONS), sink.events())


def test_a_selection_that_fails_though_the_servers_answer(server, sink, failures):
    """The options of the client ask for a server that there is not."""
    uri = f"{server.uri}/?replicaSet=another&serverSelectionTimeoutMS=200"

    assert type(select(uri, "sync")) is ServerSelectionTimeoutError
    (event,) = sink.events()
    assert event.body.endswith(
        "ServerSelectionTimeoutError; no heartbeat has failed: see the client's options"
    )


def test_a_client_from_before_is_told_of_as_well(sink, start, closed_uri):
    """Its line is not known."""
    with pymongo.MongoClient(closed_uri, connect=False) as client:
        clients = Clients()
        start(clients, Failures(clients))
        with pytest.raises(ServerSelectionTimeoutError):
            client.admin.command("ping")

    assert {("ServerSelectionTimeoutError", "127.0.0.1"): 1} == sink.collect().points(SELECTIONS)
    assert ["_other"] == [event.attributes["mongodb.client.site"] for event in sink.events()]


def test_a_topology_of_nobody_that_is_known_is_not_told_of(sink, failures):
    """A client of the driver's that neither was there before nor was constructed since."""
    failures._not_selected(object(), ServerSelectionTimeoutError())
    failures._not_resolved(object(), ConfigurationError())

    assert ({}, []) == (sink.collect().points(SELECTIONS), sink.events())


@lazily_resolved
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_name_that_cannot_be_resolved_is_told(sink, failures, kind):
    """`mongodb+srv` without DNS: the operation fails, and what is told holds no password."""
    assert isinstance(select(NOWHERE, kind), ConfigurationError)

    (event,) = sink.events()
    (((error, address), count),) = sink.collect().points(SELECTIONS).items()
    assert ("nowhere.invalid", 1, error) == (address, count, event.attributes["error.type"])
    assert event.body.startswith(
        "the SRV record of nowhere.invalid cannot be resolved for an operation of the client of "
    )
    assert event.body.endswith(f": {error}; see the name, and the DNS server that this process uses")
    assert "secret" not in str(event)


def test_a_name_that_cannot_be_resolved_in_the_constructor_fails_that(sink, start):
    """One point, and the span of the construction: there is no client of which an operation could fail."""
    clients = Clients()
    start(clients, Ledger(clients, 1000, 60.0), Failures(clients))
    with pytest.raises(ConfigurationError):
        pymongo.MongoClient(NOWHERE)
    collected = sink.collect()

    (((error, address), count),) = collected.points(CONSTRUCTORS).items()
    (span,) = sink.spans("mongodb.client.create")
    assert ("nowhere.invalid", 1, error) == (address, count, span.attributes["error.type"])
    assert ({}, []) == (collected.points(SELECTIONS), sink.events())
    assert "secret" not in span.to_json()


def test_a_constructor_that_raises_is_counted(sink, failures):
    """By the class of the error."""
    with pytest.raises(InvalidURI):
        pymongo.MongoClient("http://nonsense")
    with pytest.raises(ConfigurationError):
        pymongo.AsyncMongoClient("mongodb://db.example/?replicaSet=a&directConnection=true&loadBalanced=true")

    assert {("InvalidURI", "nonsense"): 1, ("ConfigurationError", "db.example"): 1} == sink.collect().points(
        CONSTRUCTORS
    )


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_pool_that_is_cleared_is_told(server, sink, failures, kind):
    """The server closes the connection in the middle of a command: the driver gives up all of them."""
    point = {
        "configureFailPoint": "failCommand",
        "mode": {"times": 1},
        "data": {"failCommands": ["ping"], "closeConnection": True},
    }
    if kind == "sync":
        with pymongo.MongoClient(server.uri) as client:
            client.admin.command(point)
            with pytest.raises(AutoReconnect):
                client.admin.command("ping")
            (event,) = eventually(sink.events)
    else:

        async def main():
            async with pymongo.AsyncMongoClient(server.uri) as client:
                await client.admin.command(point)
                with pytest.raises(AutoReconnect):
                    await client.admin.command("ping")
                return await asyncio.to_thread(eventually, sink.events)

        (event,) = asyncio.run(main())

    assert {(server.pool_name, "AutoReconnect"): 1} == sink.collect().points(CLEARED)
    assert "mongodb.pool.cleared" == event.event_name
    assert (server.pool_name, "AutoReconnect") == (
        event.attributes["db.client.connection.pool.name"],
        event.attributes["error.type"],
    )
    assert (
        f"the driver gave up all connections to {server.pool_name} after AutoReconnect, and opens new ones when the "
        "server answers again. See whether the server, or something between it and this process, was restarted or "
        "failed"
    ) == event.body


ADDRESS = ("db.example", 27017)


def cleared(start, *before):
    """A pool is cleared after heartbeats that the driver tells; where nobody handles an error."""
    clients = Clients()
    clients._beats = True  # told here
    start(clients, Failures(clients))
    client = Client("sync", "db.example", Site("/app/shop.py", 7, "load"), internal=False)
    for event in before:
        HeartbeatListener(clients, client).failed(event)
    PoolListener(clients, client).pool_cleared(monitoring.PoolClearedEvent(ADDRESS))
    return clients


def test_a_pool_that_is_cleared_after_a_heartbeat_has_that_ones_error(sink, start):
    """The driver's event names none. Nothing is told before the driver has given its lock back."""
    clients = cleared(start, monitoring.ServerHeartbeatFailedEvent(0.1, OSError("secret"), ADDRESS, True))

    assert {("db.example:27017", "OSError"): 1} == sink.collect().points(CLEARED)
    assert [] == sink.events()
    clients._tell()
    assert ["OSError"] == [event.attributes["error.type"] for event in sink.events()]


def test_a_pool_that_is_cleared_for_no_known_reason(sink, start):
    """Never nothing."""
    cleared(start)._tell()

    assert {("db.example:27017", "_OTHER"): 1} == sink.collect().points(CLEARED)


def test_c_12_a_driver_that_has_not_got_what_is_wrapped(failures):
    """A later one may have renamed all of it: nothing is wrapped, nothing breaks, and the rest goes on."""
    kind = type("Topology", (), {"select_server": None})
    for module in (SimpleNamespace(), SimpleNamespace(Topology=kind)):
        failures._found("Topology", "select_server", None, module)

    assert kind.select_server is None
    assert not failures._lease.ended


def test_everything_is_put_back(sink, failures, closed_uri):
    """Ours while it runs; afterwards the attributes are the objects that they were, and nothing is told."""
    owners = (synchronous.Topology, asynchronous.Topology)
    patched = [vars(owner)["select_server"] for owner in owners]
    failures.running.stop()

    assert [patch.__wrapped__ for patch in patched] == [vars(owner)["select_server"] for owner in owners]
    assert not any(hasattr(vars(owner)["select_server"], "__wrapped__") for owner in owners)
    assert type(select(closed_uri, "sync")) is ServerSelectionTimeoutError
    assert ({}, []) == (sink.collect().as_dict(), sink.events())
    assert failures._clients.failures is None


def test_failures_in_many_threads_are_each_counted(sink, failures, closed_uri):
    """One client, several threads."""
    with pymongo.MongoClient(closed_uri, connect=False) as client:

        def fail():
            with pytest.raises(ServerSelectionTimeoutError):
                client.admin.command("ping")

        threads = [threading.Thread(target=fail) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert {("ServerSelectionTimeoutError", "127.0.0.1"): 5} == sink.collect().points(SELECTIONS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_forked_child_counts_from_nothing(closed_uri):
    """What failed in the parent is the parent's."""
    told = run_python(f"""
        import json, logging, os, warnings
        warnings.simplefilter("ignore")
        logging.disable()
        import pymongo
        from support import Sink
        from otel_resinstr._probe import Running, Telemetry
        from otel_resinstr.mongodb.clients import Clients
        from otel_resinstr.mongodb.failures import Failures

        sink, clients = Sink(), Clients()
        running = Running([clients, Failures(clients)], Telemetry(**sink.providers))
        client = pymongo.MongoClient({closed_uri!r})

        def fail():
            try:
                client.admin.command("ping")
            except pymongo.errors.ServerSelectionTimeoutError:
                pass
            return list(sink.collect().points("mongodb.client.server_selection.failures").values())

        out = [fail(), fail()]
        child = os.fork()
        if not child:
            print(json.dumps([fail(), len(sink.events()) > 0]), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(json.dumps([*out, fail()]))
    """)

    child, parent = map(json.loads, told.splitlines())
    assert [[1], True] == child
    assert [[1], [2], [3]] == parent
