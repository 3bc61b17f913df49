# SPDX-License-Identifier: Apache-2.0
"""Garbage collections: how many, what they found, and for how long they held everything up."""

from __future__ import annotations

import contextlib
import gc
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Observation

from otel_resinstr._peak import Peak
from otel_resinstr.semconv import (
    CPYTHON_GC_COLLECTED_OBJECTS,
    CPYTHON_GC_COLLECTIONS,
    CPYTHON_GC_GENERATION,
    CPYTHON_GC_PAUSE_MAX,
    CPYTHON_GC_PAUSE_TIME,
    CPYTHON_GC_UNCOLLECTABLE_OBJECTS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otel_resinstr._probe import Lease


class GC:
    """Collections and what came of them by generation; the time that they took, in all and at most.

    The counts are CPython's own, since the process began; the times are taken at the beginning and the end of each
    collection, since the probe began. While one runs, no Python code does.
    https://opentelemetry.io/docs/specs/semconv/runtime/cpython-metrics/

    Cost: half a microsecond a collection, of which there may be thousands a second, and as much again for CPython to
    call anybody at all; 2 µs when the metrics are collected. What is called makes no object that the garbage collector
    would have to know of: it brings no collection closer.
    """

    name = "runtime.gc"

    def __init__(
        self,
        window: float,
        stats: Callable[[], list[dict[str, int]]] = gc.get_stats,
        callbacks: list[Any] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Take the counts from *stats*, the collections from *callbacks*, and the longest of *window* seconds."""
        self._stats = stats
        self._callbacks: list[Any] = gc.callbacks if callbacks is None else callbacks
        self._clock = clock
        self._base = [dict.fromkeys(told, 0) for told in stats()]
        self._began = 0.0  # 0: no collection that was seen from its beginning
        self._times = [0.0] * len(self._base)
        self._longest = Peak(window)
        # The longest of a part of the window that is too short to be told from its end.
        self._moment = window / 100
        self._recent = self._recent_until = 0.0

    def start(self, lease: Lease) -> None:
        """Listen to collections, and observe the five metrics; a forked child counts from 0."""
        clock, collected = self._clock, self._collected

        def collecting(phase: str, info: dict[str, int]) -> None:
            if phase == "start":
                self._began = clock()  # nothing that could break, and half of the calls
            else:
                lease.guard(collected, info)

        lease.after_fork(self._restart)
        self._callbacks.append(collecting)
        lease.at_end(lambda: self._let_go(collecting))
        lease.observe(CPYTHON_GC_COLLECTIONS, lambda: self._counts("collections"))
        lease.observe(CPYTHON_GC_COLLECTED_OBJECTS, lambda: self._counts("collected"))
        lease.observe(CPYTHON_GC_UNCOLLECTABLE_OBJECTS, lambda: self._counts("uncollectable"))
        lease.observe(CPYTHON_GC_PAUSE_TIME, self._paused)
        lease.observe(CPYTHON_GC_PAUSE_MAX, lambda: self._longest.read(self._clock()))

    def _let_go(self, collecting: Callable[..., None]) -> None:
        with contextlib.suppress(ValueError):  # the application may have emptied the list
            self._callbacks.remove(collecting)

    def _restart(self) -> None:
        self._base = self._stats()
        self._began = 0.0
        self._times = [0.0] * len(self._base)
        self._longest.clear()
        self._recent = self._recent_until = 0.0

    def _collected(self, info: dict[str, int]) -> None:
        # There is one collection at a time, and numbers are no objects that the collector tracks.
        began = self._began
        if began:
            now = self._clock()
            self._began = 0.0
            pause = now - began
            self._times[info["generation"]] += pause
            # Most are no longer than another one a moment ago.
            if pause > self._recent or now >= self._recent_until:
                self._recent, self._recent_until = pause, now + self._moment
                self._longest.add(pause, now)

    def _counts(self, what: str) -> Iterable[Observation]:
        return [
            Observation(told[what] - base[what], {CPYTHON_GC_GENERATION: generation})
            for generation, (told, base) in enumerate(zip(self._stats(), self._base, strict=True))
        ]

    def _paused(self) -> Iterable[Observation]:
        return [
            Observation(seconds, {CPYTHON_GC_GENERATION: generation})
            for generation, seconds in enumerate(self._times)
        ]
