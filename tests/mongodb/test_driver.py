# SPDX-License-Identifier: Apache-2.0
"""The driver's private attributes: as they are, and missing."""

from __future__ import annotations

from types import SimpleNamespace

import pymongo
from pymongo.event_loggers import CommandLogger

from mongo import eventually, sockets_to
from otel_resinstr.mongodb import _driver

HOLDER = SimpleNamespace(conn=7)  # nothing that a weak reference can be made to


def test_a_clients_sockets_are_those_of_its_pool_and_its_monitors(server):
    """What is read from the driver is what the kernel says."""
    with pymongo.MongoClient(server.uri) as client:
        client.admin.command("ping")

        def all_sockets():
            return sum(_driver.sockets(pool) for pool in _driver.monitor_pools(client))

        eventually(lambda: all_sockets() == 2 and sockets_to(server.port) == 3)
        assert {("127.0.0.1", server.port): 0} == _driver.pending(client)
        assert 1 == _driver.pool_sockets(client)


def test_the_clients_that_there_are(server):
    """Those that were not closed, and where they connect to."""
    with pymongo.MongoClient(server.uri) as client:
        client.admin.command("ping")

        assert [client] == _driver.existing(pymongo.MongoClient)
        assert "127.0.0.1" == _driver.seed(client)
    assert [] == _driver.existing(pymongo.MongoClient)


def test_a_driver_without_the_attributes_tells_nothing():
    """A later driver may have renamed all of it: unknown, not zero, and no error."""
    assert [] == _driver.existing(object)
    assert _driver.seed(object()) is None
    assert _driver.pool_sockets(SimpleNamespace(_topology=SimpleNamespace(_servers={1: object()}))) is None
    assert [] == _driver.monitor_pools(object()) == _driver.pools(object())
    assert [] == _driver.pools(SimpleNamespace(_topology=SimpleNamespace(_servers={1: object()})))
    assert [] == _driver.monitor_pools(SimpleNamespace(_topology=SimpleNamespace(_servers={1: object()})))
    assert [] == _driver.left_open(object()) == _driver.left_open(SimpleNamespace(address=1, conns=[HOLDER]))
    assert _driver.sockets(object()) is None
    assert _driver.pending(SimpleNamespace(_topology=SimpleNamespace(_servers={1: object()}))) is None


def test_listeners_stay_where_they_cannot_be_found():
    """A later driver may keep them elsewhere: they do nothing, and neither does this."""
    for client in (None, object(), SimpleNamespace(_event_listeners=object(), options=object())):
        _driver.remove_listeners(client, object)
        _driver.hide_listeners(client, None)
        assert () == _driver.other_tracers(client)


def test_listeners_of_the_application_stay(server):
    """Only ours are taken away, and the driver goes on to make events for the others."""

    class Own(CommandLogger):
        pass

    with pymongo.MongoClient(server.uri, event_listeners=[Own(), CommandLogger()]) as client:
        _driver.remove_listeners(client, Own)

        assert [CommandLogger] == [type(listener) for listener in client.options.event_listeners]
        assert client._event_listeners.enabled_for_commands


def test_the_drivers_own_tracing_is_asked_for_where_the_specification_has_it():
    """In a client's options; what is there and not enabled is off."""

    def traces(tracing):
        return [
            traces()
            for traces in _driver.other_tracers(SimpleNamespace(options=SimpleNamespace(tracing=tracing)))
        ]

    assert [[True], [], [], []] == [
        traces({"enabled": True}),
        traces({"enabled": False}),
        traces({}),
        traces(None),
    ]


def test_a_client_that_is_gone_has_nothing_pending():
    """A weak reference may come up empty."""
    assert {} == _driver.pending(None)
