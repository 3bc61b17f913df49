# SPDX-License-Identifier: Apache-2.0
"""Threads by what they are for: which of the libraries in the process it is whose threads add up."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Observation

from otel_resinstr._kernel import Entries
from otel_resinstr.semconv import CPYTHON_THREAD_COUNT, CPYTHON_THREAD_GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from otel_resinstr._probe import Lease

_MAIN = "main"
_NATIVE = "native"
_THREAD_POOL = "thread_pool"
_OTHER = "_other"

_BY_NAME = {
    "pymongo_server_monitor_thread": "pymongo.monitor",
    # One for each client, like the monitors, of which they report and for which they look up servers. A leak of
    # clients has to show them, and not among `_other`.
    "pymongo_events_thread": "pymongo.monitor",
    "pymongo_srv_polling_thread": "pymongo.monitor",
    "pymongo_server_rtt_thread": "pymongo.rtt",
    "pymongo_kill_cursors_thread": "pymongo.kill_cursors",
    "AnyIO worker thread": "anyio",
    "resinstr": "resinstr",
    "resinstr.flush": "resinstr",
}
# OtelBatchSpanRecordProcessor, OtelPeriodicExportingMetricReader and what else the SDK starts.
_OPENTELEMETRY = "Otel"
# The names that ThreadPoolExecutor and the default executor of asyncio give to workers.
_PREFIXES = (_OPENTELEMETRY, "ThreadPoolExecutor-", "asyncio_")
_WORKER = re.compile(r"(?:ThreadPoolExecutor-\d+|asyncio)_\d+", re.ASCII)

# What stands for a thread that Python did not start, once Python code has run in it. Until Python 3.13 it also
# stands for the thread after its end, so it is not counted: https://github.com/python/cpython/issues/114423
_DUMMY: type | tuple[()] = getattr(threading, "_DummyThread", ())


def _executor_threads() -> Collection[threading.Thread]:
    """The workers of all thread pools, whatever they are called; they are entered once they have been started."""
    # Not imported by us: it registers something for the end of the interpreter. Who has a pool has the module.
    module = sys.modules.get("concurrent.futures.thread")
    # A dictionary with weak keys: its references are copied in one step, a walk over it is slow.
    references: Callable[[], Iterable[Any]] = getattr(
        getattr(module, "_threads_queues", None), "keyrefs", list
    )
    return {reference() for reference in references()}


class ThreadsByGroup:
    """Live threads in a fixed list of groups, named in ``semconv``'s contract; the rest is ``_other``.

    ``native`` is what the operating system counts and Python does not: the threads of gRPC, of BLAS, of drivers in
    C or Rust. It is absent where the system does not tell. A group that this process once had stays, with a zero:
    without it a dashboard would show the last value for ever.

    Cost: a microsecond for each thread.
    """

    name = "runtime.threads_by_group"

    def __init__(
        self,
        threads: Callable[[], Iterable[threading.Thread]] = threading.enumerate,
        executor_threads: Callable[[], Collection[threading.Thread]] = _executor_threads,
        root: str | os.PathLike[str] = "/",
    ) -> None:
        """Take the threads of Python from *threads*, and those of the system from ``proc`` below *root*."""
        self._threads = threads
        self._executor_threads = executor_threads
        self._tasks = Entries(f"{os.fspath(root).rstrip('/')}/proc/self/task", links=True)
        self._seen = frozenset([_MAIN])

    def start(self, lease: Lease) -> None:
        """Observe the metric; a forked child has had no group but its main thread's."""
        lease.after_fork(self._forget)
        lease.observe(CPYTHON_THREAD_COUNT, self._count)

    def _forget(self) -> None:
        self._seen = frozenset([_MAIN])

    def _count(self) -> Iterable[Observation]:
        # threading.enumerate() takes a lock that threading renews in a forked child, and holds it for a copy.
        main, workers, threads = threading.main_thread(), self._executor_threads(), list(self._threads())
        # Questions to all of them at once, before those to each: there may be thousands.
        if any(issubclass(kind, _DUMMY) for kind in set(map(type, threads))):
            # A child that was forked in a thread that Python did not start has a dummy for its main thread.
            threads = [each for each in threads if not isinstance(each, _DUMMY) or each is main]
        rest = [each for each in threads if each not in workers] if workers else threads
        mains = int(main in rest)
        names = [each.name for each in rest]
        if mains:
            names.remove(main.name)
        groups = [_group(name) for name in names if name in _BY_NAME or name.startswith(_PREFIXES)]
        counts = Counter(groups)
        numbers = {_MAIN: mains, _OTHER: len(names) - len(groups), _THREAD_POOL: len(threads) - len(rest)}
        counts.update({group: number for group, number in numbers.items() if number})
        self._seen |= counts.keys()
        counts.update(dict.fromkeys(self._seen, 0))
        native = self._native(len(threads))
        if native is not None:
            counts[_NATIVE] = native
        return [Observation(count, {CPYTHON_THREAD_GROUP: group}) for group, count in counts.items()]

    def _native(self, known: int) -> int | None:
        try:
            # A thread may begin or end between the two counts.
            return max(0, self._tasks.count() - known)
        except OSError:
            return None


def _group(name: str) -> str:
    group = _BY_NAME.get(name)
    if group is not None:
        return group
    if _WORKER.fullmatch(name):
        return _THREAD_POOL
    return "opentelemetry" if name.startswith(_OPENTELEMETRY) else _OTHER
