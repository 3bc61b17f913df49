# SPDX-License-Identifier: Apache-2.0
"""The thread pools that exist, whoever finds them, and what they report."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol

from opentelemetry.metrics import Observation

from otel_resinstr._bounded import Bounded
from otel_resinstr._window import Window
from otel_resinstr.semconv import (
    CPYTHON_THREAD_POOL_QUEUE_LENGTH,
    CPYTHON_THREAD_POOL_THREAD_BUSY,
    CPYTHON_THREAD_POOL_THREAD_COUNT,
    CPYTHON_THREAD_POOL_THREAD_LIMIT,
    CPYTHON_THREAD_POOL_WORK_ITEM_COUNT,
    CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX,
    CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P50,
    CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P99,
    CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_TIME,
    THREAD_POOL_NAME,
    THREAD_POOL_TYPE,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from otel_resinstr._probe import Lease

EXECUTOR = "executor"
LOOP_DEFAULT = "loop_default"
ANYIO = "anyio"

_NAMES = 16  # names of pools that keep their own series


class Pool(Protocol):
    """A pool as it is at this moment. What is not known is None."""

    series: Series

    def threads(self) -> int | None:
        """How many threads it has."""
        ...

    def limit(self) -> float | None:
        """How many threads may work at a time."""
        ...

    def busy(self) -> int | None:
        """How many of them work."""
        ...

    def queued(self) -> int | None:
        """How many work items wait for one."""
        ...

    def waiting_since(self) -> float | None:
        """When, by the clock of `Pools`, the first of those that wait was submitted; None if none waits.

        Where that is not known, when it was first seen to wait.
        """
        ...

    def workers(self) -> list[int]:
        """The threads that may be at work, as `threading.get_ident` tells them."""
        ...


class Seen:
    """Since when something is so that has no date of its own: at the latest since it was first seen."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: float | None = None

    def __call__(self, *, so: bool) -> float | None:
        """Since when it is so, if it is *so* now."""
        if not so:
            self._since = None
        elif self._since is None:
            self._since = self._clock()
        return self._since


class Series:
    """What the pools of one name and type have done, also those that are gone. Never goes down."""

    def __init__(self, name: str, kind: str, window: float, *, counted: bool) -> None:
        self.name = name
        self.kind = kind
        self.counted = counted
        """Whether we are told when work begins and ends."""
        self._window = window
        self.restart()

    def restart(self) -> None:
        """Begin at nothing, in a forked child."""
        # Re-entrant: a finaliser that runs while it is held may run work.
        self._lock = threading.RLock()
        self.finished = 0
        self.waited = 0.0
        self.waits = Window(self._window)

    def began(self, wait: float, now: float) -> None:
        """A work item begins after so many seconds. Costs 1.5 µs."""
        with self._lock:
            self.waited += wait
            self.waits.add(wait, now)

    def ended(self) -> None:
        """A work item has been run to its end. Costs less than 1 µs."""
        with self._lock:
            self.finished += 1


class Pools:
    """The pools of the process by name and type: threads, work that waits, and how long work has waited.

    Pools of one name and type add up. A name is what the pool gives to its threads, with ``N`` for each number;
    the first 16 names keep their own series. A series that this process once had stays, with zeros: without them a
    dashboard would show the last value for ever. What the pools *may* have is absent once there is none.

    The gauges of the wait look back over *window* seconds and are not reset by reading. The largest contains what
    still waits, as long as it has waited so far; else a pool that is stuck would look healthy.

    Cost: 20 µs a pool and collection.
    """

    name = "threadpool.pools"

    def __init__(self, window: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self._window = window
        self._names = Bounded(_NAMES)
        self._series: dict[tuple[str, str], Series] = {}
        self._sources: tuple[Callable[[], Iterable[Pool]], ...] = ()
        self._awaited: deque[Callable[[], None]] = deque()

    def start(self, lease: Lease) -> None:
        """Report them."""
        observe = lease.observe
        observe(CPYTHON_THREAD_POOL_THREAD_COUNT, partial(self._add_up, lambda pool: pool.threads()))
        observe(CPYTHON_THREAD_POOL_THREAD_LIMIT, self._limits)
        observe(CPYTHON_THREAD_POOL_THREAD_BUSY, partial(self._add_up, lambda pool: pool.busy()))
        observe(CPYTHON_THREAD_POOL_QUEUE_LENGTH, partial(self._add_up, lambda pool: pool.queued()))
        observe(CPYTHON_THREAD_POOL_WORK_ITEM_COUNT, partial(self._totals, lambda series: series.finished))
        observe(CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_TIME, partial(self._totals, lambda series: series.waited))
        observe(CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P50, partial(self._quantile, 0.50))
        observe(CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_P99, partial(self._quantile, 0.99))
        observe(CPYTHON_THREAD_POOL_WORK_ITEM_WAIT_MAX, self._longest)

    # For those who find pools

    def look_into(self, lease: Lease, source: Callable[[], Iterable[Pool]]) -> None:
        """Ask *source* for its pools, until the end of *lease*. All series begin anew in a forked child."""
        self._sources = (*self._sources, source)

        def forget() -> None:
            self._sources = tuple(known for known in self._sources if known != source)

        lease.at_end(forget)
        lease.after_fork(self._restart)

    def series(self, name: str, kind: str, *, counted: bool = True) -> Series:
        """What pools called *name* add up in; a new one is made known to those who wait for the first pool."""
        name = self._names(re.sub(r"\d+", "N", name))
        series = self._series.setdefault((name, kind), Series(name, kind, self._window, counted=counted))
        with contextlib.suppress(IndexError):  # another thread may have taken the last one
            while True:
                self._awaited.popleft()()
        return series

    def _restart(self) -> None:
        for series in list(self._series.values()):
            series.restart()

    # For those who look at pools

    def at_first(self, lease: Lease, call: Callable[[], None]) -> None:
        """Call *call* once there is a pool: until then nobody needs a thread of ours."""
        if self._series:
            call()
        else:
            self._awaited.append(lambda: lease.guard(call))

    def all(self) -> list[Pool]:
        """The pools that exist."""
        return [pool for source in self._sources for pool in source()]

    # In the thread of a reader

    def _add_up(self, read: Callable[[Pool], int | None]) -> Iterator[Observation]:
        sums: dict[Series, int | None] = dict.fromkeys(list(self._series.values()), 0)
        for pool in self.all():
            value = read(pool)
            before = sums.get(pool.series)
            sums[pool.series] = None if value is None or before is None else before + value
        for series, total in sums.items():
            if total is not None:
                yield Observation(total, _attributes(series))

    def _limits(self) -> Iterator[Observation]:
        sums: dict[Series, float] = {}
        for pool in self.all():
            limit = pool.limit()
            if limit is not None:
                sums[pool.series] = sums.get(pool.series, 0) + limit
        for series, total in sums.items():
            yield Observation(total, _attributes(series))

    def _totals(self, read: Callable[[Series], float]) -> Iterator[Observation]:
        for series in list(self._series.values()):
            if series.counted:
                yield Observation(read(series), _attributes(series))

    def _quantile(self, quantile: float) -> Iterator[Observation]:
        now = self.clock()
        for series in list(self._series.values()):
            value = series.waits.quantile(quantile, now)
            if value is not None:
                yield Observation(value, _attributes(series))

    def _longest(self) -> Iterator[Observation]:
        now = self.clock()
        waiting: dict[Series, list[float]] = {}
        for pool in self.all():
            since = pool.waiting_since()
            if since is not None:
                waiting.setdefault(pool.series, []).append(now - since)
        for series in list(self._series.values()):
            value = series.waits.quantile(1.0, now, waiting.get(series, ()))
            if value is not None:
                yield Observation(value, _attributes(series))


def _attributes(series: Series) -> dict[str, str]:
    return {THREAD_POOL_NAME: series.name, THREAD_POOL_TYPE: series.kind}
