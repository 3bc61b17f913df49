# SPDX-License-Identifier: Apache-2.0
"""Finds every `ThreadPoolExecutor`, and measures how long work waits for one of its threads.

An executor is found when it is made, be it by the application or by a loop for itself; those that exist before us
are looked for among what the garbage collector knows. Submitting stays as it is: what is timed is the making of a
work item and its run, inside of which the application's function is called. So no frame of ours is in a traceback,
and neither the function nor the future nor the context is touched.
"""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from otel_resinstr.threadpool import _internals
from otel_resinstr.threadpool.pools import EXECUTOR, LOOP_DEFAULT, Seen

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from otel_resinstr._probe import Lease
    from otel_resinstr.threadpool.pools import Pools, Series

# Loops that are handed their default executor: the module, and the class to wrap.
_LOOPS = (("asyncio.base_events", "BaseEventLoop"), ("uvloop", "Loop"), ("rloop", "RLoop"))

_PRUNE = 64  # pools that are gone are not looked for among fewer


class Executor:
    """An executor, as long as it exists or has threads that work off what is left."""

    def __init__(self, executor: Any, series: Series, kind: type | None, clock: Callable[[], float]) -> None:
        self.series = series
        self.executor = weakref.ref(executor)
        self.running: dict[int, Series] = {}
        """Which thread runs a work item, and where it is counted; changed by that thread only, in one step."""
        self._kind = kind
        self._seen = Seen(clock)
        self._threads: dict[int | None, weakref.ref[threading.Thread]] = {}
        self._queue: weakref.ref[Any] | None = None
        self.look()

    def look(self) -> None:
        """Note what has to be known of the executor once it is gone."""
        executor = self.executor()
        if executor is None:
            return
        queue = _internals.work_queue(executor)
        self._queue = None if queue is None else weakref.ref(queue)
        for thread in _internals.threads(executor) or ():
            self.add(thread)

    def add(self, thread: threading.Thread) -> None:
        """Note a thread of the executor."""
        self._threads[thread.ident] = weakref.ref(thread)

    def _alive(self) -> list[int]:
        self.look()
        found = [(ident, ref()) for ident, ref in list(self._threads.items())]
        return [
            ident for ident, thread in found if ident is not None and thread is not None and thread.is_alive()
        ]

    def exists(self) -> bool:
        """Whether there is anything left of it."""
        return self.executor() is not None or bool(self._alive())

    def forked(self) -> None:
        """In a child there are no threads but the one that forked."""
        self.running = {}

    def threads(self) -> int | None:
        """How many threads it has."""
        return len(self._alive())

    def limit(self) -> float | None:
        """How many threads it may have; None after its shutdown."""
        return _internals.max_workers(self.executor())

    def busy(self) -> int | None:
        """How many threads run a work item that began after we did."""
        return len(self.running) if self._kind else None

    def queued(self) -> int | None:
        """How many work items are in the queue, those included that were cancelled there."""
        if self._queue is None:
            return None
        queue = self._queue()
        if queue is None:
            return 0
        if self.limit() is None and self._kind:  # then there are marks among them, for the threads to end
            items = _internals.work_items(queue, self._kind)
            if items is not None:
                return len(items)
        return _internals.length(queue)

    def waiting_since(self) -> float | None:
        """When the first of those in the queue was submitted that was not cancelled, or was first seen."""
        queue = self._queue and self._queue()
        if queue is None or not _internals.length(queue):
            return self._seen(so=False)
        items = _internals.work_items(queue, self._kind) if self._kind else None
        if items is None:
            return self._seen(so=self.limit() is not None)
        first = next((item for item in items if not _internals.is_cancelled(item.future)), None)
        submitted: float | None = getattr(first, _SUBMITTED, None)
        return self._seen(so=first is not None) if submitted is None else submitted

    def workers(self) -> list[int]:
        """The threads that run a work item; all of them where none does, as in an initialiser that takes its time."""
        return list(self.running) or self._alive()


_SUBMITTED = "_resinstr_submitted"


class Executors:
    """The executors of the process, but for those that OpenTelemetry makes for itself.

    Cost: 4 µs a work item, submit to result; 5 µs for each executor and each thread that is started. Looking for
    executors that exist already takes 14 ms for a million objects, once, if their module was imported before us.
    """

    name = "threadpool.executors"

    def __init__(self, pools: Pools, module: str = "concurrent.futures.thread") -> None:
        self._pools = pools
        self._module = module
        self._clock = pools.clock
        # By thread, and a set that keeps its order; both are changed in one step, by any thread.
        self._by_thread: dict[int, Executor] = {}
        self._executors: dict[Executor, None] = {}
        self._prune_at = _PRUNE
        self._making = threading.RLock()
        # The SDK makes one in each process to find out about its resource: nobody would know whose it is.
        self._left_out: weakref.WeakSet[Any] = weakref.WeakSet()

    def start(self, lease: Lease) -> None:
        """Begin to find them, once the application has imported what makes them."""
        self._lease = lease
        self._late = self._module in sys.modules
        self._pools.look_into(lease, self._found)
        lease.after_fork(self._forked)
        lease.when_imported(self._module, self._watch)
        for module, kind in _LOOPS:
            lease.when_imported(module, partial(self._watch_loops, kind))

    def _found(self) -> list[Executor]:
        self._prune()
        return list(self._executors)

    def _prune(self) -> None:
        for executor in list(self._executors):
            if not executor.exists():
                self._executors.pop(executor, None)
        self._prune_at = max(_PRUNE, 2 * len(self._executors))

    def _forked(self) -> None:
        self._making = threading.RLock()
        self._by_thread = {}
        for executor in self._executors:
            executor.forked()

    def _watch(self, module: Any) -> None:
        kind = module.ThreadPoolExecutor
        self._kind = module._WorkItem if _internals.hooks(module) else None  # noqa: SLF001  guarded
        if self._kind is not None:
            self._lease.replace(self._kind, "__init__", self._stamping)
            self._lease.replace(self._kind, "run", self._timing)
            self._lease.patch(module, "_worker", self._works)
        self._lease.patch(kind, "__init__", self._made)
        if self._late:  # else nobody can have made one
            self._look_for(kind)

    def _look_for(self, kind: type) -> None:
        for known in gc.get_objects():
            # Not `isinstance`: what only stands for something else would be asked what that is.
            if issubclass(type(known), kind) and _internals.is_in_use(known):
                self._know(known)

    def _watch_loops(self, kind: str, module: Any) -> None:
        self._lease.patch(getattr(module, kind), "set_default_executor", self._handed_over)

    # In the threads of the application

    def _made(
        self, wrapped: Callable[..., None], executor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        wrapped(*args, **kwargs)
        self._lease.guard(self._meet, executor, sys._getframe(1))  # noqa: SLF001  the way to one's own stack, as in logging

    def _handed_over(
        self, wrapped: Callable[..., Any], _loop: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        result = wrapped(*args, **kwargs)
        self._lease.guard(self._becomes_default, *args, *kwargs.values())
        return result

    def _works(
        self, wrapped: Callable[..., None], _instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        ident = threading.get_ident()
        self._lease.guard(self._comes, ident, *args[:1])
        try:
            wrapped(*args, **kwargs)
        finally:
            self._by_thread.pop(ident, None)

    def _stamping(self, original: Callable[..., None]) -> Callable[..., None]:
        guard, stamp = self._lease.guard, self._stamp

        def init(item: Any, *args: Any, **kwargs: Any) -> None:
            original(item, *args, **kwargs)
            guard(stamp, item)

        return init

    def _timing(self, original: Callable[..., None]) -> Callable[..., None]:
        guard, begin, end = self._lease.guard, self._begin, self._end

        def run(item: Any, *args: Any, **kwargs: Any) -> None:
            executor = guard(begin, item)
            try:
                original(item, *args, **kwargs)
            finally:
                if executor is not None:
                    guard(end, executor, item)
                # A traceback of the work's refers to this frame: the item would keep it alive, and it the item.
                del item, args, kwargs

        return run

    def _stamp(self, item: Any) -> None:
        setattr(item, _SUBMITTED, self._clock())

    def _begin(self, item: Any) -> Executor | None:
        ident = threading.get_ident()
        executor = self._by_thread.get(ident) or self._of_this_thread(ident)
        if executor is None or ident in executor.running or _internals.is_cancelled(item.future):
            return None  # the second: work that runs other work by itself
        # Where its wait is counted its end is too, also if a loop is handed the executor meanwhile.
        series = executor.running[ident] = executor.series
        submitted = getattr(item, _SUBMITTED, None)
        if submitted is not None:  # else it was made before we were there
            now = self._clock()
            series.began(now - submitted, now)
        return executor

    def _end(self, executor: Executor, item: Any) -> None:
        # What began before this process was forked is not counted in it.
        series = executor.running.pop(threading.get_ident(), None)
        if series is not None and not _internals.is_cancelled(item.future):
            series.ended()

    def _comes(self, ident: int, reference: Callable[[], Any] | None = None) -> None:
        """A thread begins to work for an executor, of which it has no more than a weak *reference*.

        None where a subclass hands that over by name: then its first work item tells whose it is.
        """
        # A thread that had this number before may have worked for another one.
        self._by_thread.pop(ident, None)
        executor = None if reference is None else reference()
        if executor is not None and not any(left is executor for left in self._left_out):
            known = self._by_thread[ident] = self._know(executor)
            known.look()
            known.add(threading.current_thread())

    def _of_this_thread(self, ident: int) -> Executor | None:
        """The executor of a thread that was started before us, or by a subclass in a way of its own."""
        thread = threading.current_thread()
        for known in list(self._executors):
            if thread in (_internals.threads(known.executor()) or ()):
                self._by_thread[ident] = known
                return known
        return None

    def _meet(self, executor: Any, frame: FrameType) -> None:
        """An executor was made in *frame*, or outside of it: without its extension in C wrapt has frames of its own."""
        while frame.f_back is not None and _package(frame) == "wrapt":
            frame = frame.f_back
        if _package(frame) == "opentelemetry":
            self._left_out.add(executor)
        else:
            self._know(executor, frame)

    def _know(self, executor: Any, frame: FrameType | None = None) -> Executor:
        with self._making:
            for known in list(self._executors):
                if known.executor() is executor:
                    return known
            if len(self._executors) >= self._prune_at:
                self._prune()
            kind = LOOP_DEFAULT if _made_by_loop(executor, frame) else EXECUTOR
            made = Executor(executor, self._series(executor, kind), self._kind, self._clock)
            self._executors[made] = None
            return made

    def _becomes_default(self, executor: Any = None) -> None:
        for known in list(self._executors):
            if executor is not None and known.executor() is executor:
                known.series = self._series(executor, LOOP_DEFAULT)

    def _series(self, executor: Any, kind: str) -> Series:
        return self._pools.series(_internals.prefix(executor), kind, counted=self._kind is not None)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _made_by_loop(executor: Any, frame: FrameType | None) -> bool:
    """Whether a loop has made it for itself: in Python within ``run_in_executor``, uvloop by the name it gives."""
    if frame is not None and frame.f_code.co_name == "run_in_executor":
        return True
    return _internals.prefix(executor) in _BY_LOOPS


_BY_LOOPS = frozenset(("asyncio", "uvloop"))
