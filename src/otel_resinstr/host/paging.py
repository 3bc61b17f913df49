# SPDX-License-Identifier: Apache-2.0
"""Paging and swapping of the machine: whether memory that is used has to come from a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr._increases import Increases
from otel_resinstr.semconv import (
    SYSTEM_PAGING_DIRECTION,
    SYSTEM_PAGING_FAULT_TYPE,
    SYSTEM_PAGING_FAULTS,
    SYSTEM_PAGING_OPERATIONS,
    SYSTEM_PAGING_STATE,
    SYSTEM_PAGING_USAGE,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_resinstr._probe import Lease
    from otel_resinstr.host.reading import HostReading


class Paging:
    """Swap space in bytes; page faults by type and swapped pages by direction, since the probe began to look.

    A major fault waits for a disk. Pages that are swapped are what the conventions call major operations. A machine
    without swap has no point for it.
    https://opentelemetry.io/docs/specs/semconv/system/system-metrics/#paging-swap-metrics

    Cost: one file of 200 lines, 30 µs. Linux only, but for the swap space.
    """

    name = "host.paging"

    def __init__(self, reading: HostReading) -> None:
        self._reading = reading
        self._increases: Increases[tuple[str, str]] = Increases()

    def start(self, lease: Lease) -> None:
        """Observe the three metrics; a forked child counts from 0."""
        self._begin()
        lease.after_fork(self._begin)
        lease.observe(SYSTEM_PAGING_USAGE, self._usage)
        lease.observe(SYSTEM_PAGING_FAULTS, self._faults)
        lease.observe(SYSTEM_PAGING_OPERATIONS, self._operations)

    def _begin(self) -> None:
        self._increases.restart({**self._count_faults(), **self._count_operations()})

    def _count_faults(self) -> dict[tuple[str, str], float]:
        paging = self._reading.paging()
        return {} if paging is None else _known("fault", major=paging.major_faults, minor=paging.minor_faults)

    def _count_operations(self) -> dict[tuple[str, str], float]:
        paging = self._reading.paging()
        swapped = {} if paging is None else {"in": paging.swapped_in, "out": paging.swapped_out}
        return _known("operation", **swapped)

    def _usage(self) -> Iterable[Observation] | None:
        swap = self._reading.swap()
        if swap is None:
            return None
        return (
            Observation(swap.used, {SYSTEM_PAGING_STATE: "used"}),
            Observation(swap.free, {SYSTEM_PAGING_STATE: "free"}),
        )

    def _faults(self) -> Iterable[Observation]:
        increases = self._increases.of(self._count_faults())
        return [
            Observation(count, {SYSTEM_PAGING_FAULT_TYPE: type_}) for (_, type_), count in increases.items()
        ]

    def _operations(self) -> Iterable[Observation]:
        increases = self._increases.of(self._count_operations())
        return [
            Observation(count, {SYSTEM_PAGING_DIRECTION: direction, SYSTEM_PAGING_FAULT_TYPE: "major"})
            for (_, direction), count in increases.items()
        ]


def _known(what: str, **counts: int | None) -> dict[tuple[str, str], float]:
    return {(what, name): count for name, count in counts.items() if count is not None}
