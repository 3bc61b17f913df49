# SPDX-License-Identifier: Apache-2.0
"""Who constructs clients, how they end, and a word of warning when one line constructs client after client."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.metrics import Observation
from opentelemetry.trace import SpanKind, Status, StatusCode

from otel_resinstr import _events, semconv
from otel_resinstr._bounded import OTHER, Bounded
from otel_resinstr._totals import Totals
from otel_resinstr.mongodb.clients import CLOSED, DROPPED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.util.types import AnyValue

    from otel_resinstr._probe import Lease
    from otel_resinstr.mongodb.clients import Client, Clients

_SITES = 32
"""As many lines of code have series of their own."""

_SITES_WATCHED = 1000
"""As many lines of code are watched for churn."""


class _Line:
    """What one line of code has done."""

    def __init__(self, latest: int) -> None:
        self.active = 0
        self.latest: deque[float] = deque(maxlen=latest)  # when the latest clients were constructed
        self.reported: float | None = None
        self.begin(0.0)

    def begin(self, now: float) -> None:
        """Count anew."""
        self.since = now
        self.constructed = 0
        self.ends = {CLOSED: 0, DROPPED: 0}


class Ledger:
    """`mongodb.client.created` and `.closed`, the span of each construction, and the event of churn.

    A client is meant to be constructed once and shared: it opens connections and starts threads of its own
    (https://www.mongodb.com/docs/languages/python/pymongo-driver/current/connect/mongoclient/). Clients that are
    dropped do not pile up, since the driver lets them be collected, so neither a count of clients nor one of threads
    shows the mistake: the rate does. Cost: less than 100 µs a construction.
    """

    name = "mongodb.ledger"

    def __init__(
        self,
        clients: Clients,
        churn_count: int,
        churn_window: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._churn_count = churn_count
        self._churn_window = churn_window
        self._clock = clock
        self._site_label = Bounded(_SITES)
        self._created: Totals[tuple[str, str, str]] = Totals()
        self._closed: Totals[tuple[str, str]] = Totals()
        self._restart()

    def _restart(self) -> None:
        self._lock = threading.RLock()
        self._lines: dict[str, _Line] = {}
        self._created.restart()
        self._closed.restart()

    def start(self, lease: Lease) -> None:
        """Listen to the lives of all clients."""
        self._lease = lease
        lease.observe(semconv.MONGODB_CLIENT_CREATED, self._created_observations)
        lease.observe(semconv.MONGODB_CLIENT_CLOSED, self._closed_observations)
        lease.after_fork(self._forked)
        self._clients.life = self
        lease.at_end(self._leave)

    def _leave(self) -> None:
        self._clients.life = None

    def _forked(self) -> None:
        self._restart()
        for client in self._clients.live():
            if not client.over and not client.internal:
                self._line(client).active += 1

    def _created_observations(self) -> Iterable[Observation]:
        for (server_address, kind, site), count in self._created.items():
            yield Observation(
                count,
                {
                    semconv.SERVER_ADDRESS: server_address,
                    semconv.MONGODB_CLIENT_TYPE: kind,
                    semconv.MONGODB_CLIENT_SITE: site,
                },
            )

    def _closed_observations(self) -> Iterable[Observation]:
        self._clients.live()  # accounts for the clients that died
        for (server_address, reason), count in self._closed.items():
            yield Observation(
                count,
                {semconv.SERVER_ADDRESS: server_address, semconv.MONGODB_CLIENT_CLOSE_REASON: reason},
            )

    # What happens

    def constructing(self, client: Client) -> None:
        """The constructor is about to run."""
        client.span = self._lease.guard(self._constructing, client)

    def _constructing(self, client: Client) -> object:
        if not is_instrumentation_enabled():
            return None
        return self._lease.tracer.start_span(
            semconv.MONGODB_CLIENT_CREATE.name,
            kind=SpanKind.INTERNAL,
            attributes={
                semconv.DB_SYSTEM_NAME: "mongodb",
                semconv.SERVER_ADDRESS: client.server_address,
                semconv.MONGODB_CLIENT_TYPE: client.kind,
                semconv.MONGODB_CLIENT_SITE_ACTIVE: self._line(client).active,
                **_code(client),
            },
        )

    def constructed(self, client: Client, error: BaseException | None) -> None:
        """The constructor has returned, or raised *error*."""
        self._lease.guard(self._constructed, client, error)

    def _constructed(self, client: Client, error: BaseException | None) -> None:
        span, client.span = client.span, None
        if span is not None:
            if error is not None:
                # Its type alone: the driver's messages may hold a URI.
                span.set_attribute(semconv.ERROR_TYPE, type(error).__qualname__)
                span.set_status(Status(StatusCode.ERROR))
            span.end()
        if error is None:
            self._created.add((client.server_address, client.kind, self._site_label(_label(client))))
            for reason in (CLOSED, DROPPED):
                self._closed.add((client.server_address, reason), 0)  # a zero that is known
            with self._lock:
                churn = self._count_construction(client)
            if churn:
                self._report(client)

    def _count_construction(self, client: Client) -> bool:
        """Whether this construction is to be reported."""
        now, line = self._clock(), self._line(client)
        if not line.latest or now - line.latest[-1] > self._churn_window:
            line.begin(now)
        line.active += 1
        line.constructed += 1
        line.latest.append(now)
        return (
            len(line.latest) == self._churn_count
            and now - line.latest[0] <= self._churn_window
            # Not more often than events are: what comes in between is counted into the next report.
            and (line.reported is None or now - line.reported >= max(self._churn_window, _events.INTERVAL))
        )

    def _report(self, client: Client) -> None:
        threads = sum(thread.name.startswith("pymongo_") for thread in threading.enumerate())
        sockets = self._clients.socket_count()
        with self._lock:
            now, line = self._clock(), self._line(client)
            seconds, constructed, ends, active = now - line.since, line.constructed, line.ends, line.active
        attributes: dict[str, AnyValue] = {
            **_code(client),
            semconv.MONGODB_CLIENT_CHURN_CREATED: constructed,
            semconv.MONGODB_CLIENT_CHURN_CLOSED: ends[CLOSED],
            semconv.MONGODB_CLIENT_CHURN_DROPPED: ends[DROPPED],
            semconv.MONGODB_CLIENT_CHURN_DURATION: seconds,
            semconv.MONGODB_CLIENT_CHURN_THREADS: threads,
            semconv.MONGODB_CLIENT_CHURN_SOCKETS: sockets,
        }
        reported = self._lease.event(
            semconv.MONGODB_CLIENT_CHURN,
            f"{constructed} clients constructed in {seconds:.1f} s by {_label(client)} ({_where(client)}): "
            f"{ends[CLOSED]} closed, {ends[DROPPED]} dropped, {active} of this line still there; pymongo has "
            f"{threads} threads and {sockets} sockets in this process now. Construct one client, keep it, and share it",
            cause=_label(client),
            attributes=attributes,
        )
        if reported:
            with self._lock:
                line.reported = now
                line.begin(now)

    def ended(self, client: Client, reason: str) -> None:
        """The client was closed or dropped."""
        self._lease.guard(self._ended, client, reason)

    def _ended(self, client: Client, reason: str) -> None:
        self._closed.add((client.server_address, reason))
        with self._lock:
            line = self._line(client)
            line.active -= 1
            line.ends[reason] += 1

    def _line(self, client: Client) -> _Line:
        label = _label(client)
        if label not in self._lines and len(self._lines) >= _SITES_WATCHED:
            label = OTHER
        return self._lines.setdefault(label, _Line(self._churn_count))


def _label(client: Client) -> str:
    return OTHER if client.site is None else client.site.label


def _where(client: Client) -> str:
    return "no line of the application" if client.site is None else f"{client.site.path}:{client.site.line}"


def _code(client: Client) -> dict[str, str | int]:
    site = client.site
    if site is None:
        return {semconv.MONGODB_CLIENT_SITE: OTHER}
    return {
        semconv.MONGODB_CLIENT_SITE: site.label,
        semconv.CODE_FILE_PATH: site.path,
        semconv.CODE_LINE_NUMBER: site.line,
        semconv.CODE_FUNCTION_NAME: site.function,
    }
