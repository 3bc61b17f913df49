# SPDX-License-Identifier: Apache-2.0
"""The pool connections of one client, as the driver's events tell them.

Nothing here knows pymongo, and nothing takes a lock: the caller holds one. Events may come in any order, for
pools and connections that are not known (they were opened before a fork, or before us), and never make a count
negative.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    Address = tuple[str, int | None]

DEFAULT_MAX_POOL_SIZE = 100
"""https://github.com/mongodb/specifications/blob/master/source/connection-monitoring-and-pooling/"""

_WAITS = 10_000  # as many are kept between two looks, the latest

POOL_CLOSED = "poolClosed"
"""The driver's reason for closing the connections of a pool that was closed."""


@dataclass(eq=False)
class Connection:
    """One connection. It counts as used from the moment at which its opening begins to when it is first idle."""

    opened: float
    used_since: float | None
    opening: Any = None  # what the pool probe keeps while the connection is being opened: its span
    created_in: Any = None  # the context of that span
    ready_at: float | None = None
    check_outs: int = 0
    in_use: float = 0.0
    inherited: bool = False  # opened by the process that this one was forked from

    def check_out(self, now: float) -> None:
        """It is used from now on."""
        self.check_outs += 1
        self.used_since = now

    def used_for(self, now: float) -> float:
        """For how long it was used in all, until *now*."""
        return self.in_use + (0.0 if self.used_since is None else now - self.used_since)

    def check_in(self, now: float) -> float | None:
        """It is idle again; returns for how long it was used, if it was."""
        if self.used_since is None:
            return None
        used, self.used_since = now - self.used_since, None
        self.in_use += used
        return used


@dataclass(eq=False)
class PoolState:
    """The connections to one server."""

    address: Address
    max_size: int | None = DEFAULT_MAX_POOL_SIZE
    min_size: int = 0
    exists: bool = True
    connections: dict[int, Connection] = field(default_factory=dict)
    retired: dict[int, Connection] = field(default_factory=dict)
    """Of a pool that was there before this one, for the same server: still used, and closed when they come back.

    Ids begin again at 1 in a new pool, so one of these may have the id of one of those.
    """
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=_WAITS))
    """What requests have waited for a connection since the waits probe looked."""
    strained: int = 0
    """How many connections were used, at most, while one of them waited too long."""
    ran_out: int = 0
    """Waits that ended without a connection since then."""
    pressure: Any = None  # what the waits probe remembers between two looks

    @property
    def name(self) -> str:
        """``host:port``, or the path of a Unix socket."""
        return pool_name(self.address)

    def all(self) -> list[Connection]:
        """Its connections, and those that an earlier pool has left."""
        # Lists, each of which is made in one step: other threads may add connections meanwhile.
        return [*self.connections.values(), *self.retired.values()]

    @property
    def used(self) -> int:
        """How many are not idle."""
        return sum(connection.used_since is not None for connection in self.all())

    @property
    def idle(self) -> int:
        """How many wait to be used."""
        return sum(connection.used_since is None for connection in self.all())

    def find(self, connection_id: int, *, used: bool) -> Connection | None:
        """The connection with this id; of two the one that is used, or is not."""
        connection = self.connections.get(connection_id)
        if not self.retired:
            return connection
        if connection is not None and (connection.used_since is not None) == used:
            return connection
        return self.retired.get(connection_id, connection)

    def take(self, connection_id: int, reason: str) -> Connection | None:
        """Remove the connection that was closed under this id, for the driver's *reason*."""
        # The connections of a pool that exists are not closed because the pool was.
        earlier = connection_id in self.retired and (
            connection_id not in self.connections or (reason == POOL_CLOSED and self.exists)
        )
        return (self.retired if earlier else self.connections).pop(connection_id, None)

    def begin_anew(self) -> list[Connection]:
        """There is a new pool for the server; returns those of the old one's connections that are not used.

        The driver closes what is idle with the pool, and what is used when it comes back.
        """
        idle = []
        while self.connections:
            connection_id, connection = self.connections.popitem()
            if connection.used_since is None or connection_id in self.retired:
                idle.append(connection)
            else:
                self.retired[connection_id] = connection
        self.exists = True
        return idle


class Connections:
    """All pool connections of one client."""

    def __init__(self) -> None:
        self._pools: dict[Address, PoolState] = {}

    def pool(self, address: Address) -> PoolState:
        """The pool at *address*; made, with the driver's defaults, where no event has told of it."""
        pool = self._pools.get(address)
        return self._pools.setdefault(address, PoolState(address)) if pool is None else pool

    def pools(self) -> list[PoolState]:
        """All pools that exist, or still have connections."""
        return [
            pool for pool in list(self._pools.values()) if pool.exists or pool.connections or pool.retired
        ]

    def opened(self) -> int:
        """How many connections there are."""
        return sum(len(pool.connections) + len(pool.retired) for pool in self.pools())

    def inherit(self) -> None:
        """In a forked child, where the driver makes its pools anew.

        It closes what was idle; what another thread used at that moment stays open, since that thread is not there.
        """
        for pool in self._pools.values():
            pool.begin_anew()
            pool.exists = False
            pool.waits.clear()
            pool.strained, pool.ran_out, pool.pressure = 0, 0, None
            for connection in pool.retired.values():
                connection.inherited = True
                connection.opening = None

    def keep(self, left: Mapping[Address, int]) -> list[tuple[PoolState, list[Connection]]]:
        """Forget all connections but so many of each pool; returns those of each pool that were forgotten."""
        forgotten = []
        for address, pool in list(self._pools.items()):
            connections = pool.all()
            gone = connections[min(len(connections), left.get(address, 0)) :]
            for known in (pool.connections, pool.retired):
                for connection_id in [number for number, connection in known.items() if connection in gone]:
                    del known[connection_id]
            if len(gone) == len(connections):
                del self._pools[address]
            forgotten.append((pool, gone))
        return forgotten


def pool_name(address: Address) -> str:
    """``host:port``, or the path of a Unix socket, which has no port."""
    host, port = address
    if port is None:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
