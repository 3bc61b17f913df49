# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import os
import socket

import pymongo
import pytest
from pymongo import monitoring
from pymongo.errors import AutoReconnect, _OperationCancelled

from mongo import driver_threads, eventually
from otel_resinstr import semconv
from otel_resinstr.mongodb._listener import HeartbeatListener
from otel_resinstr.mongodb.clients import Client, Clients
from otel_resinstr.mongodb.failures import Failures
from otel_resinstr.mongodb.heartbeat import Heartbeat
from support import run_python

DURATION = semconv.MONGODB_SERVER_HEARTBEAT_DURATION
SECRET = "mongodb://user:secret@db.example"


@pytest.fixture
def heartbeat(start):
    """The probe, started."""
    clients = Clients()
    heartbeat = Heartbeat(clients)
    heartbeat.running = start(clients, heartbeat)
    return heartbeat


@pytest.fixture
def closed_port():
    """A port at which nobody listens, and nobody will: it is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_heartbeats_are_measured_unless_they_are_awaited(server, sink, heartbeat):
    """The first one of each client; those that the server answers when it has news say nothing."""
    with pymongo.MongoClient(server.uri, heartbeatFrequencyMS=500) as client:
        client.admin.command("ping")
        eventually(
            lambda: len(driver_threads()) == 3
        )  # the third measures the round trip: heartbeats are awaited

        ((key, (count, seconds)),) = sink.collect().points(DURATION).items()

    assert (("127.0.0.1",), 1) == (key, count)
    assert 0 < seconds < 5
    assert [] == sink.events()


def test_heartbeats_of_an_asynchronous_client(server, sink, heartbeat):
    """The same."""

    async def main():
        async with pymongo.AsyncMongoClient(server.uri) as client:
            await client.admin.command("ping")

    asyncio.run(main())

    assert [("127.0.0.1",)] == list(sink.collect().points(DURATION))
    assert [] == sink.events()


def test_a_server_that_is_not_there_is_an_event_once(sink, heartbeat, closed_port):
    """Which server, which class of error; the points go on. Two clients are one cause."""
    uri = f"mongodb://user:secret@127.0.0.1:{closed_port}"
    clients = [pymongo.MongoClient(uri, heartbeatFrequencyMS=500) for _ in range(2)]
    try:
        eventually(lambda: sink.collect().points(DURATION).get(("AutoReconnect", "127.0.0.1"), (0,))[0] >= 3)
        (event,) = eventually(sink.events)
    finally:
        for client in clients:
            client.close()

    assert "mongodb.server.unreachable" == event.event_name
    assert {
        "server.address": "127.0.0.1",
        "server.port": closed_port,
        "error.type": "AutoReconnect",
    } == {key: value for key, value in event.attributes.items() if key != "resinstr.event.repeated"}
    assert (
        f"127.0.0.1:{closed_port} does not answer to the driver's heartbeats: AutoReconnect. The driver goes on "
        "trying; commands wait for a server until serverSelectionTimeoutMS. See whether the server runs, and is "
        "reachable from here"
    ) == event.body.partition(" (")[0]
    assert "secret" not in event.body


def told_to(sink, start, *events, probes=lambda clients: [Heartbeat(clients)]):
    """What comes of *events* that the driver tells."""
    clients = Clients()
    clients._beats = True  # told here
    start(clients, *probes(clients))
    client = Client("sync", "db.example", None, internal=False)
    listener = HeartbeatListener(clients, client)
    for event in events:
        {
            monitoring.ServerHeartbeatStartedEvent: listener.started,
            monitoring.ServerHeartbeatSucceededEvent: listener.succeeded,
            monitoring.ServerHeartbeatFailedEvent: listener.failed,
        }[type(event)](event)
    clients._tell()
    return (
        client,
        sink.collect().points(DURATION),
        [event.attributes["error.type"] for event in sink.events()],
    )


ADDRESS = ("db.example", 27017)


def test_a_heartbeat_that_is_broken_off_has_not_failed(sink, start):
    """The driver does so when a client is closed."""
    failed = monitoring.ServerHeartbeatFailedEvent(0.1, _OperationCancelled(SECRET), ADDRESS, False)

    client, points, events = told_to(sink, start, monitoring.ServerHeartbeatStartedEvent(ADDRESS), failed)

    assert ({}, {}, []) == (client.heartbeat_errors, points, events)


def test_one_that_is_awaited_and_fails_is_an_event_and_no_duration(sink, start):
    """The duration would be that of the waiting."""
    failed = monitoring.ServerHeartbeatFailedEvent(9.0, AutoReconnect(SECRET), ADDRESS, True)

    client, points, events = told_to(sink, start, failed)

    assert ({ADDRESS: "AutoReconnect"}, {}, ["AutoReconnect"]) == (client.heartbeat_errors, points, events)


def test_a_server_that_answers_again_has_no_error(sink, start):
    """What it failed with is forgotten. Without the probe the errors are still known, for those who ask."""
    failed = monitoring.ServerHeartbeatFailedEvent(0.5, AutoReconnect(SECRET), ADDRESS, False)
    succeeded = monitoring.ServerHeartbeatSucceededEvent(0.25, None, ADDRESS, False)

    client, points, events = told_to(sink, start, failed, succeeded)

    assert {} == client.heartbeat_errors
    assert {("db.example",): (1, 0.25), ("AutoReconnect", "db.example"): (1, 0.5)} == points
    assert ["AutoReconnect"] == events


def test_without_the_probe_the_errors_are_still_known(sink, start):
    """A pool that is cleared after one is cleared for it."""
    failed = monitoring.ServerHeartbeatFailedEvent(0.5, AutoReconnect(SECRET), ADDRESS, False)
    succeeded = monitoring.ServerHeartbeatSucceededEvent(0.25, None, ("db.example", 2), False)

    client, points, events = told_to(
        sink, start, failed, succeeded, probes=lambda clients: [Failures(clients)]
    )

    assert ({ADDRESS: "AutoReconnect"}, {}, []) == (client.heartbeat_errors, points, events)


def test_no_listener_where_nobody_listens(server, start):
    """Each probe can be switched off by itself."""
    start(Clients())
    with pymongo.MongoClient(server.uri, connect=False) as client:
        assert not client.options.pool_options._event_listeners.enabled_for_server_heartbeat


def test_a_client_has_as_many_threads_as_without_us(server, start):
    """A listener for heartbeats adds none; one for servers would."""

    def threads():
        with pymongo.MongoClient(server.uri) as client:
            client.admin.command("ping")
            return eventually(lambda: len(driver_threads()) == 3 and driver_threads())

    eventually(lambda: not driver_threads())
    without = threads()
    eventually(lambda: not driver_threads())
    clients = Clients()
    start(clients, Heartbeat(clients), Failures(clients))

    assert without == threads()


def test_after_it_was_stopped_nothing_is_recorded(server, sink, heartbeat):
    """The clients that are there go on, and so do new ones."""
    heartbeat.running.stop()
    with pymongo.MongoClient(server.uri) as client:
        client.admin.command("ping")
        assert not client.options.pool_options._event_listeners.enabled_for_server_heartbeat

    assert {} == sink.collect().as_dict()
    assert heartbeat._clients.heartbeats is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_forked_child_goes_on(server):
    """The driver starts its monitors anew there; their heartbeats are heard."""
    told = run_python(f"""
        import json, os, warnings
        warnings.simplefilter("ignore")
        import pymongo
        from mongo import eventually
        from support import Sink
        from otel_resinstr._probe import Running, Telemetry
        from otel_resinstr.mongodb.clients import Clients
        from otel_resinstr.mongodb.heartbeat import Heartbeat

        sink, clients = Sink(), Clients()
        running = Running([clients, Heartbeat(clients)], Telemetry(**sink.providers))
        client = pymongo.MongoClient({server.uri!r})
        client.admin.command("ping")

        def count():
            ((count, _),) = sink.collect().points("mongodb.server.heartbeat.duration").values()
            return count

        before = count()
        child = os.fork()
        if not child:
            client.admin.command("ping")
            print(json.dumps(eventually(lambda: count() > before)), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        client.close()
        print(json.dumps(count() >= before))
    """)

    assert [True, True] == [json.loads(line) for line in told.splitlines()]
