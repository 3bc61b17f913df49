# SPDX-License-Identifier: Apache-2.0
"""How late event loops run what is due."""

from __future__ import annotations

import contextlib
import random
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr._window import Window
from otel_resinstr.semconv import (
    ASYNCIO_EVENTLOOP_DELAY_DURATION,
    ASYNCIO_EVENTLOOP_DELAY_MAX,
    ASYNCIO_EVENTLOOP_DELAY_P50,
    ASYNCIO_EVENTLOOP_DELAY_P90,
    ASYNCIO_EVENTLOOP_DELAY_P99,
    ASYNCIO_EVENTLOOP_THREAD,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_resinstr._probe import Lease
    from otel_resinstr.eventloop.loops import Looks, Loops

_QUANTILES = (
    (ASYNCIO_EVENTLOOP_DELAY_P50, 0.50),
    (ASYNCIO_EVENTLOOP_DELAY_P90, 0.90),
    (ASYNCIO_EVENTLOOP_DELAY_P99, 0.99),
    (ASYNCIO_EVENTLOOP_DELAY_MAX, 1.0),
)

_MOST = (
    600  # values that one late beat stands for: half a minute at the default period, 10 ms of work of our own
)
_LOOPS = 2  # as many loops have all of their values in the histogram: at 20 µs each, 0.1 % of a core
_BATCH = 32  # values that are recorded in one go, which is cheaper than one by one after each wake-up


class Delay:
    """The seconds between the moment at which a callback is due and the one at which the loop runs it.

    There is a value for each look at a loop. One that waits in its selector would have run what was due as late as
    our own thread was for the look; from any other a beat tells it.

    A beat that came late stands for all those that would have been sent while it was late: a value for each
    period of it, as `recordValueWithExpectedInterval` of HdrHistogram has it. Else a loop that is held half
    of the time would look healthy in all but one of its values (coordinated omission, the README of
    https://github.com/HdrHistogram/HdrHistogram).

    The gauges look back over *window* seconds and are not reset by reading. They contain what is held at this
    moment, as long as it has lasted.

    Cost: 15 to 25 µs a look in our own thread, almost all of it the histogram's; 0.2 ms a collection. Of more than
    two loops the histogram is given a random part of the values, and so keeps its shape; the gauges know all.
    """

    name = "eventloop.delay"

    def __init__(self, loops: Loops, window: float) -> None:
        self._loops = loops
        self._window = window
        self._chance = random.Random().random  # noqa: S311  a generator of our own: the application's stays as it is
        self._forget()

    def start(self, lease: Lease) -> None:
        """Begin to measure."""
        self._histogram = lease.histogram(ASYNCIO_EVENTLOOP_DELAY_DURATION)
        lease.at_end(self._record)
        self._loops.tell(lease, self._came)
        lease.after_fork(self._forget)
        for metric, quantile in _QUANTILES:
            lease.observe(metric, partial(self._read, quantile))

    def _came(self, looks: Looks) -> None:
        period = self._loops.period
        share = _LOOPS / max(_LOOPS, len(looks))
        for running, look in looks:
            if not look.over:
                continue
            window = self._windows.get(running.thread)
            if window is None:
                window = self._windows[running.thread] = Window(self._window)
            values = (look.late,) if 0 <= look.late < period else stood_for(look.late, period)
            for value in values:
                window.add(value, look.at)
                if share == 1 or self._chance() < share:
                    self._unrecorded.append((value, running.thread))
        if len(self._unrecorded) >= _BATCH:
            self._record()

    def _record(self) -> None:
        # Also called by a reader, while our own thread may be at it too: each value goes to one of them.
        with contextlib.suppress(IndexError):
            while True:
                value, thread = self._unrecorded.popleft()
                self._histogram.record(value, {ASYNCIO_EVENTLOOP_THREAD: thread})

    def _forget(self) -> None:
        self._windows: dict[str, Window] = {}  # by the name of the thread
        self._unrecorded: deque[tuple[float, str]] = deque()

    def _read(self, quantile: float) -> Iterator[Observation]:
        self._record()  # the SDK collects observables first: what is recorded here is in the same collection
        now = self._loops.clocks.wall()
        held: dict[str, list[float]] = {}
        for running in self._loops.running():
            beat = running.beat
            # Less than a period is no news: a beat is always on its way for some time.
            if beat is not None and beat.late(now) >= self._loops.period:
                held.setdefault(running.thread, []).extend(stood_for(beat.late(now), self._loops.period))
        for thread in sorted({*self._windows, *held}):
            window = self._windows.get(thread, _NOTHING)
            value = window.quantile(quantile, now, held.get(thread, ()))
            if value is not None:
                yield Observation(value, {ASYNCIO_EVENTLOOP_THREAD: thread})


_NOTHING = Window(1.0)


def stood_for(late: float, period: float) -> Iterator[float]:
    """*late*, and what beats sent each *period* meanwhile would have measured; 600 values at most."""
    late = max(0.0, late)
    step = max(period, late / _MOST)
    yield late
    for index in range(1, _MOST):
        value = late - index * step
        if value < step:
            return
        yield value
