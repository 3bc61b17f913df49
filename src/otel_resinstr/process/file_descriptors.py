# SPDX-License-Identifier: Apache-2.0
"""How many descriptors the process has open, and how many it may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_resinstr.semconv import (
    PROCESS_UNIX_FILE_DESCRIPTOR_COUNT,
    PROCESS_WINDOWS_HANDLE_COUNT,
    RESINSTR_PROCESS_FILE_DESCRIPTOR_LIMIT,
)

if TYPE_CHECKING:
    from otel_resinstr._probe import Lease
    from otel_resinstr.process.reading import ProcessReading


class FileDescriptors:
    """Open descriptors and their limit on Unix, open handles on Windows: each socket and each file is one.

    https://opentelemetry.io/docs/specs/semconv/system/process-metrics/#metric-processunixfile_descriptorcount

    Cost: one directory listing, 40 µs for a hundred descriptors, and one system call. No limit is no point.
    """

    name = "process.file_descriptors"

    def __init__(self, reading: ProcessReading) -> None:
        self._reading = reading

    def start(self, lease: Lease) -> None:
        """Observe the three metrics; what the platform does not have gives no point."""
        lease.observe(PROCESS_UNIX_FILE_DESCRIPTOR_COUNT, self._reading.descriptors)
        lease.observe(RESINSTR_PROCESS_FILE_DESCRIPTOR_LIMIT, self._reading.descriptor_limit)
        lease.observe(PROCESS_WINDOWS_HANDLE_COUNT, self._reading.handles)
