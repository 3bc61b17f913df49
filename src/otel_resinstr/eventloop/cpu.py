# SPDX-License-Identifier: Apache-2.0
"""What the threads of event loops have had of the CPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otel_resinstr.semconv import ASYNCIO_EVENTLOOP_CPU_TIME, ASYNCIO_EVENTLOOP_THREAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_resinstr._probe import Lease
    from otel_resinstr.eventloop.loops import Loops, Samples


class Cpu:
    """The CPU time of the threads that run event loops, as long as they run them, by the system's clock of the thread.

    It grows at each look: what a collection shows is at most a period old. Absent where a thread has no such clock
    (macOS, Windows). Cost: 3 µs a look, for the system call.
    """

    name = "eventloop.cpu"

    def __init__(self, loops: Loops) -> None:
        self._loops = loops
        self._forget()

    def start(self, lease: Lease) -> None:
        """Begin to add up."""
        self._loops.sample(lease, self._add)
        lease.after_fork(self._forget)
        lease.observe(ASYNCIO_EVENTLOOP_CPU_TIME, self._observe)

    def _forget(self) -> None:
        self._seconds: dict[str, float] = {}  # by the name of the thread; changed by our own thread only

    def _add(self, samples: Samples) -> None:
        for running, sample in samples:
            if sample.cpu is not None:
                self._seconds[running.thread] = self._seconds.get(running.thread, 0.0) + sample.cpu

    def _observe(self) -> Iterator[Observation]:
        for thread, seconds in list(self._seconds.items()):
            yield Observation(seconds, {ASYNCIO_EVENTLOOP_THREAD: thread})
