# SPDX-License-Identifier: Apache-2.0
"""Pressure: for how long tasks could not go on for want of memory, of a CPU or of a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr._increases import Increases
from otel_resinstr.semconv import (
    RESINSTR_PRESSURE_KIND,
    RESINSTR_PRESSURE_RESOURCE,
    RESINSTR_PRESSURE_SCOPE,
    RESINSTR_PRESSURE_STALL_TIME,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_resinstr._probe import Lease
    from otel_resinstr.host.reading import HostReading, Stall


class Pressure:
    """Seconds in which some, or all (full), tasks of the machine and of the container were stalled.

    Its rate is the share of time that was lost: 0.3 s a second for memory is a machine that thrashes. Counted since
    the probe began. That all tasks of a machine wait for a CPU cannot be, so there is no ``full`` for that.
    https://docs.kernel.org/accounting/psi.html

    Cost: six short files, 15 µs each. Absent where the kernel has no pressure stall information, or it is switched
    off (``psi=1`` on the kernel's command line switches it on); version 1 of cgroups has none for a container.
    """

    name = "host.pressure"

    def __init__(self, reading: HostReading) -> None:
        self._reading = reading
        self._increases: Increases[Stall] = Increases()

    def start(self, lease: Lease) -> None:
        """Observe the metric; a forked child counts from 0."""
        self._begin()
        lease.after_fork(self._begin)
        lease.observe(RESINSTR_PRESSURE_STALL_TIME, self._time)

    def _begin(self) -> None:
        self._increases.restart(self._reading.stalls())

    def _time(self) -> Iterable[Observation]:
        return [
            Observation(
                seconds,
                {
                    RESINSTR_PRESSURE_RESOURCE: stall.resource,
                    RESINSTR_PRESSURE_KIND: stall.kind,
                    RESINSTR_PRESSURE_SCOPE: stall.scope,
                },
            )
            for stall, seconds in self._increases.of(self._reading.stalls()).items()
        ]
