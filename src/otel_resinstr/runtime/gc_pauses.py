# SPDX-License-Identifier: Apache-2.0
"""For how long garbage collections held everything up. Off unless asked for: it can cost an exception."""

from __future__ import annotations

import contextlib
import gc
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Observation

from otel_resinstr._peak import Peak
from otel_resinstr.semconv import CPYTHON_GC_GENERATION, CPYTHON_GC_PAUSE_MAX, CPYTHON_GC_PAUSE_TIME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otel_resinstr._probe import Lease


class GCPauses:
    """The time that collections took by generation, and the longest: while one runs, no other Python code does.

    Taken at the beginning and the end of each collection, since the probe began, by a callback of the garbage
    collector: https://docs.python.org/3/library/gc.html#gc.callbacks.

    Cost: half a microsecond a collection, of which there may be thousands a second, and as much again for CPython to
    call anybody at all. What is called makes no object that the garbage collector would have to know of: it brings no
    collection closer. And an exception that a signal handler raises during a collection (an alarm, the soft time
    limit of a task queue, Ctrl-C) is lost: CPython runs the handler at the first line of the callback, and has nobody
    to hand on what a callback raises. Without a callback it is raised after the collection.
    """

    name = "runtime.gc_pauses"

    def __init__(
        self,
        window: float,
        generations: int = len(gc.get_stats()),
        callbacks: list[Any] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Take the collections of so many *generations* from *callbacks*, and the longest of *window* seconds."""
        self._callbacks: list[Any] = gc.callbacks if callbacks is None else callbacks
        self._clock = clock
        self._began = 0.0  # 0: no collection that was seen from its beginning
        self._times = [0.0] * generations
        self._longest = Peak(window)
        # The longest of a part of the window that is too short to be told from its end.
        self._moment = window / 100
        self._recent = self._recent_until = 0.0

    def start(self, lease: Lease) -> None:
        """Listen to collections, and observe the two metrics; a forked child counts from 0."""
        clock, collected = self._clock, self._collected

        def collecting(phase: str, info: dict[str, int]) -> None:
            if phase == "start":
                self._began = clock()  # nothing that could break, and half of the calls
            else:
                lease.guard(collected, info)

        lease.after_fork(self._restart)
        self._callbacks.append(collecting)
        lease.at_end(lambda: self._let_go(collecting))
        lease.observe(CPYTHON_GC_PAUSE_TIME, self._paused)
        lease.observe(CPYTHON_GC_PAUSE_MAX, lambda: self._longest.read(self._clock()))

    def _let_go(self, collecting: Callable[..., None]) -> None:
        with contextlib.suppress(ValueError):  # the application may have emptied the list
            self._callbacks.remove(collecting)

    def _restart(self) -> None:
        self._began = 0.0
        self._times = [0.0] * len(self._times)
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

    def _paused(self) -> Iterable[Observation]:
        return [
            Observation(seconds, {CPYTHON_GC_GENERATION: generation})
            for generation, seconds in enumerate(self._times)
        ]
