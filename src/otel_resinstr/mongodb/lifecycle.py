# SPDX-License-Identifier: Apache-2.0
"""The lives of clients and connections, as spans that are told when a life has ended."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.metrics import Observation
from opentelemetry.trace import Link, SpanKind

from otel_resinstr import semconv
from otel_resinstr._totals import Totals
from otel_resinstr.mongodb._attributes import label_of, of_client, of_pool
from otel_resinstr.mongodb.clients import DROPPED, PATIENCE, SYNC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otel_resinstr._probe import Lease
    from otel_resinstr.mongodb._connections import Connection, PoolState
    from otel_resinstr.mongodb.clients import Client, Clients

PROCESS_EXIT = "process_exit"
UNINSTRUMENT = "uninstrument"

_MOST = 10_000  # lives that are kept until they can be told


class _Life(NamedTuple):
    """A life that has ended."""

    span: semconv.Span
    kind: SpanKind
    begun: float
    over: float
    attributes: dict[str, Any]
    origins: tuple[Any, ...]
    """The contexts of the spans in which it began; None where there was none."""


class Lifecycle:
    """`mongodb.client` and `mongodb.connection`: a root span for each life, linked to the spans that began it.

    Told afterwards, since a span that is open is lost with a process that ends, and known by then is how it ended:
    closed, dropped, with the process, or with us. At most *rate* a second and that many at once; what is left out is
    counted. Cost: a life is noted where it ends in some 10 µs, and told on the package's thread.
    """

    name = "mongodb.lifecycle"

    def __init__(
        self,
        clients: Clients,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._clients = clients
        self._rate = rate
        self._clock = clock
        self._wall_clock = wall_clock
        self._suppressed: Totals[str] = Totals()
        self._restart()

    def _restart(self) -> None:
        self._suppressed.restart()
        self._bucket = _Bucket(self._rate, self._clock)
        self._ended: deque[_Life] = deque(maxlen=_MOST)

    def start(self, lease: Lease) -> None:
        """Listen to the ends of all clients and connections."""
        self._lease = lease
        lease.observe(semconv.RESINSTR_SPAN_SUPPRESSED, self._suppressed_observations)
        lease.after_fork(self._restart)
        lease.at_exit(self._exit)
        self._clients.at_each_beat(lease, self._tell)
        self._clients.ends = self
        lease.at_end(self._leave)

    def _suppressed_observations(self) -> Iterable[Observation]:
        return [
            Observation(count, {semconv.RESINSTR_SPAN_NAME: name}) for name, count in self._suppressed.items()
        ]

    def _exit(self) -> None:
        self._end_all(PROCESS_EXIT)

    def _leave(self) -> None:
        # Not where the interpreter has ended before, nor after a fault, which may have come with a lock held.
        if self._clients.ends is self and not self._lease.broken:
            self._end_all(UNINSTRUMENT)
        self._clients.ends = None

    def _end_all(self, reason: str) -> None:
        clients = self._clients.live()
        # What ends from now on has been told.
        self._clients.ends = None
        now = self._clock()
        for client in clients:
            if not (client.over or client.internal or client.unmonitored):
                self._end_client(client, reason, now)
        for client in clients:
            for pool in client.connections.pools():
                for connection in pool.all():
                    self._end_connection(client, pool, connection, reason)
        self._tell(now + PATIENCE)
        self._ended.clear()

    # What ends; a lock may be held

    def client_ended(self, client: Client, reason: str, at: float) -> None:
        """The client was closed or dropped."""
        self._lease.guard(self._end_client, client, reason, at)

    def _end_client(self, client: Client, reason: str, over: float) -> None:
        if client.inherited or client.silent or not self._admit(semconv.MONGODB_CLIENT):
            return
        attributes = {
            **of_client(client),
            semconv.MONGODB_CLIENT_CLOSE_REASON: reason,
            semconv.MONGODB_CLIENT_CONNECTIONS: client.connections_opened,
        }
        if client.commands is not None:
            attributes[semconv.MONGODB_CLIENT_COMMANDS] = client.commands
        origins = (client.created_in,)
        self._ended.append(
            _Life(semconv.MONGODB_CLIENT, SpanKind.INTERNAL, client.constructed, over, attributes, origins)
        )

    def connection_ended(self, client: Client, pool: PoolState, connection: Connection, reason: str) -> None:
        """The connection was closed."""
        self._lease.guard(self._end_connection, client, pool, connection, reason)

    def _end_connection(self, client: Client, pool: PoolState, connection: Connection, reason: str) -> None:
        # One that was never ready has its span, `mongodb.connection.create`, which says why.
        if connection.ready_at is None or connection.inherited or client.silent:
            return
        if not self._admit(semconv.MONGODB_CONNECTION):
            return
        # A synchronous client that was dropped has closed its sockets there and then.
        over = client.gone_at if reason == DROPPED and client.kind == SYNC else self._clock()
        attributes = {
            **of_pool(pool),
            semconv.MONGODB_CONNECTION_CLOSE_REASON: reason,
            semconv.MONGODB_CONNECTION_CHECK_OUTS: connection.check_outs,
            semconv.MONGODB_CONNECTION_USE_TIME: connection.used_for(over),
            semconv.MONGODB_CLIENT_SITE: label_of(client.site),
        }
        origins = (client.created_in, connection.created_in)
        self._ended.append(
            _Life(semconv.MONGODB_CONNECTION, SpanKind.CLIENT, connection.opened, over, attributes, origins)
        )

    def _admit(self, span: semconv.Span) -> bool:
        admitted = self._bucket.take()
        self._suppressed.add(span.name, 0 if admitted else 1)
        return admitted

    # What is told; no lock is held

    def _tell(self, until: float = math.inf) -> None:
        while self._clock() < until:
            try:
                life = self._ended.popleft()
            except IndexError:  # not asked before: another thread may take the last one
                return
            span = self._lease.tracer.start_span(
                life.span.name,
                context=Context(),
                kind=life.kind,
                attributes=life.attributes,
                links=[Link(origin) for origin in life.origins if origin is not None],
                start_time=self._wall(life.begun),
            )
            span.end(self._wall(life.over))

    def _wall(self, moment: float) -> int:
        return self._wall_clock() - round((self._clock() - moment) * 1e9)


class _Bucket:
    """A token bucket: *rate* a second, and as many at once."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.RLock()
        self._tokens = rate
        self._filled = clock()

    def take(self) -> bool:
        """Whether there was a token left."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._rate, self._tokens + (now - self._filled) * self._rate)
            self._filled = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
