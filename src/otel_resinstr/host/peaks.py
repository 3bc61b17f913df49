# SPDX-License-Identifier: Apache-2.0
"""What was worst between two exports: the least memory that was left, the longest stalls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr._peak import Peak
from otel_resinstr.semconv import (
    RESINSTR_MEMORY_AVAILABLE_MIN,
    RESINSTR_PRESSURE_RESOURCE,
    RESINSTR_PRESSURE_SCOPE,
    RESINSTR_PRESSURE_STALL_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otel_resinstr._probe import Lease
    from otel_resinstr.host.reading import HostReading, Stall

_PERIOD = 1.0  # seconds
# A look that follows another one this closely would take a stall of a millisecond for a stall.
_SHORTEST = _PERIOD / 2


class Peaks:
    """The least available memory, and the largest share of a second that was stalled, of the last *window* seconds.

    Available is what is left to this process: the machine's available memory, or what the limit leaves beyond page
    cache if that is less. A stall is that of some task, as in `host.pressure`. Both are looked at once a second, and
    whoever reads, and however often, sees the worst of the window: a spike is not lost between two exports.

    Cost: six to nine short files a second, 150 µs, on the package's thread; next to nothing when collected.
    """

    name = "host.peaks"

    def __init__(
        self, reading: HostReading, window: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reading = reading
        self._window = window
        self._clock = clock
        self._available = Peak(window, lowest=True)
        self._shares: dict[Stall, Peak] = {}
        self._before: tuple[float, dict[Stall, float]] = (clock(), {})

    def start(self, lease: Lease) -> None:
        """Look once a second; a forked child has its own worst."""
        self._begin()
        lease.after_fork(self._begin)
        lease.every(_PERIOD, self._look)
        lease.observe(RESINSTR_MEMORY_AVAILABLE_MIN, self._least)
        lease.observe(RESINSTR_PRESSURE_STALL_MAX, self._worst)

    def _begin(self) -> None:
        self._available.clear()
        self._shares = {}
        self._before = (self._clock(), self._stalls())
        self._look()

    def _stalls(self) -> dict[Stall, float]:
        return {stall: seconds for stall, seconds in self._reading.stalls().items() if stall.kind == "some"}

    def _look(self) -> None:
        now = self._clock()
        available = left(self._reading)
        if available is not None:
            self._available.add(available, now)
        at, before = self._before
        passed = now - at
        if passed < _SHORTEST:
            return
        stalls = self._stalls()
        self._before = (now, stalls)
        for stall, seconds in stalls.items():
            if stall in before:
                peak = self._shares.setdefault(stall, Peak(self._window))
                # More than all of the time is a clock that was read a moment later than the file.
                peak.add(min(1.0, max(0.0, (seconds - before[stall]) / passed)), now)

    def _least(self) -> float | None:
        # With what there is now: the least is never more than what is reported beside it.
        values = (self._available.read(self._clock()), left(self._reading))
        return min((value for value in values if value is not None), default=None)

    def _worst(self) -> Iterable[Observation]:
        now = self._clock()
        worst = [(stall, peak.read(now)) for stall, peak in list(self._shares.items())]
        return [
            Observation(
                share, {RESINSTR_PRESSURE_RESOURCE: stall.resource, RESINSTR_PRESSURE_SCOPE: stall.scope}
            )
            for stall, share in worst
            if share is not None
        ]


def left(reading: HostReading) -> int | None:
    """How many bytes this process could still have without anything being swapped: None if nothing tells."""
    machine, container = reading.memory(), reading.container()
    of_machine = None if machine is None else machine.available
    of_container = None if container is None else container.left
    return min((size for size in (of_machine, of_container) if size is not None), default=None)
