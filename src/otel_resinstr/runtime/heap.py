# SPDX-License-Identifier: Apache-2.0
"""Python's own memory: the blocks that it has allocated, and, while tracemalloc traces, whose they are."""

from __future__ import annotations

import sys
import time
import tracemalloc
from typing import TYPE_CHECKING, NamedTuple

from otel_resinstr.semconv import (
    CPYTHON_HEAP_GROWTH,
    CPYTHON_HEAP_GROWTH_BYTES,
    CPYTHON_HEAP_GROWTH_DURATION,
    CPYTHON_HEAP_GROWTH_LINES,
    CPYTHON_MEMORY_ALLOCATED_BLOCKS,
    CPYTHON_MEMORY_TRACED,
    CPYTHON_MEMORY_TRACED_PEAK,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_resinstr._probe import Lease

_LINES = 10
_MIB = 1 << 20


class Growth(NamedTuple):
    """A line of code, by how many bytes what it has allocated has grown, and by how many blocks."""

    path: str
    line: int
    size: int
    blocks: int


class Heap:
    """Blocks that Python has allocated, and the bytes that tracemalloc traces, now and at most.

    Tracing costs a multiple of each allocation and some memory of its own, so it is for whoever looks for a leak:
    OTEL_RESINSTR_TRACEMALLOC=1 begins it, as Python's ``-X tracemalloc`` does. What grew most is found by `growth`.
    https://docs.python.org/3/library/sys.html#sys.getallocatedblocks,
    https://docs.python.org/3/library/tracemalloc.html

    Cost: 1 µs for each 10,000 blocks when it is collected. Traced memory is absent where nothing traces, and tracing
    ends with the probe only if it is still the session that the probe began.
    """

    name = "runtime.heap"

    def __init__(self, *, trace: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """With *trace*, begin to trace unless something does already."""
        self._trace = trace
        self._clock = clock
        self._before: dict[tuple[str, int], tuple[int, int]] = {}
        self._since = clock()

    def start(self, lease: Lease) -> None:
        """Observe the three metrics."""
        global _current  # noqa: PLW0603  a process has one heap
        self._lease = lease
        if self._trace and not tracemalloc.is_tracing():
            tracemalloc.start()
            # Whose blocks they were is forgotten at the end: the lines are asked for while it traces. Another session,
            # which the application has begun meanwhile, does not know this object.
            ours = object()
            lease.at_end(lambda: _stop(ours))
        _current = self
        lease.at_end(_let_go)
        lease.observe(CPYTHON_MEMORY_ALLOCATED_BLOCKS, sys.getallocatedblocks)
        lease.observe(CPYTHON_MEMORY_TRACED, lambda: _traced(0))
        lease.observe(CPYTHON_MEMORY_TRACED_PEAK, lambda: _traced(1))

    def growth(self) -> list[Growth]:
        """See `growth`, the function."""
        return self._lease.guard(self._growth) or []

    def _growth(self) -> list[Growth]:
        try:
            snapshot = tracemalloc.take_snapshot()
        except RuntimeError:  # nothing traces
            return []
        if not snapshot.traces:  # nothing does any more
            return []
        after = {
            (statistic.traceback[0].filename, statistic.traceback[0].lineno): (
                statistic.size,
                statistic.count,
            )
            for statistic in snapshot.statistics("lineno")
        }
        before, since = self._before, self._since
        self._before, self._since = after, self._clock()
        lines = []
        for (path, line), (size, count) in after.items():
            size_before, count_before = before.get((path, line), (0, 0))
            # Not our own notes of the traces, which would be the first to be found.
            if size > size_before and path not in (__file__, tracemalloc.__file__):
                lines.append(Growth(path, line, size - size_before, count - count_before))
        lines = sorted(lines, key=lambda grown: grown.size, reverse=True)[:_LINES]
        self._say(
            lines, sum(size for size, _ in after.values()) - sum(size for size, _ in before.values()), since
        )
        return lines

    def _say(self, lines: list[Growth], size: int, since: float) -> None:
        duration = self._since - since
        told = [f"{each.path}:{each.line} +{each.size} bytes in {each.blocks:+} blocks" for each in lines]
        self._lease.event(
            CPYTHON_HEAP_GROWTH,
            f"Python's memory changed by {size / _MIB:+.1f} MiB in {duration:.0f} s; most grew: {', '.join(told)}",
            duration,  # each is asked for by somebody: none repeats another
            {
                CPYTHON_HEAP_GROWTH_BYTES: size,
                CPYTHON_HEAP_GROWTH_DURATION: duration,
                CPYTHON_HEAP_GROWTH_LINES: told,
            },
        )


_current: Heap | None = None


def _let_go() -> None:
    global _current  # noqa: PLW0603  see above
    _current = None


def growth() -> list[Growth]:
    """The ten lines of code whose memory grew most since the last call, or since tracing began.

    Also reported as the event ``cpython.heap.growth``. Empty where tracemalloc does not trace or the probe
    ``runtime.heap`` does not run. Never raises.

    Cost: five seconds of CPU time for each million of blocks that are traced, and as long for whoever calls; other
    threads run meanwhile, but for half a second in which the blocks are copied. For somebody who looks for a leak, in
    a thread and not in an event loop; never called by the package itself.
    """
    return [] if _current is None else _current.growth()


def _stop(ours: object) -> None:
    if tracemalloc.get_object_traceback(ours) is not None:
        tracemalloc.stop()


def _traced(which: int) -> int | None:
    return tracemalloc.get_traced_memory()[which] if tracemalloc.is_tracing() else None
