# SPDX-License-Identifier: Apache-2.0
"""What the process had at most between two exports: memory, threads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from otel_resinstr._peak import Peak
from otel_resinstr.semconv import RESINSTR_PROCESS_MEMORY_USAGE_MAX, RESINSTR_PROCESS_THREAD_COUNT_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_resinstr._probe import Lease
    from otel_resinstr.process.reading import ProcessReading

_PERIOD = 1.0  # seconds


class Peaks:
    """The most resident memory and the most threads of the last *window* seconds, looked at once a second.

    Whoever reads, and however often, sees the most of the window: a spike is not lost between two exports.
    `resinstr.process.memory.peak` is the most there ever was, and says nothing of the second spike.

    Cost: two readings a second, 15 µs, on the package's thread, and when it is collected.
    """

    name = "process.peaks"

    def __init__(
        self, reading: ProcessReading, window: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reading = reading
        self._clock = clock
        self._memory = Peak(window)
        self._threads = Peak(window)

    def start(self, lease: Lease) -> None:
        """Look once a second; a forked child has its own most."""
        self._begin()
        lease.after_fork(self._begin)
        lease.every(_PERIOD, self._look)
        lease.observe(RESINSTR_PROCESS_MEMORY_USAGE_MAX, self._most_memory)
        lease.observe(RESINSTR_PROCESS_THREAD_COUNT_MAX, self._most_threads)

    def _begin(self) -> None:
        self._memory.clear()
        self._threads.clear()
        self._look()

    def _look(self) -> None:
        now = self._clock()
        memory, threads = self._reading.memory(), self._reading.threads()
        if memory is not None:
            self._memory.add(memory.usage, now)
        if threads is not None:
            self._threads.add(threads, now)

    # With what there is now: the most is never less than what is reported beside it.

    def _most_memory(self) -> float | None:
        memory = self._reading.memory()
        return _most(self._memory.read(self._clock()), None if memory is None else memory.usage)

    def _most_threads(self) -> float | None:
        return _most(self._threads.read(self._clock()), self._reading.threads())


def _most(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)
