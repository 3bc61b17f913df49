# SPDX-License-Identifier: Apache-2.0
"""The listeners that each client is given. Imported only when the application has imported pymongo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo.monitoring import CommandListener, ConnectionPoolListener, ServerHeartbeatListener

if TYPE_CHECKING:
    from pymongo import monitoring

    from otel_resinstr.mongodb.clients import Client, Clients
    from otel_resinstr.mongodb.commands import Commands


class OwnListener:
    """Hands what the driver says of one client to `Clients`.

    One a client, since the driver's events name no client. It keeps no client alive, and adds no thread to one (as a
    listener for servers or topologies would). The driver calls it in the thread or task that uses the client, or in
    that of a monitor, at times with a lock held: nothing here blocks or does I/O.

    Each kind has all its methods: the driver's own raise, and it prints each traceback to the application's stderr.
    """

    def __init__(self, clients: Clients, client: Client) -> None:
        self._clients = clients
        self._client = client

    def __deepcopy__(self, memo: dict[int, Any]) -> OwnListener:
        """The same listener: an application may copy its client's options, and what is ours has locks."""
        return self


class HeartbeatListener(OwnListener, ServerHeartbeatListener):
    """How the servers answer to the client's monitors."""

    def started(self, event: monitoring.ServerHeartbeatStartedEvent) -> None:
        """Nothing is kept of it."""

    def succeeded(self, event: monitoring.ServerHeartbeatSucceededEvent) -> None:
        """A server answered."""
        self._clients.guard(self._clients.heartbeat_succeeded, self._client, event)

    def failed(self, event: monitoring.ServerHeartbeatFailedEvent) -> None:
        """A server did not answer, or not as it should."""
        self._clients.guard(self._clients.heartbeat_failed, self._client, event)


class PoolListener(OwnListener, ConnectionPoolListener):
    """What happens to the client's pool connections: the events name no pool either, only an address."""

    def pool_created(self, event: monitoring.PoolCreatedEvent) -> None:
        """A pool for one server."""
        self._clients.guard(self._clients.pool_created, self._client, event)

    def pool_ready(self, event: monitoring.PoolReadyEvent) -> None:
        """Nothing is kept of it."""

    def pool_cleared(self, event: monitoring.PoolClearedEvent) -> None:
        """All connections of the pool are given up; the closing of each follows. The pool's lock is held."""
        self._clients.guard(self._clients.pool_cleared, self._client, event)

    def pool_closed(self, event: monitoring.PoolClosedEvent) -> None:
        """The pool is gone; connections that are checked out are closed when they come back."""
        self._clients.guard(self._clients.pool_closed, self._client, event)

    def connection_created(self, event: monitoring.ConnectionCreatedEvent) -> None:
        """A connection is about to be opened."""
        self._clients.guard(self._clients.connection_created, self._client, event)

    def connection_ready(self, event: monitoring.ConnectionReadyEvent) -> None:
        """A connection is open and authenticated."""
        self._clients.guard(self._clients.connection_ready, self._client, event)

    def connection_closed(self, event: monitoring.ConnectionClosedEvent) -> None:
        """A connection was closed, or could not be opened."""
        self._clients.guard(self._clients.connection_closed, self._client, event)

    def connection_check_out_started(self, event: monitoring.ConnectionCheckOutStartedEvent) -> None:
        """Nothing is kept of it: a check-out that is cancelled has no end."""

    def connection_check_out_failed(self, event: monitoring.ConnectionCheckOutFailedEvent) -> None:
        """No connection was to be had."""
        self._clients.guard(self._clients.check_out_failed, self._client, event)

    def connection_checked_out(self, event: monitoring.ConnectionCheckedOutEvent) -> None:
        """A connection is in use."""
        self._clients.guard(self._clients.checked_out, self._client, event)

    def connection_checked_in(self, event: monitoring.ConnectionCheckedInEvent) -> None:
        """A connection is idle again, or about to be closed."""
        self._clients.guard(self._clients.checked_in, self._client, event)


class CommandsListener(OwnListener, CommandListener):
    """The client's commands, which go to `Commands`."""

    def __init__(self, clients: Clients, client: Client, commands: Commands) -> None:
        super().__init__(clients, client)
        self._guard = commands.lease.guard
        self._commands = commands

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """A command is about to be sent."""
        self._guard(self._commands.started, self._client, event)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """The answer has come."""
        self._guard(self._commands.succeeded, event)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """No answer has come, or one that says so."""
        self._guard(self._commands.failed, event)
