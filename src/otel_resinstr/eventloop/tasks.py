# SPDX-License-Identifier: Apache-2.0
"""How many tasks an event loop has that are not done."""

from __future__ import annotations

import math
import sys
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Observation

from otel_resinstr.semconv import ASYNCIO_EVENTLOOP_TASK_COUNT, ASYNCIO_EVENTLOOP_THREAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_resinstr._probe import Lease
    from otel_resinstr.eventloop.loops import Loops

_MOST = 10_000  # tasks that are looked at; of more than that, as many are a sample


class Tasks:
    """The tasks of each running loop that are not done, as asyncio itself knows them.

    `asyncio.all_tasks` iterates over a set that the loops' threads change meanwhile, and begins anew each time
    (https://github.com/python/cpython/blob/v3.13.0/Lib/asyncio/tasks.py#L48). Here the references are copied in one
    step of the interpreter's, and then looked at one by one. The set has no public name: where it is not found, as on
    Python 3.14, there is no figure.

    Cost: 0.5 µs a task that exists, in the reader's thread, for the first 10,000 of them. Of more tasks every second
    one is looked at, or every third, and so on; the figure is then right to about 1 %.
    """

    name = "eventloop.tasks"

    def __init__(self, loops: Loops) -> None:
        self._loops = loops

    def start(self, lease: Lease) -> None:
        """Begin to count when that is asked for."""
        lease.observe(ASYNCIO_EVENTLOOP_TASK_COUNT, self._observe)

    def _observe(self) -> Iterator[Observation]:
        loops = [(running.loop(), running.thread) for running in self._loops.running()]
        threads = {id(loop): thread for loop, thread in loops if loop is not None and thread}
        known = references() if threads else None
        if known is None:
            return
        weak, eager = known
        step = max(1, math.ceil(len(weak) / _MOST))
        counts = dict.fromkeys(threads.values(), 0)
        looked_at = zip((reference() for reference in weak[::step]), repeat(step))
        for task, stands_for in chain(looked_at, zip(eager, repeat(1))):
            thread = threads.get(_pending_on(task))
            if thread is not None:
                counts[thread] += stands_for
        for thread, count in counts.items():
            yield Observation(count, {ASYNCIO_EVENTLOOP_THREAD: thread})


def references() -> tuple[list[Any], list[Any]] | None:
    """Weak references to all tasks, and those that run eagerly for the first time; None if they are not found."""
    tasks = sys.modules.get("asyncio.tasks")
    # Until Python 3.11 the one name, until 3.13 the other, which is there later too but knows no tasks of asyncio's.
    every = getattr(tasks, "_all_tasks", None)
    if every is None and sys.version_info < (3, 14):
        every = getattr(tasks, "_scheduled_tasks", None)
    data = getattr(every, "data", None)
    if not isinstance(data, set):
        return None
    return list(data), list(getattr(tasks, "_eager_tasks", ()))


def _pending_on(task: Any) -> int:
    """The id of the loop of *task*, if it is one and is not done; else 0."""
    # Held for no longer than this takes: the last reference to a task should not be ours.
    if task is None or not hasattr(task, "get_loop") or task.done():
        return 0
    return id(task.get_loop())
