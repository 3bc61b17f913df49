# SPDX-License-Identifier: Apache-2.0
"""Waiting for a connection, told apart from what is done with it; a pool that has none left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opentelemetry import context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.metrics import Observation
from opentelemetry.trace import SpanKind, Status, StatusCode

from otel_resinstr import semconv
from otel_resinstr._bounded import Bounded
from otel_resinstr._totals import Totals
from otel_resinstr._window import Window
from otel_resinstr.mongodb import _driver
from otel_resinstr.mongodb._attributes import label_of, of_pool
from otel_resinstr.mongodb.clients import CONNECTION_ERROR, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.context import Context
    from opentelemetry.util.types import AnyValue

    from otel_resinstr._probe import Lease
    from otel_resinstr.mongodb._connections import Connection, PoolState
    from otel_resinstr.mongodb.clients import Client, Clients

WINDOW = 60.0
"""Seconds that the percentile in the event looks back over."""

STAYS = 5
"""Looks, one a second, in a row at which requests have waited too long: before that it is a burst."""

_POOLS = 100  # as many pools are told apart

# What the driver raises next, where it makes the event before.
_ERRORS = {
    TIMEOUT: "WaitQueueTimeoutError",
    CONNECTION_ERROR: "AutoReconnect",
    "poolClosed": "_PoolClosedError",
}


class _Pressure:
    """What is remembered of a pool between two looks."""

    def __init__(self) -> None:
        self.window = Window(WINDOW)
        self.looks = 0


class Waits:
    """`mongodb.connection.wait`, `mongodb.connection.check_out.failures` and `mongodb.pool.exhausted`.

    The span of a command begins when it has its connection: what comes before is nobody's, and in a pool that is
    exhausted it is nearly everything. A check-out that opens a connection does not wait while it does:
    `mongodb.connection.create` has that time. Cost: 1 µs a check-out; a wait is noted where it happened, with the trace
    that it belongs to, and told on the package's thread, since the driver may hold its pool's lock.
    """

    name = "mongodb.waits"

    def __init__(
        self,
        clients: Clients,
        threshold: float,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._clients = clients
        self._threshold = threshold
        self._clock = clock
        self._wall_clock = wall_clock
        self._pool_name = Bounded(_POOLS)
        self._failures: Totals[tuple[str, str]] = Totals()

    def start(self, lease: Lease) -> None:
        """Listen to the check-outs of all clients."""
        self._lease = lease
        lease.observe(semconv.MONGODB_CONNECTION_CHECK_OUT_FAILURES, self._failure_observations)
        lease.after_fork(self._failures.restart)
        self._clients.at_each_beat(lease, self._look)
        self._clients.waits = self
        lease.at_end(self._leave)

    def _leave(self) -> None:
        self._clients.waits = None

    def _failure_observations(self) -> Iterable[Observation]:
        return [
            Observation(count, {semconv.DB_CLIENT_CONNECTION_POOL_NAME: pool, semconv.ERROR_TYPE: error})
            for (pool, error), count in self._failures.items()
        ]

    # What the driver tells

    def checked_out(self, pool: PoolState, connection: Connection, seconds: float) -> None:
        """A connection was obtained after *seconds*."""
        self._lease.guard(self._checked_out, pool, connection, seconds)

    def _checked_out(self, pool: PoolState, connection: Connection, seconds: float) -> None:
        waited, now = seconds, self._clock()
        # The check-out that has opened it, or that waited for that: it became ready meanwhile.
        ready = connection.ready_at
        if connection.check_outs == 1 and ready is not None and ready >= now - seconds:
            waited = max(0.0, seconds - (ready - connection.opened))
        pool.waits.append(waited)
        if waited > self._threshold:
            pool.strained = max(pool.strained, pool.used)
            self._note(pool, now - seconds, waited)

    def check_out_failed(self, pool: PoolState, reason: str, seconds: float) -> None:
        """None was to be had, after *seconds*."""
        self._lease.guard(self._check_out_failed, pool, reason, seconds)

    def _check_out_failed(self, pool: PoolState, reason: str, seconds: float) -> None:
        handled = _driver.handled_error()
        error = _ERRORS.get(reason, reason) if handled is None else type(handled).__qualname__
        self._failures.add((self._pool_name(pool.name), error))
        if reason == TIMEOUT:
            pool.ran_out += 1
            pool.strained = max(pool.strained, pool.used)
            pool.waits.append(seconds)
        self._note(pool, self._clock() - seconds, seconds, error)

    def _note(self, pool: PoolState, since: float, seconds: float, error: str | None = None) -> None:
        if is_instrumentation_enabled():
            self._clients.later(
                self._lease.guard, self._tell, pool, since, seconds, error, context.get_current()
            )

    # What is told; no lock is held

    def _tell(self, pool: PoolState, since: float, seconds: float, error: str | None, where: Context) -> None:
        start = self._wall_clock() - round((self._clock() - since) * 1e9)
        attributes = of_pool(pool)
        if error is not None:
            attributes[semconv.ERROR_TYPE] = error
        span = self._lease.tracer.start_span(
            semconv.MONGODB_CONNECTION_WAIT.name,
            context=where,
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            start_time=start,
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(start + round(seconds * 1e9))

    def _look(self) -> None:
        for client in self._clients.live():
            for pool in client.connections.pools():
                if pool.waits or pool.pressure is not None:
                    self._look_at(client, pool)

    def _look_at(self, client: Client, pool: PoolState) -> None:
        if pool.pressure is None:
            pool.pressure = _Pressure()
        pressure: _Pressure = pool.pressure
        now, obtained = self._clock(), len(pool.waits)
        for _ in range(obtained):
            pressure.window.add(pool.waits.popleft(), now)
        strained, pool.strained = pool.strained, 0
        ran_out, pool.ran_out = pool.ran_out, 0
        # Where nobody has got a connection, those who wait have no time to show yet.
        pending = _pending(client, pool) if not obtained else None
        used = max(strained, pool.used if pending else 0)
        full = pool.max_size is not None and used >= pool.max_size
        pressure.looks = pressure.looks + 1 if full else 0
        if ran_out or pressure.looks >= STAYS:
            self._report(client, pool, ran_out, used, full=full)

    def _report(self, client: Client, pool: PoolState, ran_out: int, used: int, *, full: bool) -> None:
        p99 = pool.pressure.window.quantile(0.99, self._clock())
        pending = _pending(client, pool)
        attributes: dict[str, AnyValue] = {
            **of_pool(pool),
            semconv.MONGODB_CLIENT_SITE: label_of(client.site),
            semconv.MONGODB_POOL_TIMEOUTS: ran_out,
            semconv.MONGODB_POOL_USED: used,
        }
        said = [f"{used} of at most {pool.max_size or 'any number of'} connections in use"]
        for key, value, text in (
            (semconv.MONGODB_POOL_MAX, pool.max_size, ""),
            (semconv.MONGODB_POOL_PENDING, pending, f"{pending} waiting now"),
            (semconv.MONGODB_POOL_WAIT_P99, p99, f"p99 of the wait {p99 or 0:.3g} s"),
        ):
            if value is not None:
                attributes[key] = value
                said += [text] if text else []
        what = (
            f"{ran_out} request{'s' * (ran_out != 1)} got no connection in time"
            if ran_out
            else f"requests wait longer than {self._threshold:g} s for a connection"
        )
        advice = (
            "Hold connections for less time (slow commands, open cursors and transactions), or raise maxPoolSize if "
            "the server can take more"
            if full
            else "Connections are slow to open: see the spans mongodb.connection.create, and the server"
        )
        self._lease.event(
            semconv.MONGODB_POOL_EXHAUSTED,
            f"{what} at {pool.name}, client of {label_of(client.site)}: {', '.join(said)}. {advice}",
            cause=(pool.name, label_of(client.site)),
            attributes=attributes,
        )


def _pending(client: Client, pool: PoolState) -> int | None:
    waiting = _driver.pending(None if client.ref is None else client.ref())
    return None if waiting is None else waiting.get(pool.address)
