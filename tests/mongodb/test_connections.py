# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from otel_resinstr.mongodb._connections import Connection, Connections, PoolState, pool_name


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


def opened(pool, connection_id, *, used=True):
    """A connection of *pool*: 1.0 s old, and used from then on or idle."""
    pool.connections[connection_id] = connection = Connection(1.0, 1.0 if used else None)
    return connection


def test_a_closed_pool_counts_while_it_has_connections():
    """Connections that are checked out outlive their pool."""
    connections = Connections()
    pool = connections.pool(("a", 1))
    opened(pool, 1)
    pool.exists = False

    assert ([pool], 1, 1, 0) == (connections.pools(), connections.opened(), pool.used, pool.idle)

    pool.take(1, "poolClosed")

    assert ([], 0) == (connections.pools(), connections.opened())


def test_what_is_not_kept_is_told():
    """What a dropped client had open is counted as closed, but for sockets that are still there."""
    connections = Connections()
    one, two = connections.pool(("a", 1)), connections.pool(("b", 2))
    old = opened(one, 1)
    one.begin_anew()
    kept, new = opened(one, 1, used=False), opened(one, 2, used=False)

    assert [(one, [new, old]), (two, [])] == connections.keep({("a", 1): 1, ("c", 3): 1})
    assert (1, [kept]) == (connections.opened(), one.all())
    assert [(one, [kept])] == connections.keep({})
    assert [] == connections.pools()


def test_a_connection_knows_how_much_it_was_used():
    """How often, and for how long in all, the use included that goes on."""
    connection = Connection(0.0, None)
    connection.check_out(1.0)
    assert (0.0, 2.0) == (connection.in_use, connection.used_for(3.0))
    assert 3.0 == connection.check_in(4.0)
    assert connection.check_in(5.0) is None
    connection.check_out(6.0)
    connection.check_in(7.0)

    assert (2, 4.0, 4.0) == (connection.check_outs, connection.in_use, connection.used_for(9.0))


def test_a_new_pool_has_the_connections_that_are_used_of_the_old_one_beside_its_own():
    """Ids begin again at 1: what closes under an id is the connection that can close."""
    pool = PoolState(("a", 1))
    used, idle = opened(pool, 1), opened(pool, 2, used=False)
    pool.exists = False
    assert [idle] == pool.begin_anew()
    assert pool.exists
    new = opened(pool, 1, used=False)

    assert (1, 1) == (pool.used, pool.idle)
    # A connection that is idle cannot come back, nor one that is used be checked out.
    assert (used, new) == (pool.find(1, used=True), pool.find(1, used=False))
    used.check_in(2.0)
    # The pool exists: its own connection would not be closed for that reason.
    assert used is pool.take(1, "poolClosed")
    assert new is pool.take(1, "stale")
    assert pool.take(1, "stale") is None


def test_of_two_with_one_id_the_new_one_is_meant_where_both_can_be():
    """Counts are right whichever it is."""
    pool = PoolState(("a", 1))
    old = opened(pool, 1)
    pool.begin_anew()
    new = opened(pool, 1)

    assert new is pool.find(1, used=True)
    assert old is pool.find(1, used=False)
    assert new is pool.take(1, "error")
    assert (old, None) == (pool.find(1, used=False), pool.find(2, used=True))
    assert old is pool.take(1, "error")


def test_pools_that_are_made_anew_again_and_again_keep_one_of_an_id():
    """Which the driver's ids do not tell apart any more."""
    pool = PoolState(("a", 1))
    for _ in range(3):
        old = opened(pool, 1)
        ended = pool.begin_anew()

    assert [old] == ended
    assert 1 == len(pool.retired)


def test_a_forked_child_has_what_was_used_and_nothing_else():
    """The thread that would close it is not there; what was idle the driver closes."""
    connections = Connections()
    pool = connections.pool(("a", 1))
    used = opened(pool, 1)
    opened(pool, 2, used=False)
    pool.waits.append(1.0)
    pool.ran_out = pool.strained = 3
    pool.pressure = used.opening = object()
    connections.inherit()

    assert [used] == pool.all()
    assert (True, None) == (used.inherited, used.opening)
    assert (False, 0, 0, 0, None) == (
        pool.exists,
        len(pool.waits),
        pool.ran_out,
        pool.strained,
        pool.pressure,
    )
