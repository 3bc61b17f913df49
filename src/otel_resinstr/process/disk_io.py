# SPDX-License-Identifier: Apache-2.0
"""How many bytes the process reads from disks and writes to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr.semconv import DISK_IO_DIRECTION, PROCESS_DISK_IO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_resinstr._probe import Lease
    from otel_resinstr.process.reading import ProcessReading


class DiskIO:
    """Bytes by direction, counted where they go to storage: what the page cache answers is not among them.

    https://opentelemetry.io/docs/specs/semconv/system/process-metrics/#metric-processdiskio, and
    https://man7.org/linux/man-pages/man5/proc_pid_io.5.html for what is counted.

    Cost: one short file. Absent where it may not be read, and on systems that do not tell disks from other devices.
    """

    name = "process.disk_io"

    def __init__(self, reading: ProcessReading) -> None:
        self._reading = reading

    def start(self, lease: Lease) -> None:
        """Observe the metric."""
        lease.observe(PROCESS_DISK_IO, self._bytes)

    def _bytes(self) -> Iterable[Observation] | None:
        disk = self._reading.disk()
        if disk is None:
            return None
        return (
            Observation(disk.read, {DISK_IO_DIRECTION: "read"}),
            Observation(disk.write, {DISK_IO_DIRECTION: "write"}),
        )
