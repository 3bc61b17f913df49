# SPDX-License-Identifier: Apache-2.0
"""The pool connections of one client, as the driver's events tell them.

Nothing here knows pymongo, and nothing takes a lock: the caller holds one. Events may come in any order, for
pools and connections that are not known (they were opened before a fork, or before us), and never make a count
negative.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Address = tuple[str, int | None]

DEFAULT_MAX_POOL_SIZE = 100
"""https://github.com/mongodb/specifications/blob/master/source/connection-monitoring-and-pooling/"""


@dataclass
class Connection:
    """One connection. It counts as used from the moment at which its opening begins to when it is first idle."""

    opened: float
    used_since: float | None
    opening: Any = None  # what the pool probe keeps while the connection is being opened: its span
    ready: bool = False


@dataclass
class PoolState:
    """The connections to one server."""

    address: Address
    max_size: int | None = DEFAULT_MAX_POOL_SIZE
    min_size: int = 0
    exists: bool = True
    connections: dict[int, Connection] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``host:port``, or the path of a Unix socket."""
        return pool_name(self.address)

    @property
    def used(self) -> int:
        """How many are not idle."""
        # A list, which is made in one step: other threads may add connections meanwhile.
        return sum(connection.used_since is not None for connection in list(self.connections.values()))

    @property
    def idle(self) -> int:
        """How many wait to be used."""
        return sum(connection.used_since is None for connection in list(self.connections.values()))


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
        return [pool for pool in list(self._pools.values()) if pool.exists or pool.connections]

    def opened(self) -> int:
        """How many connections there are."""
        return sum(len(pool.connections) for pool in self.pools())

    def keep(self, left: Mapping[Address, int]) -> Iterator[tuple[str, int]]:
        """Forget all connections but so many of each pool; yields how many of each pool were forgotten."""
        for address, pool in list(self._pools.items()):
            gone = max(0, len(pool.connections) - left.get(address, 0))
            for _ in range(gone):
                pool.connections.popitem()
            if not pool.connections:
                del self._pools[address]
            yield pool.name, gone


def pool_name(address: Address) -> str:
    """``host:port``, or the path of a Unix socket, which has no port."""
    host, port = address
    if port is None:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
