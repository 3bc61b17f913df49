# SPDX-License-Identifier: Apache-2.0
"""Whether the servers answer to the driver's monitors, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_resinstr import semconv
from otel_resinstr._bounded import Bounded
from otel_resinstr.mongodb._attributes import of_server
from otel_resinstr.mongodb._connections import pool_name

if TYPE_CHECKING:
    from otel_resinstr._probe import Lease
    from otel_resinstr.mongodb._connections import Address
    from otel_resinstr.mongodb.clients import Client, Clients

_SERVERS = 100  # as many are told apart


class Heartbeat:
    """`mongodb.server.heartbeat.duration`, and `mongodb.server.unreachable` where one fails.

    Measured are those that are not awaited: the answer to an awaited one comes when the server has news, after ten
    seconds at the latest, and says nothing of how fast it is. One that fails is an event in any case. The address is
    that of the server that was asked, which need not be the client's first seed. Cost: one record of the SDK's (10 µs)
    per monitor and every ten seconds.
    """

    name = "mongodb.heartbeat"

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._server = Bounded(_SERVERS)

    def start(self, lease: Lease) -> None:
        """Listen to the monitors of the clients that are constructed from now on."""
        self._lease = lease
        self._duration = lease.histogram(semconv.MONGODB_SERVER_HEARTBEAT_DURATION)
        self._clients.heartbeats = self
        lease.at_end(self._leave)

    def _leave(self) -> None:
        self._clients.heartbeats = None

    def answered(self, client: Client, event: Any) -> None:  # noqa: ARG002  which client does not matter
        """A server answered."""
        self._lease.guard(self._record, event, {})

    def failed(self, client: Client, event: Any) -> None:
        """A server did not answer, or not as it should."""
        self._lease.guard(self._failed, client, event)

    def _failed(self, client: Client, event: Any) -> None:
        error = client.heartbeat_errors[event.connection_id]
        self._record(event, {semconv.ERROR_TYPE: error})
        self._clients.later(self._lease.guard, self._tell, event.connection_id, error)

    def _record(self, event: Any, attributes: dict[str, str]) -> None:
        if not event.awaited:
            host, _ = event.connection_id
            self._duration.record(event.duration, {semconv.SERVER_ADDRESS: self._server(host), **attributes})

    def _tell(self, address: Address, error: str) -> None:
        name = pool_name(address)
        self._lease.event(
            semconv.MONGODB_SERVER_UNREACHABLE,
            f"{name} does not answer to the driver's heartbeats: {error}. The driver goes on trying; commands wait for "
            "a server until serverSelectionTimeoutMS. See whether the server runs, and is reachable from here",
            cause=(name, error),
            attributes={**of_server(address), semconv.ERROR_TYPE: error},
        )
