# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import inspect

import pymongo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import monitoring
from pymongo.monitoring import CommandListener, ConnectionPoolListener

from otel_resinstr._probe import Running, Telemetry
from otel_resinstr.mongodb._listener import CommandsListener, PoolListener
from otel_resinstr.mongodb.clients import Client, Clients
from otel_resinstr.mongodb.pool import Pool
from support import Sink

ADDRESS = ("db.example", 27017)
METHODS = sorted(name for name in vars(ConnectionPoolListener) if name.startswith(("pool_", "connection_")))


class Instance:
    """Stands for the driver's client."""


def event(method, connection_id):
    """The driver's event for *method*."""
    return {
        "pool_created": lambda: monitoring.PoolCreatedEvent(ADDRESS, {"maxPoolSize": 0, "minPoolSize": 2}),
        "pool_ready": lambda: monitoring.PoolReadyEvent(ADDRESS),
        "pool_cleared": lambda: monitoring.PoolClearedEvent(ADDRESS),
        "pool_closed": lambda: monitoring.PoolClosedEvent(ADDRESS),
        "connection_created": lambda: monitoring.ConnectionCreatedEvent(ADDRESS, connection_id),
        "connection_ready": lambda: monitoring.ConnectionReadyEvent(ADDRESS, connection_id, 0.25),
        "connection_closed": lambda: monitoring.ConnectionClosedEvent(ADDRESS, connection_id, "stale"),
        "connection_check_out_started": lambda: monitoring.ConnectionCheckOutStartedEvent(ADDRESS),
        "connection_check_out_failed": lambda: monitoring.ConnectionCheckOutFailedEvent(
            ADDRESS, "timeout", 0.5
        ),
        "connection_checked_out": lambda: monitoring.ConnectionCheckedOutEvent(ADDRESS, connection_id, 0.125),
        "connection_checked_in": lambda: monitoring.ConnectionCheckedInEvent(ADDRESS, connection_id),
    }[method]()


def test_every_method_of_the_drivers_listener_is_there():
    """The driver's own raise, and it would print each traceback to the application's stderr."""
    assert METHODS == sorted(name for name, _ in inspect.getmembers(PoolListener) if name in METHODS)
    assert all(name in vars(PoolListener) for name in METHODS)


def test_every_method_of_the_drivers_listener_of_commands_is_there():
    """As above."""
    assert {"started", "succeeded", "failed"} <= {*vars(CommandListener)} & {*vars(CommandsListener)}


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(METHODS), st.integers(1, 3)), max_size=30), st.booleans())
def test_any_order_of_events_leaves_counts_that_can_be(events, ended):
    """Legal or not: nothing raises, nothing is negative, and what was opened is open or closed."""
    sink, clients = Sink(), Clients()
    running = Running([clients, Pool(clients)], Telemetry(**sink.providers))
    client, instance = Client("sync", "db.example", None, internal=False), Instance()
    clients._constructed(client, instance, None)
    listener = PoolListener(clients, client)
    open_ids, opened, exact = set(), 0, True
    for method, connection_id in events:
        getattr(listener, method)(event(method, connection_id))
        if method == "connection_created":
            opened += 1
            open_ids.add(connection_id)
        elif method == "connection_closed":
            open_ids.discard(connection_id)
        elif method == "pool_created":
            # What is used stays open, and shares its id with a new one: tests/mongodb/test_connections.py.
            exact = exact and not open_ids
    if ended:
        del instance
        sink.collect()
        open_ids.clear()
        exact = True
        for method in METHODS:
            getattr(listener, method)(event(method, 1))
    collected = sink.collect()
    running.stop()

    counts = collected.points("db.client.connection.count")
    closed = sum(collected.points("mongodb.connection.closed").values())
    assert len(open_ids) == sum(counts.values()) or not exact
    assert all(count >= 0 for count in counts.values())
    # An id that is given twice without an end was forgotten: the driver does not do that.
    assert closed + sum(counts.values()) <= opened
    assert "db.client.connection.max" not in collected.names() or ("pool_created", 1) not in events
    assert [] == sink.events()
    sink.shutdown()


def test_the_driver_takes_it(server, probes):
    """It is one of the client's listeners, the last; the application does not see it."""
    with pymongo.MongoClient(server.uri, connect=False) as client:
        assert [] == client.options.event_listeners
        assert [PoolListener] == [
            type(found) for found in client._event_listeners._EventListeners__cmap_listeners
        ]


@pytest.mark.breaks
def test_a_listener_that_breaks_leaves_the_application_alone(server, probes, sink, capfd):
    """The result is unchanged, nothing is printed, one event says so, and other probes go on."""
    probes.pool._create_time = None
    with pymongo.MongoClient(server.uri) as client:
        assert 1.0 == client.admin.command("ping")["ok"]
        assert 1.0 == client.admin.command("ping")["ok"]

    (broken,) = sink.events()
    assert ("resinstr.probe.disabled", "mongodb.pool") == (
        broken.event_name,
        broken.attributes["resinstr.probe"],
    )
    assert ("", "") == capfd.readouterr()
    assert [
        "mongodb.client.active_instance.count",
        "mongodb.client.closed",
        "mongodb.client.created",
        "mongodb.client.socket.count",
    ] == sink.collect().names()


def test_a_listener_is_its_own_copy(probes):
    """An application copies its client's options, ours among them where the driver lets it be seen; it has locks."""
    listener = PoolListener(probes.clients, None)

    assert listener is copy.deepcopy(listener)
