# SPDX-License-Identifier: Apache-2.0
"""How many objects the garbage collector knows of. Off unless asked for: it walks the heap."""

from __future__ import annotations

import gc
import sys
import time
from typing import TYPE_CHECKING

from otel_resinstr.semconv import CPYTHON_GC_OBJECT_COUNT

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_resinstr._probe import Lease

# Blocks allocated: each object is one at least. A walk over as many takes some 30 ms, and nothing else runs meanwhile.
_MOST = 2_000_000
_SHARE = 1e-3  # of the time may be spent with walking


class Objects:
    """The objects that the garbage collector tracks: containers, instances, frames, not numbers and strings.

    Cost: 14 ms for each million of objects, during which no Python code runs. So it is bounded: a heap of more than
    two million blocks is not walked, and the metric is absent; and what a walk of so many seconds found is told again
    for a thousand times as long.
    """

    name = "runtime.objects"

    def __init__(
        self,
        objects: Callable[[], list[object]] = gc.get_objects,
        blocks: Callable[[], int] = sys.getallocatedblocks,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Take the *objects* from there, if there are not too many *blocks*."""
        self._objects = objects
        self._blocks = blocks
        self._clock = clock
        self._next = 0.0
        self._count: int | None = None

    def start(self, lease: Lease) -> None:
        """Observe the metric; a forked child walks its own heap."""
        self._forget()
        lease.after_fork(self._forget)
        lease.observe(CPYTHON_GC_OBJECT_COUNT, self._look)

    def _forget(self) -> None:
        self._next = 0.0

    def _look(self) -> int | None:
        began = self._clock()
        if began >= self._next:
            self._count = len(self._objects()) if self._blocks() <= _MOST else None
            ended = self._clock()
            self._next = ended + (ended - began) / _SHARE
        return self._count
