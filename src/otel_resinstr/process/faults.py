# SPDX-License-Identifier: Apache-2.0
"""Page faults: a process whose major faults rise waits for memory that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr.semconv import PROCESS_PAGING_FAULTS, SYSTEM_PAGING_FAULT_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_resinstr._probe import Lease
    from otel_resinstr.process.reading import ProcessReading


class Faults:
    """Major faults, which waited for a disk, and minor ones, which did not.

    https://opentelemetry.io/docs/specs/semconv/system/process-metrics/#metric-processpagingfaults

    Cost: one system call. Absent on Windows, which counts both in one.
    """

    name = "process.faults"

    def __init__(self, reading: ProcessReading) -> None:
        self._reading = reading

    def start(self, lease: Lease) -> None:
        """Observe the metric."""
        lease.observe(PROCESS_PAGING_FAULTS, self._faults)

    def _faults(self) -> Iterable[Observation] | None:
        faults = self._reading.faults()
        if faults is None:
            return None
        return (
            Observation(faults.major, {SYSTEM_PAGING_FAULT_TYPE: "major"}),
            Observation(faults.minor, {SYSTEM_PAGING_FAULT_TYPE: "minor"}),
        )
