# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from otel_resinstr.mongodb._connections import Connection, Connections, pool_name


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("db.example", 27017), "db.example:27017"),
        (("::1", 27017), "[::1]:27017"),
        (("/tmp/mongodb-27017.sock", None), "/tmp/mongodb-27017.sock"),
    ],
)
def test_a_pool_is_named_by_its_server(address, name):
    """``host:port``, brackets around an IPv6 address, and the path alone of a Unix socket."""
    assert name == pool_name(address)


def test_a_pool_that_no_event_told_of_has_the_drivers_defaults():
    """Events may begin in the middle of a pool's life."""
    pool = Connections().pool(("a", 1))

    assert (100, 0, True) == (pool.max_size, pool.min_size, pool.exists)


def test_an_address_has_one_pool():
    """Asking again gives the same pool."""
    connections = Connections()

    assert connections.pool(("a", 1)) is connections.pool(("a", 1))


def test_a_closed_pool_counts_while_it_has_connections():
    """Connections that are checked out outlive their pool."""
    connections = Connections()
    pool = connections.pool(("a", 1))
    pool.connections[1] = Connection(0.0, 0.0)
    pool.exists = False

    assert ([pool], 1, 1, 0) == (connections.pools(), connections.opened(), pool.used, pool.idle)

    del pool.connections[1]

    assert ([], 0) == (connections.pools(), connections.opened())


def test_what_is_not_kept_is_told():
    """What a dropped client had open is counted as closed, but for sockets that are still there."""
    connections = Connections()
    connections.pool(("a", 1)).connections.update({number: Connection(0.0, None) for number in range(3)})
    connections.pool(("b", 2))

    assert [("a:1", 2), ("b:2", 0)] == list(connections.keep({("a", 1): 1, ("c", 3): 1}))
    assert 1 == connections.opened()
    assert [("a:1", 1)] == list(connections.keep({}))
    assert [] == connections.pools()
