# SPDX-License-Identifier: Apache-2.0
"""The memory that the process has, and how close that is to the limit at which it is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_resinstr.semconv import (
    PROCESS_MEMORY_USAGE,
    PROCESS_MEMORY_UTILIZATION,
    PROCESS_MEMORY_VIRTUAL,
    RESINSTR_PROCESS_MEMORY_PEAK,
)

if TYPE_CHECKING:
    from otel_resinstr._probe import Lease
    from otel_resinstr.process.reading import ProcessReading


class Memory:
    """Resident and virtual memory in bytes, the peak, and the share of the smallest limit that binds.

    The limit is that of the process's cgroups, which other processes may share with it, else the machine's memory:
    a utilization far below 1 does not say that there is room, one close to 1 says that there is none.
    https://opentelemetry.io/docs/specs/semconv/system/process-metrics/#metric-processmemoryusage

    Cost: one short file of ``/proc`` a metric, and the cgroup's for the limit.
    """

    name = "process.memory"

    def __init__(self, reading: ProcessReading) -> None:
        self._reading = reading

    def start(self, lease: Lease) -> None:
        """Observe the four metrics."""
        lease.observe(PROCESS_MEMORY_USAGE, self._usage)
        lease.observe(PROCESS_MEMORY_VIRTUAL, self._virtual)
        lease.observe(PROCESS_MEMORY_UTILIZATION, self._utilization)
        lease.observe(RESINSTR_PROCESS_MEMORY_PEAK, self._reading.memory_peak)

    def _usage(self) -> int | None:
        memory = self._reading.memory()
        return None if memory is None else memory.usage

    def _virtual(self) -> int | None:
        memory = self._reading.memory()
        return None if memory is None else memory.virtual

    def _utilization(self) -> float | None:
        usage, limit = self._usage(), self._reading.memory_limit()
        return None if usage is None or limit is None else usage / limit
