# SPDX-License-Identifier: Apache-2.0
"""How long the process has been running: a value that falls is a restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from otel_resinstr.semconv import PROCESS_UPTIME

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_resinstr._probe import Lease
    from otel_resinstr.process.reading import ProcessReading


class Uptime:
    """Seconds since the process began; in a forked child since the fork.

    How old the process is, is asked once, and counted on from there with a monotonic clock, so that nobody who sets
    the time makes the process older or younger. Right to about one second.
    https://opentelemetry.io/docs/specs/semconv/system/process-metrics/#metric-processuptime

    Cost: one look at the clock.
    """

    name = "process.uptime"

    def __init__(
        self,
        reading: ProcessReading,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._reading = reading
        self._clock = clock
        self._wall_clock = wall_clock
        self._began: float | None = None  # on the monotonic clock

    def start(self, lease: Lease) -> None:
        """Observe the metric, in a forked child anew."""
        lease.after_fork(self._forget)
        lease.observe(PROCESS_UPTIME, self._uptime)

    def _forget(self) -> None:
        self._began = None

    def _uptime(self) -> float | None:
        if self._began is None:
            created = self._reading.create_time()
            if created is None:
                return None
            # Not below zero where the time was set back in between.
            self._began = self._clock() - max(0.0, self._wall_clock() - created)
        return self._clock() - self._began
