# SPDX-License-Identifier: Apache-2.0
"""The connection pools: what is open now, and how long it takes to get, to open and to use a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.metrics import Observation
from opentelemetry.trace import SpanKind, Status, StatusCode

from otel_resinstr import semconv
from otel_resinstr._bounded import Bounded
from otel_resinstr._totals import Totals
from otel_resinstr.mongodb import _driver
from otel_resinstr.mongodb._attributes import of_pool
from otel_resinstr.mongodb._connections import pool_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.trace import Span

    from otel_resinstr._probe import Lease
    from otel_resinstr.mongodb._connections import PoolState
    from otel_resinstr.mongodb.clients import Clients

_POOLS = 100  # as many pools are told apart


class Pool:
    """`db.client.connection.*` and `mongodb.connection.*`, after OpenTelemetry's conventions for connection pools.

    https://opentelemetry.io/docs/specs/semconv/database/database-metrics/#connection-pools

    Counts are read from what is open when they are collected, not summed from events: the driver says nothing when
    it closes the connections of a client that was dropped. Cost: two records of the SDK's (10 µs each) a check-out.
    """

    name = "mongodb.pool"

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._pool_name = Bounded(_POOLS)
        self._created: Totals[str] = Totals()
        self._closed: Totals[tuple[str, str]] = Totals()
        self._timeouts: Totals[str] = Totals()

    def start(self, lease: Lease) -> None:
        """Listen to the pools of all clients."""
        self._guard = lease.guard
        self._tracer = lease.tracer
        self._create_time = lease.histogram(semconv.DB_CLIENT_CONNECTION_CREATE_TIME)
        self._wait_time = lease.histogram(semconv.DB_CLIENT_CONNECTION_WAIT_TIME)
        self._use_time = lease.histogram(semconv.DB_CLIENT_CONNECTION_USE_TIME)
        lease.observe(semconv.DB_CLIENT_CONNECTION_COUNT, self._count)
        lease.observe(semconv.DB_CLIENT_CONNECTION_MAX, self._max)
        lease.observe(semconv.DB_CLIENT_CONNECTION_IDLE_MIN, self._idle_min)
        lease.observe(semconv.DB_CLIENT_CONNECTION_PENDING_REQUESTS, self._pending)
        lease.observe(semconv.DB_CLIENT_CONNECTION_TIMEOUTS, lambda: _observations(self._timeouts))
        lease.observe(semconv.MONGODB_CONNECTION_CREATED, lambda: _observations(self._created))
        lease.observe(semconv.MONGODB_CONNECTION_CLOSED, self._closed_observations)
        for totals in (self._created, self._closed, self._timeouts):
            lease.after_fork(totals.restart)
        self._clients.pool = self
        lease.at_end(self._leave)

    def _leave(self) -> None:
        self._clients.pool = None

    # What is read at a collection

    def _pools(self) -> Iterable[tuple[str, PoolState]]:
        for client in self._clients.live():
            for pool in client.connections.pools():
                yield self._pool_name(pool.name), pool

    def _known(self) -> dict[str, int]:
        # A pool that had connections and has none left has 0: that is known.
        return {pool: 0 for pool, _ in self._created.items()}

    def _count(self) -> Iterable[Observation]:
        idle, used = self._known(), self._known()
        for name, pool in self._pools():
            idle[name] = idle.get(name, 0) + pool.idle
            used[name] = used.get(name, 0) + pool.used
        for state, counts in (("idle", idle), ("used", used)):
            for name, count in counts.items():
                yield _observation(count, name, {semconv.DB_CLIENT_CONNECTION_STATE: state})

    def _max(self) -> Iterable[Observation]:
        return self._sum_of_existing(lambda pool: pool.max_size)

    def _idle_min(self) -> Iterable[Observation]:
        return self._sum_of_existing(lambda pool: pool.min_size)

    def _sum_of_existing(self, size: Callable[[PoolState], int | None]) -> Iterable[Observation]:
        sums: dict[str, int | None] = {}
        for name, pool in self._pools():
            if pool.exists:
                total, own = sums.get(name, 0), size(pool)
                sums[name] = None if total is None or own is None else total + own
        return [_observation(total, name) for name, total in sums.items() if total is not None]

    def _pending(self) -> Iterable[Observation]:
        counts = self._known()
        for client in self._clients.live():
            instance = client.ref() if client.ref is not None else None
            waiting = _driver.pending(instance)
            if waiting is None:
                return
            for address, count in waiting.items():
                name = self._pool_name(pool_name(address))
                counts[name] = counts.get(name, 0) + count
        for name, count in counts.items():
            yield _observation(count, name)

    def _closed_observations(self) -> Iterable[Observation]:
        self._clients.live()  # accounts for the clients that died
        for (name, reason), count in self._closed.items():
            yield _observation(count, name, {semconv.MONGODB_CONNECTION_CLOSE_REASON: reason})

    # What happens

    def opening(self, pool: PoolState) -> Span | None:
        """A connection is about to be opened: TCP, TLS, handshake, authentication."""
        return self._guard(self._opening, pool)

    def _opening(self, pool: PoolState) -> Span | None:
        name = self._pool_name(pool.name)
        self._created.add(name)
        self._timeouts.add(name, 0)
        if not is_instrumentation_enabled():
            return None
        return self._tracer.start_span(
            semconv.MONGODB_CONNECTION_CREATE.name,
            kind=SpanKind.CLIENT,
            attributes={**of_pool(pool), semconv.DB_CLIENT_CONNECTION_POOL_NAME: name},
        )

    def opened(self, pool: PoolState, opening: Span | None, seconds: float, *, failed: bool) -> None:
        """The connection is ready, or could not be opened."""
        self._guard(self._opened, pool, opening, seconds, failed)

    def _opened(self, pool: PoolState, span: Span | None, seconds: float, failed: bool) -> None:  # noqa: FBT001
        if not failed:
            self._record(self._create_time, pool, seconds)
        if span is not None:
            if failed:
                error = _driver.handled_error()
                span.set_attribute(
                    semconv.ERROR_TYPE, "_OTHER" if error is None else type(error).__qualname__
                )
                # Of the server's answer, for example to a wrong password (18).
                if isinstance(code := getattr(error, "code", None), int):
                    span.set_attribute(semconv.DB_RESPONSE_STATUS_CODE, str(code))
                span.set_status(Status(StatusCode.ERROR))
            span.end()

    def checked_out(self, pool: PoolState, seconds: float) -> None:
        """A connection was obtained after *seconds*."""
        self._guard(self._record, self._wait_time, pool, seconds)

    def checked_in(self, pool: PoolState, seconds: float) -> None:
        """A connection came back after *seconds* of use."""
        self._guard(self._record, self._use_time, pool, seconds)

    def _record(self, histogram: Any, pool: PoolState, seconds: float) -> None:
        if is_instrumentation_enabled():
            histogram.record(seconds, self._attributes(pool))

    def timed_out(self, pool: PoolState) -> None:
        """The wait for a connection ran out (`waitQueueTimeoutMS`)."""
        self._guard(lambda: self._timeouts.add(self._pool_name(pool.name)))

    def closed(self, pool_name: str, reason: str, count: int) -> None:
        """So many connections were closed."""
        self._guard(lambda: self._closed.add((self._pool_name(pool_name), reason), count))

    def _attributes(self, pool: PoolState) -> dict[str, str]:
        return {semconv.DB_CLIENT_CONNECTION_POOL_NAME: self._pool_name(pool.name)}


def _observations(totals: Totals[str]) -> Iterable[Observation]:
    return [_observation(count, name) for name, count in totals.items()]


def _observation(value: float, name: str, more: dict[str, str] | None = None) -> Observation:
    return Observation(value, {semconv.DB_CLIENT_CONNECTION_POOL_NAME: name, **(more or {})})
