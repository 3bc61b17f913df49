# SPDX-License-Identifier: Apache-2.0
"""How much of the time an event loop has something to do."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr.eventloop._cause import contended
from otel_resinstr.semconv import ASYNCIO_EVENTLOOP_THREAD, ASYNCIO_EVENTLOOP_UTILIZATION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_resinstr._probe import Lease
    from otel_resinstr.eventloop._running import Sample
    from otel_resinstr.eventloop.loops import Loops, Samples

_SLICES = 12  # the window moves on in steps of a twelfth of its length
_LEAST = 1.0  # seconds that have to be known: the first looks are too few to say anything


class _Slice:
    """The seconds of a part of the window, and those of them in which the loop was at something."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.whole = 0.0
        self.cpu = 0.0
        self.busy = 0.0
        self.busy_without_gil = 0.0

    def add(self, sample: Sample) -> None:
        self.whole += sample.seconds
        self.cpu += (sample.cpu or 0.0) + sample.queued
        if sample.busy:
            self.busy += sample.seconds
            self.busy_without_gil += sample.seconds if sample.lag < contended() / 2 else 0.0


class Utilization:
    """The share of the last *window* seconds in which a loop did not wait for I/O in its selector.

    Two things are known, and neither is enough. What the loop's thread had of the CPUs, and had to wait for them, is
    exact, and leaves out what blocks: `time.sleep`, a read, a lock. The looks at its stack, at random times, see that,
    and are not fair where the loop computes: we get the GIL when the loop gives it away, which it does in its
    selector. But a look for which we did not have to wait met a loop that computed nothing. So the share is the time
    on or before the CPUs and the looks that met a loop blocked without a wait of ours, or all looks that met it busy,
    whichever is more; it may be a little too low.

    Loops in threads of one name share a series, their mean. Absent where a thread has no CPU clock (macOS,
    Windows), for there it could be anything. Cost: 1 µs a look.
    """

    name = "eventloop.utilization"

    def __init__(self, loops: Loops, window: float) -> None:
        self._loops = loops
        self._width = window / _SLICES
        self._forget()

    def start(self, lease: Lease) -> None:
        """Begin to measure."""
        self._loops.sample(lease, self._add)
        lease.after_fork(self._forget)
        lease.observe(ASYNCIO_EVENTLOOP_UTILIZATION, self._observe)

    def _forget(self) -> None:
        # By the name of the thread; changed by our own thread only.
        self._slices: dict[str, deque[_Slice]] = {}

    def _add(self, samples: Samples) -> None:
        for running, sample in samples:
            if sample.cpu is None:
                continue
            slices = self._slices.get(running.thread)
            if slices is None:
                slices = self._slices[running.thread] = deque(maxlen=_SLICES + 1)
            number = self._number(sample.at)
            if not slices or slices[-1].number < number:
                slices.append(_Slice(number))
            slices[-1].add(sample)

    def _observe(self) -> Iterator[Observation]:
        oldest = self._number(self._loops.clocks.wall()) - _SLICES
        for thread, slices in list(self._slices.items()):
            parts = [part for part in list(slices) if part.number >= oldest]
            whole = sum(part.whole for part in parts)
            if whole >= _LEAST:
                looks = sum(part.busy for part in parts)
                clocks = sum(part.cpu + part.busy_without_gil for part in parts)
                share = min(1.0, max(looks, clocks) / whole)
                yield Observation(share, {ASYNCIO_EVENTLOOP_THREAD: thread})

    def _number(self, at: float) -> int:
        return math.floor(at / self._width)
