# SPDX-License-Identifier: Apache-2.0
"""Who constructs clients, how they end, and a word of warning when one line constructs too many."""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING

from opentelemetry import context, trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.metrics import Observation
from opentelemetry.trace import SpanKind, Status, StatusCode

from otel_resinstr import _events, semconv
from otel_resinstr._bounded import OTHER, Bounded
from otel_resinstr._totals import Totals
from otel_resinstr.mongodb._attributes import label_of, of_client, of_site
from otel_resinstr.mongodb.clients import CLOSED, DROPPED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.util.types import AnyValue

    from otel_resinstr._probe import Lease
    from otel_resinstr._site import Site
    from otel_resinstr.mongodb.clients import Client, Clients
    from otel_resinstr.semconv import Event

_SITES = 32
"""As many lines of code have series of their own."""

_SITES_WATCHED = 1000
"""As many lines of code are watched for churn and growth, each by itself; all others are as one."""

_SUSTAINED = 1 / 20
"""Share of the churn window. What is over sooner is an application that starts, not one client a call."""

_PARTS = 6

_LEAK_CLIENTS = 10
"""As many clients of one line, 30 threads and 30 sockets with one server, are worth a warning if they grow."""

_LEAK_SPANS = {60.0: "a minute ago", 3600.0: "an hour ago"}
"""Over a minute a client for each call shows, over an hour one that is left behind now and then."""


class _Growth:
    """Whether a number keeps growing: its lowest value rises in each of six parts of a span of time.

    The lowest, since what comes and goes between is no growth; in each, since what grows only once, however high, is
    an application that starts.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.restart()

    def restart(self) -> None:
        """Forget what was seen."""
        self._lowest: deque[int] = deque(maxlen=_PARTS)
        self._since: float | None = None

    def add(self, now: float, value: int) -> int | None:
        """Look at *value*; what it was at the beginning, if it has grown since without a stop."""
        if self._since is not None and now - self._since < self.seconds / _PARTS:
            self._lowest[-1] = min(self._lowest[-1], value)
            return None
        lowest = list(self._lowest)
        self._lowest.append(value)
        self._since = now
        if len(lowest) < _PARTS or any(later <= earlier for earlier, later in pairwise(lowest)):
            return None
        return lowest[0]


class _Line:
    """What one line of code has done."""

    def __init__(self, site: Site | None, latest: int) -> None:
        self.site = site
        self.active = 0
        self.latest: deque[float] = deque(maxlen=latest)  # when the latest clients were constructed
        self.span_context = trace.INVALID_SPAN_CONTEXT  # where the latest one was
        self.reported: float | None = None
        self.growths = [_Growth(seconds) for seconds in _LEAK_SPANS]
        self.begin(0.0)

    def begin(self, now: float) -> None:
        """Count anew."""
        self.since = now
        self.constructed = 0
        self.ends = {CLOSED: 0, DROPPED: 0}

    @property
    def ended(self) -> int:
        """How many have been closed or dropped."""
        return sum(self.ends.values())

    def grown(self, now: float) -> tuple[int, float] | None:
        """How many of its clients there were before, and how long ago, if they keep growing in number."""
        found = [
            (before, growth.seconds)
            for growth in self.growths
            if (before := growth.add(now, self.active)) is not None
        ]
        if not found or self.active < _LEAK_CLIENTS:
            return None
        for growth in self.growths:
            growth.restart()
        return found[0]


class Ledger:
    """`mongodb.client.created` and `.closed`, the span of each construction, the events of churn and leak.

    A client is meant to be constructed once and shared: it opens connections and starts threads of its own
    (https://www.mongodb.com/docs/languages/python/pymongo-driver/current/connect/mongoclient/). Clients that are
    dropped do not pile up, since the driver lets them be collected, so neither a count of clients nor one of threads
    shows the mistake: the rate does. That is churn: so many within the window, for more than a moment, and most of
    them have ended. Clients that are kept do pile up: a leak, where their number keeps growing.

    Cost: less than 100 µs a construction, and a microsecond a second for each line that constructs clients. The
    events are told on the package's thread.
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
        self._clients.at_each_beat(lease, self._review)
        lease.at_end(self._leave)

    def _leave(self) -> None:
        self._clients.life = None

    def _forked(self) -> None:
        self._restart()
        for client in self._clients.live():
            if not (client.over or client.internal or client.unmonitored):
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
                **of_client(client),
                semconv.MONGODB_CLIENT_SITE_ACTIVE: self._line(client).active,
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
            self._created.add((client.server_address, client.kind, self._site_label(label_of(client.site))))
            for reason in (CLOSED, DROPPED):
                self._closed.add((client.server_address, reason), 0)  # a zero that is known
            with self._lock:
                self._count_construction(self._line(client), self._clock())
                if span is not None:
                    self._line(client).span_context = span.get_span_context()

    def _count_construction(self, line: _Line, now: float) -> None:
        if not line.latest or now - line.latest[-1] > self._churn_window:
            line.begin(now)
        line.active += 1
        line.constructed += 1
        line.latest.append(now)

    def _review(self) -> None:
        """Look at each line; tell of those that construct client after client, and of those whose clients grow."""
        with self._lock:
            now = self._clock()
            lines = list(self._lines.values())
            churning = [line for line in lines if self._churns(line, now)]
            growing = [(line, *grown) for line in lines if (grown := line.grown(now)) is not None]
        for line in churning:
            self._report_churn(line, now)
        for line, before, seconds in growing:
            self._report_leak(line, before, seconds)

    def _churns(self, line: _Line, now: float) -> bool:
        return (
            len(line.latest) == self._churn_count
            and now - line.latest[0] <= self._churn_window
            and line.latest[-1] - line.since >= self._churn_window * _SUSTAINED
            and line.ended * 2 >= line.constructed
            # Not more often than events are: what comes in between is counted into the next report.
            and (line.reported is None or now - line.reported >= max(self._churn_window, _events.INTERVAL))
        )

    def _report_churn(self, line: _Line, now: float) -> None:
        threads, sockets = self._held()
        with self._lock:
            seconds, constructed, ends, active = (
                now - line.since,
                line.constructed,
                dict(line.ends),
                line.active,
            )
        reported = self._report(
            semconv.MONGODB_CLIENT_CHURN,
            line,
            f"{constructed} clients constructed in {seconds:.1f} s by {_named(line.site)}: "
            f"{ends[CLOSED]} closed, {ends[DROPPED]} dropped, {active} of this line still there; pymongo has "
            f"{threads} threads and {sockets} sockets in this process now. Construct one client, keep it, and share it",
            {
                semconv.MONGODB_CLIENT_CHURN_CREATED: constructed,
                semconv.MONGODB_CLIENT_CHURN_CLOSED: ends[CLOSED],
                semconv.MONGODB_CLIENT_CHURN_DROPPED: ends[DROPPED],
                semconv.MONGODB_CLIENT_CHURN_DURATION: seconds,
                semconv.MONGODB_CLIENT_CHURN_THREADS: threads,
                semconv.MONGODB_CLIENT_CHURN_SOCKETS: sockets,
            },
        )
        with self._lock:
            line.reported = now
            if reported:
                line.begin(now)

    def _report_leak(self, line: _Line, before: int, seconds: float) -> None:
        threads, sockets = self._held()
        self._report(
            semconv.MONGODB_CLIENT_LEAK,
            line,
            f"the clients that {_named(line.site)} constructs keep growing in number: {line.active} now, {before} "
            f"{_LEAK_SPANS[seconds]}; pymongo has {threads} threads and {sockets} sockets in this process now. "
            "Construct one client and share it, or close each that is not needed any more",
            {
                semconv.MONGODB_CLIENT_LEAK_ACTIVE: line.active,
                semconv.MONGODB_CLIENT_LEAK_BEFORE: before,
                semconv.MONGODB_CLIENT_LEAK_DURATION: seconds,
                semconv.MONGODB_CLIENT_LEAK_THREADS: threads,
                semconv.MONGODB_CLIENT_LEAK_SOCKETS: sockets,
            },
        )

    def _held(self) -> tuple[int, int]:
        """The driver's threads and sockets in this process."""
        threads = sum(thread.name.startswith("pymongo_") for thread in threading.enumerate())
        return threads, self._clients.socket_count()

    def _report(self, event: Event, line: _Line, message: str, figures: dict[str, AnyValue]) -> bool:
        # In the trace in which the line constructed its latest client: that is the request to look at.
        construction = trace.set_span_in_context(trace.NonRecordingSpan(line.span_context))
        token = context.attach(construction)
        try:
            return self._lease.event(
                event, message, cause=label_of(line.site), attributes={**of_site(line.site), **figures}
            )
        finally:
            context.detach(token)

    def ended(self, client: Client, reason: str) -> None:
        """The client was closed or dropped."""
        self._lease.guard(self._ended, client, reason)

    def _ended(self, client: Client, reason: str) -> None:
        if not client.inherited:  # what this process has not created it does not close
            self._closed.add((client.server_address, reason))
        with self._lock:
            line = self._line(client)
            line.active -= 1
            line.ends[reason] += 1

    def _line(self, client: Client) -> _Line:
        label, site = label_of(client.site), client.site
        if label not in self._lines and len(self._lines) >= _SITES_WATCHED:
            label, site = OTHER, None
        line = self._lines.get(label)
        return self._lines.setdefault(label, _Line(site, self._churn_count)) if line is None else line


def _named(site: Site | None) -> str:
    return (
        f"{OTHER} (no line of the application)" if site is None else f"{site.label} ({site.path}:{site.line})"
    )
