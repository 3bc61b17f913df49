# SPDX-License-Identifier: Apache-2.0
"""What goes wrong before there is a connection, of which the driver has no event or one that does not say why."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Observation

from otel_resinstr import semconv
from otel_resinstr._bounded import Bounded
from otel_resinstr._totals import Totals
from otel_resinstr.mongodb import _driver
from otel_resinstr.mongodb._attributes import label_of, of_client, of_pool
from otel_resinstr.mongodb._connections import pool_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otel_resinstr._patch import Wrapper
    from otel_resinstr._probe import Lease
    from otel_resinstr.mongodb._connections import PoolState
    from otel_resinstr.mongodb.clients import Client, Clients

_ERRORS = 32  # as many classes of errors are told apart
_POOLS = 100  # as many pools are told apart
_UNKNOWN = "_OTHER"


class Failures:
    """Constructors that raise, servers that cannot be selected, and pools that are cleared.

    Each is counted by the class of the error, and the last two are events as well; the constructor's error is on the
    span `mongodb.client.create`. That no server could be selected is told by nothing public: `Topology.select_server`
    and, for ``mongodb+srv``, `MongoClient._resolve_srv` are wrapped where the driver has them. Cost: 1 µs an operation.
    """

    name = "mongodb.failures"

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._error = Bounded(_ERRORS)
        self._pool_name = Bounded(_POOLS)
        self._constructors: Totals[tuple[str, str]] = Totals()
        self._selections: Totals[tuple[str, str]] = Totals()
        self._cleared: Totals[tuple[str, str]] = Totals()

    def start(self, lease: Lease) -> None:
        """Wrap the selection of servers, once pymongo has been imported, and listen to all clients."""
        self._lease = lease
        for metric, totals, key in (
            (semconv.MONGODB_CLIENT_CREATE_FAILURES, self._constructors, semconv.SERVER_ADDRESS),
            (semconv.MONGODB_CLIENT_SERVER_SELECTION_FAILURES, self._selections, semconv.SERVER_ADDRESS),
            (semconv.MONGODB_POOL_CLEARED, self._cleared, semconv.DB_CLIENT_CONNECTION_POOL_NAME),
        ):
            lease.observe(metric, _reader(totals, key))
            lease.after_fork(totals.restart)
        for module, owner, method, wrapper in (
            ("synchronous.topology", "Topology", "select_server", self._around(self._not_selected)),
            ("asynchronous.topology", "Topology", "select_server", self._around_async(self._not_selected)),
            ("synchronous.mongo_client", "MongoClient", "_resolve_srv", self._around(self._not_resolved)),
            (
                "asynchronous.mongo_client",
                "AsyncMongoClient",
                "_resolve_srv",
                self._around_async(self._not_resolved),
            ),
        ):
            lease.when_imported(f"pymongo.{module}", partial(self._found, owner, method, wrapper))
        self._clients.failures = self
        lease.at_end(self._leave)

    def _leave(self) -> None:
        self._clients.failures = None

    def _found(self, owner: str, method: str, wrapper: Wrapper, module: Any) -> None:
        found = getattr(module, owner, None)
        if callable(getattr(found, method, None)):
            self._lease.patch(found, method, wrapper)

    def _around(self, failed: Callable[[Any, Exception], None]) -> Wrapper:
        def call(
            wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> Any:
            try:
                return wrapped(*args, **kwargs)
            except Exception as error:
                self._lease.guard(failed, instance, error)
                raise

        return call

    def _around_async(self, failed: Callable[[Any, Exception], None]) -> Wrapper:
        async def call(
            wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> Any:
            try:
                return await wrapped(*args, **kwargs)
            except Exception as error:
                self._lease.guard(failed, instance, error)
                raise

        return call

    # Constructors

    def not_constructed(self, client: Client, error: BaseException) -> None:
        """The constructor raised."""
        self._lease.guard(self._count, self._constructors, client.server_address, error)

    # Selection of a server, in the application's own call; by the driver's client or its topology

    def _not_selected(self, topology: Any, error: Exception) -> None:
        client = self._client(lambda known: _driver.owns(known, topology))
        if client is None:
            return
        failing = sorted(client.heartbeat_errors.copy().items())
        servers = ", ".join(f"{pool_name(address)} {failed}" for address, failed in failing)
        why = (
            f"heartbeats fail: {servers}" if servers else "no heartbeat has failed: see the client's options"
        )
        self._unreachable(client, error, f"no server of {client.server_address} can be selected", why)

    def _not_resolved(self, instance: Any, error: Exception) -> None:
        # One that is being constructed is not known yet: its constructor fails, which is told as such.
        client = self._client(lambda known: known is instance)
        if client is not None:
            what = f"the SRV record of {client.server_address} cannot be resolved"
            self._unreachable(client, error, what, "see the name, and the DNS server that this process uses")

    def _client(self, sought: Callable[[Any], bool]) -> Client | None:
        for client in self._clients.live():
            known = None if client.ref is None else client.ref()
            if known is not None and sought(known):
                return client
        return None

    def _unreachable(self, client: Client, error: Exception, what: str, why: str) -> None:
        kind = self._count(self._selections, client.server_address, error)
        self._lease.event(
            semconv.MONGODB_SERVER_UNREACHABLE,
            f"{what} for an operation of the client of {label_of(client.site)}: {kind}; {why}",
            cause=(client.server_address, kind),
            attributes={**of_client(client), semconv.ERROR_TYPE: kind},
        )

    def _count(self, totals: Totals[tuple[str, str]], where: str, error: BaseException) -> str:
        kind = self._error(type(error).__qualname__)
        totals.add((where, kind))
        return kind

    # Pools

    def pool_cleared(self, client: Client, pool: PoolState) -> None:
        """The driver gave up all connections of the pool, and holds its lock."""
        self._lease.guard(self._pool_cleared, client, pool)

    def _pool_cleared(self, client: Client, pool: PoolState) -> None:
        handled = _driver.handled_error()
        error = (
            client.heartbeat_errors.get(pool.address, _UNKNOWN)
            if handled is None
            else type(handled).__qualname__
        )
        error = self._error(error)
        self._cleared.add((self._pool_name(pool.name), error))
        self._clients.later(self._lease.guard, self._tell_cleared, client, pool, error)

    def _tell_cleared(self, client: Client, pool: PoolState, error: str) -> None:
        self._lease.event(
            semconv.MONGODB_POOL_CLEARED_EVENT,
            f"the driver gave up all connections to {pool.name} after {error}, and opens new ones when the server "
            "answers again. See whether the server, or something between it and this process, was restarted or failed",
            cause=(pool.name, error),
            attributes={**of_client(client), **of_pool(pool), semconv.ERROR_TYPE: error},
        )


def _reader(totals: Totals[tuple[str, str]], key: str) -> Callable[[], Iterable[Observation]]:
    def read() -> Iterable[Observation]:
        return [
            Observation(count, {key: where, semconv.ERROR_TYPE: error})
            for (where, error), count in totals.items()
        ]

    return read
