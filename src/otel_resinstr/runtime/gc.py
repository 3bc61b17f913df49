# SPDX-License-Identifier: Apache-2.0
"""Garbage collections: how many, and what they found."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr.semconv import (
    CPYTHON_GC_COLLECTED_OBJECTS,
    CPYTHON_GC_COLLECTIONS,
    CPYTHON_GC_GENERATION,
    CPYTHON_GC_UNCOLLECTABLE_OBJECTS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otel_resinstr._probe import Lease


class GC:
    """Collections and what came of them by generation: CPython's own counts, since the process began.

    https://opentelemetry.io/docs/specs/semconv/runtime/cpython-metrics/

    Cost: 2 µs when the metrics are collected. No collection calls anybody: that has a price of its own, see
    `runtime.gc_pauses`.
    """

    name = "runtime.gc"

    def __init__(self, stats: Callable[[], list[dict[str, int]]] = gc.get_stats) -> None:
        """Take the counts from *stats*."""
        self._stats = stats
        self._base = [dict.fromkeys(told, 0) for told in stats()]

    def start(self, lease: Lease) -> None:
        """Observe the three metrics; a forked child counts from 0."""
        lease.after_fork(self._restart)
        lease.observe(CPYTHON_GC_COLLECTIONS, lambda: self._counts("collections"))
        lease.observe(CPYTHON_GC_COLLECTED_OBJECTS, lambda: self._counts("collected"))
        lease.observe(CPYTHON_GC_UNCOLLECTABLE_OBJECTS, lambda: self._counts("uncollectable"))

    def _restart(self) -> None:
        self._base = self._stats()

    def _counts(self, what: str) -> Iterable[Observation]:
        return [
            Observation(told[what] - base[what], {CPYTHON_GC_GENERATION: generation})
            for generation, (told, base) in enumerate(zip(self._stats(), self._base, strict=True))
        ]
